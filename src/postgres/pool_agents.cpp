#include "postgres/pool_agents.hpp"

#include <algorithm>
#include <set>

#include "postgres/role.hpp"
#include "postgres/settings.hpp"
#include "postgres/statements.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

// As the partial index agent_free has it, word for word; and with a place: the head of that index.
constexpr const char* takes_work = "a.connected AND a.approved AND NOT a.suspect AND a.draining IS NULL";
constexpr const char* free_now = "a.connected AND a.approved AND NOT a.suspect AND a.draining IS NULL AND a.fullness < 1";
constexpr const char* least_loaded = " ORDER BY a.fullness, a.spread LIMIT ";

// The pool of a name, where it can be only one: of a platform and a region that are not said, the one that doesn't say either.
constexpr const char* named =
    "(SELECT CASE WHEN count(*) > 1 THEN min(p.pool_id) FILTER (WHERE p.platform = coalesce(t.platform, '') AND p.region = coalesce(t.region, '')) ELSE min(p.pool_id) END"
    " FROM reconciler.agent_pool p WHERE p.name = t.pool AND p.platform = coalesce(t.platform, p.platform) AND p.region = coalesce(t.region, p.region))";


// What makes an agent fit to be chosen but for what the index knows. Parameters: see with_common(). No joins: the plan stays a
// walk along the index that ends at the first who fits.
std::string not_gone(const char* agent) {
  return std::string("(SELECT e.presence = 'gone' AND e.observed_at BETWEEN $2 - $4 AND $2 + $4 FROM reconciler.agent_evidence e WHERE e.binding_id = $1 AND e.agent_id = ") + agent + ") IS NOT TRUE";
}
std::string seen() { return "a.last_seen > $2 - $3"; }
std::string fit() { return seen() + " AND " + not_gone("a.agent_id"); }

// $5 pool, $6 agents that are left out.
std::string first_free() {
  return "SELECT a.agent_id FROM reconciler.agent a WHERE a.pool_id = $5 AND " + std::string(free_now) + " AND a.agent_id <> ALL ($6) AND " + fit() + least_loaded + "1";
}

// What `body` did and locked is undone where it says false.
template <class Body>
bool done_or_undone(Body&& body) {
  struct Not {};
  try {
    Transactions::subtransaction([&] {
      if (!body()) throw Not{};
    });
    return true;
  } catch (const Not&) {
    return false;
  }
}

// Bindings whose sessions name agents. One that is broken has no sessions that anybody could count.
std::vector<AttachedBinding> bindings_with_agents() {
  return as_extension_owner([] {
    std::vector<AttachedBinding> found;
    for (int id : binding_ids(std::nullopt)) try {
        AttachedBinding b = load_binding(id);
        if (b.binding.agent_mapped) found.push_back(std::move(b));
      } catch (const UserError&) {
      }
    return found;
  });
}

std::map<std::string, std::int64_t> counted(const std::vector<std::string>& agents, std::string (Statements::*which)() const) {
  std::map<std::string, std::int64_t> sum;
  if (agents.empty()) return sum;
  for (const AttachedBinding& b : bindings_with_agents())
    as_role(b.mapping.sessions.owner, [&] {
      for (Rows::Row row : query_batch((Statements(b.mapping).*which)(), {Param::texts(agents)})) sum[row.text("agent")] += row.integer("n");
    });
  return sum;
}

}  // namespace

// $1 binding, $2 now, $3 longest silence of an agent, $4 age at which evidence is unknown, then `more`.
FreeAgents::Params FreeAgents::with_common(std::initializer_list<Param> more) const {
  Params params{Param::integer(binding_.id), Param::time(now_), Param::interval(longest_silence()), Param::interval(2 * binding_.limits.interval)};
  params.insert(params.end(), more);
  return params;
}

Duration longest_silence() { return std::max<Duration>(2 * settings::interval(), seconds(120)); }

std::optional<std::string> FreeAgents::reserve_unlocked(int pool) {
  return as_extension_owner([&]() -> std::optional<std::string> {
    const Rows taken = query("UPDATE reconciler.agent AS u SET load = u.load + 1, spread = random() WHERE u.agent_id = (" + first_free() + " FOR UPDATE OF a SKIP LOCKED) RETURNING u.agent_id",
                             with_common({Param::integer(pool), Param::texts(left_out_)}));
    return taken.empty() ? std::nullopt : std::optional(taken[0].text(0));
  });
}

// Waits for one agent at a time, and for none while it has another locked: a lock that turns out to be of no use goes with its
// subtransaction. So callers can't wait for each other.
std::optional<std::string> FreeAgents::reserve(int pool) {
  for (;;) {
    if (auto taken = reserve_unlocked(pool)) return taken;
    const std::optional<std::string> next = as_extension_owner([&] {
      const Rows rows = query(first_free(), with_common({Param::integer(pool), Param::texts(left_out_)}));
      return rows.empty() ? std::nullopt : std::optional(rows[0].text(0));
    });
    if (!next || done_or_undone([&] { return reserve_at(*next); })) return next;
  }
}

std::optional<std::string> FreeAgents::reserve_counted(int pool) {
  for (;;) {
    if (auto taken = reserve(pool)) return taken;
    bool free = false;
    const std::vector<std::string> miscounted = full_by_mistake(pool, free);
    if (free) continue;  // since we looked
    if (miscounted.empty()) return std::nullopt;
    const auto freed = [&](bool wait) {
      return std::any_of(miscounted.begin(), miscounted.end(), [&](const std::string& agent) { return done_or_undone([&] { return count_free(agent, wait); }); });
    };
    if (!freed(false)) done_or_undone([&] { return count_free(miscounted.front(), true); });
  }
}

// Agents that are full by their loads and not by their sessions, as far as can be told without a lock: of who is truly full
// nobody has to wait.
std::vector<std::string> FreeAgents::full_by_mistake(int pool, bool& free) {
  std::map<std::string, std::int64_t> places;
  std::vector<std::string> full;
  as_extension_owner([&] {
    for (Rows::Row row : query("SELECT a.agent_id, a.capacity, a.load < a.capacity AS free FROM reconciler.agent a WHERE a.pool_id = $5 AND a.connected AND a.approved AND NOT a.suspect"
                               " AND a.draining IS NULL AND a.capacity > 0 AND a.agent_id <> ALL ($6) AND " + fit() + " ORDER BY random()",
                               with_common({Param::integer(pool), Param::texts(left_out_)}))) {
      full.push_back(row.text(0));
      places[full.back()] = row.integer(1);
      free = free || row.boolean(2);
    }
  });
  if (free) return {};
  const auto loads = loads_of(full);
  std::erase_if(full, [&](const std::string& agent) {
    const auto found = loads.find(agent);
    return found != loads.end() && found->second >= places[agent];
  });
  return full;
}

// Whether it has a place once it is counted; it is locked then.
bool FreeAgents::count_free(const std::string& agent, bool wait) {
  const bool locked = as_extension_owner([&] {
    return !query(std::string("SELECT FROM reconciler.agent WHERE agent_id = $1 FOR UPDATE") + (wait ? "" : " SKIP LOCKED"), {Param::text(agent)}).empty();
  });
  if (!locked) return false;
  recount({agent}, now_);
  return as_extension_owner([&] { return !query("SELECT FROM reconciler.agent WHERE agent_id = $1 AND load < capacity", {Param::text(agent)}).empty(); });
}

bool FreeAgents::reserve_at(const std::string& agent) {
  return as_extension_owner([&] {
    return !query("UPDATE reconciler.agent AS a SET load = a.load + 1, spread = random() WHERE a.agent_id = $5 AND " + std::string(free_now) + " AND " + fit() + " RETURNING 1",
                  with_common({Param::text(agent)}))
                .empty();
  });
}

std::vector<PoolAgent> FreeAgents::siblings(int pool, int limit) {
  return as_extension_owner([&] {
    std::vector<PoolAgent> found;
    for (Rows::Row row : query("SELECT f.agent_id, f.pool_id, f.load, f.capacity FROM reconciler.agent_pool own JOIN reconciler.agent_pool p ON p.pool_id = own.pool_id OR (own.namespace <> ''"
                               " AND (p.platform, p.region, p.namespace, p.backend) = (own.platform, own.region, own.namespace, own.backend))"
                               " CROSS JOIN LATERAL (SELECT a.* FROM reconciler.agent a WHERE a.pool_id = p.pool_id AND " + std::string(takes_work) + " AND " +
                                   fit() + least_loaded + "$6) f WHERE own.pool_id = $5 ORDER BY f.fullness >= 1, p.pool_id <> own.pool_id, f.fullness, f.spread LIMIT $6",
                               with_common({Param::integer(pool), Param::integer(limit)})))
      found.push_back({row.text("agent_id"), static_cast<int>(row.integer("pool_id")), row.integer("load"), row.integer("capacity")});
    return found;
  });
}

void FreeAgents::leave_out_rowless(const AttachedBinding& b, int pool) {
  std::vector<std::string> members;
  as_extension_owner([&] {
    for (Rows::Row row : query("SELECT agent_id FROM reconciler.agent WHERE pool_id = $1", {Param::integer(pool)})) members.push_back(row.text(0));
  });
  left_out_ = rowless(b, members);
}

bool FreeAgents::there(const std::string& agent) {
  return as_extension_owner([&] {
    return query("SELECT coalesce((SELECT a.connected AND " + seen() + " FROM reconciler.agent a WHERE a.agent_id = $5), true) AND " + not_gone("$5"), with_common({Param::text(agent)}))
        .only()
        .boolean(0);
  });
}

std::vector<std::string> rowless(const AttachedBinding& b, const std::vector<std::string>& agents) {
  if (!b.mapping.agents || agents.empty()) return {};
  std::set<std::string> without(agents.begin(), agents.end());
  // As its owner, who may look at agents, also for somebody who may not.
  as_role(b.mapping.sessions.owner, [&] {
    for (Rows::Row row : query_batch(Statements(b.mapping).agents(), {Param::texts(agents)})) without.erase(row.text("id"));
  });
  return {without.begin(), without.end()};
}

void release(const std::string& agent) {
  as_extension_owner([&] {
    query("UPDATE reconciler.agent SET load = greatest(load - 1, 0) WHERE agent_id = (SELECT a.agent_id FROM reconciler.agent a WHERE a.agent_id = $1 FOR UPDATE SKIP LOCKED)", {Param::text(agent)});
  });
}

void take_back(const std::string& agent) {
  as_extension_owner([&] { query("UPDATE reconciler.agent SET load = load + 1 WHERE agent_id = $1", {Param::text(agent)}); });
}

std::map<std::string, std::int64_t> loads_of(const std::vector<std::string>& agents) { return counted(agents, &Statements::loads); }
std::map<std::string, std::int64_t> left_with(const std::vector<std::string>& agents) { return counted(agents, &Statements::left_with); }

void recount(const std::vector<std::string>& agents, Time now) {
  if (agents.empty()) return;
  // The lock is a statement of its own: what is counted below is what was committed when it was had.
  std::vector<std::string> locked;
  as_extension_owner([&] {
    for (Rows::Row row : query("SELECT agent_id FROM reconciler.agent WHERE agent_id = ANY($1) ORDER BY agent_id FOR UPDATE", {Param::texts(agents)})) locked.push_back(row.text(0));
  });
  auto counts = loads_of(locked);
  std::vector<std::int64_t> loads;
  for (const std::string& agent : locked) loads.push_back(counts[agent]);
  as_extension_owner([&] {
    // A place that is kept while a command is on its way is not free.
    query_batch("UPDATE reconciler.agent a SET load = t.load + (SELECT count(*) FROM reconciler.episode e WHERE e.sent_to = a.agent_id AND e.lease_until > $1 AND e.owed IS NULL"
                "   AND NOT EXISTS (SELECT FROM reconciler.policy p WHERE p.binding_id = e.binding_id AND p.state = e.state AND p.user_requested)), counted_at = $1 FROM unnest($2, $3) AS t(agent_id, load) WHERE a.agent_id = t.agent_id",
                {Param::time(now), Param::texts(locked), Param::integers(loads)});
  });
}

std::string FreeAgents::why_nobody(int pool) {
  return as_extension_owner([&] {
    const Rows rows = query("SELECT count(*) AS agents, count(*) FILTER (WHERE a.load >= a.capacity) AS full_ones, count(*) FILTER (WHERE a.draining IS NOT NULL) AS draining, count(*) FILTER (WHERE a.suspect) AS suspect,"
                            " count(*) FILTER (WHERE NOT a.connected OR (" + fit() + ") IS NOT TRUE) AS away, count(*) FILTER (WHERE NOT a.approved) AS unapproved FROM reconciler.agent a WHERE a.pool_id = $5",
                            with_common({Param::integer(pool)}));
    const Rows::Row n = rows.only();
    std::string why = n.text("agents") + (n.integer("agents") == 1 ? " agent" : " agents");
    const char* separator = ": ";
    for (const auto& [column, word] : {std::pair{"full_ones", "full"}, {"draining", "draining"}, {"suspect", "suspect"}, {"away", "not connected"}, {"unapproved", "not approved"}}) {
      why += separator + n.text(column) + " " + word;
      separator = ", ";
    }
    if (!left_out_.empty()) why += ", " + std::to_string(left_out_.size()) + " without a row in the agents table";
    return why;
  });
}

std::map<std::string, int> pools_of(const AttachedBinding& b, const std::vector<std::string>& keys) {
  std::map<std::string, int> pools;
  if (keys.empty()) return pools;
  std::vector<std::string> found;
  std::vector<std::optional<std::string>> pool, platform, region, agent;
  as_role(b.mapping.sessions.owner, [&] {
    for (Rows::Row row : query_batch(Statements(b.mapping).pools(), {Param::texts(keys)})) {
      found.push_back(row.text("key"));
      pool.push_back(row.maybe_text("pool")), platform.push_back(row.maybe_text("platform")), region.push_back(row.maybe_text("region"));
      agent.push_back(row.maybe_text("agent"));
    }
  });
  return as_extension_owner([&] {
    for (Rows::Row row : query_batch("SELECT t.key, CASE WHEN t.pool IS NULL THEN coalesce(s.pool_id, a.pool_id) ELSE " + std::string(named) + " END AS pool_id"
                                     " FROM unnest($2, $3, $4, $5, $6) AS t(key, pool, platform, region, agent)"
                                     " LEFT JOIN reconciler.session_pool s ON s.binding_id = $1 AND s.session_id = t.key LEFT JOIN reconciler.agent a ON a.agent_id = t.agent",
                                     {Param::integer(b.binding.id), Param::texts(found), Param::texts(pool), Param::texts(platform), Param::texts(region), Param::texts(agent)}))
      if (const auto id = row.maybe_integer("pool_id")) pools[row.text("key")] = static_cast<int>(*id);
    return pools;
  });
}

std::optional<int> pool_named(const std::string& name, const std::optional<std::string>& platform, const std::optional<std::string>& region) {
  return as_extension_owner([&]() -> std::optional<int> {
    const auto id = query("SELECT " + std::string(named) + " FROM (SELECT $1 AS pool, $2 AS platform, $3 AS region) t", {Param::text(name), Param::text(platform), Param::text(region)}).only().maybe_integer(0);
    return id ? std::optional(static_cast<int>(*id)) : std::nullopt;
  });
}

}  // namespace reconciler
