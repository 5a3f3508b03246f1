// create_agent_pool(), drain_agent(), undrain_agent().
#include "postgres/clock.hpp"
#include "postgres/events.hpp"
#include "postgres/pool_registry.hpp"
#include "postgres/pool_sources.hpp"
#include "postgres/role.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

// An event about an agent: of no table, since it serves the sessions of all.
void note_agent(const char* kind, const std::string& agent, const std::string& reason, nlohmann::json evidence) {
  evidence["agent_id"] = agent;
  const std::string actor = acting_role();
  as_extension_owner([&] {
    write_events({}, std::nullopt, database_now(), actor,
                 {{.session = {}, .kind = kind, .from_state = {}, .to_state = {}, .reason = reason, .rule = "operator", .evidence = evidence.dump(), .before = {}, .after = {}}});
  });
}

}  // namespace

RECONCILER_SQL_FUNCTION(create_agent_pool) {
  return Int32GetDatum(set_pool({sql_text(fcinfo, 0), sql_text(fcinfo, 1), sql_text(fcinfo, 2)}, pool_options(sql_maybe_text(fcinfo, 3).value_or("{}")), "create_agent_pool"));
}

// Nobody is assigned to it from here on: who chooses an agent looks at this under the lock of its row. Its sessions are
// given to others by the passes.
RECONCILER_SQL_FUNCTION(drain_agent) {
  const std::string agent = sql_text(fcinfo, 0), reason = sql_maybe_text(fcinfo, 1).value_or("");
  const bool moves = sql_bool(fcinfo, 2, true);
  require_agent_id(agent);
  const Rows drained = as_extension_owner([&] {
    return query("UPDATE reconciler.agent AS a SET draining = coalesce(a.draining, $2), drain_moves = $3, drain_reason = $4 WHERE a.agent_id = $1 RETURNING a.load",
                 {Param::text(agent), Param::time(database_now()), Param::boolean(moves), Param::text(reason)});
  });
  if (drained.empty()) throw unknown_agent(agent);
  note_agent("drain", agent, reason, {{"move", moves}, {"sessions", drained[0].integer("load")}});
  shared::wake_worker_at_commit();
  return sql_text_datum("requested");
}

RECONCILER_SQL_FUNCTION(undrain_agent) {
  const std::string agent = sql_text(fcinfo, 0), reason = sql_maybe_text(fcinfo, 1).value_or("");
  require_agent_id(agent);
  std::string drained_because;
  const bool was = as_extension_owner([&] {
    const Rows rows = query("SELECT draining, drain_reason FROM reconciler.agent WHERE agent_id = $1 FOR UPDATE", {Param::text(agent)});
    if (rows.empty()) throw unknown_agent(agent);
    if (rows[0].null(0)) return false;
    drained_because = rows[0].text("drain_reason");
    query("UPDATE reconciler.agent SET draining = NULL, drain_moves = true, drain_reason = '', drained = NULL WHERE agent_id = $1", {Param::text(agent)});
    return true;
  });
  if (!was) return sql_text_datum("not draining");
  note_agent("undrain", agent, reason, nlohmann::json::object());
  for (const char* source : {"hub", "table"})
    if (drained_because == drained_by(source))
      notice("agent \"" + agent + "\" was drained " + drained_because + ", and will be again as long as that says so", "End the drain there.");
  shared::wake_worker_at_commit();
  return sql_text_datum("undrained");
}

}  // namespace reconciler
