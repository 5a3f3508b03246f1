// What is told about agents from outside: agent_connected(), agent_disconnected(). One more look, of source "event".
#include "core/evidence.hpp"
#include "postgres/cells.hpp"
#include "postgres/clock.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

// In every attached table, or in the one that is named, whose sessions name agents. Returns how many there were.
int tell(Presence presence, const std::string& agent, const std::string& incarnation, std::optional<Oid> sessions) {
  if (agent.find_first_not_of(" \t\n") == std::string::npos)
    throw UserError("22023", "an agent_id is required", "It is what the sessions table's agent column holds.");
  const std::string who = acting_role();
  int told = 0;
  bool known = false;
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
    seen.detail = std::string(presence == Presence::gone ? "agent_disconnected()" : "agent_connected()") + " was called by " + who;
    store.update_evidence({agent}, [&](const std::string&, const std::optional<AgentEvidence>& before) {
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

Datum answer(int told) {
  return sql_text_datum(told > 0 ? "recorded" : "not recorded: no attached table has an agent column");
}

std::optional<Oid> table_of(FunctionCallInfo fcinfo, int arg) {
  return sql_is_null(fcinfo, arg) ? std::nullopt : std::optional(sql_oid(fcinfo, arg));
}

}  // namespace

RECONCILER_SQL_FUNCTION(agent_disconnected) {
  return answer(tell(Presence::gone, sql_text(fcinfo, 0), {}, table_of(fcinfo, 1)));
}

RECONCILER_SQL_FUNCTION(agent_connected) {
  return answer(tell(Presence::present, sql_text(fcinfo, 0), sql_maybe_text(fcinfo, 1).value_or(""), table_of(fcinfo, 2)));
}

}  // namespace reconciler
