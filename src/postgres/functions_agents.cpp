// What is told about agents from outside: register_agent(), agent_heartbeat(), agent_connected(), agent_disconnected(). For
// sessions that name the agent one more look, of source "event".
#include "core/evidence.hpp"
#include "postgres/cells.hpp"
#include "postgres/clock.hpp"
#include "postgres/pool_registry.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

// In every attached table, or in the one that is named, whose sessions name agents. Returns how many there were.
int tell(Presence presence, const std::string& agent, const std::string& incarnation, std::optional<Oid> sessions, const char* by, bool known) {
  const std::string who = acting_role();
  int told = 0;
  for (int id : as_extension_owner([&] { return binding_ids(sessions); })) {
    AttachedBinding binding = as_extension_owner([&] { return load_binding(id); });
    if (!binding.binding.agent_mapped) continue;
    ++told;
    PgStore store(std::move(binding), TransactionMode::caller);
    known = known || store.knows(agent);
    Observation seen;
    seen.presence = presence;
    seen.at = store.now();
    seen.source = "event";
    seen.incarnation = incarnation;
    seen.detail = std::string(by) + " was called by " + who;
    store.update_evidence({agent}, [&](const std::string&, const std::optional<Evidence>& before) {
      // Said twice it is no second observation: time gone needs looks of our own between.
      const bool again = before && presence == Presence::gone && before->last.presence == Presence::gone && before->last.source == seen.source;
      if (again) return *before;
      Observation mine = seen;
      if (before) mine.instance = before->last.instance;  // it is not the hub that says so
      return accumulate(before, mine, store.binding().limits);
    });
  }
  if (told > 0 && !known)
    notice("agent \"" + agent + "\" is named by no session and no agents table", "It is recorded all the same. If it is a typo: the agent_id is what the sessions table's agent column holds.");
  if (told > 0) shared::wake_worker_at_commit();
  return told;
}

Datum answer(int told, bool registered) {
  return sql_text_datum(told > 0 || registered ? "recorded" : "not recorded: no attached table has an agent column");
}

std::string agent_of(FunctionCallInfo fcinfo) {
  std::string agent = sql_text(fcinfo, 0);
  require_agent_id(agent);
  return agent;
}

std::optional<Oid> table_of(FunctionCallInfo fcinfo, int arg) {
  return sql_is_null(fcinfo, arg) ? std::nullopt : std::optional(sql_oid(fcinfo, arg));
}

}  // namespace

RECONCILER_SQL_FUNCTION(agent_disconnected) {
  const std::string agent = agent_of(fcinfo);
  const bool registered = note_connection(agent, false, {}, database_now());
  return answer(tell(Presence::gone, agent, {}, table_of(fcinfo, 1), "agent_disconnected()", registered), registered);
}

RECONCILER_SQL_FUNCTION(agent_connected) {
  const std::string agent = agent_of(fcinfo), incarnation = sql_maybe_text(fcinfo, 1).value_or("");
  const bool registered = note_connection(agent, true, incarnation, database_now());
  return answer(tell(Presence::present, agent, incarnation, table_of(fcinfo, 2), "agent_connected()", registered), registered);
}

RECONCILER_SQL_FUNCTION(register_agent) {
  const std::string agent = agent_of(fcinfo);
  // Of an agent that is in a pool nothing changes that is not said.
  const auto name = sql_maybe_text(fcinfo, 1), platform = sql_maybe_text(fcinfo, 2), region = sql_maybe_text(fcinfo, 3);
  std::optional<int> pool = name || platform || region ? std::nullopt : pool_of_agent(agent);
  if (!pool) pool = set_pool({name.value_or("default"), platform.value_or(""), region.value_or("")}, pool_options("{}"), "register_agent");
  const std::optional<std::string> incarnation = sql_maybe_text(fcinfo, 5);
  const bool fresh = register_agent(agent, *pool, sql_maybe_int(fcinfo, 4), incarnation, database_now());
  tell(Presence::present, agent, incarnation.value_or(""), std::nullopt, "register_agent()", true);
  return sql_text_datum(fresh ? "registered" : "updated");
}

// Often, and from every agent: one row of one table.
RECONCILER_SQL_FUNCTION(agent_heartbeat) {
  const std::string agent = agent_of(fcinfo);
  const std::optional<std::int64_t> capacity = sql_maybe_int(fcinfo, 2);
  check_capacity(capacity, "capacity");
  const Rows beaten = as_extension_owner([&] {
    return query("UPDATE reconciler.agent SET heartbeat = $2, last_seen = $2, connected = true, incarnation = coalesce($3, incarnation), capacity = coalesce($4, capacity) WHERE agent_id = $1 RETURNING 1",
                 {Param::text(agent), Param::time(database_now()), Param::text(sql_maybe_text(fcinfo, 1)), Param::integer(capacity)});
  });
  if (beaten.empty()) throw unknown_agent(agent);
  return sql_text_datum("recorded");
}

}  // namespace reconciler
