#include "simulation/shape.hpp"

namespace reconciler::simulation {

const char* to_string(Fault fault) {
  static constexpr const char* names[] = {"crash", "error", "restart", "failover", "lost_tail", "clock", "hub_down", "hub_slow", "hub_restart", "hub_lies", "hub_refuses",
                                          "lost", "late", "doubled", "death", "blink", "swap", "silence", "application", "operators", "calls"};
  static_assert(std::size(names) == static_cast<std::size_t>(Fault::count));
  return names[static_cast<int>(fault)];
}

Shape shape_of(std::uint64_t seed) {
  Random dice(seed, "shape");
  Shape shape;
  shape.seed = seed;
  const bool large = dice.chance(5);
  shape.sessions = static_cast<int>(large ? dice.between(1000, 5000) : dice.between(1, 30));
  shape.agents = static_cast<int>(large ? dice.between(20, 2000) : dice.between(1, 8));
  shape.stormy = minutes(large ? 40 : dice.between(30, 240));
  // Half of the kinds in each world: all of them at once leave no time in which anything is inferred.
  shape.faults = static_cast<Faults>(dice.next()) & all_faults;
  return shape;
}

int Shape::pools() const {
  Random dice(seed, "pools");
  return dice.chance(500) ? static_cast<int>(dice.between(1, agents > 10 ? 8 : 3)) : 0;
}

namespace {

Policy ending(Random& dice) {
  Policy p;
  p.state = "terminating";
  p.stuck_after = dice.between(minutes(1), minutes(5));
  p.gone_after = std::max(*p.stuck_after, dice.between(minutes(3), minutes(10)));
  p.no_agent = dice.chance(700) ? NoAgent::close : NoAgent::show;
  p.when_spent = dice.chance(300) ? WhenSpent::close_unconfirmed : WhenSpent::quarantine;
  return p;
}

Policy lost_agent(bool can_ask, Random& dice) {
  Policy p;
  p.state = "running", p.stuck_after.reset(), p.gone_after = dice.between(minutes(2), minutes(10));
  p.reason = "agent_disconnected", p.user_requested = false, p.no_agent = NoAgent::show, p.retry_action.clear();
  p.late_return = dice.chance(500) && can_ask ? LateReturn::readopt : LateReturn::keep_terminated;
  return p;
}

Policy starting(const char* state, Random& dice) {
  Policy p;
  p.state = state, p.stuck_after = dice.between(minutes(2), minutes(10)), p.gone_after = *p.stuck_after;
  p.becomes = "failed", p.user_requested = false, p.retry_action = p.awaits = start_session;
  p.acknowledged_timeout = dice.between(minutes(3), minutes(10));
  return p;
}

Policy on_its_way(const char* state, const char* awaits, const char* becomes) {
  Policy p;
  p.state = state, p.stuck_after = minutes(10), p.infers = false, p.user_requested = false, p.no_agent = NoAgent::show;
  p.retry_action.clear(), p.awaits = awaits, p.completed_becomes = becomes;
  return p;
}

}  // namespace

Binding binding_of(const Shape& shape, bool heartbeats, Random& dice) {
  Binding b;
  b.id = 1, b.name = "app.sessions", b.hub = "hub";
  b.terminal_states = {"terminated", "failed"};
  b.agents_table = heartbeats;
  b.commands_table = heartbeats || dice.chance(700);
  b.pools = shape.pools() > 0;
  b.batch_size = shape.sessions > 100 ? 500 : static_cast<int>(dice.between(1, 40));
  b.command_spacing = dice.chance(500) ? milliseconds(500) : Duration(0);
  b.brake.floor = dice.between(1, 20), b.brake.per_second = dice.between(1, 50);
  b.brake.user_floor = std::max<std::int64_t>(shape.sessions / 4, dice.between(1, 20));
  b.policies = {ending(dice)};
  if (dice.chance(600)) b.policies.push_back(lost_agent(!heartbeats, dice));
  if (dice.chance(700)) b.policies.push_back(starting("pending", dice));
  if (dice.chance(700)) b.policies.push_back(on_its_way("hibernating", "hibernate_session", "hibernated"));
  if (dice.chance(700)) b.policies.push_back(on_its_way("waking", "wake_session", "running"));
  for (Policy& p : b.policies) {
    p.max_attempts = static_cast<int>(dice.between(1, 5));
    p.command_timeout = dice.between(minutes(1), minutes(4));
    p.retry_base = dice.between(seconds(5), seconds(60)), p.retry_cap = dice.between(minutes(1), minutes(4));
    p.unreachable_limit = dice.between(minutes(10), minutes(40));
    p.unconfirmed_stops = static_cast<int>(dice.between(1, 3)), p.unconfirmed_after = dice.between(minutes(2), minutes(10));
  }
  return b;
}

}  // namespace reconciler::simulation
