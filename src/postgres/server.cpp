#include "postgres/server.hpp"

#include "postgres/boundary.hpp"
#include "postgres/clock.hpp"

#include "postgres/pg.hpp"

extern "C" {
#include "commands/dbcommands.h"
}

namespace reconciler {

Server this_server() {
  Server s;
  s.system = std::to_string(GetSystemIdentifier());
  s.database = MyDatabaseId;
  const char* name = guarded([] { return get_database_name(MyDatabaseId); });
  s.database_name = name ? name : "";
  s.started = time_from_timestamptz(PgStartTime);
  s.timeline = compat::timeline();
  s.pid = MyProcPid;
  return s;
}

}  // namespace reconciler
