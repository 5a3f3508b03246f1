// What launcher, workers and backends tell each other, in shared memory. Exists only in a server that preloads the
// library; without it everything here is harmless and says so. Plain data: no pointer, descriptor or handle.
#pragma once

#include <cstdint>

#include "core/time.hpp"
#include "postgres/oid.hpp"

namespace reconciler::shared {

void request();    // in _PG_init while preloading
bool available();  // preloaded

// For SQL functions. Each concerns this backend's database and takes effect when the transaction commits.
void wake_worker_at_commit();     // the worker looks now; starts one unless stop_worker() stopped it
void request_worker_at_commit();  // the same, also after stop_worker(): CREATE EXTENSION, attach, confirm_identity

// 0 = none.
int worker_pid(Oid database);
int launcher_pid();

enum class Stopped {
  not_preloaded,
  none_ran,    // none starts either, until request_worker or the server's next start
  stopped,
  timed_out    // it got the signal and is still there
};
// Stops this database's worker, so that DROP DATABASE and CREATE DATABASE ... TEMPLATE work, and waits until it has
// gone. Cancel: PostgresError.
Stopped stop_worker(Oid database, Duration timeout);

// Slots that could not be given: more databases than the array holds, or max_worker_processes is too small.
struct Health { int slots = 0, used = 0; bool out_of_slots = false, out_of_workers = false; };
Health health();

}  // namespace reconciler::shared
