#include "core/rebalance.hpp"

#include <algorithm>
#include <queue>
#include <utility>

namespace reconciler {
namespace {

// Fullness in steps so small that no two fractions of capacities are taken for one: what is under the limit and what is at it
// is told exactly.
using Steps = std::int64_t;
constexpr Steps whole = 5 * (Steps(1) << 50), limit = whole / 5;  // 1, and balanced_spread

std::int64_t part(std::int64_t capacity, Steps fullness, bool up) {
  const __int128 product = static_cast<__int128>(capacity) * std::max<Steps>(fullness, 0);
  return static_cast<std::int64_t>((product + (up ? whole - 1 : 0)) / whole);
}

// The loads that an agent may end with when everybody's fullness is from `lowest` to less than the limit above it.
struct Window {
  Steps lowest = 0;
  bool relaxed = false;  // a session less or more: some distribution fits then, whatever the capacities

  std::int64_t least(const AgentLoad& a) const { return part(a.capacity, lowest, !relaxed); }
  std::int64_t most(const AgentLoad& a) const {
    return std::clamp<std::int64_t>(part(a.capacity, lowest + limit, true) - (relaxed ? 0 : 1), 0, a.capacity);
  }
};

// What does not fit into a window: sessions above it have to leave, those below it are wanted.
struct Misfit {
  std::int64_t above = 0, below = 0;
  bool possible = true;  // every agent has a load in it, and all sessions fit
  std::int64_t moves() const { return std::max(above, below); }
};

Misfit misfit(const std::vector<AgentLoad>& agents, const Window& window) {
  Misfit sum;
  std::int64_t loads = 0, least = 0, most = 0;
  for (const AgentLoad& a : agents) {
    sum.above += std::max<std::int64_t>(0, a.load - window.most(a)), sum.below += std::max<std::int64_t>(0, window.least(a) - a.load);
    loads += a.load, least += window.least(a), most += window.most(a);
    sum.possible &= window.least(a) <= window.most(a);
  }
  sum.possible &= least <= loads && loads <= most;
  return sum;
}

// The higher the window, the fewer sessions are above it and the more are wanted below: the fewest moves are where the two
// meet, or at the nearest window in which agents of few sessions have a load: their own fullnesses are far apart.
Window best_window(const std::vector<AgentLoad>& agents, bool relaxed) {
  Steps low = -limit, high = whole;
  while (high - low > 1) {
    const Steps middle = low + (high - low) / 2;
    const Misfit there = misfit(agents, {middle, relaxed});
    (there.above >= there.below ? low : high) = middle;
  }
  std::vector<Window> windows{{low, relaxed}, {high, relaxed}};
  for (Steps capacity = 1; capacity * limit < whole; ++capacity)
    for (Steps load = 0; load <= capacity; ++load)
      for (const Steps shift : {Steps(0), -limit})
        for (const Steps beside : {0, 1}) windows.push_back({whole / capacity * load + shift + beside, relaxed});
  const auto cost = [&](const Window& window) {
    const Misfit m = misfit(agents, window);
    return std::pair(!m.possible, m.moves());
  };
  return *std::min_element(windows.begin(), windows.end(), [&](const Window& a, const Window& b) { return cost(a) < cost(b); });
}

// The agents that give, or take, one session after another: always the one that is fullest (emptiest) after the last.
class Line {
 public:
  Line(const std::vector<AgentLoad>& agents, int step) : agents_(agents), step_(step) {}
  void add(std::size_t agent, std::int64_t sessions) {
    if (sessions > 0) queue_.push({rank(agents_[agent].load, agent), agent, agents_[agent].load, sessions});
  }
  // Takes up to `wanted` turns; the agents, in their order.
  void take(std::int64_t wanted, std::vector<std::size_t>& turns, std::vector<std::int64_t>& taken) {
    for (; wanted > 0 && !queue_.empty(); --wanted) {
      Place next = queue_.top();
      queue_.pop();
      turns.push_back(next.agent), ++taken[next.agent];
      next.load += step_, next.rank = rank(next.load, next.agent);
      if (--next.sessions > 0) queue_.push(next);
    }
  }

 private:
  struct Place {
    double rank;
    std::size_t agent;
    std::int64_t load, sessions;
    bool operator<(const Place& other) const { return rank < other.rank || (rank == other.rank && agent > other.agent); }
  };
  double rank(std::int64_t load, std::size_t agent) const {
    const double fullness = agents_[agent].capacity > 0 ? static_cast<double>(load) / static_cast<double>(agents_[agent].capacity) : 1e9;
    return step_ < 0 ? fullness : -fullness;
  }
  const std::vector<AgentLoad>& agents_;
  const int step_;
  std::priority_queue<Place> queue_;
};

// First what has to go (or come), then what the other side needs besides.
std::vector<std::size_t> turns(const std::vector<AgentLoad>& agents, int step, std::int64_t moves, const std::vector<std::int64_t>& must, const std::vector<std::int64_t>& can) {
  std::vector<std::size_t> order;
  std::vector<std::int64_t> taken(agents.size());
  Line first(agents, step);
  for (std::size_t i = 0; i < agents.size(); ++i) first.add(i, must[i]);
  first.take(moves, order, taken);
  std::vector<AgentLoad> after = agents;
  for (std::size_t i = 0; i < agents.size(); ++i) after[i].load += step * taken[i];
  Line second(after, step);
  for (std::size_t i = 0; i < agents.size(); ++i) second.add(i, can[i] - taken[i]);
  second.take(moves - static_cast<std::int64_t>(order.size()), order, taken);
  return order;
}

bool balanced(const std::vector<AgentLoad>& agents) {
  double lowest = 1e9, highest = -1;
  for (const AgentLoad& a : agents) {
    if (a.capacity == 0 && a.load == 0) continue;
    const double fullness = a.capacity > 0 ? static_cast<double>(a.load) / static_cast<double>(a.capacity) : 1e9;
    lowest = std::min(lowest, fullness), highest = std::max(highest, fullness);
  }
  return highest - lowest < balanced_spread - 1e-12;
}

}  // namespace

std::vector<BalancingMove> plan_rebalance(const std::vector<AgentLoad>& agents) {
  if (balanced(agents)) return {};
  Window window = best_window(agents, false);
  if (!misfit(agents, window).possible) window = best_window(agents, true);
  const Misfit wrong = misfit(agents, window);
  if (wrong.moves() == 0) return {};

  std::vector<std::int64_t> leave, may_leave, come, may_come;
  for (const AgentLoad& a : agents) {
    const std::int64_t least = window.least(a), most = window.most(a);
    leave.push_back(std::min(a.movable, std::max<std::int64_t>(0, a.load - most)));
    may_leave.push_back(std::min(a.movable, std::max<std::int64_t>(0, a.load - least)));
    come.push_back(std::max<std::int64_t>(0, least - a.load));
    may_come.push_back(std::max<std::int64_t>(0, most - a.load));
  }
  const std::vector<std::size_t> from = turns(agents, -1, wrong.moves(), leave, may_leave);
  const std::vector<std::size_t> to = turns(agents, +1, static_cast<std::int64_t>(from.size()), come, may_come);
  std::vector<BalancingMove> moves;
  for (std::size_t i = 0; i < std::min(from.size(), to.size()); ++i)
    if (from[i] != to[i]) moves.push_back({from[i], to[i]});
  return moves;
}

}  // namespace reconciler
