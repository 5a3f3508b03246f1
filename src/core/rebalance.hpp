// The fewest moves of sessions between the agents of a pool after which they are about equally full.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace reconciler {

// Fullness is load / capacity. A pool is balanced when its fullest and its emptiest agent are less than this apart.
constexpr double balanced_spread = 0.2;

struct AgentLoad {
  std::string id;
  std::int64_t load = 0, capacity = 0;
  std::int64_t movable = 0;  // of its load
};

struct BalancingMove {
  std::size_t from = 0, to = 0;  // into the agents
};

// Never over a capacity, never more than is movable. Where capacities are so small that no distribution is balanced, every
// agent ends within one session of its share. Empty: nothing is to be done, or nothing can be.
std::vector<BalancingMove> plan_rebalance(const std::vector<AgentLoad>&);

}  // namespace reconciler
