// The one place that decides what happens to a session: an ordered table of named rules, first match wins.
// Pure: the same facts give the same verdict in the worker, in CALL reconcile(), in a plan and in a test.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/evidence.hpp"
#include "core/policy.hpp"
#include "core/pool.hpp"
#include "core/session.hpp"

namespace reconciler {

enum class Action { wait, retry, finalize, force, reassign, respawn, quarantine };
const char* to_string(Action);

enum class Blocked {
  none, start_grace, hub_unknown, hub_auth, second_observation, brake, pause, hold, observe_mode, quarantine, lock,
  version, sign_of_life, contradiction, finalize_rest, replacement_grace, identity, safe_mode, no_agent, no_room
};
const char* to_string(Blocked);

// Everything a rule may look at.
struct Facts {
  const Session& session;
  const Episode& episode;
  const Policy* policy = nullptr;          // nullptr: the state has none
  bool terminal = false;                   // the state is one of the binding's terminal states
  std::string closes_as = "terminated";    // what a session becomes that has ended in a state without a policy
  bool agent_mapped = true;                // the binding names an agent column
  bool hub_set = true;                     // the binding has a hub that retries can go to
  bool pulled = false;                     // … from which agents fetch them
  const Evidence* agent = nullptr;         // nullptr: never asked
  const Evidence* runtime = nullptr;       // what all sources say of what it runs in; nullptr: nothing, or it does not matter
  bool runtime_shared = false;             // another session that has not ended names the same runtime; looked up where it is gone
  const CommandHistory* commands = nullptr;// nullptr: the binding has no command table
  const Hold* hold = nullptr;
  const PoolFacts* pool = nullptr;         // nullptr: it is of no pool, or its own agent is all that matters now
  const PlannedMove* planned = nullptr;    // nullptr: nobody wants another agent to have it
  EvidenceLimits limits;
  Time now{};
};

struct Verdict {
  std::string_view rule;
  Action action = Action::wait;        // to be done now
  Action next_action = Action::wait;   // where action is wait: what comes next …
  std::optional<Time> due;             // … and when, as far as it is known
  Blocked blocked_by = Blocked::none;
  std::string becomes;                 // finalize, force: the state to write
  std::string reason;                  // finalize, force, quarantine: of the change
  std::optional<Time> quiet_since;     // finalize, force: written only if the row shows no sign of life after this
  std::optional<Time> idle_since;      // force: … and nothing was asked of the session after this
  Owed owes = Owed::nothing;           // finalize, force: what is to be done once its agent is there
  std::string to_agent;                // reassign: who gets it; retry: who gets the command, '' = its own agent
  std::string sends;                   // reassign: the command that goes with it, and has to be accepted first; retry: another
                                       // than the state's own; '' = none
  std::string text;                    // one sentence for people
};

inline bool closes(const Verdict& v) { return v.action == Action::finalize || v.action == Action::force; }

struct TraceStep {
  std::string_view rule;
  bool matched = false;
  std::string detail;  // the inputs the rule looked at, with their source and age
};

// Never throws but bad_alloc. With a trace: every rule in order, also those after the one that matched.
Verdict judge(const Facts&, std::vector<TraceStep>* trace = nullptr);

struct RuleName { std::string_view name, title; };
const std::vector<RuleName>& rule_names();  // in the order they are asked; for the docs and explain_session

// Whether the hub's word about the session itself matters now.
bool wants_session_status(const Facts&);

// Whether the agent is there, accepted our last try and let its time pass. Where completions can't be seen
// (close_unconfirmed) that says nothing.
bool ignored_last_try(const Facts&);

// Stuck: past its threshold, quarantined, without an agent where one is mapped, or contradicted.
bool is_stuck(const Facts&, const Verdict&);

}  // namespace reconciler
