// reconciler.agent and reconciler.agent_pool, as far as they follow from what tables and hubs say of agents.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/pool_names.hpp"
#include "core/time.hpp"
#include "postgres/binding_store.hpp"

namespace reconciler {

// One agent as somebody names it.
struct NamedAgent {
  AgentOrigin origin;
  std::optional<bool> approved;  // empty: not said
  bool connected = false;        // false: not said, our own looks tell
  bool draining = false;
  std::optional<Time> heartbeat;
  std::optional<std::int64_t> capacity;
  std::string incarnation;
};

// An agent that was not seen for longer, that is not connected, and that no session names leaves the registry.
inline constexpr Duration forgotten_after = hours(1);
// One that its table heard of within this joins: less, so that who was forgotten does not come back at once.
inline constexpr Duration joins_within = minutes(30);

// What stands in drain_reason where not drain_agent() but a hub or an agents table says so: who says it may take it back.
std::string drained_by(const char* source);

// The next page of the agents table, as its owner; `after`: the last id of the one before. Empty: that was the last.
std::vector<NamedAgent> agents_page(const AttachedBinding&, const std::optional<std::string>& after, std::int64_t limit);

// All of the following as the extension's owner.

struct Place {
  PoolName pool;
  int pool_id = 0;          // 0: to be made
  bool registered = false;  // it stays where the registry has it
};
// Where each of them belongs. One whose pool works in another namespace than it has no place.
std::vector<Place> places_of(const std::vector<NamedAgent>&);
// The same, with the pools made. `source`: as in reconciler.agent. Adds agents that have a place and are not registered;
// connected as this binding's evidence has them, if nobody said so. Returns how many.
std::int64_t register_agents(const AttachedBinding&, const std::vector<NamedAgent>&, const char* source, Time now);
// Writes of registered agents what differs: approved, and of those of this source capacity, incarnation and draining.
// Who is said to be connected is; last_seen is written when it is older than `fresh`.
void update_agents(const std::vector<NamedAgent>&, const char* source, Time now, Duration fresh);
// connected, suspect, incarnation and last_seen as this binding's evidence has them.
void follow_evidence(const AttachedBinding&, Duration fresh);

}  // namespace reconciler
