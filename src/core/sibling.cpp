// Sessions whose own agent can't or won't: another one of its pool takes over. With a command where one is due, and
// without where what they run in lives on by itself.
#include <algorithm>

#include "core/backoff.hpp"
#include "core/rules.hpp"

namespace reconciler::rules {
namespace {

// The start of a session that is older goes to nobody else: who asked for it does not wait any more.
constexpr Duration start_moves_within = hours(1);
// An agent's sessions are given away where no policy says how long it must have been gone.
constexpr Duration gone_before_it_is_replaced = seconds(30);

bool is_gone(const Facts& f) { return agent_presence(f) == Presence::gone; }

bool spent(const Facts& f) { return f.episode.attempts >= f.policy->max_attempts; }

// Why not its own agent, as an event's reason and as a sentence; empty: that one is asked.
struct Because { std::string reason, text; };
std::optional<Because> not_its_own(const Facts& f) {
  if (!f.agent_mapped) return {};
  if (!has_agent(f)) return Because{"no_agent", "the session names no agent"};
  if (is_gone(f)) return Because{"agent_unavailable", cat({agent_name(f), " is gone"})};
  if (agent_presence(f) != Presence::present) return {};
  if (f.agent->suspect_since) return Because{"timeout", cat({agent_name(f), " accepts commands and ends none of them"})};
  if (spent(f)) return Because{"timeout", cat({agent_name(f), " was tried ", std::to_string(f.episode.attempts), " times"})};
  return {};
}

std::string of_pool(const Facts& f) { return cat({"pool ", in_quotes(f.pool->name)}); }

Verdict goes_to(const Facts& f, const Because& because) {
  Verdict verdict;
  verdict.action = Action::reassign;
  verdict.to_agent = *f.pool->taker;
  verdict.reason = because.reason;
  verdict.text = cat({because.text, "; agent ", in_quotes(*f.pool->taker), " of ", of_pool(f), " takes over"});
  return verdict;
}

// What another agent is sent. Where acknowledgements can't be seen a start is not sent again to its own agent, which may
// be at it. Where what is started outlives agents it stands in one place: another agent that starts it finds it there.
std::string command_elsewhere(const Facts& f) {
  if (!f.policy->retry_action.empty()) return f.policy->retry_action;
  return f.pool->runtimes_outlive_agents && f.policy->awaits == start_session ? start_session : "";
}

// A start may be with its agent already, and is nobody else's then.
bool may_be_sent_elsewhere(const Facts& f, const std::string& command) {
  if (command != start_session) return true;
  const Command* start = newest_start(f);
  const bool sure = !has_agent(f) || (is_gone(f) && f.agent->gone_observations >= 2);
  return sure && start && start->sendable && !start_taken_over(f) && state_age(f) < start_moves_within;
}

bool awaits_command(const Facts& f) { return f.policy && (!f.policy->retry_action.empty() || !f.policy->awaits.empty()); }

// Nothing more can be hoped for from other agents.
bool siblings_spent(const Facts& f) {
  if (f.episode.attempts >= f.policy->max_attempts + most_siblings) return true;
  if (is_gone(f)) return f.episode.siblings > 0 && f.agent->gone_time >= f.policy->gone_after && f.agent->gone_observations >= 2;
  if (!has_agent(f)) return f.episode.siblings > 0 && elapsed(f.episode.first_seen, f.now) >= f.policy->gone_after;
  return f.episode.siblings >= most_siblings;
}

}  // namespace

Answer sibling_due(const Facts& f, std::string* why) {
  const Episode& episode = f.episode;
  const std::string command = f.pool ? command_elsewhere(f) : "";
  if (command.empty()) {
    if (why) *why = f.pool ? "nothing is sent for this state" : "it is of no pool, or its own agent is the one to ask";
    return {};
  }
  const auto because = not_its_own(f);
  if (why) {
    *why = cat({of_pool(f), "; ", because ? because->text : cat({agent_name(f), " is asked itself"}), "; ",
                f.pool->taker ? cat({"agent ", in_quotes(*f.pool->taker), " takes sessions"}) : f.pool->none_because});
    if (episode.siblings > 0) *why += cat({"; ", std::to_string(episode.siblings), " tries went to other agents"});
  }
  // It has taken over, and only the row does not say so yet.
  if (episode.sent_to && episode.accepted_at) {
    Verdict verdict;
    verdict.action = Action::reassign;
    verdict.to_agent = *episode.sent_to;
    verdict.reason = because ? because->reason : "agent_unavailable";
    verdict.text = cat({"agent ", in_quotes(*episode.sent_to), " of ", of_pool(f), " has taken over"});
    return verdict;
  }
  if (!because || !f.pool->taker || !f.hub_set || !may_be_sent_elsewhere(f, command) || siblings_spent(f)) return {};
  const auto open = open_command(f);
  // What its own agent has of ours is nothing to wait for once that is gone. A try that is on its way is.
  const bool on_its_way = episode.lease_until && *episode.lease_until > f.now;
  if (open && (on_its_way || agent_presence(f) == Presence::present)) return {};
  // The backoff of tries that its own agent did not answer is not that of others.
  const Time due = episode.sent_to ? not_before(f) : f.now;
  if (due > f.now)
    return wait(Action::reassign, due, Blocked::none, cat({because->text, "; the next try of another agent of ", of_pool(f), " follows in ", span(due - f.now)}));
  Verdict verdict = goes_to(f, *because);
  verdict.sends = command;
  return verdict;
}

Answer agent_replaced(const Facts& f, std::string* why) {
  const bool by_command = awaits_command(f);
  if (!f.pool || !f.pool->runtimes_outlive_agents || by_command || !has_agent(f) || f.session.state.empty()) {
    if (why) *why = !f.pool ? "it is of no pool, or its own agent is the one that has it" : by_command ? "the state awaits a command" : "its runtime does not outlive its agent, as far as its pool says";
    return {};
  }
  const Duration limit = f.policy ? f.policy->gone_after : gone_before_it_is_replaced;
  const bool gone = is_gone(f), emptied = f.pool->emptied && agent_presence(f) == Presence::present;
  if (why) *why = cat({describe_evidence(f), f.pool->emptied ? "; its agent is being drained" : "", "; ", of_pool(f), ", whose runtimes outlive agents"});
  if (!gone && !emptied) return {};
  const Because because = emptied ? Because{"drained", cat({agent_name(f), " is being drained"})} : Because{"agent_unavailable", cat({agent_name(f), " has been gone for ", span(f.agent->gone_time), " of ", span(limit)})};
  if (gone && (f.agent->gone_time < limit || f.agent->gone_observations < 2)) {
    Time due = plus(f.agent->last.at, std::max(limit - f.agent->gone_time, Duration(0)));
    const bool second = f.agent->gone_observations < 2;
    if (second) due = std::max(due, plus(f.agent->last_gone_counted.value_or(f.agent->last.at), f.limits.observation_spacing));
    return wait(Action::reassign, std::max(due, f.now), second ? Blocked::second_observation : Blocked::none, because.text);
  }
  // Its runtime lives on: it is never ended because nobody has it yet.
  if (!f.pool->taker) return wait(Action::reassign, {}, f.pool->full ? Blocked::no_room : Blocked::no_agent, cat({because.text, "; ", f.pool->none_because}));
  return goes_to(f, because);
}

Answer planned_move(const Facts& f, std::string* why) {
  if (!f.planned || awaits_command(f) || !has_agent(f) || f.session.state.empty()) {
    if (why) *why = f.planned ? "the state awaits a command, or it names no agent" : "no plan of rebalance_pool() is being carried out for it";
    return {};
  }
  Verdict verdict;
  verdict.action = Action::reassign, verdict.reason = "rebalanced", verdict.to_agent = f.planned->to_agent;
  verdict.text = cat({f.planned->actor, " called rebalance_pool()"});
  if (why) *why = cat({verdict.text, ": agent ", in_quotes(verdict.to_agent), " is to have it"});
  return verdict;
}

// A stop that is owed: whether another agent is to get it.
std::optional<std::string> takes_what_is_owed(const Facts& f) {
  return f.pool && f.episode.owed == Owed::stop && is_gone(f) ? f.pool->taker : std::nullopt;
}

}  // namespace reconciler::rules
