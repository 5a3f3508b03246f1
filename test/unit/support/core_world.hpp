// One session and everything known of it, for tests of the verdict: a stuck `terminating` session whose agent
// is there, and small changes to that.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "core/text.hpp"
#include "core/verdict.hpp"

namespace reconciler {

// How GoogleTest prints them.
inline void PrintTo(Action a, std::ostream* os) { *os << to_string(a); }
inline void PrintTo(Blocked b, std::ostream* os) { *os << to_string(b); }
inline void PrintTo(Presence p, std::ostream* os) { *os << to_string(p); }
inline void PrintTo(Time t, std::ostream* os) { *os << instant(t) << " (" << unix_micros(t) << ")"; }

}  // namespace reconciler

namespace core_world {

using namespace reconciler;

inline constexpr Duration tick{1};  // the smallest step: the other side of a threshold
inline constexpr Time noon(seconds(1'764'936'000));  // 2025-12-05 12:00 UTC
inline Time ago(Duration d) { return noon - d; }

// The preset's policies.
inline Policy terminating() {
  Policy policy;
  policy.state = "terminating";
  return policy;
}
inline Policy running() {
  Policy policy;
  policy.state = "running";
  policy.stuck_after.reset();
  policy.gone_after = seconds(30);
  policy.reason = "agent_disconnected";
  policy.user_requested = false;
  policy.retry_action.clear();
  policy.no_agent = NoAgent::show;
  return policy;
}

inline Policy pending() {
  Policy policy = running();
  policy.state = "pending";
  policy.stuck_after = policy.gone_after = minutes(10);
  policy.becomes = "failed";
  policy.reason = "agent_unavailable";
  policy.no_agent = NoAgent::close;
  policy.retry_action = policy.awaits = "start_session";
  return policy;
}
// hibernating and waking: by proof only.
inline Policy on_its_way(std::string state, std::string awaits, std::string becomes) {
  Policy policy = running();
  policy.state = std::move(state);
  policy.stuck_after = policy.gone_after = minutes(10);
  policy.infers = false;
  policy.awaits = std::move(awaits);
  policy.completed_becomes = std::move(becomes);
  return policy;
}

struct World {
  Session session{.key = "s1", .state = "terminating", .agent = "k8s-1", .runtime = {}, .created = {}, .entered = {}, .route = {}};
  Episode episode;
  std::optional<Policy> policy = terminating();
  bool terminal = false, agent_mapped = true, hub_set = true;
  std::optional<Evidence> evidence, record;  // of its agent, of its runtime
  bool shared = false;                       // its runtime, with another session
  std::optional<CommandHistory> commands = CommandHistory{};
  std::optional<Hold> hold;
  std::optional<PoolFacts> pool;
  std::optional<PlannedMove> planned;
  bool pulled = false;
  EvidenceLimits limits;
  Time now = noon;

  World() {
    episode.first_seen = episode.entered = ago(hours(1));
    present();
  }
  void saw(Presence presence, Duration since = seconds(5)) {
    evidence.emplace();
    evidence->last.presence = presence;
    evidence->last.at = now - since;
    evidence->last.source = "hub";
  }
  void present() { saw(Presence::present); }
  void unknown() { saw(Presence::unknown); }
  void gone(Duration time, int looks, Duration since = seconds(0)) {
    saw(Presence::gone, since);
    evidence->gone_time = time;
    evidence->gone_observations = looks;
    evidence->last_gone_counted = evidence->last.at;
  }
  Command& stop(std::string status) {
    commands->newest_stop = Command{"c-stop", "stop_session", std::move(status), ago(minutes(30)), {}, {}, {}, {}};
    return *commands->newest_stop;
  }
  Command& completed_stop(Duration since = minutes(20)) {
    Command& command = stop("completed");
    command.sent = ago(minutes(29));
    command.completed = now - since;
    return command;
  }
  Command& other(std::string action, Time created) {
    commands->newest_other = Command{"c-other", std::move(action), "pending", created, {}, {}, {}, {}};
    return *commands->newest_other;
  }
  // Its pool has another agent that takes it, or none.
  void in_pool(std::optional<std::string> taker, bool runtimes_outlive = true) {
    pool = PoolFacts{.name = "kubernetes/eu/desks", .runtimes_outlive_agents = runtimes_outlive, .taker = std::move(taker), .none_because = "every other agent of its pool is full"};
  }
  // In the state of that policy, and its agent there.
  void in(Policy which) {
    session.state = which.state;
    policy = std::move(which);
  }
  Facts facts() const {
    return {.session = session, .episode = episode, .policy = policy ? &*policy : nullptr, .terminal = terminal,
            .agent_mapped = agent_mapped, .hub_set = hub_set, .pulled = pulled, .agent = evidence ? &*evidence : nullptr,
            .runtime = record ? &*record : nullptr, .runtime_shared = shared,
            .commands = commands ? &*commands : nullptr, .hold = hold ? &*hold : nullptr, .pool = pool ? &*pool : nullptr, .planned = planned ? &*planned : nullptr, .limits = limits, .now = now};
  }
  Verdict verdict() const { return judge(facts()); }
  bool stuck() const { return is_stuck(facts(), verdict()); }
};

}  // namespace core_world
