// agent_pools() and pool_agents(): pools and their agents, with the sessions that the caller may see.
#include <algorithm>
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

struct OfPool {
  std::map<std::string, std::int64_t> by_state;
  std::optional<Time> stuck_since;
};

// As pools_of() finds the pool of one session.
class PoolFinder {
 public:
  PoolFinder() {
    as_extension_owner([&] {
      for (Rows::Row row : query("SELECT agent_id, pool_id FROM reconciler.agent")) of_agent_[row.text(0)] = static_cast<int>(row.integer(1));
    });
  }
  std::optional<int> of(const PgStore::Populated& p) {
    if (p.pool) {
      const auto [found, fresh] = named_.try_emplace({*p.pool, p.platform, p.region});
      if (fresh) found->second = pool_named(*p.pool, p.platform, p.region);
      return found->second;
    }
    if (p.kept) return static_cast<int>(*p.kept);
    const auto agent = p.agent ? of_agent_.find(*p.agent) : of_agent_.end();
    return agent == of_agent_.end() ? std::nullopt : std::optional(agent->second);
  }

 private:
  using Text = std::optional<std::string>;
  std::map<std::string, int> of_agent_;
  std::map<std::tuple<std::string, Text, Text>, std::optional<int>> named_;
};

std::map<int, OfPool> sessions_by_pool(Time now) {
  std::map<int, OfPool> found;
  PoolFinder finder;
  for (AttachedBinding& b : bindings_to_show(std::nullopt)) {
    PgStore store(std::move(b), TransactionMode::caller, Rights::caller);
    for (const PgStore::Populated& p : store.population())
      if (const auto pool = finder.of(p)) found[*pool].by_state[p.state.value_or("")] += p.sessions;
    std::vector<std::string> keys;
    std::vector<Time> since;
    look_at_all(store, now, [&](const Seen& seen) {
      if (seen.stuck) keys.push_back(seen.tracked.session.key), since.push_back(seen.tracked.episode.entered);
    });
    const auto pools = pools_of(store.attached(), keys);
    for (std::size_t i = 0; i < keys.size(); ++i)
      if (const auto pool = pools.find(keys[i]); pool != pools.end()) {
        auto& oldest = found[pool->second].stuck_since;
        oldest = std::min(oldest.value_or(since[i]), since[i]);
      }
  }
  return found;
}

SqlCell flag(bool value) { return std::string(value ? "t" : "f"); }

}  // namespace

RECONCILER_SQL_FUNCTION(agent_pools) {
  SqlTable table(fcinfo);
  const Time now = database_now();
  auto sessions = sessions_by_pool(now);
  const Rows pools = as_extension_owner([&] {
    return query("SELECT p.pool_id, p.platform, p.region, p.name, count(a.agent_id) AS agents, count(*) FILTER (WHERE a.there) AS connected, count(*) FILTER (WHERE a.draining IS NOT NULL) AS draining,"
                 " count(*) FILTER (WHERE a.suspect) AS suspect, coalesce(sum(a.capacity), 0)::bigint AS capacity, coalesce(sum(a.load), 0)::bigint AS load,"
                 " coalesce(sum(greatest(a.capacity - a.load, 0)) FILTER (WHERE a.there AND a.approved AND NOT a.suspect AND a.draining IS NULL), 0)::bigint AS headroom"
                 " FROM reconciler.agent_pool p LEFT JOIN (SELECT g.*, g.connected AND coalesce(g.last_seen > $1 - $2, false) AS there FROM reconciler.agent g) a USING (pool_id)"
                 " GROUP BY p.pool_id ORDER BY p.platform, p.region, p.name",
                 {Param::time(now), Param::interval(longest_silence())});
  });
  for (Rows::Row row : pools) {
    const OfPool& of = sessions[static_cast<int>(row.integer("pool_id"))];
    table.add({row.text("platform"), row.text("region"), row.text("name"), row.text("agents"), row.text("connected"), row.text("draining"), row.text("suspect"), row.text("capacity"),
               row.text("load"), row.text("headroom"), nlohmann::json(of.by_state).dump(), of.stuck_since ? SqlCell(interval_cell(now - *of.stuck_since)) : SqlCell()});
  }
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(pool_agents) {
  SqlTable table(fcinfo);
  const std::optional<std::string> pool = sql_maybe_text(fcinfo, 0);
  const Rows agents = as_extension_owner([&] {
    if (pool && query("SELECT FROM reconciler.agent_pool WHERE name = $1", {Param::text(*pool)}).empty())
      throw UserError("42704", "there is no agent pool \"" + *pool + "\"", "agent_pools() lists them.", pools_there_are());
    return query("SELECT a.*, a.connected AND coalesce(a.last_seen > $2 - $3, false) AS there, p.name, p.platform, p.region FROM reconciler.agent a JOIN reconciler.agent_pool p USING (pool_id)"
                 " WHERE p.name = coalesce($1, p.name) ORDER BY p.platform, p.region, p.name, a.agent_id",
                 {Param::text(pool), Param::time(database_now()), Param::interval(longest_silence())});
  });
  std::vector<std::string> ids;
  for (Rows::Row row : agents) ids.push_back(row.text("agent_id"));
  std::map<std::string, std::int64_t> sessions;
  for (AttachedBinding& b : bindings_to_show(std::nullopt))
    for (const auto& [agent, n] : PgStore(std::move(b), TransactionMode::caller, Rights::caller).sessions_of(ids)) sessions[agent] += n;
  for (Rows::Row row : agents)
    table.add({row.text("agent_id"), row.text("name"), row.text("platform"), row.text("region"), flag(row.boolean("there")), flag(row.boolean("approved")), flag(row.boolean("suspect")),
               time_cell(row.maybe_time("draining")), time_cell(row.maybe_time("drained")), std::to_string(sessions[row.text("agent_id")]), row.text("load"), row.text("capacity"),
               time_cell(row.maybe_time("last_seen")), row.text("incarnation")});
  return sql_null(fcinfo);
}

}  // namespace reconciler
