#include "engine/look.hpp"

#include <set>

#include "core/rules.hpp"
#include "core/text.hpp"
#include "engine/facts.hpp"
#include "engine/siblings.hpp"

namespace reconciler {
namespace {

void look_at_batch(Store& store, Observer& observer, Siblings& siblings, const Gates& gates, const std::vector<Tracked>& batch, Time at,
                   const std::function<void(const Seen&)>& show) {
  std::set<std::string> agents;
  for (const Tracked& tracked : batch)
    if (tracked.session.agent) agents.insert(*tracked.session.agent);
  observer.load(agents);
  observer.load_runtimes(batch);
  siblings.consider(batch, false);
  for (const Tracked& tracked : batch) {
    const Facts facts = facts_of(store.binding(), observer, tracked, store.binding().hub.has_value(), at, siblings.of(tracked));
    const Seen seen = look_at(gates, tracked, facts);
    siblings.note(tracked, seen.verdict);
    show(seen);
  }
}

bool has_a_look(const Policy& policy) { return policy.enabled || policy.stuck_after; }

// Of sessions that leave their agent: what the look at their state has shown, and what that at completed commands will.
bool is_seen_elsewhere(const Seen& seen) {
  const bool by_state = rules::judged_by(seen.facts, JudgedBy::agent) && has_a_look(*seen.facts.policy) && rules::agent_presence(seen.facts) == Presence::gone;
  return by_state || seen.verdict.action == Action::finalize;
}

}  // namespace

Seen look_at(const Gates& gates, const Tracked& tracked, const Facts& facts) {
  Verdict verdict = judge(facts);
  // What comes next may be held too: an operator wants to know before it is due.
  Verdict next = verdict;
  if (next.action == Action::wait) next.action = next.next_action;
  Gated gated = gate(next, facts.policy, tracked.episode, gates, facts.now);
  if (gated.by == Blocked::none && closes(verdict) && tracked.episode.write_locked)
    gated = {Blocked::lock, facts.now,
             cat({"somebody else had locked its row ", span(elapsed(*tracked.episode.write_locked, facts.now)), " ago; the next pass tries again"})};
  return Seen{tracked, facts, verdict, gated, is_stuck(facts, verdict)};
}

void look_at_all(Store& store, Time at, const std::function<void(const Seen&)>& show) {
  const Gates gates = store.peek().gates;
  Observer observer(store, nullptr);
  Siblings siblings(store, observer);  // one for all batches: what it gives an agent in one counts in the next
  for (const Policy& policy : store.binding().policies) {
    if (!has_a_look(policy)) continue;
    for (Cursor cursor; !cursor.done;)
      look_at_batch(store, observer, siblings, gates, store.scan(policy.state, cursor), at, show);
  }
  for (Cursor cursor; !cursor.done;)
    look_at_batch(store, observer, siblings, gates, store.scan_owed(cursor), at, show);
  if (store.binding().pools)
    for (Cursor cursor; !cursor.done;)
      look_at_batch(store, observer, siblings, gates, store.scan_leaving(cursor), at, [&](const Seen& seen) {
        if (!is_seen_elsewhere(seen)) show(seen);
      });
  if (!store.binding().commands_table) return;
  for (Cursor cursor; !cursor.done;)
    look_at_batch(store, observer, siblings, gates, store.scan_completed(cursor), at, show);
}

}  // namespace reconciler
