// agent_pools() and pool_agents(): pools and their agents, with the sessions that the caller may see.
#include <map>

#include "core/json.hpp"
#include "engine/look.hpp"
#include "postgres/cells.hpp"
#include "postgres/clock.hpp"
#include "postgres/pool_agents.hpp"
#include "postgres/pool_registry.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {
}  // namespace
}  // namespace reconciler
