#include "engine/look.hpp"

#include <set>

#include "core/text.hpp"
#include "engine/facts.hpp"
#include "engine/siblings.hpp"

namespace reconciler {
namespace {

void look_at_batch(Store& store, Observer& observer, const Gates& gates, const std::vector<Tracked>& batch, Time at,
                   const std::function<void(const Seen&)>& show) {
  std::set<std::string> agents;
  for (const Tracked& tracked : batch)
    if (tracked.session.agent) agents.insert(*tracked.session.agent);
  observer.load(agents);
  Siblings siblings(store, observer);
  siblings.consider(batch, false);
  for (const Tracked& tracked : batch) {
    const Facts facts = facts_of(store.binding(), observer, tracked, store.binding().hub.has_value(), at, siblings.of(tracked));
    const Seen seen = look_at(gates, tracked, facts);
    siblings.count(tracked, seen.verdict);
    show(seen);
  }
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
  for (const Policy& policy : store.binding().policies) {
    if (!policy.enabled && !policy.stuck_after) continue;
    for (Cursor cursor; !cursor.done;)
      look_at_batch(store, observer, gates, store.scan(policy.state, cursor), at, show);
  }
  for (Cursor cursor; !cursor.done;)
    look_at_batch(store, observer, gates, store.scan_owed(cursor), at, show);
  if (store.binding().pools)
    for (Cursor cursor; !cursor.done;)
      look_at_batch(store, observer, gates, store.scan_leaving(cursor), at, show);
  if (!store.binding().commands_table) return;
  for (Cursor cursor; !cursor.done;)
    look_at_batch(store, observer, gates, store.scan_completed(cursor), at, show);
}

}  // namespace reconciler
