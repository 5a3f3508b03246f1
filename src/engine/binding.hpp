// One attached sessions table as a pass needs it: numbers and switches, no SQL. Source: reconciler.binding and
// its policies.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/brake.hpp"
#include "core/evidence.hpp"
#include "core/gate.hpp"
#include "core/policy.hpp"
#include "core/session.hpp"
#include "core/sources.hpp"

namespace reconciler {

struct Binding {
  int id = 0;
  std::string name;               // schema.table as attached, for messages
  std::optional<std::string> hub; // reconciler.hub
  bool pulled = false;            // its agents fetch their commands
  std::vector<Policy> policies;
  std::vector<std::string> terminal_states;
  bool pools = false;         // sessions belong to pools of agents
  bool agent_mapped = true;
  bool agents_table = false;      // heartbeat and approval come from an attached table
  bool commands_table = false;    // the application's own commands are on record
  EvidenceLimits limits;
  BrakeLimits brake;
  Duration command_spacing = milliseconds(500);
  int batch_size = 500;
  std::optional<std::string> backend;  // of sessions of which no column says where their runtime is
  std::vector<std::string> backends;   // all that are declared

  const Policy* policy(const std::string& state) const {
    for (const Policy& p : policies)
      if (p.state == state) return &p;
    return nullptr;
  }
  Backends backends_of(const Session& session) const {
    const auto& own = session.backend ? session.backend : backend;
    return {own ? std::vector<std::string>{*own} : backends, backends.size() > 1};
  }
  bool judges_by_runtime() const {
    for (const Policy& p : policies)
      if (p.judged_by == JudgedBy::runtime) return true;
    return false;
  }
  // What a session becomes when it has ended in a state without a policy, and the state in which users ask for the end:
  // those of the first policy for what users asked for.
  const Policy* ending() const {
    for (const Policy& p : policies)
      if (p.user_requested) return &p;
    return nullptr;
  }
  std::string closes_as() const {
    if (const Policy* p = ending()) return p->becomes;
    return terminal_states.empty() ? "terminated" : terminal_states.front();
  }
  // Whether a session in that state has a place with its agent: not once a user asked for its end.
  bool takes_room(const std::string& state) const {
    const Policy* p = policy(state);
    return !terminal(state) && !(p && p->user_requested);
  }
  bool terminal(const std::string& state) const {
    for (const std::string& s : terminal_states)
      if (s == state) return true;
    for (const Policy& p : policies)
      if (p.becomes == state) return true;
    return false;
  }
};

}  // namespace reconciler
