// Loads of many agents at once, as a pass moves them. See pool_agents.hpp for who is free, and for counting.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace reconciler {

// Sessions by agent.
using Loads = std::map<std::string, std::int64_t>;

// Inside a transaction, as the extension's owner; agents are locked in the order of their ids. Takes as many places as are
// wanted and each agent has, and gives back what is left. Returns what was taken; agents that are not in the registry have
// no place and are passed over.
Loads reserve(const Loads& wanted, const Loads& left = {});

}  // namespace reconciler
