// assign_session() and report_resource(): they write one session's row, in the caller's transaction.
#include "core/json.hpp"
#include "postgres/acting.hpp"
#include "postgres/audit.hpp"
#include "postgres/clock.hpp"
#include "postgres/pool_agents.hpp"
#include "postgres/pool_moves.hpp"
#include "postgres/pool_registry.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

using Text = std::optional<std::string>;

AttachedBinding attached(FunctionCallInfo fcinfo, int arg) {
  AttachedBinding b = binding_of(sql_is_null(fcinfo, arg) ? std::nullopt : std::optional(sql_oid(fcinfo, arg)));
  refuse_copy(b);
  return b;
}

Session locked(const AttachedBinding& b, const std::string& typed) {
  PgStore store(b, TransactionMode::caller);
  if (auto found = store.lock(typed)) return *found;
  throw unknown_session(b, typed);
}

UserError changed_meanwhile(const Session& s) { return UserError("40001", "session \"" + s.key + "\" changed meanwhile", "Look at it again, then repeat."); }

// What its own column says stays: a pool of another name is not for this session.
void refuse_other_pool(const AttachedBinding& b, const Session& s, int wanted) {
  if (!b.mapping.sessions.pool) return;
  const std::vector<std::string> key{s.key};
  const Rows rows = as_role(b.mapping.sessions.owner, [&] { return query_batch(Statements(b.mapping).pools(), {Param::texts(key)}); });
  if (rows.empty() || rows[0].null("pool")) return;
  if (pool_named(rows[0].text("pool"), rows[0].maybe_text("platform"), rows[0].maybe_text("region")) == wanted) return;
  throw UserError("55000", "session \"" + s.key + "\" is of another agent pool", "Leave the argument \"pool\" out, or write the column \"" + b.mapping.sessions.pool->name + "\" first.",
                  "Its row says " + shown({rows[0].text("pool"), rows[0].maybe_text("platform").value_or(""), rows[0].maybe_text("region").value_or("")}) + ".");
}

// The pool that was named; else the session's own; else the only one there is, of that platform and region where they are said.
int pool_for(const AttachedBinding& b, const Session& s, const Text& name, const Text& platform, const Text& region) {
  if (name) {
    const auto pool = pool_named(*name, platform, region);
    if (!pool) throw UserError("42704", "there is no agent pool \"" + shown({*name, platform.value_or(""), region.value_or("")}) + "\"", "create_agent_pool() makes one.", pools_there_are());
    refuse_other_pool(b, s, *pool);
    return *pool;
  }
  const auto own = pools_of(b, {s.key});
  if (!own.empty()) return own.begin()->second;
  const Rows rows = as_extension_owner([&] {
    return query("SELECT pool_id FROM reconciler.agent_pool WHERE platform = coalesce($1, platform) AND region = coalesce($2, region) LIMIT 2", {Param::text(platform), Param::text(region)});
  });
  if (rows.size() != 1) throw UserError("55000", "nothing says which agent pool session \"" + s.key + "\" is of", "Name one in the argument \"pool\".", pools_there_are());
  return static_cast<int>(rows[0].integer(0));
}

std::string reserve_in(const AttachedBinding& b, int pool, Time now) {
  FreeAgents free(b.binding, now);
  while (const Text agent = free.reserve_counted(pool)) {
    if (rowless(b, {*agent}).empty()) return *agent;
    release(*agent);
    free.leave_out_rowless(b, pool);
  }
  const Rows named = as_extension_owner([&] { return query("SELECT name, platform, region FROM reconciler.agent_pool WHERE pool_id = $1", {Param::integer(pool)}); });
  throw UserError("55000", "no agent of pool \"" + shown({named.only().text(0), named[0].text(1), named[0].text(2)}) + "\" is free",
                  "register_agent() adds agents or gives them a larger capacity, undrain_agent() lets one take sessions again; pool_agents() shows them.",
                  "The pool has " + free.why_nobody(pool) + ".");
}

void keep_pool(const AttachedBinding& b, const Session& s, int pool) {
  as_extension_owner([&] {
    query("UPDATE reconciler.session_pool SET pool_id = $3 WHERE binding_id = $1 AND session_id = $2 AND pool_id <> $3", {Param::integer(b.binding.id), Param::text(s.key), Param::integer(pool)});
  });
}

// Into the mapped column. False: the row changed meanwhile.
bool write_runtime(const AttachedBinding& b, const Session& s, const std::string& resource, Time now) {
  std::vector<std::vector<Text>> values{{s.key}, {s.state}, {s.agent}, {s.runtime}, {s.created}, {resource}}, routes;
  for (const Text& route : s.route) routes.push_back({route});
  std::vector<Param> params;
  for (const auto& value : values) params.push_back(Param::texts(value));
  params.push_back(Param::time(now));
  for (const auto& route : routes) params.push_back(Param::texts(route));
  const Rows written = as_role(b.mapping.sessions.owner, [&] {
    const Rows rows = query_batch(Statements(b.mapping).set_runtime(), std::span<const Param>(params));
    if (rows.size() == 1) write_audit(b.mapping, {{s.key, "report_resource", "report", "", 0, rows[0].jsonb("before"), rows[0].jsonb("after")}}, now);
    return rows;
  });
  if (written.size() != 1) return false;
  const std::string actor = acting_role();
  as_extension_owner([&] {
    write_events(b, std::nullopt, now, actor,
                 {{.session = s.key, .kind = "resource_reported", .from_state = s.state, .to_state = s.state, .reason = {}, .rule = "report", .evidence = {}, .before = written[0].jsonb("before"),
                   .after = written[0].jsonb("after")}});
  });
  return true;
}

}  // namespace

RECONCILER_SQL_FUNCTION(assign_session) {
  const std::string typed = sql_text(fcinfo, 0);
  const Text name = sql_maybe_text(fcinfo, 1), platform = sql_maybe_text(fcinfo, 2), region = sql_maybe_text(fcinfo, 3);
  const AttachedBinding b = attached(fcinfo, 4);
  if (!b.binding.agent_mapped)
    throw UserError("55000", "sessions of " + b.binding.name + " can't be assigned: no column names their agent", "detach_sessions(), then attach_sessions() with {\"agent_column\": \"…\"}.");
  const Session s = locked(b, typed);
  const Time now = database_now();
  refuse_terminal(b.binding, s);
  if (name || platform || region) pool_for(b, s, name, platform, region);  // another one than it is of is refused, also where it keeps its agent
  if (s.agent && FreeAgents(b.binding, now).there(*s.agent)) return sql_text_datum(*s.agent);
  refuse_held(b, s.key, now);
  const int pool = pool_for(b, s, name, platform, region);
  const std::string agent = reserve_in(b, pool, now);
  const Move move{&s, agent, "operator", s.agent ? "agent_unavailable" : "no_agent", s.agent ? "its agent is not there" : "it had no agent"};
  if (move_sessions(b, {std::nullopt, acting_role()}, {move}, now).empty()) throw changed_meanwhile(s);
  if (name) keep_pool(b, s, pool);
  if (s.agent) release(*s.agent);
  refuse_held(b, s.key, now);  // hold_session() waits for the episode that was just written, or came before
  return sql_text_datum(agent);
}

// A fact, not an act: also of a session that is held, and of one that has ended and left something behind.
RECONCILER_SQL_FUNCTION(report_resource) {
  const std::string typed = sql_text(fcinfo, 0), resource = sql_text(fcinfo, 1);
  const AttachedBinding b = attached(fcinfo, 2);
  if (resource.find_first_not_of(" \t\n") == std::string::npos) throw UserError("22023", "a platform_resource_id is required", "It is what the session runs in, as its platform names it.");
  const Session s = locked(b, typed);
  if (!b.mapping.sessions.runtime) {
    as_extension_owner([&] {
      query("INSERT INTO reconciler.session_pool AS p (binding_id, session_id, resource_id) VALUES ($1, $2, $3) ON CONFLICT (binding_id, session_id) DO UPDATE SET resource_id = excluded.resource_id"
            " WHERE p.resource_id IS DISTINCT FROM excluded.resource_id",
            {Param::integer(b.binding.id), Param::text(s.key), Param::text(resource)});
    });
  } else if (s.runtime != resource && !write_runtime(b, s, resource, database_now())) {
    throw changed_meanwhile(s);
  }
  return sql_text_datum("recorded");
}

}  // namespace reconciler
