#include "postgres/pool_load.hpp"

#include <vector>

#include "postgres/spi.hpp"

namespace reconciler {
namespace {

struct Columns {
  std::vector<std::string> agents;
  std::vector<std::int64_t> sessions;
  explicit Columns(const Loads& loads) {
    for (const auto& [agent, n] : loads)
      if (n > 0) agents.push_back(agent), sessions.push_back(n);
  }
};

constexpr const char* locked =
    "WITH locked AS (SELECT a.agent_id, t.n, greatest(0, a.capacity - a.load) AS room FROM unnest($1::text[], $2::bigint[]) AS t(agent, n) JOIN reconciler.agent a ON a.agent_id = t.agent ORDER BY a.agent_id FOR UPDATE OF a)";

}  // namespace

Loads reserve(const Loads& wanted) {
  Loads granted;
  const Columns columns(wanted);
  if (columns.agents.empty()) return granted;
  for (Rows::Row row : query_batch(std::string(locked) + " UPDATE reconciler.agent a SET load = a.load + least(l.n, l.room), spread = random() FROM locked l"
                                                         " WHERE a.agent_id = l.agent_id AND l.room > 0 RETURNING a.agent_id, least(l.n, l.room) AS granted",
                                   {Param::texts(columns.agents), Param::integers(columns.sessions)}))
    granted[row.text("agent_id")] = row.integer("granted");
  return granted;
}

void release(const Loads& left) {
  const Columns columns(left);
  if (columns.agents.empty()) return;
  query_batch(std::string(locked) + " UPDATE reconciler.agent a SET load = greatest(0, a.load - l.n) FROM locked l WHERE a.agent_id = l.agent_id",
              {Param::texts(columns.agents), Param::integers(columns.sessions)});
}

}  // namespace reconciler
