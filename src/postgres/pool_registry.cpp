#include "postgres/pool_registry.hpp"

#include "postgres/clock.hpp"
#include "postgres/events.hpp"
#include "postgres/pool_agents.hpp"
#include "postgres/role.hpp"
#include "postgres/spi.hpp"

namespace reconciler {
namespace {

constexpr OptionSpec known_options[] = {
    {"namespace", OptionKind::text, "not said", "where the pool's agents create what sessions run in; pools that have it in common, with platform, region and backend, help each other"},
    {"backend", OptionKind::text, "not said", "what the pool's agents run sessions with"},
    {"default_capacity", OptionKind::integer, "100", "sessions that an agent takes which names no capacity, 0 to 1000000"},
    {"runtimes_outlive_agents", OptionKind::boolean, "true on platform kubernetes, else false", "what sessions run in lives on without its agent, so that running sessions can be given to another"},
};

bool blank(const std::string& text) { return text.find_first_not_of(" \t\n") == std::string::npos; }

std::optional<std::string> image(const PoolKey& pool) {
  const Rows rows = query("SELECT to_jsonb(p)::text FROM reconciler.agent_pool p WHERE (p.platform, p.region, p.name) = ($1, $2, $3)",
                          {Param::text(pool.platform), Param::text(pool.region), Param::text(pool.name)});
  return rows.empty() ? std::nullopt : std::optional(rows[0].text(0));
}

}  // namespace

Options pool_options(const std::string& json) { return Options(json, known_options, "create_agent_pool()"); }

std::string shown(const PoolKey& pool) {
  std::string name;
  for (const std::string& part : {pool.platform, pool.region})
    if (!part.empty()) name += part + "/";
  return name + pool.name;
}

std::string pools_there_are() {
  return as_extension_owner([] {
    std::vector<std::string> names;
    for (Rows::Row row : query("SELECT name, platform, region FROM reconciler.agent_pool ORDER BY platform, region, name LIMIT 50"))
      names.push_back(shown({row.text("name"), row.text("platform"), row.text("region")}));
    return names.empty() ? std::string("There is no pool yet: create_agent_pool() or register_agent() makes one.") : "Pools there are: " + comma_list(names) + ".";
  });
}

void require_agent_id(const std::string& agent) {
  if (blank(agent)) throw UserError("22023", "an agent_id is required", "It is what the sessions table's agent column holds.");
}

void check_capacity(std::optional<std::int64_t> capacity, const char* what) {
  if (capacity && (*capacity < 0 || *capacity > 1000000))
    throw UserError("22023", std::string(what) + " must be between 0 and 1000000", "It is how many sessions an agent takes at once.", "It is " + std::to_string(*capacity) + ".");
}

UserError unknown_agent(const std::string& agent) {
  return UserError("P0002", "agent \"" + agent + "\" is in no pool", "register_agent() puts it into one.", "Ids are compared with case.");
}

int set_pool(const PoolKey& pool, const Options& options, const char* by) {
  if (blank(pool.name)) throw UserError("22023", "a pool needs a name", "For instance 'default'.");
  for (const auto& [what, said] : {std::pair{"name", &pool.name}, {"platform", &pool.platform}, {"region", &pool.region}})
    if (said->size() > 255) throw UserError("22023", std::string("the ") + what + " of a pool is too long", {}, "It has " + std::to_string(said->size()) + " bytes, of 255 at most.");
  check_capacity(options.integer("default_capacity"), "option \"default_capacity\"");
  const std::string actor = acting_role();
  return as_extension_owner([&] {
    const std::optional<bool> outlive = options.given("runtimes_outlive_agents") ? std::optional(options.flag("runtimes_outlive_agents")) : std::nullopt;
    const auto before = image(pool);
    if (before && options.all().empty()) return nlohmann::json::parse(*before).at("pool_id").get<int>();  // as every agent says that registers
    const int id = static_cast<int>(
        query("INSERT INTO reconciler.agent_pool AS p (name, platform, region, namespace, backend, default_capacity, runtimes_outlive_agents)"
              " VALUES ($1, $2, $3, coalesce($4, ''), coalesce($5, ''), coalesce($6, 100), coalesce($7, $2 = 'kubernetes')) ON CONFLICT (platform, region, name) DO UPDATE SET"
              " namespace = coalesce($4, p.namespace), backend = coalesce($5, p.backend), default_capacity = coalesce($6, p.default_capacity),"
              " runtimes_outlive_agents = coalesce($7, p.runtimes_outlive_agents) RETURNING pool_id",
              {Param::text(pool.name), Param::text(pool.platform), Param::text(pool.region), Param::text(options.text("namespace")), Param::text(options.text("backend")),
               Param::integer(options.integer("default_capacity")), Param::boolean(outlive)})
            .only()
            .integer(0));
    const auto after = image(pool);
    if (before != after) {
      const nlohmann::json old = before ? nlohmann::json::parse(*before) : nlohmann::json();
      write_events({}, std::nullopt, database_now(), actor,
                   {{.session = {}, .kind = "policy_changed", .from_state = {}, .to_state = {}, .reason = {}, .rule = by,
                     .evidence = nlohmann::json{{"pool", shown(pool)}, {"old", old}, {"new", nlohmann::json::parse(*after)}}.dump(), .before = {}, .after = {}}});
    }
    return id;
  });
}

std::optional<int> pool_of_agent(const std::string& agent) {
  return as_extension_owner([&]() -> std::optional<int> {
    const Rows rows = query("SELECT pool_id FROM reconciler.agent WHERE agent_id = $1", {Param::text(agent)});
    return rows.empty() ? std::nullopt : std::optional(static_cast<int>(rows[0].integer(0)));
  });
}

bool register_agent(const std::string& agent, int pool, std::optional<std::int64_t> capacity, const std::optional<std::string>& incarnation, Time now) {
  check_capacity(capacity, "capacity");
  const bool fresh = as_extension_owner([&] {
    return query("INSERT INTO reconciler.agent AS a (agent_id, pool_id, capacity, incarnation, source, connected, last_seen, registered)"
                 " SELECT $1, p.pool_id, coalesce($3, p.default_capacity), coalesce($4, ''), 'call', true, $5, $5 FROM reconciler.agent_pool p WHERE p.pool_id = $2"
                 " ON CONFLICT (agent_id) DO UPDATE SET pool_id = excluded.pool_id, capacity = coalesce($3, CASE WHEN a.pool_id = excluded.pool_id THEN a.capacity END, excluded.capacity), incarnation = coalesce($4, a.incarnation), source = 'call',"
                 " connected = true, last_seen = $5 RETURNING NOT EXISTS (SELECT FROM reconciler.agent b WHERE b.agent_id = $1)",
                 {Param::text(agent), Param::integer(pool), Param::integer(capacity), Param::text(incarnation), Param::time(now)})
        .only()
        .boolean(0);
  });
  if (fresh) recount({agent}, now);
  return fresh;
}

bool note_connection(const std::string& agent, bool connected, const std::string& incarnation, Time now) {
  return as_extension_owner([&] {
    return !query("UPDATE reconciler.agent SET connected = $2, last_seen = CASE WHEN $2 THEN $4 ELSE last_seen END, incarnation = coalesce(nullif($3, ''), incarnation) WHERE agent_id = $1 RETURNING 1",
                  {Param::text(agent), Param::boolean(connected), Param::text(incarnation), Param::time(now)})
                .empty();
  });
}

}  // namespace reconciler
