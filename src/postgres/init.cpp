// What happens when the library is loaded: at server start (shared_preload_libraries) the settings, the shared
// memory and the launcher; in a backend of a server that does not preload it, the settings alone.
#include "postgres/settings.hpp"
#include "postgres/shmem.hpp"
#include "postgres/worker.hpp"
#include "postgres/pg.hpp"

extern "C" {
RECONCILER_MODULE_MAGIC("session_reconciler", RECONCILER_VERSION);
PGDLLEXPORT void _PG_init(void);
}

void _PG_init(void) {
  if (IsBinaryUpgrade) return;  // pg_upgrade moves the catalogs under our feet
  reconciler::settings::define();
  if (!process_shared_preload_libraries_in_progress) return;
  reconciler::shared::request();
  reconciler::register_launcher();
}
