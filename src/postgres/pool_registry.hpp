// Pools and the agents in them, as they are set up and told: reconciler.agent_pool, reconciler.agent. Each runs in the
// caller's transaction, outside of a role block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/time.hpp"
#include "postgres/setup_options.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {

struct PoolKey { std::string name, platform, region; };

// Makes a pool, or gives the one of that name those of the options that are given. Returns its number. What changes is an
// event; `by`: the function that was called. UserError 22023.
int set_pool(const PoolKey&, const Options&, const char* by);
// Options of create_agent_pool(), read from JSON.
Options pool_options(const std::string& json);
// "kubernetes/eu/default": how messages name a pool.
std::string shown(const PoolKey&);
// What a person may choose from, for hints.
std::string pools_there_are();

// The pool that it is in.
std::optional<int> pool_of_agent(const std::string& agent);
// An agent that is there now. Whether it is new; of a new one, sessions that name it already are counted.
bool register_agent(const std::string& agent, int pool, std::optional<std::int64_t> capacity, const std::optional<std::string>& incarnation, Time now);
// What agent_connected() and agent_disconnected() say of an agent of a pool. False: it is in none.
bool note_connection(const std::string& agent, bool connected, const std::string& incarnation, Time now);

// UserError 22023 for a blank one, and for a capacity out of range.
void require_agent_id(const std::string& agent);
void check_capacity(std::optional<std::int64_t>, const char* what);
UserError unknown_agent(const std::string& agent);

}  // namespace reconciler
