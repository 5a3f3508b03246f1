// Which pool an agent belongs to, from what is known of it.
#pragma once

#include <string>
#include <string_view>

namespace reconciler {

// As the agents table or the hub says; empty: not said.
struct AgentOrigin {
  std::string id, platform, region, name_space;
  std::string pool;  // the name that it was given
};

struct PoolName {
  std::string platform, region, name, name_space;
  bool runtimes_outlive_agents = false;
  std::string why_not;  // a sentence where it has no place; the rest is empty then
};

// The name is the one that was given. Else it needs a platform, and is, on Kubernetes, that of the Deployment or
// StatefulSet whose pod the id ends with; else the namespace; else the id itself. It rests on this agent alone: who else is
// there, and who came first, changes nothing.
PoolName pool_of(const AgentOrigin&);

// The id without what Kubernetes adds for a pod: "-<hash of the ReplicaSet>-<suffix>", or a StatefulSet's "-<ordinal>".
// The whole id where it has no such end.
std::string_view without_pod(std::string_view id);

}  // namespace reconciler
