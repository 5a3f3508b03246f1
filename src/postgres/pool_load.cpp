#include "postgres/pool_load.hpp"

#include <vector>

#include "postgres/spi.hpp"

namespace reconciler {

Loads reserve(const Loads& wanted, const Loads& left) {
  Loads both = wanted, taken;
  for (const auto& [agent, n] : left) both.try_emplace(agent, 0);
  std::vector<std::string> agents;
  std::vector<std::int64_t> gains, losses;
  for (const auto& [agent, gain] : both) {
    const auto leaving = left.find(agent);
    const std::int64_t loss = leaving == left.end() ? 0 : leaving->second;
    if (gain > 0 || loss > 0) agents.push_back(agent), gains.push_back(gain), losses.push_back(loss);
  }
  if (agents.empty()) return taken;
  for (Rows::Row row : query_batch("WITH locked AS (SELECT a.agent_id, least(t.gain, greatest(0, a.capacity - a.load)) AS gain, t.loss"
                                   "   FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS t(agent, gain, loss) JOIN reconciler.agent a ON a.agent_id = t.agent ORDER BY a.agent_id FOR UPDATE OF a)"
                                   " UPDATE reconciler.agent a SET load = greatest(0, a.load + l.gain - l.loss), spread = random() FROM locked l WHERE a.agent_id = l.agent_id"
                                   " RETURNING a.agent_id, l.gain",
                                   {Param::texts(agents), Param::integers(gains), Param::integers(losses)}))
    if (row.integer("gain") > 0) taken[row.text("agent_id")] = row.integer("gain");
  return taken;
}

}  // namespace reconciler
