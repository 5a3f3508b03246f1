#include "postgres/pool_moves.hpp"

#include <algorithm>
#include <map>

#include "core/json.hpp"
#include "postgres/audit.hpp"
#include "postgres/events.hpp"
#include "postgres/role.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

using Texts = std::vector<std::optional<std::string>>;

struct Pool { std::string name, platform, region; };

// Pools of agents, for sessions tables that say in columns of their own what a session's is.
std::map<std::string, Pool> pools_of_agents(const SessionsTable& table, const std::vector<Move>& moves) {
  std::map<std::string, Pool> pools;
  if (!table.pool && !table.platform && !table.region) return pools;
  std::vector<std::string> agents;
  for (const Move& move : moves) agents.push_back(move.to);
  return as_extension_owner([&] {
    for (Rows::Row row : query("SELECT a.agent_id, p.name, p.platform, p.region FROM reconciler.agent a JOIN reconciler.agent_pool p USING (pool_id) WHERE a.agent_id = ANY($1)", {Param::texts(agents)}))
      pools[row.text("agent_id")] = {row.text("name"), row.text("platform"), row.text("region")};
    return pools;
  });
}

// As the table's owner: the rows, and the application's audit.
std::map<std::string, RowImage> write_rows(const AttachedBinding& b, const Mover& by, const std::vector<const Move*>& moves, const std::map<std::string, Pool>& pools, Time at) {
  Texts keys, states, agents, runtimes, created, becomes, names, platforms, regions;
  std::vector<Texts> routes(b.mapping.sessions.route.size());
  for (const Move* move : moves) {
    const Session& s = *move->session;
    keys.push_back(s.key), states.push_back(s.state), agents.push_back(s.agent), runtimes.push_back(s.runtime), created.push_back(s.created);
    becomes.push_back(move->to);
    const auto pool = pools.find(move->to);
    const Pool none, &of = pool == pools.end() ? none : pool->second;
    names.push_back(of.name), platforms.push_back(of.platform), regions.push_back(of.region);
    for (std::size_t i = 0; i < routes.size(); ++i) routes[i].push_back(s.route[i]);
  }
  std::vector<Param> params{Param::texts(keys), Param::texts(states), Param::texts(agents), Param::texts(runtimes), Param::texts(created), Param::texts(becomes),
                            Param::texts(names), Param::texts(platforms), Param::texts(regions), Param::time(at)};
  for (const Texts& route : routes) params.push_back(Param::texts(route));
  std::map<std::string, RowImage> images;
  const Rows rows = query_batch(Statements(b.mapping).reassign(), std::span<const Param>(params));
  for (Rows::Row row : rows) images.emplace(row.text("key"), RowImage{row.jsonb("before"), row.jsonb("after")});
  if (rows.affected() != images.size()) throw two_rows();
  std::vector<Change> changes;
  for (const Move* move : moves)
    if (const auto image = images.find(move->session->key); image != images.end())
      changes.push_back({image->first, "reassign", move->rule, move->reason, by.pass_id.value_or(0), image->second.before, image->second.after});
  write_audit(b.mapping, changes, at);
  return images;
}

}  // namespace

std::map<std::string, RowImage> write_agents(const AttachedBinding& b, const Mover& by, const std::vector<Move>& wanted, Time at) {
  if (wanted.empty()) return {};
  // In the order of the keys: whoever locks several sessions does it so.
  std::vector<const Move*> moves;
  for (const Move& move : wanted) moves.push_back(&move);
  std::sort(moves.begin(), moves.end(), [](const Move* x, const Move* y) { return x->session->key < y->session->key; });
  const auto pools = pools_of_agents(b.mapping.sessions, wanted);
  return as_role(b.mapping.sessions.owner, [&] { return write_rows(b, by, moves, pools, at); });
}

// What was open at the agent that it had is that agent's; what the new one has taken over goes on.
std::size_t carry_episodes_on(const AttachedBinding& b, const std::vector<const Move*>& moved) {
  Texts keys, states, from, to;
  std::vector<std::optional<Time>> stays, accepted;
  for (const Move* move : moved) {
    const Session& s = *move->session;
    keys.push_back(s.key), states.push_back(s.state), from.push_back(s.agent), to.push_back(move->to), stays.push_back(move->stay), accepted.push_back(move->accepted);
  }
  return query_batch("UPDATE reconciler.episode e SET agent_id = t.becomes, sent_to = NULL, quarantined = NULL, handover_failed = NULL, write_failed = NULL, unreachable_since = NULL, last_would = '',"
                     "   command_id = CASE WHEN e.sent_to = t.becomes THEN e.command_id END, hub_command_id = CASE WHEN e.sent_to = t.becomes THEN e.hub_command_id END,"
                     "   accepted_at = CASE WHEN e.sent_to = t.becomes THEN e.accepted_at END, next_attempt = CASE WHEN e.sent_to = t.becomes THEN e.next_attempt END,"
                     "   session_running = CASE WHEN e.sent_to = t.becomes THEN e.session_running END,"
                     "   incarnation = coalesce((SELECT a.incarnation FROM reconciler.agent_evidence a WHERE a.binding_id = e.binding_id AND a.agent_id = t.becomes), '')"
                     " FROM (SELECT $1::int AS binding, u.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[]) AS u(key, state, agent, becomes, stay, accepted) OFFSET 0) AS t"
                     " WHERE e.binding_id = t.binding AND e.session_id = t.key AND e.state = t.state AND e.agent_id IS NOT DISTINCT FROM t.agent AND e.first_seen = coalesce(t.stay, e.first_seen)"
                     "   AND (t.accepted IS NULL OR (e.sent_to = t.becomes AND e.accepted_at = t.accepted)) RETURNING 1",
                     {Param::integer(b.binding.id), Param::texts(keys), Param::texts(states), Param::texts(from), Param::texts(to), Param::times(stays), Param::times(accepted)})
      .size();
}

std::vector<std::string> move_sessions(const AttachedBinding& b, const Mover& by, const std::vector<Move>& wanted, Time at) {
  std::vector<std::string> keys;
  std::vector<const Move*> moved;
  const auto images = write_agents(b, by, wanted, at);
  std::vector<Event> events;
  for (const Move& one : wanted) {
    const Move* move = &one;
    const Session& s = *move->session;
    const auto image = images.find(s.key);
    if (image == images.end()) continue;
    moved.push_back(move), keys.push_back(s.key);
    nlohmann::json evidence{{"from_agent", nullptr}, {"to_agent", move->to}, {"why", move->why}};
    if (s.agent) evidence["from_agent"] = *s.agent;
    events.push_back({.session = s.key, .kind = "reassign", .from_state = s.state, .to_state = s.state, .reason = std::string(move->reason), .rule = std::string(move->rule),
                      .evidence = evidence.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), .before = image->second.before, .after = image->second.after});
  }
  as_extension_owner([&] {
    carry_episodes_on(b, moved);
    write_events(b, by.pass_id, at, by.actor, events);
  });
  return keys;
}

}  // namespace reconciler
