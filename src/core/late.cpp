// Sessions that we closed while their agent was not there: it may come back and still have them.
#include <algorithm>

#include "core/backoff.hpp"
#include "core/rules.hpp"

namespace reconciler::rules {

Owed owed_by(const Facts& f) {
  if (!has_agent(f)) return Owed::nothing;
  return f.policy->late_return == LateReturn::readopt ? Owed::readopt : Owed::stop;
}

Answer late_agent(const Facts& f, std::string* why) {
  const Episode& episode = f.episode;
  if (episode.owed == Owed::nothing || is_held(f)) {
    if (why) *why = episode.owed == Owed::nothing ? "nothing is owed" : "what is owed waits for the end of a hold";
    return {};
  }
  const bool stop = episode.owed == Owed::stop;
  const std::string owed = cat({"the session was closed; ", stop ? "a stop is owed" : "it is taken back if it still runs",
                                episode.owed_until ? cat({", until ", instant(*episode.owed_until)}) : std::string()});
  if (why) *why = cat({owed, "; ", describe_evidence(f)});
  const auto other = takes_what_is_owed(f);
  if (agent_presence(f) != Presence::present && !other)
    return wait(stop ? Action::retry : Action::wait, {}, Blocked::none, cat({owed, ", once ", agent_name(f), " is there"}));
  if (!stop) return wait(Action::wait, {}, Blocked::none, cat({owed, "; ", agent_name(f), " is there and the hub is asked about it"}));

  const Policy usual;
  if (!f.hub_set || episode.attempts >= usual.max_attempts)
    return wait(Action::wait, {}, f.hub_set ? Blocked::quarantine : Blocked::hub_unknown,
                cat({owed, f.hub_set ? "; it was refused too often" : "; the binding has no hub to send it to"}));
  Time due = std::max(episode.next_attempt.value_or(f.now), episode.lease_until.value_or(f.now));
  if (due > plus(f.now, longest_backoff(usual))) due = f.now;  // written by a clock that was wrong
  if (due > f.now) return wait(Action::retry, due, Blocked::none, cat({owed, "; the next try follows in ", span(due - f.now)}));
  Verdict verdict;
  verdict.action = Action::retry;
  verdict.to_agent = other.value_or("");
  // It never had the session, so a stop would tell it nothing.
  if (other && f.pool->cleans_by_resource && f.session.runtime && !f.session.runtime->empty()) verdict.sends = "cleanup_resource";
  verdict.text = cat({owed, "; ", other ? cat({"agent ", in_quotes(*other), " of its pool"}) : agent_name(f), " is there"});
  return verdict;
}

}  // namespace reconciler::rules
