// The registry of agents as a pass keeps it: who is in it, whether they are there, how many sessions they have.
#include <algorithm>

#include "postgres/clock.hpp"
#include "postgres/pool_agents.hpp"
#include "postgres/pool_sources.hpp"
#include "postgres/settings.hpp"
#include "postgres/store.hpp"

namespace reconciler {
namespace {

constexpr std::int64_t page_size = 1000;
constexpr auto share = 50;  // rests that many times as long as it took: 2 % of a core

// Every binding whose sessions name agents. Empty: one of them can't be read now, so that nobody knows what it says.
std::vector<AttachedBinding> bindings_with_agents() {
  std::vector<AttachedBinding> all;
  for (int id : binding_ids(std::nullopt)) {
    AttachedBinding b;
    try {
      b = load_binding(id);
    } catch (const UserError&) {
      return {};
    }
    if (b.binding.agent_mapped) all.push_back(std::move(b));
  }
  return all;
}

std::vector<std::string> ids_of(const Rows& rows) {
  std::vector<std::string> ids;
  for (Rows::Row row : rows) ids.push_back(row.text(0));
  return ids;
}

}  // namespace

// At most twice an interval: last_seen is never older than one and a half then, where the agent is there.
std::optional<std::vector<std::string>> PgStore::agents_to_ask(std::int64_t limit) {
  if (is_due("registry_due")) read_agents_table();  // who joins is asked about at once
  const Time at = now();
  const Duration half = settings::interval() / 2;
  return transactions_.run("listing agents of pools", [&] {
    return ours([&]() -> std::optional<std::vector<std::string>> {
      if (query("UPDATE reconciler.binding_state SET agents_asked = $2 WHERE binding_id = $1 AND (agents_asked BETWEEN $2::timestamptz - $3::interval AND $2) IS NOT TRUE RETURNING 1",
                {Param::integer(b_.binding.id), Param::time(at), Param::interval(half)})
              .empty())
        return std::nullopt;
      return ids_of(query("SELECT a.agent_id FROM reconciler.agent a LEFT JOIN reconciler.agent_evidence e ON e.binding_id = $1::integer AND e.agent_id = a.agent_id"
                          " WHERE (a.connected OR greatest(a.last_seen, a.registered) > $2::timestamptz - $3::interval) AND coalesce(e.observed_at <= $2::timestamptz - $4::interval, true)"
                          " ORDER BY e.observed_at NULLS FIRST LIMIT $5",
                          {Param::integer(b_.binding.id), Param::time(at), Param::interval(forgotten_after), Param::interval(half), Param::integer(limit)}));
    });
  });
}

void PgStore::note_agents(const std::vector<AgentAnswer>& listed) {
  for (std::size_t from = 0; from < listed.size(); from += page_size) {
    std::vector<NamedAgent> named, there;
    for (std::size_t i = from; i < std::min<std::size_t>(listed.size(), from + page_size); ++i) {
      const AgentAnswer& a = listed[i];
      NamedAgent& agent = named.emplace_back();
      agent.origin = {.id = valid_text(a.id, 200), .platform = valid_text(a.platform, 200), .region = valid_text(a.region, 200), .name_space = {}, .pool = valid_text(a.pool, 200)};
      agent.connected = a.status == AgentAnswer::Status::connected, agent.draining = a.draining;
      agent.capacity = a.capacity, agent.incarnation = valid_text(a.incarnation, 200);
      if (agent.connected && !agent.origin.id.empty()) there.push_back(agent);
    }
    transactions_.run("noting the hub's agents", [&] {
      ours([&] {
        register_agents(b_, there, "hub", now());
        update_agents(named, "hub", now(), settings::interval() / 2);
      });
    });
  }
}

// Rows of agents that are long gone stay in their table: only those that were heard of lately join.
void PgStore::read_agents_table() {
  const Time begun = now();
  for (std::optional<std::string> after;;) {
    const bool last = transactions_.run("reading the agents table", [&] {
      const std::vector<NamedAgent> page = agents_page(b_, after, page_size);
      if (page.empty()) return true;
      after = page.back().origin.id;
      std::vector<NamedAgent> there;
      for (const NamedAgent& agent : page)
        if (agent.heartbeat && elapsed(*agent.heartbeat, now()) < joins_within) there.push_back(agent);
      ours([&] {
        register_agents(b_, there, "table", now());
        update_agents(page, "table", now(), settings::interval() / 2);
      });
      return static_cast<std::int64_t>(page.size()) < page_size;
    });
    if (last) break;
  }
  reading_ = elapsed(begun, now());
}

// A time far ahead was written before the clock was set back.
bool PgStore::is_due(const std::string& column) {
  return transactions_.run("looking whether the registry is due", [&] {
    return ours([&] {
      return query("SELECT coalesce(" + column + " <= $2 OR " + column + " > $2::timestamptz + interval '1 hour', true) FROM reconciler.binding_state WHERE binding_id = $1",
                   {Param::integer(b_.binding.id), Param::time(now())})
          .only()
          .boolean(0);
    });
  });
}

void PgStore::refresh_registry() {
  const Time begun = now();
  if (is_due("registry_due")) {
    transactions_.run("keeping the registry of agents", [&] { ours([&] { follow_evidence(b_, settings::interval() / 2); }); });
    const std::vector<AttachedBinding> all = transactions_.run("reading bindings", [&] { return ours(bindings_with_agents); });
    if (!all.empty()) forget_agents(all);
    transactions_.run("keeping the registry of agents", [&] {
      ours([&] {
        query("UPDATE reconciler.binding_state SET registry_due = $2 WHERE binding_id = $1", {Param::integer(b_.binding.id), Param::time(plus(now(), share * (reading_ + elapsed(begun, now()))))});
      });
    });
  }
  if (is_due("loads_due")) count_loads();
}

// In the order of their ids, for a second at most; the next pass goes on where this one ended.
void PgStore::count_loads() {
  const Time begun = now();
  std::optional<std::string> after;
  transactions_.run("counting sessions of agents", [&] {
    ours([&] { after = query("SELECT loads_after FROM reconciler.binding_state WHERE binding_id = $1", {Param::integer(b_.binding.id)}).only().maybe_text(0); });
  });
  while (count_some(after) && elapsed(begun, now()) < seconds(1)) {
  }
  transactions_.run("counting sessions of agents", [&] {
    ours([&] {
      query("UPDATE reconciler.binding_state SET loads_after = $2, loads_due = $3 WHERE binding_id = $1",
            {Param::integer(b_.binding.id), Param::text(after), Param::time(plus(now(), share * elapsed(begun, now())))});
    });
  });
}

// False: that was the last of them. What differs is counted again under the agents' locks.
bool PgStore::count_some(std::optional<std::string>& after) {
  constexpr std::int64_t some = 500;
  return transactions_.run("counting sessions of agents", [&] {
    std::map<std::string, std::int64_t> known;
    std::vector<std::string> ids, differing;
    ours([&] {
      for (Rows::Row row : query("SELECT agent_id, load, counted_at IS NULL OR counted_at < $2::timestamptz - interval '10 minutes' AS long_ago FROM reconciler.agent"
                                 " WHERE $1::text IS NULL OR agent_id > $1 ORDER BY agent_id LIMIT $3",
                                 {Param::text(after), Param::time(now()), Param::integer(some)})) {
        ids.push_back(row.text("agent_id"));
        known[ids.back()] = row.boolean("long_ago") ? -1 : row.integer("load");
      }
    });
    auto loads = loads_of(ids);
    for (const std::string& agent : ids)
      if (known[agent] != loads[agent]) differing.push_back(agent);
    recount(differing, now());
    const bool last = static_cast<std::int64_t>(ids.size()) < some;
    after = last ? std::nullopt : std::optional(ids.back());
    return !last;
  });
}

void PgStore::forget_agents(const std::vector<AttachedBinding>& all) {
  for (std::optional<std::string> after;;) {
    const bool last = transactions_.run("forgetting agents", [&] {
      std::vector<std::string> ids = ours([&] {
        return ids_of(query("SELECT agent_id FROM reconciler.agent WHERE NOT connected AND draining IS NULL AND greatest(last_seen, registered) < $1::timestamptz - $2::interval"
                            " AND ($3::text IS NULL OR agent_id > $3) ORDER BY agent_id LIMIT $4",
                            {Param::time(now()), Param::interval(forgotten_after), Param::text(after), Param::integer(page_size)}));
      });
      const bool end = static_cast<std::int64_t>(ids.size()) < page_size;
      if (!ids.empty()) after = ids.back();
      for (const AttachedBinding& b : all) {
        if (ids.empty()) break;
        const Rows named = as_role(b.mapping.sessions.owner, [&] { return query_batch(Statements(b.mapping).referenced(), {Param::texts(ids)}); });
        for (const std::string& agent : ids_of(named)) std::erase(ids, agent);
      }
      if (!ids.empty())
        ours([&] {
          query_batch("WITH gone AS (DELETE FROM reconciler.agent a WHERE a.agent_id = ANY($1) AND NOT a.connected AND a.draining IS NULL RETURNING a.agent_id)"
                      " DELETE FROM reconciler.agent_evidence e USING gone WHERE e.agent_id = gone.agent_id",
                      {Param::texts(ids)});
        });
      return end;
    });
    if (last) return;
  }
}

}  // namespace reconciler
