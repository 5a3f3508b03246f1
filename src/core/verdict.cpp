#include "core/verdict.hpp"

#include <array>

#include "core/rules.hpp"

namespace reconciler {

const char* to_string(Action action) {
  switch (action) {
    case Action::wait: return "wait";
    case Action::retry: return "retry";
    case Action::finalize: return "finalize";
    case Action::force: return "force";
    case Action::reassign: return "reassign";
    case Action::respawn: return "respawn";
    case Action::quarantine: return "quarantine";
  }
  return "wait";
}

const char* to_string(Blocked by) {
  switch (by) {
    case Blocked::none: return "none";
    case Blocked::start_grace: return "start_grace";
    case Blocked::hub_unknown: return "hub_unknown";
    case Blocked::hub_auth: return "hub_auth";
    case Blocked::second_observation: return "second_observation";
    case Blocked::brake: return "brake";
    case Blocked::pause: return "pause";
    case Blocked::hold: return "hold";
    case Blocked::observe_mode: return "observe_mode";
    case Blocked::quarantine: return "quarantine";
    case Blocked::lock: return "lock";
    case Blocked::version: return "version";
    case Blocked::sign_of_life: return "sign_of_life";
    case Blocked::contradiction: return "contradiction";
    case Blocked::finalize_rest: return "finalize_rest";
    case Blocked::replacement_grace: return "replacement_grace";
    case Blocked::identity: return "identity";
    case Blocked::safe_mode: return "safe_mode";
    case Blocked::no_agent: return "no_agent";
    case Blocked::no_room: return "no_room";
  }
  return "none";
}

namespace rules {

Verdict wait(Action next, std::optional<Time> due, Blocked by, std::string text) {
  Verdict verdict;
  verdict.next_action = next;
  verdict.due = due;
  verdict.blocked_by = by;
  verdict.text = std::move(text);
  return verdict;
}

Verdict close(Action force_or_finalize, const Policy* policy, std::string reason, std::string text) {
  Verdict verdict;
  verdict.action = force_or_finalize;
  verdict.becomes = policy ? policy->becomes : Policy{}.becomes;
  verdict.reason = std::move(reason);
  verdict.text = std::move(text);
  return verdict;
}

Duration state_age(const Facts& f) { return elapsed(f.episode.entered, f.now); }

Answer terminal(const Facts& f, std::string* why) {
  if (why) *why = cat({"state ", in_quotes(f.session.state), f.terminal ? " is" : " is not", " one of the binding's terminal states"});
  if (!f.terminal) return {};
  return wait(Action::wait, {}, Blocked::none, cat({"the session has ended: ", in_quotes(f.session.state), " is a terminal state"}));
}

bool judged_by(const Facts& f, JudgedBy what) { return f.policy && f.policy->judged_by == what; }

bool is_held(const Facts& f) { return f.hold && f.hold->until > f.now; }

Answer held(const Facts& f, std::string* why) {
  if (!is_held(f)) {
    if (why) *why = f.hold ? cat({"a hold of ", f.hold->actor, " ended at ", instant(f.hold->until)}) : std::string("no hold");
    return {};
  }
  std::string text = cat({"held by ", f.hold->actor, " ", until(f.hold->until), ": ", f.hold->reason});
  if (why) *why = text;
  return wait(Action::wait, f.hold->until, Blocked::hold, std::move(text));
}

Answer policy_off(const Facts& f, std::string* why) {
  const bool on = f.policy && f.policy->enabled;
  if (f.session.state.empty()) {
    if (why) *why = "it has no state";
    return wait(Action::wait, {}, Blocked::none, "a session without a state is never written");
  }
  std::string text = cat({!f.policy ? "no policy watches state " : on ? "a policy watches state " : "the policy is off for state ",
                          in_quotes(f.session.state)});
  if (why) *why = text;
  if (on) return {};
  return wait(Action::wait, {}, Blocked::none, std::move(text));
}

namespace {

// What a fresh session has ahead of it, as far as today's evidence says.
Action likely_next(const Facts& f) {
  if (judged_by(f, JudgedBy::runtime)) return f.policy->infers && runtime_presence(f) == Presence::gone ? Action::force : Action::wait;
  if (judged_by(f, JudgedBy::row)) return Action::wait;
  if (f.agent_mapped && !has_agent(f)) return f.policy->no_agent == NoAgent::close ? Action::force : Action::wait;
  if (agent_presence(f) == Presence::gone) return f.policy->infers ? Action::force : Action::wait;
  return f.policy->retry_action.empty() ? Action::wait : Action::retry;
}

}  // namespace

Answer fresh(const Facts& f, std::string* why) {
  const auto& limit = f.policy->stuck_after;
  const Duration age = state_age(f);
  if (why) {
    *why = cat({"in state ", in_quotes(f.session.state), " for ", span(age), ", first seen ", span(elapsed(f.episode.first_seen, f.now)),
                " ago; stuck_after ", limit ? span(*limit) : std::string("not set"), " (policy)"});
    if (retry_requested(f)) *why += "; an operator asked for a try";
  }
  if (!limit || age >= *limit || retry_requested(f)) return {};
  return wait(likely_next(f), plus(f.now, *limit - age), Blocked::none,
              cat({"in state ", in_quotes(f.session.state), " for ", span(age), ", stuck after ", span(*limit)}));
}

}  // namespace rules

namespace {

// Whom a rule is for: sessions of a state with a policy, and of one that judges so.
enum class For { all, policy, by_agent, by_runtime, by_row };

struct Rule {
  std::string_view name, title;
  rules::Answer (*ask)(const Facts&, std::string* why);
  For whom;
};

// The first that matches decides. Order is meaning: what is proven comes before what is configured, what is
// configured before what is inferred, and evidence before tries, so that a quarantine ends by evidence.
constexpr std::array table{
    Rule{"late_agent", "it was closed, and its agent may still have it", rules::late_agent, For::all},
    Rule{"terminal", "the session has ended", rules::terminal, For::all},
    Rule{"held", "an operator holds it", rules::held, For::all},
    Rule{"completion_proven", "it is proven to have ended, or to be where it was going", rules::completion_proven, For::all},
    Rule{"agent_replaced", "its agent is gone or drained, and what it runs in lives on", rules::agent_replaced, For::all},
    Rule{"planned_move", "an operator evens its pool out", rules::planned_move, For::all},
    Rule{"policy_off", "nothing watches its state", rules::policy_off, For::all},
    Rule{"fresh", "not long enough in its state", rules::fresh, For::policy},
    Rule{"sibling_due", "another agent of its pool can do it", rules::sibling_due, For::policy},
    Rule{"runtime_shared", "its runtime is gone, and another session names it too", rules::runtime_shared, For::by_runtime},
    Rule{"runtime_gone", "its runtime is gone for long enough", rules::runtime_gone, For::by_runtime},
    Rule{"runtime_gone_waiting", "its runtime is gone, not yet for long enough", rules::runtime_gone_waiting, For::by_runtime},
    Rule{"runtime_unknown", "whether its runtime is there is not known", rules::runtime_unknown, For::by_runtime},
    Rule{"runtime_present", "its runtime is there and nothing is to be done", rules::runtime_present, For::by_runtime},
    Rule{"row_alone", "nobody is asked about it", rules::row_alone, For::by_row},
    Rule{"no_agent", "it names no agent", rules::no_agent, For::by_agent},
    Rule{"agent_gone", "its agent is gone for long enough", rules::agent_gone, For::by_agent},
    Rule{"agent_gone_waiting", "its agent is gone, not yet for long enough", rules::agent_gone_waiting, For::by_agent},
    Rule{"start_acknowledged", "its start was acknowledged", rules::start_acknowledged, For::by_agent},
    Rule{"command_open", "a command is under way", rules::command_open, For::by_agent},
    Rule{"agent_unknown", "whether its agent is there is not known", rules::agent_unknown, For::by_agent},
    Rule{"tries_spent", "it was tried often or long enough", rules::tries_spent, For::by_agent},
    Rule{"retry_due", "its agent is there: send the command again", rules::retry_due, For::by_agent},
    Rule{"other_incarnation", "its agent came back as another", rules::other_incarnation, For::by_agent},
    Rule{"alive", "its agent is there and nothing is to be done", rules::alive, For::by_agent},
};

}  // namespace

namespace {

// Why a session is not one of those that the rule is for; nullptr: it is.
const char* not_for(const Rule& rule, const Facts& facts) {
  if (rule.whom == For::all) return nullptr;
  // Without a policy policy_off has decided: what follows has no thresholds to speak of.
  if (!facts.policy) return "not asked: the state has no policy";
  const For judged = facts.policy->judged_by == JudgedBy::agent ? For::by_agent : facts.policy->judged_by == JudgedBy::runtime ? For::by_runtime : For::by_row;
  if (rule.whom == For::policy || rule.whom == judged) return nullptr;
  return judged == For::by_agent ? "not asked: judged by its agent (policy)" : judged == For::by_runtime ? "not asked: judged by its runtime (policy)" : "not asked: judged by its row alone (policy)";
}

}  // namespace

Verdict judge(const Facts& facts, std::vector<TraceStep>* trace) {
  rules::Answer decided;
  for (const Rule& rule : table) {
    if (decided && !trace) break;
    std::string why;
    rules::Answer answer;
    if (const char* passed = not_for(rule, facts)) why = passed;
    else answer = rule.ask(facts, trace ? &why : nullptr);
    const bool decides = answer && !decided;
    // What it would say presumes that no rule before it matched: only its inputs are of use then.
    if (decided) why = why.empty() ? std::string("not reached") : cat({"not reached; ", why});
    if (decides) {
      answer->rule = rule.name;
      decided = std::move(answer);
    }
    if (trace) trace->push_back({rule.name, decides, std::move(why)});
  }
  return *decided;  // policy_off, or the last rule for how it is judged, at the latest
}

const std::vector<RuleName>& rule_names() {
  static const std::vector<RuleName> names = [] {
    std::vector<RuleName> all;
    for (const Rule& rule : table) all.push_back({rule.name, rule.title});
    return all;
  }();
  return names;
}

bool wants_session_status(const Facts& f) {
  if (f.episode.owed == Owed::readopt) return rules::agent_presence(f) == Presence::present;
  if (f.terminal || !f.policy || !f.policy->enabled) return false;
  if (f.policy->judged_by != JudgedBy::agent) return false;
  return rules::start_timed_out(f) || (f.policy->retry_action.empty() && rules::came_back_as_another(f));
}

bool ignored_last_try(const Facts& f) {
  return f.policy && f.policy->when_spent != WhenSpent::close_unconfirmed && f.episode.accepted_at &&
         elapsed(*f.episode.accepted_at, f.now) >= f.policy->command_timeout &&
         rules::agent_presence(f) == Presence::present && !rules::came_back_as_another(f);
}

bool is_stuck(const Facts& facts, const Verdict& verdict) {
  if (facts.terminal) return false;
  // What leaves a drained agent is not stuck.
  if (verdict.rule == "agent_replaced" && !facts.episode.quarantined)
    return rules::agent_presence(facts) == Presence::gone || verdict.action == Action::wait;
  if (verdict.action != Action::wait || facts.episode.quarantined || verdict.rule == "other_incarnation") return true;
  if (rules::completion_of(facts, nullptr)) return true;  // as it was, although the opposite is proven
  if (!facts.policy) return false;
  // Off or on, a policy's thresholds say what is late. Fresh is fresh, with or without an agent.
  if (facts.policy->stuck_after) return rules::state_age(facts) >= *facts.policy->stuck_after;
  // States that sessions may stay in for ever: only evidence makes them stuck.
  if (rules::judged_by(facts, JudgedBy::runtime)) return !rules::has_runtime(facts) || rules::runtime_presence(facts) == Presence::gone;
  if (rules::judged_by(facts, JudgedBy::row)) return false;
  const bool without_agent = facts.agent_mapped && !rules::has_agent(facts);
  return without_agent || rules::agent_presence(facts) == Presence::gone;
}

}  // namespace reconciler
