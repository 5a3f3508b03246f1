// The fewest moves, held against every distribution there is.
#include "core/rebalance.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <random>

#include <gtest/gtest.h>

namespace reconciler {
namespace {

using Agents = std::vector<AgentLoad>;

double fullness(const AgentLoad& a) { return static_cast<double>(a.load) / static_cast<double>(a.capacity); }

double spread(const Agents& agents) {
  const auto [low, high] = std::minmax_element(agents.begin(), agents.end(), [](const auto& a, const auto& b) { return fullness(a) < fullness(b); });
  return fullness(*high) - fullness(*low);
}

Agents moved(Agents agents, const std::vector<BalancingMove>& moves) {
  for (const BalancingMove& m : moves) --agents[m.from].load, ++agents[m.to].load;
  return agents;
}

// By trying all: the fewest moves after which the spread is under the limit; empty: no distribution does it.
std::optional<std::int64_t> fewest(const Agents& agents) {
  std::int64_t sessions = 0;
  for (const AgentLoad& a : agents) sessions += a.load;
  std::optional<std::int64_t> best;
  Agents now = agents;
  const std::function<void(std::size_t, std::int64_t)> give = [&](std::size_t i, std::int64_t left) {
    if (i == agents.size()) {
      if (left > 0 || spread(now) >= balanced_spread - 1e-9) return;
      std::int64_t moves = 0;
      for (std::size_t k = 0; k < agents.size(); ++k) moves += std::max<std::int64_t>(0, agents[k].load - now[k].load);
      if (!best || moves < *best) best = moves;
      return;
    }
    for (std::int64_t n = 0; n <= std::min(left, agents[i].capacity); ++n) now[i].load = n, give(i + 1, left - n);
  };
  give(0, sessions);
  return best;
}

TEST(Rebalance, AnEmptyAgentGetsWhatTheFullOnesHaveOver) {
  const Agents agents{{"a", 50, 100, 50}, {"b", 50, 100, 50}, {"c", 0, 100, 0}};
  const auto moves = plan_rebalance(agents);
  EXPECT_EQ(moves.size(), 21u) << "40, 39 and 21";
  EXPECT_LT(spread(moved(agents, moves)), balanced_spread);
}

TEST(Rebalance, ABalancedPoolIsLeftAlone) {
  EXPECT_TRUE(plan_rebalance({{"a", 50, 100, 50}, {"b", 31, 100, 31}}).empty());
  EXPECT_TRUE(plan_rebalance({{"a", 50, 100, 50}}).empty());
  EXPECT_TRUE(plan_rebalance({}).empty());
  EXPECT_FALSE(plan_rebalance({{"a", 50, 100, 50}, {"b", 30, 100, 30}}).empty()) << "0.2 is not under 0.2";
}

TEST(Rebalance, OnlyWhatIsMovableMoves) {
  EXPECT_TRUE(plan_rebalance({{"a", 50, 100, 0}, {"b", 0, 100, 0}}).empty());
  EXPECT_EQ(plan_rebalance({{"a", 50, 100, 3}, {"b", 0, 100, 0}}).size(), 3u);
}

TEST(Rebalance, AnAgentOverItsCapacityIsRelieved) {
  const Agents agents{{"a", 30, 10, 30}, {"b", 0, 100, 0}};
  const auto moves = plan_rebalance(agents);
  const Agents after = moved(agents, moves);
  EXPECT_LE(after[0].load, 10);
  EXPECT_LT(spread(after), balanced_spread);
}

TEST(Rebalance, CapacitiesOfOneCanNotBeBalancedAndNothingMoves) {
  EXPECT_TRUE(plan_rebalance({{"a", 1, 1, 1}, {"b", 0, 1, 0}}).empty());
}

TEST(Rebalance, NeverMoreMovesThanNeeded) {
  std::mt19937 random(20261125);
  const auto any = [&](std::int64_t to) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(to + 1)); };
  int balanced = 0;
  for (int world = 0; world < 3000; ++world) {
    Agents agents;
    for (std::int64_t n = 2 + any(2); n > 0; --n) {
      AgentLoad a{"agent" + std::to_string(n), 0, 1 + any(11), 0};
      a.load = a.movable = any(a.capacity);
      agents.push_back(a);
    }
    const auto moves = plan_rebalance(agents);
    const Agents after = moved(agents, moves);
    for (const AgentLoad& a : after) {
      EXPECT_LE(a.load, a.capacity) << "world " << world;
      EXPECT_GE(a.load, 0) << "world " << world;
    }
    EXPECT_TRUE(plan_rebalance(after).empty()) << "world " << world << ": done is done";
    if (const auto needed = fewest(agents)) {
      ++balanced;
      EXPECT_EQ(static_cast<std::int64_t>(moves.size()), *needed) << "world " << world;
      EXPECT_LT(spread(after), balanced_spread) << "world " << world;
    }
  }
  EXPECT_GT(balanced, 500) << "the worlds test something";
}

TEST(Rebalance, TenThousandAgentsAreNoMatter) {
  Agents agents;
  std::int64_t sessions = 0;
  for (int i = 0; i < 10000; ++i) {
    agents.push_back({std::to_string(i), i % 101, 100, i % 101});
    sessions += i % 101;
  }
  const Agents after = moved(agents, plan_rebalance(agents));
  std::int64_t now = 0;
  for (const AgentLoad& a : after) now += a.load;
  EXPECT_EQ(now, sessions);
  EXPECT_LT(spread(after), balanced_spread);
}

}  // namespace
}  // namespace reconciler
