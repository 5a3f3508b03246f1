// Sessions by agent and pool, for those who look.
#include "postgres/store.hpp"

namespace reconciler {

std::map<std::string, std::int64_t> PgStore::sessions_of(const std::vector<std::string>& agents) {
  std::map<std::string, std::int64_t> counted;
  if (!b_.mapping.sessions.agent) return counted;
  return transactions_.run("counting sessions by agent", [&] {
    for (Rows::Row row : theirs([&] { return query_batch(sql_.left_with(), {Param::texts(agents)}); })) counted[row.text("agent")] = row.integer("n");
    return counted;
  });
}

std::vector<PgStore::Populated> PgStore::population() {
  return transactions_.run("counting sessions by pool", [&] {
    std::vector<std::string> keys;
    std::vector<std::int64_t> pools;
    ours([&] {
      for (Rows::Row row : query("SELECT session_id, pool_id FROM reconciler.session_pool WHERE binding_id = $1 AND pool_id IS NOT NULL", {Param::integer(b_.binding.id)}))
        keys.push_back(row.text(0)), pools.push_back(row.integer(1));
    });
    std::vector<Populated> counted;
    for (Rows::Row row : theirs([&] { return query_batch(sql_.population(), {Param::texts(keys), Param::integers(pools)}); }))
      counted.push_back({row.maybe_text("state"), row.maybe_text("agent"), row.maybe_text("pool"), row.maybe_text("platform"), row.maybe_text("region"), row.maybe_integer("kept"), row.integer("n")});
    return counted;
  });
}

}  // namespace reconciler
