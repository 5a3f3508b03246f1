// What the pool of a session can do for it, as a rule sees it.
#pragma once

#include <optional>
#include <string>

namespace reconciler {

// Tries of other agents once those of a session's own are spent.
inline constexpr int most_siblings = 3;

// What rebalance_pool() wants.
struct PlannedMove { std::string to_agent, actor; };

struct PoolFacts {
  std::string name;                      // for people
  bool runtimes_outlive_agents = false;  // what its sessions run in lives on without their agent
  bool cleans_by_resource = false;       // any of its agents can remove what a session of another one ran in, by the resource's own id
  bool emptied = false;                  // the session's agent is being drained, and its sessions are to leave it
  std::optional<std::string> taker;      // the least loaded other agent that is there and takes it
  bool full = false;                     // where there is none: others are there, and have no room
  std::string none_because;              // … why
};

}  // namespace reconciler
