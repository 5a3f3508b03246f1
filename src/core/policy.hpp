// The rules' numbers: what a binding says of one state. A row of reconciler.policy; defaults are the
// 'standard' preset's for `terminating`.
#pragma once

#include <optional>
#include <string>

#include "core/time.hpp"

namespace reconciler {

enum class WhenSpent { quarantine, close_unconfirmed };
enum class LateReturn { keep_terminated, readopt };  // what becomes of a closed session whose agent comes back with it
enum class NoAgent { close, show };  // what becomes of a session without an agent
enum class JudgedBy { agent, runtime, row };  // whose absence closes; row: nobody's, what stands in the database is proof enough

inline constexpr const char* start_session = "start_session";

struct Policy {
  std::string state;
  bool enabled = true;
  std::optional<Duration> stuck_after = minutes(5);  // empty: watched from the first sight
  Duration gone_after = minutes(10);                 // ≥ stuck_after
  std::string becomes = "terminated";
  std::string reason = "agent_unavailable";          // of a force because the agent is gone
  bool user_requested = true;  // a user asked for the end: forces have their own rate and never trip the brake
  NoAgent no_agent = NoAgent::close;
  bool infers = true;          // the agent's absence closes; false: only proof does, else it is shown
  JudgedBy judged_by = JudgedBy::agent;  // runtime, row: no command is sent for this state

  // The command that such a session waits for beside a stop, '' = none. Completed, it becomes completed_becomes
  // ('' = it is shown); a start that the agent failed makes it `becomes`.
  std::string awaits;
  std::string completed_becomes;
  Duration acknowledged_timeout = minutes(10);  // awaits start_session: what the agent has from its acknowledgement

  LateReturn late_return = LateReturn::keep_terminated;

  std::string retry_action = "stop_session";  // '' = nothing is sent for this state
  int max_attempts = 8;
  Duration retry_base = seconds(60);
  Duration retry_cap = minutes(15);
  Duration command_timeout = minutes(5);      // an accepted command counts as open that long
  Duration unreachable_limit = hours(2);      // unreachable tries alone: quarantine
  Duration finalize_after = seconds(30);      // a proven completion rests that long
  WhenSpent when_spent = WhenSpent::quarantine;
  int unconfirmed_stops = 3;                  // close_unconfirmed: that many accepted stops …
  Duration unconfirmed_after = minutes(15);   // … and that long since the first
};

}  // namespace reconciler
