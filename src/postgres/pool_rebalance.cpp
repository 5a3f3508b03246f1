// rebalance_pool(): plans moves between the agents of a pool; passes carry them out.
#include <algorithm>
#include <set>

#include "core/rebalance.hpp"
#include "core/text.hpp"
#include "postgres/clock.hpp"
#include "postgres/events.hpp"
#include "postgres/pool_agents.hpp"
#include "postgres/role.hpp"
#include "postgres/settings.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

struct Pool {
  std::int64_t id = 0;
  std::string name;
  bool runtimes_outlive_agents = false;
};

struct Candidate {
  std::string session;
  const AttachedBinding* binding = nullptr;
};

Pool balanced_pool(const std::string& name, const std::optional<std::string>& platform, const std::optional<std::string>& region) {
  if (name.find_first_not_of(" \t\n") == std::string::npos) throw UserError("22023", "a pool is required", "Pools stand in reconciler.agent_pool.");
  const Rows rows = as_extension_owner([&] {
    return query("SELECT pool_id, format('%s/%s/%s', platform, region, name) AS display, runtimes_outlive_agents FROM reconciler.agent_pool"
                 " WHERE name = $1 AND platform = coalesce($2, platform) AND region = coalesce($3, region) ORDER BY platform, region",
                 {Param::text(name), Param::text(platform), Param::text(region)});
  });
  if (rows.empty()) throw UserError("42704", "there is no pool \"" + name + "\"" + (platform || region ? " on that platform and in that region" : ""), "Pools stand in reconciler.agent_pool.");
  if (rows.size() > 1) {
    std::string all;
    for (Rows::Row row : rows) all += (all.empty() ? "" : ", ") + row.text("display");
    throw UserError("42725", "several pools are called \"" + name + "\"", "Name platform and region as well.", "As platform/region/name: " + all + ".");
  }
  return {rows[0].integer("pool_id"), name, rows[0].boolean("runtimes_outlive_agents")};
}

// Those that could be given work now.
std::vector<AgentLoad> agents_of(const Pool& pool) {
  std::vector<AgentLoad> agents;
  for (Rows::Row row : query("SELECT a.agent_id, a.load, a.capacity FROM reconciler.agent a WHERE a.pool_id = $1 AND a.connected AND a.approved AND NOT a.suspect AND a.draining IS NULL AND a.capacity > 0"
                             " AND a.last_seen > $2::timestamptz - greatest(2 * $3::interval, interval '120 s')"
                             " AND NOT EXISTS (SELECT FROM reconciler.agent_evidence e WHERE e.agent_id = a.agent_id AND e.presence = 'gone' AND e.last_present IS NOT NULL AND e.observed_at >= a.last_seen) ORDER BY a.agent_id",
                             {Param::integer(pool.id), Param::time(database_now()), Param::interval(settings::interval())}))
    agents.push_back({row.text("agent_id"), row.integer("load"), row.integer("capacity"), row.integer("load")});
  return agents;
}

// States in which a session waits for no command: it lives on whatever its agent does.
std::vector<std::string> settled_states(const Binding& b) {
  std::set<std::string> states{"running", "hibernated", "suspended"};
  for (const Policy& p : b.policies) {
    const bool settled = p.retry_action.empty() && p.awaits.empty() && !p.user_requested;
    if (settled) states.insert(p.state);
    else states.erase(p.state);
  }
  std::erase_if(states, [&](const std::string& state) { return b.terminal(state); });
  return {states.begin(), states.end()};
}

class Rebalance {
 public:
  explicit Rebalance(std::vector<AgentLoad> agents) : agents_(std::move(agents)), sessions_(agents_.size()) {
    as_extension_owner([&] {
      for (int id : binding_ids(std::nullopt)) {
        AttachedBinding b = load_binding(id);
        if (b.binding.pools && b.binding.agent_mapped) bindings_.push_back(std::move(b));
      }
    });
  }

  // Planned as if every session could move, then with those that can.
  void plan() {
    for (bool short_of = true; short_of;) {
      moves_ = plan_rebalance(agents_);
      std::vector<std::int64_t> leave(agents_.size());
      for (const BalancingMove& move : moves_) ++leave[move.from];
      short_of = false;
      for (std::size_t i = 0; i < agents_.size(); ++i) {
        if (leave[i] > static_cast<std::int64_t>(sessions_[i].size())) find_sessions(i, leave[i]);
        if (leave[i] <= static_cast<std::int64_t>(sessions_[i].size())) continue;
        agents_[i].movable = static_cast<std::int64_t>(sessions_[i].size());
        short_of = true;
      }
    }
  }

  void write(const Pool& pool) {
    const std::string actor = acting_role();
    as_extension_owner([&] {
      query("DELETE FROM reconciler.planned_move m USING reconciler.agent a WHERE a.agent_id = m.from_agent AND a.pool_id = $1", {Param::integer(pool.id)});
      for (const AttachedBinding& b : bindings_) {
        std::vector<std::string> sessions, from, to;
        each([&](const Candidate& session, const BalancingMove& move) {
          if (session.binding == &b) sessions.push_back(session.session), from.push_back(agents_[move.from].id), to.push_back(agents_[move.to].id);
        });
        if (sessions.empty()) continue;
        query("SELECT reconciler.refuse_copy($1::integer)", {Param::integer(b.binding.id)});
        query("INSERT INTO reconciler.planned_move (binding_id, session_id, from_agent, to_agent, planned_at, actor)"
              " SELECT $1, t.*, $5, $6 FROM unnest($2::text[], $3::text[], $4::text[]) AS t(session, from_agent, to_agent)"
              " ON CONFLICT (binding_id, session_id) DO UPDATE SET from_agent = excluded.from_agent, to_agent = excluded.to_agent, planned_at = excluded.planned_at, actor = excluded.actor",
              {Param::integer(b.binding.id), Param::texts(sessions), Param::texts(from), Param::texts(to), Param::time(database_now()), Param::text(actor)});
      }
    });
  }

  void show(SqlTable& out, bool dry_run) {
    each([&](const Candidate& session, const BalancingMove& move) {
      const AttachedBinding& b = *session.binding;
      out.add({session.session, b.binding.name, agents_[move.from].id, agents_[move.to].id, dry_run ? "would_move" : "planned",
               b.mode == Mode::enforce ? "" : std::string("its table is in mode ") + to_string(b.mode) + ": nothing moves before set_mode('enforce', …)"});
    });
  }

  bool moves() const { return !moves_.empty(); }
  // Why there is nothing to move.
  std::string why_nothing(const Pool& pool) const {
    if (bindings_.empty()) return "no attached table has pools: migrate_to_pools() turns them on";
    if (agents_.size() < 2)
      return (agents_.empty() ? std::string("no agent") : "only agent \"" + agents_[0].id + "\"") + " of the pool can be given sessions: it has " +
             FreeAgents(bindings_.front().binding, database_now()).why_nobody(static_cast<int>(pool.id)) + "; one that nobody saw for " + span(longest_silence()) + " is not connected";
    double lowest = 1e9, highest = 0;
    bool all_movable = true;
    for (const AgentLoad& a : agents_) {
      const double fullness = static_cast<double>(a.load) / static_cast<double>(a.capacity);
      lowest = std::min(lowest, fullness), highest = std::max(highest, fullness), all_movable &= a.movable == a.load;
    }
    const std::string between = "load / capacity is from " + two_digits(lowest) + " to " + two_digits(highest);
    if (highest - lowest < balanced_spread) return between + ": less than " + two_digits(balanced_spread) + " apart";
    return between + (all_movable ? ": capacities are too small to come closer" : ": the sessions of the fuller agents wait for commands, or are held");
  }

 private:
  static std::string two_digits(double value) {
    const auto hundredths = static_cast<std::int64_t>(value * 100 + 0.5);
    return std::to_string(hundredths / 100) + "." + (hundredths % 100 < 10 ? "0" : "") + std::to_string(hundredths % 100);
  }

  void find_sessions(std::size_t agent, std::int64_t wanted) {
    std::vector<Candidate>& found = sessions_[agent];
    found.clear();
    for (const AttachedBinding& b : bindings_) {
      const std::int64_t missing = wanted - static_cast<std::int64_t>(found.size());
      const std::vector<std::string> states = settled_states(b.binding);
      if (missing <= 0 || states.empty()) continue;
      const std::vector<std::string> held = as_extension_owner([&] {
        std::vector<std::string> keys;
        for (Rows::Row row : query("SELECT session_id FROM reconciler.hold WHERE binding_id = $1 AND until > $2", {Param::integer(b.binding.id), Param::time(database_now())})) keys.push_back(row.text(0));
        return keys;
      });
      for (Rows::Row row : as_role(b.mapping.sessions.owner, [&] {
             return query(Statements(b.mapping).sessions_of_agent(states), {Param::text(agents_[agent].id), Param::texts(held), Param::integer(missing)});
           }))
        found.push_back({row.text("key"), &b});
    }
  }

  template <class Do>
  void each(Do&& act) const {
    std::vector<std::size_t> next(agents_.size());
    for (const BalancingMove& move : moves_) act(sessions_[move.from][next[move.from]++], move);
  }

  std::vector<AgentLoad> agents_;
  std::vector<AttachedBinding> bindings_;
  std::vector<std::vector<Candidate>> sessions_;  // by agent, as many as were wanted of it
  std::vector<BalancingMove> moves_;
};

}  // namespace

RECONCILER_SQL_FUNCTION(rebalance_pool) {
  const bool dry_run = sql_bool(fcinfo, 1, true);
  const Pool pool = balanced_pool(sql_text(fcinfo, 0), sql_maybe_text(fcinfo, 2), sql_maybe_text(fcinfo, 3));
  SqlTable out(fcinfo);
  const auto nothing = [&](const std::string& why) {
    out.add({SqlCell(), SqlCell(), SqlCell(), SqlCell(), "nothing", why});
    return sql_null(fcinfo);
  };
  if (!pool.runtimes_outlive_agents)
    return nothing("what sessions of pool \"" + pool.name + "\" run in ends with its agent; where it does not: UPDATE reconciler.agent_pool SET runtimes_outlive_agents = true WHERE pool_id = " + std::to_string(pool.id));
  Rebalance rebalance(as_extension_owner([&] { return agents_of(pool); }));
  rebalance.plan();
  if (!rebalance.moves()) return nothing(rebalance.why_nothing(pool));
  if (!dry_run) rebalance.write(pool);
  rebalance.show(out, dry_run);
  if (!dry_run) shared::wake_worker_at_commit();
  return sql_null(fcinfo);
}

}  // namespace reconciler
