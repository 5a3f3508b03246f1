#include "postgres/pool_sources.hpp"

#include <map>
#include <tuple>

#include "postgres/role.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"

namespace reconciler {
namespace {

using Texts = std::vector<std::optional<std::string>>;

void make_pools(const std::vector<Place>& places) {
  Texts platforms, regions, names, name_spaces;
  std::vector<std::optional<bool>> outlive;
  for (const Place& place : places) {
    if (place.pool_id != 0 || place.pool.name.empty()) continue;
    platforms.push_back(place.pool.platform), regions.push_back(place.pool.region), names.push_back(place.pool.name), name_spaces.push_back(place.pool.name_space);
    outlive.push_back(place.pool.runtimes_outlive_agents);
  }
  if (names.empty()) return;
  query("INSERT INTO reconciler.agent_pool (platform, region, name, namespace, runtimes_outlive_agents)"
        " SELECT DISTINCT ON (p.platform, p.region, p.name) p.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[]) AS p(platform, region, name, namespace, outlive)"
        " ORDER BY p.platform, p.region, p.name, p.namespace DESC ON CONFLICT DO NOTHING",
        {Param::texts(platforms), Param::texts(regions), Param::texts(names), Param::texts(name_spaces), Param::booleans(outlive)});
}

}  // namespace

std::string drained_by(const char* source) { return std::string("as its ") + (std::string_view(source) == "hub" ? "hub" : "agents table") + " says"; }

std::vector<NamedAgent> agents_page(const AttachedBinding& b, const std::optional<std::string>& after, std::int64_t limit) {
  std::vector<NamedAgent> page;
  if (!b.mapping.agents) return page;
  const Statements statements(b.mapping);
  const Rows rows = as_role(b.mapping.sessions.owner, [&] { return query(statements.agents_page(), {Param::text(after), Param::integer(limit)}); });
  const auto said = [](const Rows::Row& row, const char* column) { return valid_text(row.maybe_text(column).value_or(""), 200); };
  for (Rows::Row row : rows)
    page.push_back({.origin = {.id = row.text("id"), .platform = said(row, "platform"), .region = said(row, "region"), .name_space = said(row, "namespace"), .pool = said(row, "pool")},
                    .approved = row.boolean("approved"),
                    .draining = row.boolean("draining"),
                    .heartbeat = row.maybe_time("heartbeat"),
                    .capacity = row.maybe_integer("capacity"),
                    .incarnation = said(row, "incarnation")});
  return page;
}

std::vector<Place> places_of(const std::vector<NamedAgent>& agents) {
  std::vector<Place> places;
  Texts ids, platforms, regions, names;
  for (const NamedAgent& agent : agents) {
    const PoolName& pool = places.emplace_back(Place{pool_of(agent.origin)}).pool;
    ids.push_back(agent.origin.id), platforms.push_back(pool.platform), regions.push_back(pool.region), names.push_back(pool.name);
  }
  // Of pools that are still to be made the first agent says where they work.
  std::map<std::tuple<std::string, std::string, std::string>, std::string> works_in;
  for (Rows::Row row : query_batch("SELECT t.n, r.pool_id AS registered, r.platform, r.region, r.name, r.namespace AS registered_in, p.pool_id, p.namespace"
                                   " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS t(agent, platform, region, pool, n)"
                                   " LEFT JOIN reconciler.agent a ON a.agent_id = t.agent LEFT JOIN reconciler.agent_pool r ON r.pool_id = a.pool_id"
                                   " LEFT JOIN reconciler.agent_pool p ON p.platform = t.platform AND p.region = t.region AND p.name = t.pool ORDER BY t.n",
                                   {Param::texts(ids), Param::texts(platforms), Param::texts(regions), Param::texts(names)})) {
    Place& place = places[static_cast<std::size_t>(row.integer("n") - 1)];
    PoolName& pool = place.pool;
    if (!row.null("registered")) {
      place.pool_id = static_cast<int>(row.integer("registered")), place.registered = true;
      pool = {.platform = row.text("platform"), .region = row.text("region"), .name = row.text("name"), .name_space = row.text("registered_in"), .why_not = {}};
      continue;
    }
    if (pool.name.empty()) continue;
    if (!row.null("pool_id")) place.pool_id = static_cast<int>(row.integer("pool_id"));
    const std::string& there = works_in.try_emplace({pool.platform, pool.region, pool.name}, row.maybe_text("namespace").value_or(pool.name_space)).first->second;
    if (!there.empty() && !pool.name_space.empty() && there != pool.name_space)
      place = {.pool = {.platform = pool.platform, .region = pool.region, .name = {}, .name_space = {},
                        .why_not = "pool \"" + pool.name + "\" works in namespace " + there + ", the agent in " + pool.name_space}};
  }
  return places;
}

std::int64_t register_agents(const AttachedBinding& b, const std::vector<NamedAgent>& agents, const char* source, Time now) {
  make_pools(places_of(agents));
  const std::vector<Place> places = places_of(agents);
  Texts ids, incarnations;
  std::vector<std::int64_t> pools;
  std::vector<std::optional<std::int64_t>> capacities;
  std::vector<std::optional<bool>> approved, connected, draining;
  for (std::size_t i = 0; i < agents.size(); ++i) {
    if (places[i].registered || places[i].pool_id == 0) continue;
    const NamedAgent& agent = agents[i];
    ids.push_back(agent.origin.id), incarnations.push_back(agent.incarnation), pools.push_back(places[i].pool_id), capacities.push_back(agent.capacity);
    approved.push_back(agent.approved.value_or(true)), connected.push_back(agent.connected), draining.push_back(agent.draining);
  }
  if (ids.empty()) return 0;
  return static_cast<std::int64_t>(
      query("INSERT INTO reconciler.agent (agent_id, pool_id, capacity, incarnation, source, approved, connected, suspect, last_seen, registered, draining, drain_moves, drain_reason)"
            " SELECT t.agent, t.pool, coalesce(t.capacity, p.default_capacity), t.incarnation, $7, t.approved, t.connected OR coalesce(e.presence = 'present' AND NOT e.provisional, false),"
            "   e.suspect_since IS NOT NULL, CASE WHEN t.connected THEN $8::timestamptz ELSE e.last_present END, $8, CASE WHEN t.draining THEN $8::timestamptz END, NOT t.draining, CASE WHEN t.draining THEN $9 ELSE '' END"
            " FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::boolean[], $6::boolean[], $10::boolean[]) AS t(agent, pool, capacity, incarnation, approved, connected, draining)"
            " JOIN reconciler.agent_pool p ON p.pool_id = t.pool LEFT JOIN reconciler.agent_evidence e ON e.binding_id = $11::integer AND e.agent_id = t.agent"
            " ORDER BY t.agent ON CONFLICT DO NOTHING",
            {Param::texts(ids), Param::integers(pools), Param::integers(capacities), Param::texts(incarnations), Param::booleans(approved), Param::booleans(connected), Param::text(source),
             Param::time(now), Param::text(drained_by(source)), Param::booleans(draining), Param::integer(b.binding.id)})
          .affected());
}

void update_agents(const std::vector<NamedAgent>& agents, const char* source, Time now, Duration fresh) {
  Texts ids, incarnations;
  std::vector<std::optional<std::int64_t>> capacities;
  std::vector<std::optional<bool>> approved, connected, draining;
  for (const NamedAgent& agent : agents) {
    ids.push_back(agent.origin.id), incarnations.push_back(agent.incarnation), capacities.push_back(agent.capacity);
    approved.push_back(agent.approved), connected.push_back(agent.connected), draining.push_back(agent.draining);
  }
  // Whoever locks several agents does it in the order of their ids.
  query_batch("WITH said AS ("
              "   SELECT a.agent_id, coalesce(t.approved, a.approved) AS approved, CASE WHEN a.source = $7 THEN coalesce(t.capacity, a.capacity) ELSE a.capacity END AS capacity,"
              "     CASE WHEN a.source = $7 THEN coalesce(nullif(t.incarnation, ''), a.incarnation) ELSE a.incarnation END AS incarnation,"
              "     a.source = $7 AND t.draining AND a.draining IS NULL AS drains, a.source = $7 AND NOT t.draining AND a.draining IS NOT NULL AND a.drain_reason = $10 AS drains_no_more,"
              "     t.connected AND (NOT a.connected OR coalesce(a.last_seen < $8::timestamptz - $9::interval, true)) AS seen"
              "   FROM (SELECT u.* FROM unnest($1::text[], $2::boolean[], $3::bigint[], $4::text[], $5::boolean[], $6::boolean[]) AS u(agent, approved, capacity, incarnation, draining, connected) OFFSET 0) AS t"
              "   JOIN reconciler.agent a ON a.agent_id = t.agent),"
              " changed AS (SELECT s.* FROM said s JOIN reconciler.agent a USING (agent_id)"
              "   WHERE s.seen OR s.drains OR s.drains_no_more OR (s.approved, s.capacity, s.incarnation) IS DISTINCT FROM (a.approved, a.capacity, a.incarnation) ORDER BY a.agent_id FOR UPDATE OF a)"
              " UPDATE reconciler.agent a SET approved = c.approved, capacity = c.capacity, incarnation = c.incarnation,"
              "   connected = a.connected OR c.seen, last_seen = CASE WHEN c.seen THEN greatest(a.last_seen, $8) ELSE a.last_seen END,"
              "   draining = CASE WHEN c.drains THEN $8 WHEN NOT c.drains_no_more THEN a.draining END, drained = CASE WHEN NOT c.drains_no_more THEN a.drained END,"
              "   drain_moves = CASE WHEN c.drains THEN false WHEN c.drains_no_more THEN true ELSE a.drain_moves END,"
              "   drain_reason = CASE WHEN c.drains THEN $10 WHEN c.drains_no_more THEN '' ELSE a.drain_reason END"
              " FROM changed c WHERE a.agent_id = c.agent_id",
              {Param::texts(ids), Param::booleans(approved), Param::integers(capacities), Param::texts(incarnations), Param::booleans(draining), Param::booleans(connected), Param::text(source),
               Param::time(now), Param::interval(fresh), Param::text(drained_by(source))});
}

// What others said since our last look is newer than it.
void follow_evidence(const AttachedBinding& b, Duration fresh) {
  query("WITH seen AS ("
        "   SELECT a.agent_id, CASE e.presence WHEN 'present' THEN true WHEN 'gone' THEN false ELSE a.connected END AS connected, e.suspect_since IS NOT NULL AS suspect,"
        "     coalesce(nullif(e.incarnation, ''), a.incarnation) AS incarnation,"
        "     CASE WHEN e.presence = 'present' AND coalesce(a.last_seen < e.observed_at - $2::interval OR NOT a.connected, true) THEN e.observed_at ELSE a.last_seen END AS last_seen"
        "   FROM reconciler.agent_evidence e JOIN reconciler.agent a USING (agent_id) WHERE e.binding_id = $1 AND e.observed_at >= coalesce(a.last_seen, '-infinity')"
        // Another binding's hub does not know the agents of this one's; a first heartbeat alone says nothing.
        "     AND CASE e.presence WHEN 'gone' THEN e.last_present IS NOT NULL WHEN 'present' THEN NOT e.provisional ELSE true END),"
        " changed AS (SELECT s.* FROM seen s JOIN reconciler.agent a USING (agent_id)"
        "   WHERE (s.connected, s.suspect, s.incarnation, s.last_seen) IS DISTINCT FROM (a.connected, a.suspect, a.incarnation, a.last_seen) ORDER BY a.agent_id FOR UPDATE OF a)"
        " UPDATE reconciler.agent a SET connected = c.connected, suspect = c.suspect, incarnation = c.incarnation, last_seen = c.last_seen FROM changed c WHERE a.agent_id = c.agent_id",
        {Param::integer(b.binding.id), Param::interval(fresh)});
}

}  // namespace reconciler
