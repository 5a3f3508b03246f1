// How many sessions the agents of pools have, as far as it is known without counting: reconciler.agent.load.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace reconciler {

// Sessions by agent.
using Loads = std::map<std::string, std::int64_t>;

// Inside a transaction, as the extension's owner. Locks the agents, in the order of their ids.
// As many of those wanted as each agent has room for; an agent that is not in the registry has none.
Loads reserve(const Loads& wanted);
// Agents that are not in the registry are passed over.
void release(const Loads& left);

}  // namespace reconciler
