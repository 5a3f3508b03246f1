#include <algorithm>

#include "engine/facts.hpp"
#include "simulation/store.hpp"

namespace reconciler::simulation {

Store::Finished SimStore::finish(const PassStart& pass, const std::vector<Closing>& closings, Budget budget) {
  // The table is counted outside of the transaction that locks the budget, and only when the floor does not suffice.
  if (budget == Budget::user_requested &&
      db_.brake.state.user_requested.total(db_.clock) + static_cast<std::int64_t>(closings.size()) > db_.binding.brake.user_floor)
    watched();
  return step("finish", [&] {
    Finished done;
    const std::vector<const Closing*> wanted = allowed_now(pass, closings, budget, done);
    for (const Closing* closing : wanted) {
      if (const Owed owes = owed_after(*closing); close_row(pass, *closing, budget, owes)) {
        end_episode(closing->tracked->session.key, owes);
        ++done.closed;
      } else {
        const Verdict& v = closing->verdict;
        write(pass, {.session = closing->tracked->session.key, .kind = "skipped", .from_state = closing->tracked->session.state, .reason = v.reason,
                     .rule = std::string(v.rule), .evidence = closing->evidence});
        ++done.skipped;
      }
    }
    give_back(done.skipped, budget);
    return done;
  });
}

// What mode, pause, graces, holds, newer evidence and the budget let through, in the order of the keys.
std::vector<const Closing*> SimStore::allowed_now(const PassStart& pass, const std::vector<Closing>& closings, Budget budget, Finished& done) {
  std::vector<const Closing*> wanted;
  if (!pass.by_operator()) {
    if (!allowed(budget == Budget::none)) return wanted;
    if (budget != Budget::none)
      if (const auto until = db_.gates().grace_until) {
        done.budget_frees = until;
        return wanted;
      }
  }
  for (const Closing& closing : closings)
    if (!held(closing.tracked->session.key) && !(budget != Budget::none && spared(closing))) wanted.push_back(&closing);
  const std::int64_t left = spend(static_cast<std::int64_t>(wanted.size()), budget, done.budget_frees);
  done.spent = left < static_cast<std::int64_t>(wanted.size());
  wanted.resize(static_cast<std::size_t>(left));
  std::sort(wanted.begin(), wanted.end(), [](const Closing* a, const Closing* b) { return a->tracked->session.key < b->tracked->session.key; });
  return wanted;
}

// Another pass may have seen the agent since: the session is judged anew.
bool SimStore::spared(const Closing& closing) const {
  const auto& agent = closing.tracked->session.agent;
  if (!agent || closing.verdict.rule != "agent_gone") return false;
  const auto record = db_.evidence.find(*agent);
  return record != db_.evidence.end() && record->second.evidence.last.presence != Presence::gone;
}

// One UPDATE whose WHERE repeats what the verdict rested on, and its event.
bool SimStore::close_row(const PassStart& pass, const Closing& closing, Budget budget, Owed owes) {
  const Session& s = closing.tracked->session;
  const Verdict& v = closing.verdict;
  const auto found = db_.rows.find(s.key);
  if (found == db_.rows.end()) return false;
  Row& row = found->second;
  const bool as_it_was = same_identity(row.session, s) && !(v.quiet_since && row.session.sign && *row.session.sign > *v.quiet_since);
  if (!as_it_was && plant_ != Plant::blind_finish) return false;
  const Row before = row;
  const auto& ends = db_.binding.terminal_states;
  row.session.state = v.becomes, row.session.entered = db_.clock;
  if (std::find(ends.begin(), ends.end(), v.becomes) != ends.end()) row.reason = v.reason, row.closed = db_.clock;
  if (plant_ != Plant::no_event)
    write(pass, {.session = s.key, .kind = v.action == Action::finalize ? "finalize" : "force", .from_state = s.state, .to_state = v.becomes,
                 .reason = v.reason, .rule = std::string(v.rule), .evidence = plant_ == Plant::no_evidence ? "" : closing.evidence, .before = before, .after = row});
  witness_.closed(closing, {s.key, before, row}, budget, pass.by_operator(), owes);
  return true;
}

// What is owed lives on in the state that was written; so does a start, where that is no end.
void SimStore::end_episode(const std::string& key, Owed owes) {
  const auto found = db_.episodes.find(key);
  if (found == db_.episodes.end()) return;
  if (owes != Owed::nothing) owe(found->second, db_.rows.at(key).session, owes);
  else if (!db_.start_may_arrive(found->second) || db_.binding.terminal(db_.rows.at(key).session.state)) db_.episodes.erase(found);
}

void SimStore::owe(KeptEpisode& kept, const Session& row, Owed owes) {
  kept.of = row;
  Episode& e = kept.episode = Episode{};
  e.first_seen = e.entered = db_.clock;
  e.owed = owes, e.owed_until = db_.clock + owed_for;
  if (kept.start_sent) e.next_attempt = *kept.start_sent + start_arrives_within;
  kept.start_sent.reset();
}

// A session that we started owes a stop in any case: what was sent may arrive after whatever ended it.
Owed SimStore::owed_after(const Closing& closing) const {
  if (plant_ == Plant::lost_debt) return Owed::nothing;
  const Verdict& v = closing.verdict;
  const auto found = db_.episodes.find(closing.tracked->session.key);
  const bool started = found != db_.episodes.end() && db_.start_may_arrive(found->second) && db_.binding.terminal(v.becomes);
  return v.owes == Owed::nothing && started && plant_ != Plant::lost_start ? Owed::stop : v.owes;
}

// A stop that is owed is settled when the hub has taken it over, or says that there is nothing to stop.
void SimStore::settle_accepted(const PassStart& pass, const Attempt& attempt) {
  const std::string& key = attempt.tracked->session.key;
  const Episode* e = kept(key);
  if (attempt.tracked->episode.owed == Owed::nothing || !e || e->owed == Owed::nothing || !(e->accepted > 0 || e->session_gone)) return;
  write(pass, {.session = key, .kind = "late_report", .from_state = attempt.tracked->session.state, .reason = e->session_gone ? "session gone" : "stop accepted", .rule = "late_agent"});
  db_.episodes.erase(key);
  witness_.settled(key);
}

void SimStore::settle_late(const PassStart& pass, const Tracked& tracked, SessionAnswer answer) {
  step("settle late", [&] {
    const std::string& key = tracked.session.key;
    const Episode* e = kept(key);
    if (!db_.allowed(false) || !e || e->owed == Owed::nothing) return;
    const auto last = std::find_if(db_.events.rbegin(), db_.events.rend(), [&](const Event& event) { return event.session == key && (event.kind == "force" || event.kind == "finalize"); });
    if (last == db_.events.rend()) return;
    Event event{.session = key, .kind = "late_report", .from_state = tracked.session.state, .reason = answer == SessionAnswer::gone ? "session gone" : "changed meanwhile", .rule = "late_agent"};
    const Row before = *last->before, after = *last->after;
    const auto row = db_.rows.find(key);
    const bool readopted = answer != SessionAnswer::gone && row != db_.rows.end() && same_image(row->second, after);
    if (readopted) {
      event.reason = "readopted", event.to_state = before.session.state, event.before = row->second;
      row->second.session.state = before.session.state, row->second.session.entered = before.session.entered;
      row->second.reason = before.reason, row->second.closed = before.closed;
      event.after = row->second;
    }
    db_.episodes.erase(key);
    write(pass, event);
    if (readopted) witness_.put_back({key, *event.before, *event.after});
    if (const auto& agent = before.session.agent; readopted && agent && db_.binding.takes_room(before.session.state) && db_.registry.contains(*agent)) ++db_.registry.at(*agent).load;
    witness_.settled(key);
  });
}

void SimStore::note_would(const PassStart& pass, const std::vector<Closing>& closings) {
  step("note would", [&] {
    for (const Closing& closing : closings) {
      if (Episode* e = kept(closing.tracked->session.key)) e->last_would = would_mark(closing.verdict);
      write(pass, {.session = closing.tracked->session.key, .kind = closing.verdict.action == Action::wait ? "contradiction" : std::string("would_") + to_string(closing.verdict.action),
                   .from_state = closing.tracked->session.state, .rule = std::string(closing.verdict.rule), .evidence = closing.evidence});
    }
  });
}

}  // namespace reconciler::simulation
