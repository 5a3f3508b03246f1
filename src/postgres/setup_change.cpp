#include "postgres/setup_change.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {
int depth = 0;
}

OwnChange::OwnChange() { ++depth; }
OwnChange::~OwnChange() { --depth; }
bool OwnChange::running() { return depth > 0; }

// For the triggers: reconciler.own_change().
RECONCILER_SQL_FUNCTION(own_change) { return BoolGetDatum(OwnChange::running()); }

}  // namespace reconciler
