// migrate_to_pools(): agents that an attached table and its sessions name are put into pools.
#include <algorithm>
#include <map>
#include <set>

#include "postgres/clock.hpp"
#include "postgres/pool_sources.hpp"
#include "postgres/role.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

constexpr std::int64_t most_rows = 10000;  // of the sessions table, that one call fills

using Texts = std::vector<std::optional<std::string>>;
struct Sessions { std::int64_t all = 0, open = 0; };

AttachedBinding pooled_binding(std::optional<Oid> sessions) {
  AttachedBinding b = as_extension_owner([&] { return load_binding(one_binding(sessions)); });
  if (!b.binding.agent_mapped)
    throw UserError("55000", "table " + b.binding.name + " has no agent column", "Detach it, and attach it again with {\"agent_column\": \"…\"}: a session belongs to a pool by the agent that it names.");
  return b;
}

std::vector<NamedAgent> all_named(const AttachedBinding& b) {
  std::vector<NamedAgent> agents;
  for (std::optional<std::string> after;;) {
    const std::vector<NamedAgent> page = agents_page(b, after, b.binding.batch_size);
    if (page.empty()) return agents;
    after = page.back().origin.id;
    agents.insert(agents.end(), page.begin(), page.end());
  }
}

class Migration {
 public:
  Migration(const AttachedBinding& b, bool dry_run) : b_(b), statements_(b.mapping), dry_run_(dry_run) {}

  void run(SqlTable& out) {
    count_sessions();
    std::vector<NamedAgent> named;
    for (NamedAgent& agent : all_named(b_)) {
      rows_.insert(agent.origin.id);
      (wanted(agent) ? named : left_out_).push_back(std::move(agent));
    }
    for (const auto& [id, unused] : sessions_)
      if (!rows_.contains(id)) named.emplace_back().origin.id = id;
    // Where agents of one name work in several namespaces, those with most sessions say which is the pool's.
    std::stable_sort(named.begin(), named.end(), [&](const NamedAgent& a, const NamedAgent& b) { return sessions_of(a) > sessions_of(b); });
    const std::vector<Place> places = as_extension_owner([&] { return places_of(named); });
    if (!dry_run_) write(named);
    for (std::size_t i = 0; i < named.size(); ++i) say(out, named[i], places[i]);
    for (const NamedAgent& agent : left_out_)
      out.add({agent.origin.id, {}, {}, {}, "0", "left_out", "no session names it, and it was not heard of within the last half hour; it joins when it is back"});
    if (without_.all > 0)
      out.add({{}, {}, {}, {}, std::to_string(without_.all), "no_agent", "sessions without an agent, " + std::to_string(without_.open) + " of them not ended: a pool is known once they are assigned"});
    fill(out, named, dry_run_ ? places : as_extension_owner([&] { return places_of(named); }));
  }

 private:
  void count_sessions() {
    for (Rows::Row row : as_role(b_.mapping.sessions.owner, [&] { return query(statements_.sessions_by_agent()); })) {
      const Sessions counted{row.integer("n"), row.integer("open")};
      if (const auto agent = row.maybe_text("agent")) sessions_[*agent] = counted;
      else without_ = counted;
    }
    as_extension_owner([&] {
      for (Rows::Row row : query("SELECT agent_id FROM reconciler.agent_evidence WHERE binding_id = $1 AND presence = 'present' UNION SELECT agent_id FROM reconciler.agent", {Param::integer(b_.binding.id)}))
        alive_.insert(row.text("agent_id"));
    });
  }

  std::int64_t sessions_of(const NamedAgent& agent) const {
    const auto found = sessions_.find(agent.origin.id);
    return found == sessions_.end() ? 0 : found->second.all;
  }

  bool wanted(const NamedAgent& agent) const {
    return sessions_.contains(agent.origin.id) || alive_.contains(agent.origin.id) || (agent.heartbeat && elapsed(*agent.heartbeat, now_) < joins_within);
  }

  void write(const std::vector<NamedAgent>& named) {
    as_extension_owner([&] {
      query("SELECT reconciler.refuse_copy($1::integer)", {Param::integer(b_.binding.id)});
      register_agents(b_, named, "table", now_);
      query("UPDATE reconciler.binding SET pools = true WHERE binding_id = $1 AND NOT pools", {Param::integer(b_.binding.id)});
    });
  }

  void say(SqlTable& out, const NamedAgent& agent, const Place& place) const {
    const std::string n = std::to_string(sessions_of(agent));
    const PoolName& pool = place.pool;
    const auto said = [](const std::string& text) { return text.empty() ? SqlCell() : SqlCell(text); };
    std::string status = dry_run_ ? "would_place" : "placed", detail = place.pool_id == 0 ? "a new pool" : "";
    if (pool.name.empty())
      status = "unplaced", detail = rows_.contains(agent.origin.id) ? pool.why_not : b_.mapping.agents ? "it has no row in the agents table" : "there is no agents table; register_agent() puts it into a pool";
    else if (place.registered)
      status = "unchanged", detail = "";
    out.add({agent.origin.id, said(pool.name.empty() ? agent.origin.platform : pool.platform), said(pool.name.empty() ? agent.origin.region : pool.region), said(pool.name), n, status, detail});
  }

  // The table's own columns of pool, platform and region, where they are empty.
  void fill(SqlTable& out, const std::vector<NamedAgent>& named, const std::vector<Place>& places) {
    const SessionsTable& t = b_.mapping.sessions;
    if (!t.pool && !t.platform && !t.region) return;
    Texts agents, pools, platforms, regions;
    for (std::size_t i = 0; i < named.size(); ++i) {
      if (places[i].pool.name.empty()) continue;
      agents.push_back(named[i].origin.id), pools.push_back(places[i].pool.name), platforms.push_back(places[i].pool.platform), regions.push_back(places[i].pool.region);
    }
    std::int64_t filled = 0;
    for (std::int64_t last = -1; !dry_run_ && last != 0 && filled < most_rows; filled += last)
      last = as_role(t.owner, [&] {
        return static_cast<std::int64_t>(query(statements_.fill_pools(), {Param::texts(agents), Param::texts(pools), Param::texts(platforms), Param::texts(regions),
                                                                          Param::integer(std::min<std::int64_t>(b_.binding.batch_size, most_rows - filled))})
                                             .affected());
      });
    if (filled > 0) out.add({{}, {}, {}, {}, std::to_string(filled), "filled", "sessions whose own columns of pool, platform and region were empty"});
    const std::int64_t left = as_role(t.owner, [&] {
      return query(statements_.count_unfilled(), {Param::texts(agents), Param::texts(pools), Param::texts(platforms), Param::texts(regions)}).only().integer(0);
    });
    if (left > 0) out.add({{}, {}, {}, {}, std::to_string(left), "remaining", dry_run_ ? "sessions whose own columns of pool, platform and region would be filled" : "sessions that the next call of migrate_to_pools() fills"});
  }

  const AttachedBinding& b_;
  const Statements statements_;
  const bool dry_run_;
  const Time now_ = database_now();
  std::map<std::string, Sessions> sessions_;  // by the agent that they name
  Sessions without_;
  std::set<std::string> rows_, alive_;
  std::vector<NamedAgent> left_out_;
};

}  // namespace

RECONCILER_SQL_FUNCTION(migrate_to_pools) {
  const bool dry_run = sql_bool(fcinfo, 1, true);
  const AttachedBinding binding = pooled_binding(sql_is_null(fcinfo, 0) ? std::nullopt : std::optional(sql_oid(fcinfo, 0)));
  SqlTable out(fcinfo);
  Migration(binding, dry_run).run(out);
  if (!dry_run) shared::wake_worker_at_commit();
  return sql_null(fcinfo);
}

}  // namespace reconciler
