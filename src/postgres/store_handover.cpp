// Other agents of a session's pool, and the sessions that they get.
#include <algorithm>

#include "core/json.hpp"
#include "postgres/pool_agents.hpp"
#include "postgres/pool_moves.hpp"
#include "postgres/store.hpp"

namespace reconciler {
namespace {

using Texts = std::vector<std::optional<std::string>>;

}  // namespace

std::map<std::string, Pooled> PgStore::pools_of(const std::vector<const Tracked*>& sessions) {
  std::vector<std::string> keys;
  for (const Tracked* tracked : sessions) keys.push_back(tracked->session.key);
  return transactions_.run("reading pools", [&] {
    const std::map<std::string, int> ids = reconciler::pools_of(b_, keys);
    std::map<int, Pooled> known;
    ours([&] {
      for (Rows::Row row : query("SELECT pool_id, concat_ws('/', nullif(platform, ''), nullif(region, ''), name) AS name, runtimes_outlive_agents,"
                                 // A container can be removed by its id alone, where the hub passes that on.
                                 " lower(platform) = 'docker' AND EXISTS (SELECT FROM reconciler.hub h JOIN reconciler.hub_profile p ON p.name = h.profile WHERE h.name = $1"
                                 "   AND (p.definition @> '{\"pull\": true}' OR p.definition->>'send' LIKE '%{platform_resource_id}%')) AS by_resource FROM reconciler.agent_pool", {Param::text(b_.binding.hub)}))
        known[static_cast<int>(row.integer("pool_id"))] = {static_cast<int>(row.integer("pool_id")), row.text("name"), row.boolean("runtimes_outlive_agents"), row.boolean("by_resource")};
    });
    std::map<std::string, Pooled> pools;
    for (const auto& [key, id] : ids) pools[key] = known.at(id);
    return pools;
  });
}

std::vector<Taker> PgStore::takers(int pool, std::int64_t limit) {
  return transactions_.run("reading agents of a pool", [&] {
    std::vector<Taker> takers;
    std::vector<std::string> ids;
    for (const PoolAgent& agent : FreeAgents(b_.binding, now()).siblings(pool, static_cast<int>(limit))) {
      takers.push_back({agent.id, agent.load, agent.capacity});
      ids.push_back(agent.id);
    }
    for (const std::string& agent : rowless(b_, ids)) std::erase_if(takers, [&](const Taker& taker) { return taker.id == agent; });
    return takers;
  });
}

// Agents whose sessions leave them, of all or of this one: drained, or lost with what they ran living on.
std::vector<std::string> PgStore::emptied(const std::optional<std::string>& agent) {
  return ours([&] {
    std::vector<std::string> ids;
    for (Rows::Row row : query("SELECT a.agent_id FROM reconciler.agent a JOIN reconciler.agent_pool p USING (pool_id)"
                               " WHERE p.runtimes_outlive_agents AND (a.draining IS NOT NULL AND a.drain_moves AND a.drained IS NULL"
                               "   OR NOT a.connected AND EXISTS (SELECT FROM reconciler.agent_evidence e WHERE e.binding_id = $1 AND e.agent_id = a.agent_id AND e.presence = 'gone'))"
                               " AND ($2::text IS NULL OR a.agent_id = $2) ORDER BY a.agent_id LIMIT 10000",
                               {Param::integer(b_.binding.id), Param::text(agent)}))
      ids.push_back(row.text(0));
    return ids;
  });
}

std::vector<Tracked> PgStore::scan_leaving(Cursor& cursor) {
  return transactions_.run("scanning sessions of agents that are emptied", [&] {
    const std::vector<std::string> agents = emptied({});
    cursor.started = true, cursor.done = true;
    std::vector<Tracked> batch;
    if (agents.empty()) return batch;
    const std::int64_t limit = b_.binding.batch_size;
    batch = theirs([&] {
      const Rows rows = query_batch(sql_.leaving(), {Param::texts(agents), Param::text(cursor.key), Param::integer(limit)});
      if (!rows.empty()) cursor.key = rows[rows.size() - 1].text("key");
      cursor.done = static_cast<std::int64_t>(rows.size()) < limit;
      return track(rows);
    });
    load_episodes(batch);
    for (Tracked& tracked : batch) tracked.leaves = true;
    return batch;
  });
}

// The rows that still are what the verdicts rested on, and the application's audit.
std::map<std::string, PgStore::Image> PgStore::write_agents(const PassStart& pass, const std::vector<Handover>& wanted, Time at) {
  std::vector<Move> moves;
  for (const Handover& one : wanted) moves.push_back({&one.tracked->session, one.verdict.to_agent, one.verdict.rule, one.verdict.reason, one.verdict.text});
  return reconciler::write_agents(b_, {pass.pass_id, actor_}, moves, at);
}

// Episode, event and counter of sessions that another agent has by now; as the extension's owner. Their tries go on.
void PgStore::note_handed_over(const PassStart& pass, const std::vector<Handover>& moves, const std::map<std::string, Image>& images, Time at) {
  if (moves.empty()) return;
  Texts keys, states;
  std::vector<Move> all;
  std::vector<Event> events;
  all.reserve(moves.size());
  for (const Handover& move : moves) {
    const Session& s = move.tracked->session;
    const Verdict& v = move.verdict;
    nlohmann::json evidence = nlohmann::json::parse(move.evidence);
    evidence["from_agent"] = s.agent ? nlohmann::json(*s.agent) : nlohmann::json();
    Event event{.session = s.key, .kind = "reassign", .from_state = s.state, .to_state = s.state, .reason = v.reason, .rule = std::string(v.rule),
                .evidence = evidence.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), .before = {}, .after = {}};
    if (const auto image = images.find(s.key); image != images.end()) {
      event.before = image->second.before, event.after = image->second.after;
      keys.push_back(s.key), states.push_back(s.state);
      all.push_back({.session = &s, .to = v.to_agent, .rule = {}, .reason = {}, .why = {}, .stay = move.tracked->episode.first_seen, .accepted = v.sends.empty() ? std::nullopt : std::optional(at)});
    } else {
      event.kind = "skipped", event.to_state.reset();
    }
    events.push_back(std::move(event));
  }
  std::vector<const Move*> moved;
  for (const Move& move : all) moved.push_back(&move);
  if (carry_episodes_on(b_, moved) < moved.size() || !held(keys, at).empty()) throw NotNow{};
  // Nothing is remembered of sessions that nobody watches.
  query_batch("DELETE FROM reconciler.episode e USING (SELECT $1::int AS binding, u.* FROM unnest($2::text[], $3::text[]) AS u(key, state) OFFSET 0) AS t"
              " WHERE e.binding_id = t.binding AND e.session_id = t.key AND t.state <> ALL ($4::text[]) AND e.start_sent IS NULL",
              {Param::integer(b_.binding.id), Param::texts(keys), Param::texts(states), Param::texts(b_.mapping.enabled_states)});
  if (!keys.empty()) count(b_.binding.id, "reconciler_reassigned_total", "", static_cast<double>(keys.size()));
  write_events(b_, pass.pass_id, at, actor_, events);
}

Store::Finished PgStore::hand_over(const PassStart& pass, const std::vector<Handover>& moves) {
  try {
    return hand_over_once(pass, moves);
  } catch (const PostgresError& e) {
    if (ends_pass(e, transactions_)) throw;
    if (e.is("42P01") || e.is("42703") || e.is("42501"))
      if (const auto owner = owner_if_it_loads(b_.binding.id, transactions_); owner != b_.mapping.sessions.owner) throw;
  } catch (const NotNow&) {
  }
  // One row spoils a batch: row by row, so that it spoils itself only.
  Finished sum;
  for (const Handover& move : moves) try {
      const Finished one = hand_over_once(pass, {move});
      sum.closed += one.closed, sum.skipped += one.skipped;
    } catch (const NotNow&) {
      ++sum.skipped;
      if (move.tracked->planned) forget_planned({move.tracked});
    } catch (const PostgresError& e) {
      ++sum.skipped;
      if (ends_pass(e, transactions_)) throw;
      if (passing(e)) {
        sum.budget_frees = now() + seconds(5);
        break;  // somebody has locked it, perhaps the whole table: the next pass comes again
      }
      set_aside(pass, *move.tracked, move.verdict, move.evidence, e);
      if (move.tracked->planned) forget_planned({move.tracked});
      if (e.timed_out()) break;
    }
  return sum;
}

Store::Finished PgStore::hand_over_once(const PassStart& pass, const std::vector<Handover>& moves) {
  return transactions_.run("giving sessions to other agents", [&] {
    Finished done;
    const Time at = now();
    const bool allowed = ours([&] { return still_allowed(false) && !gates(at).grace_until; });
    if (!allowed) return done;
    // Rows before agents, as everybody locks them: what turns out to have no room is written back by the end of the transaction.
    const std::map<std::string, Image> images = write_agents(pass, moves, at);
    ours([&] {
      Loads wants, left;
      for (const Handover& move : moves)
        if (images.contains(move.tracked->session.key) && b_.binding.takes_room(move.tracked->session.state)) {
          ++wants[move.verdict.to_agent];
          if (move.tracked->session.agent) ++left[*move.tracked->session.agent];
        }
      if (reserve(wants, left) != wants) throw NotNow{};
      note_handed_over(pass, moves, images, at);
      std::vector<std::string> planned;
      for (const Handover& move : moves)
        if (move.tracked->planned) planned.push_back(move.tracked->session.key);
      if (!planned.empty()) drop_plans(planned);
    });
    done.closed = static_cast<std::int64_t>(images.size());
    done.skipped = static_cast<std::int64_t>(moves.size() - images.size());
    return done;
  });
}

std::vector<Tracked> PgStore::scan_planned(Cursor& cursor, std::int64_t limit) {
  return transactions_.run("reading planned moves", [&] {
    struct Plan { std::string from; PlannedMove move; };
    std::map<std::string, Plan> plans;
    std::vector<std::string> keys, stale;
    ours([&] {
      const Rows rows = query("SELECT m.session_id, m.from_agent, m.to_agent, m.actor, a.agent_id IS NOT NULL AS takes_it FROM reconciler.planned_move m LEFT JOIN reconciler.agent a ON a.agent_id = m.to_agent"
                              " AND a.connected AND a.approved AND NOT a.suspect AND a.draining IS NULL WHERE m.binding_id = $1 AND m.session_id > $2 ORDER BY m.session_id LIMIT $3",
                              {Param::integer(b_.binding.id), Param::text(cursor.key.value_or("")), Param::integer(limit)});
      for (Rows::Row row : rows) {
        cursor.key = row.text("session_id");
        (row.boolean("takes_it") ? keys : stale).push_back(*cursor.key);
        plans[*cursor.key] = {row.text("from_agent"), {row.text("to_agent"), row.text("actor")}};
      }
      cursor.done = static_cast<std::int64_t>(rows.size()) < limit;
    });
    std::vector<Tracked> batch;
    if (!keys.empty()) batch = theirs([&] { return track(query_batch(sql_.sessions(), {Param::texts(keys)})); });
    std::erase_if(batch, [&](const Tracked& tracked) { return tracked.session.agent != plans.at(tracked.session.key).from; });
    load_episodes(batch);
    std::set<std::string> there;
    for (Tracked& tracked : batch) tracked.planned = plans.at(tracked.session.key).move, there.insert(tracked.session.key);
    for (const std::string& key : keys)
      if (!there.contains(key)) stale.push_back(key);
    if (!stale.empty()) ours([&] { drop_plans(stale); });
    return batch;
  });
}

void PgStore::forget_planned(const std::vector<const Tracked*>& sessions) {
  std::vector<std::string> keys;
  for (const Tracked* tracked : sessions) keys.push_back(tracked->session.key);
  transactions_.run("forgetting planned moves", [&] { ours([&] { drop_plans(keys); }); });
}

// Inside a transaction, as the extension's owner.
void PgStore::drop_plans(const std::vector<std::string>& keys) {
  query_batch("DELETE FROM reconciler.planned_move m USING (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t WHERE m.binding_id = t.binding AND m.session_id = t.key",
              {Param::integer(b_.binding.id), Param::texts(keys)});
}

void PgStore::note_drained(const PassStart& pass) {
  transactions_.run("looking for drained agents", [&] {
    std::vector<std::string> draining;
    ours([&] {
      for (Rows::Row row : query("SELECT agent_id FROM reconciler.agent WHERE draining IS NOT NULL AND drained IS NULL ORDER BY agent_id LIMIT 1000")) draining.push_back(row.text(0));
    });
    if (draining.empty()) return;
    const Time at = now();
    recount(draining, at);
    for (const auto& [agent, n] : left_with(draining)) std::erase(draining, agent);
    ours([&] {
      std::vector<Event> events;
      for (Rows::Row row : query("UPDATE reconciler.agent SET drained = $2 WHERE agent_id = ANY($1) AND load = 0 AND draining IS NOT NULL AND drained IS NULL RETURNING agent_id, drain_reason",
                                 {Param::texts(draining), Param::time(at)}))
        events.push_back({.session = {}, .kind = "drained", .from_state = {}, .to_state = {}, .reason = {}, .rule = {},
                          .evidence = nlohmann::json{{"agent_id", row.text("agent_id")}, {"reason", row.text("drain_reason")}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), .before = {}, .after = {}});
      write_events(b_, pass.pass_id, at, actor_, events);
    });
  });
}

}  // namespace reconciler
