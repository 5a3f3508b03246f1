// Sessions whose agent may still do the work: when a command goes out again, and when that has been tried enough.
#include <algorithm>

#include "core/backoff.hpp"
#include "core/rules.hpp"

namespace reconciler::rules {

bool retry_requested(const Facts& f) {
  const auto& asked = f.episode.retry_requested;
  const auto newer_than = [&](const std::optional<Time>& at) { return !at || *asked > *at; };
  return asked && newer_than(f.episode.quarantined) && newer_than(f.episode.last_attempt);
}

namespace {

std::string try_of(const Facts& f) {
  return cat({"try ", std::to_string(f.episode.attempts + 1), " of ", std::to_string(f.policy->max_attempts), " of ",
              f.policy->retry_action});
}

// The application's own command of the kind that we would send.
const Command* applications_command(const Facts& f) {
  if (!f.commands) return nullptr;
  const auto& newest = f.commands->newest_like(f.policy->retry_action);
  return newest && newest->action == f.policy->retry_action ? &*newest : nullptr;
}

// A start is sent again as it was, or not at all: what the application asked for is on record, and no agent took it over.
bool startable(const Facts& f) {
  const Command* start = newest_start(f);
  return start && start->sendable && !start_taken_over(f);
}

void keep_longer(std::optional<Open>& open, Time until, std::string text) {
  if (!open || until > open->until) open = Open{until, std::move(text)};
}

}  // namespace

std::string sent(const Facts& f, const std::string& command) {
  return f.pulled ? cat({"our ", command, " was queued, for its agent to fetch,"}) : cat({"the hub accepted our ", command});
}

// No try before this. A time further ahead than any backoff was written by a clock that was wrong.
Time not_before(const Facts& f) {
  const Time next = f.episode.next_attempt.value_or(f.now);
  if (retry_requested(f) || next > plus(f.now, longest_backoff(*f.policy))) return f.now;
  return next;
}

std::optional<Open> open_command(const Facts& f) {
  std::optional<Open> open;
  const Policy& policy = *f.policy;
  const Episode& episode = f.episode;
  // A lease is short. One that ends much later was written by a clock that was wrong.
  const Duration longest_lease = std::max<Duration>(longest_backoff(policy), hours(1));
  if (episode.lease_until && *episode.lease_until > f.now && *episode.lease_until <= plus(f.now, longest_lease))
    keep_longer(open, *episode.lease_until, cat({policy.retry_action, " is being sent now"}));
  // What another incarnation was told is nothing that this one would do.
  if (episode.accepted_at && !came_back_as_another(f)) {
    const Duration age = elapsed(*episode.accepted_at, f.now);
    if (age < policy.command_timeout)
      keep_longer(open, plus(f.now, policy.command_timeout - age),
                  cat({sent(f, policy.retry_action), " ", span(age), " ago; it has ", span(policy.command_timeout)}));
  }
  const Command* own = applications_command(f);
  // What the agent has acknowledged of a start is start_acknowledged's matter.
  const bool acknowledged_start = own && policy.awaits == start_session && acknowledged(*own);
  if (own && fate_of(*own) == CommandFate::open && !acknowledged_start) {
    const auto newest = std::max({own->created, own->sent, own->acknowledged});  // an empty one is the smallest
    const Duration age = newest ? elapsed(*newest, f.now) : Duration::max();
    if (age < policy.command_timeout)
      keep_longer(open, plus(f.now, policy.command_timeout - age),
                  cat({"the application's command ", in_quotes(own->id), " last moved ", span(age), " ago; it has ", span(policy.command_timeout)}));
  }
  return open;
}

Answer command_open(const Facts& f, std::string* why) {
  if (f.policy->retry_action.empty()) {
    if (why) *why = "nothing is sent for this state";
    return {};
  }
  const auto open = open_command(f);
  if (why) {
    *why = open ? open->text : std::string("no command is open");
    if (const Command* own = applications_command(f)) *why += cat({"; application's ", describe(*own, f.now)});
    *why += cat({"; command_timeout ", span(f.policy->command_timeout), " (policy)"});
  }
  if (!open) return {};
  // What follows may not be another try: the cap can be spent already.
  Action next = Action::retry;
  if (const Answer spent = tries_spent(f, nullptr)) next = spent->action != Action::wait ? spent->action : spent->next_action;
  return wait(next, std::max(open->until, not_before(f)), Blocked::none, open->text);
}

Answer agent_unknown(const Facts& f, std::string* why) {
  if (why) *why = describe_evidence(f);
  const Action next = f.policy->retry_action.empty() ? Action::wait : Action::retry;
  switch (agent_presence(f)) {
    case Presence::none:
      return wait(Action::wait, {}, Blocked::no_agent,
                  f.agent_mapped ? "the session names no agent: nobody can be asked about it"
                                 : "the binding maps no agent column: nobody can be asked about this session");
    case Presence::unknown:
      break;
    case Presence::present:
    case Presence::gone:
      return {};
  }
  if (!f.agent) return wait(next, {}, Blocked::hub_unknown, cat({agent_name(f), " has not been asked about yet"}));
  return not_known(agent_name(f), *f.agent, next, f);
}

Verdict not_known(const std::string& who, const Evidence& record, Action next, const Facts& f) {
  const Observation& last = record.last;
  const std::string age = span(elapsed(last.at, f.now));
  if (last.unauthorized)
    return wait(next, {}, Blocked::hub_auth,
                cat({"the hub refused our credential ", age, " ago: whether ", who, " is there is not known"}));
  if (last.presence != Presence::unknown)
    return wait(next, {}, Blocked::hub_unknown,
                cat({who, " was ", to_string(last.presence), " ", age, " ago, too long ago to be worth anything"}));
  return wait(next, {}, Blocked::hub_unknown,
              cat({"whether ", who, " is there is not known", last.detail.empty() ? "" : ": ", last.detail}));
}

namespace {

Verdict quarantine(std::string reason, std::string text) {
  Verdict verdict;
  verdict.action = Action::quarantine;
  verdict.reason = std::move(reason);
  verdict.text = std::move(text);
  return verdict;
}

// Stops that were accepted often enough and confirmed by nobody. Empty: the other limits decide.
Answer unconfirmed(const Facts& f) {
  const Policy& policy = *f.policy;
  if (policy.when_spent != WhenSpent::close_unconfirmed || f.episode.accepted < policy.unconfirmed_stops) return {};
  const Duration since = f.episode.first_accepted ? elapsed(*f.episode.first_accepted, f.now) : Duration(0);
  const std::string so_far = cat({std::to_string(f.episode.accepted), " stops were accepted since ", span(since), " of ",
                                  span(policy.unconfirmed_after), " and none was confirmed"});
  const bool long_enough = since >= policy.unconfirmed_after;
  if (policy.user_requested && long_enough)
    return inferred(f, since - policy.unconfirmed_after, close(Action::force, &policy, "stop_unconfirmed", so_far));
  if (policy.user_requested)
    return wait(Action::force, plus(f.now, policy.unconfirmed_after - since), Blocked::none, so_far);
  if (!long_enough || f.episode.quarantined) return {};
  // Closed on the strength of a user's wish only; here there is none.
  return quarantine("timeout", cat({so_far, "; no user asked for the end, so it is left to an operator"}));
}

Verdict stay_quarantined(const Facts& f) {
  const Duration since = elapsed(*f.episode.quarantined, f.now);
  const Time next_look = plus(f.now, hours(1) - since % hours(1));
  return wait(Action::wait, next_look, Blocked::quarantine,
              cat({"in quarantine for ", span(since), " after ", std::to_string(f.episode.attempts),
                   " tries; it ends by evidence or by an operator (retry_session, force_terminate_session)"}));
}

}  // namespace

Answer tries_spent(const Facts& f, std::string* why) {
  const Policy& policy = *f.policy;
  const Episode& episode = f.episode;
  const Duration unreachable = episode.unreachable_since ? elapsed(*episode.unreachable_since, f.now) : Duration(0);
  if (why) {
    *why = cat({std::to_string(episode.attempts), " of ", std::to_string(policy.max_attempts), " tries (policy max_attempts), ",
                std::to_string(episode.accepted), " accepted; unreachable for ", span(unreachable), " of ",
                span(policy.unreachable_limit), " (policy)"});
    if (!episode.last_result.empty()) *why += cat({"; last result: ", episode.last_result});
    if (episode.quarantined) *why += cat({"; in quarantine since ", instant(*episode.quarantined)});
    if (retry_requested(f)) *why += "; an operator asked for another try";
  }
  if (retry_requested(f)) return {};
  const bool tries = !policy.retry_action.empty();
  if (auto verdict = tries ? unconfirmed(f) : Answer()) return verdict;
  if (episode.quarantined) return stay_quarantined(f);
  if (!tries) return {};
  if (episode.attempts >= policy.max_attempts)
    return quarantine("timeout", cat({std::to_string(episode.attempts), " of ", std::to_string(policy.max_attempts), " tries of ",
                                      policy.retry_action, " are spent and the session has not ended"}));
  if (episode.unreachable_since && unreachable >= policy.unreachable_limit)
    return quarantine("agent_unavailable", cat({"every try since ", span(unreachable), " reached nobody (limit ",
                                                span(policy.unreachable_limit), ") although ", agent_name(f), " is there"}));
  return {};
}

Answer retry_due(const Facts& f, std::string* why) {
  if (f.policy->retry_action.empty()) {
    if (why) *why = "nothing is sent for this state";
    return {};
  }
  const Time due = not_before(f);
  if (why) {
    *why = !f.hub_set ? "the binding has no hub" : f.episode.next_attempt ? cat({"next try at ", instant(*f.episode.next_attempt)})
                                                                         : std::string("not tried yet");
    if (retry_requested(f)) *why += "; an operator asked for it";
    else if (f.episode.next_attempt && *f.episode.next_attempt != due && *f.episode.next_attempt > f.now)
      *why += cat({"; further ahead than the longest backoff of ", span(longest_backoff(*f.policy)), ", so due now"});
  }
  if (f.policy->retry_action == start_session && !startable(f))
    return wait(Action::wait, {}, Blocked::none,
                cat({agent_name(f), " is there, but no start that could be sent again is on record; it is shown"}));
  if (!f.hub_set)
    return wait(Action::retry, {}, Blocked::hub_unknown,
                cat({agent_name(f), " is there but there is no hub to send ", f.policy->retry_action, " to: see set_hub() and session_reconciler.outbound"}));
  if (due > f.now)
    return wait(Action::retry, due, Blocked::none, cat({agent_name(f), " is there; ", try_of(f), " follows in ", span(due - f.now)}));
  Verdict verdict;
  verdict.action = Action::retry;
  verdict.text = cat({agent_name(f), " is there; ", try_of(f), " is due"});
  return verdict;
}

Answer other_incarnation(const Facts& f, std::string* why) {
  if (why)
    *why = cat({"incarnation ", f.episode.incarnation.empty() ? std::string("not known") : in_quotes(f.episode.incarnation), " when last seen with the session; ",
                describe_evidence(f)});
  if (!came_back_as_another(f)) return {};
  return wait(Action::wait, {}, Blocked::none,
              cat({agent_name(f), " came back as another incarnation, and the hub does not say whether the session still runs; it is shown"}));
}

Answer alive(const Facts& f, std::string* why) {
  if (why) *why = describe_evidence(f);
  return wait(Action::wait, {}, Blocked::none, cat({agent_name(f), " is there; nothing to do"}));
}

}  // namespace reconciler::rules
