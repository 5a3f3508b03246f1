// Small functions of schema reconciler that the functions in src/sql are made of.
#include "postgres/binding_store.hpp"
#include "postgres/clock.hpp"
#include "postgres/events.hpp"
#include "postgres/hub_factory.hpp"
#include "postgres/repairs.hpp"
#include "postgres/server.hpp"
#include "postgres/setup_change.hpp"
#include "postgres/setup_mapping.hpp"
#include "postgres/shmem.hpp"
#include "postgres/store.hpp"
#include "postgres/worker.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

std::optional<Oid> sessions_argument(FunctionCallInfo fcinfo) {
  const Oid sessions = sql_oid(fcinfo, 0);
  return OidIsValid(sessions) ? std::optional(sessions) : std::nullopt;
}

Datum nothing() { return static_cast<Datum>(0); }

}  // namespace

RECONCILER_SQL_FUNCTION(clock) { return TimestampTzGetDatum(timestamptz_from_time(database_now())); }

RECONCILER_SQL_FUNCTION(acting_role) { return sql_text_datum(acting_role()); }

RECONCILER_SQL_FUNCTION(library_version) { return sql_text_datum(library_version()); }

RECONCILER_SQL_FUNCTION(one_binding) { return Int32GetDatum(one_binding(sessions_argument(fcinfo))); }

RECONCILER_SQL_FUNCTION(bindings) {
  const std::vector<int> ids = binding_ids(sessions_argument(fcinfo));
  std::vector<Datum> values;
  for (const int id : ids) values.push_back(Int32GetDatum(id));
  return guarded([&] {
    return PointerGetDatum(construct_array(values.data(), static_cast<int>(values.size()), INT4OID, sizeof(int32), true, TYPALIGN_INT));
  });
}

// Raises what would break a pass: a table, column or related table that has vanished, a column of another type.
RECONCILER_SQL_FUNCTION(check_binding) {
  const int id = static_cast<int>(sql_int(fcinfo, 0));
  check_repairs(load_binding(id).mapping);
  check_mapping(id);
  return nothing();
}

RECONCILER_SQL_FUNCTION(check_profile) {
  usable_profile(sql_text(fcinfo, 0), sql_text(fcinfo, 1));
  return nothing();
}

// As a change of our own: the caller writes the event that says why.
RECONCILER_SQL_FUNCTION(change_binding) {
  const OwnChange own;
  const Rows rows = query("UPDATE reconciler.binding AS b SET (mode, mode_reason, paused_at, paused_by, pause_reason, pause_everything, armed_system, armed_database, armed_name) ="
                          " (SELECT r.mode, r.mode_reason, r.paused_at, r.paused_by, r.pause_reason, r.pause_everything, r.armed_system, r.armed_database, r.armed_name"
                          " FROM jsonb_populate_record(b, $2) AS r) WHERE b.binding_id = $1 RETURNING 1",
                          {Param::integer(sql_int(fcinfo, 0)), Param::jsonb(std::string_view(sql_text(fcinfo, 1)))});
  if (rows.empty()) throw UserError("42704", "the sessions table was detached meanwhile");
  return nothing();
}

// Reads as the table's owner and leaves no trace: unlike PgStore::find() it begins no episode.
RECONCILER_SQL_FUNCTION(existing_session) {
  PgStore store(load_binding(static_cast<int>(sql_int(fcinfo, 0))), TransactionMode::caller, Rights::owner);
  const std::string key = sql_text(fcinfo, 1);
  const std::optional<Session> found = store.look(key);
  if (!found) throw unknown_session(store.attached(), key);
  return sql_text_datum(found->state);
}

// The key as the column prints it: holds, episodes and events are found by that, however it was typed.
RECONCILER_SQL_FUNCTION(session_key) {
  PgStore store(load_binding(static_cast<int>(sql_int(fcinfo, 0))), TransactionMode::caller, Rights::owner);
  const std::optional<Session> found = store.look(sql_text(fcinfo, 1));
  return found ? sql_text_datum(found->key) : sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(begin_episode) {
  PgStore store(load_binding(static_cast<int>(sql_int(fcinfo, 0))), TransactionMode::caller, Rights::owner);
  const std::optional<Tracked> found = store.find(sql_text(fcinfo, 1));
  return found ? sql_text_datum(found->session.state) : sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(wake_worker) {
  shared::wake_worker_at_commit();
  return nothing();
}

RECONCILER_SQL_FUNCTION(request_worker) {
  shared::request_worker_at_commit();
  return nothing();
}

RECONCILER_SQL_FUNCTION(worker_pid) {
  const int pid = shared::worker_pid(this_server().database);
  return pid > 0 ? Int32GetDatum(pid) : sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(server_identity) {
  const Server here = this_server();
  SqlTable(fcinfo).add({here.system, std::to_string(here.database), here.database_name});
  return nothing();
}

RECONCILER_SQL_FUNCTION(wal_timeline) { return Int64GetDatum(this_server().timeline); }

RECONCILER_SQL_FUNCTION(event_is_append_only) {
  if (!Retention::running())
    throw UserError("55000", "events are append-only",
                    "Old events leave by themselves, after session_reconciler.event_retention.");
  return PointerGetDatum(nullptr);  // a statement trigger's answer counts for nothing
}

}  // namespace reconciler
