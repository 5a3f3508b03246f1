// What kind of world a seed makes: how large, with which hub, which policies, and what goes wrong in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/binding.hpp"
#include "simulation/random.hpp"
#include "simulation/store.hpp"

namespace reconciler::simulation {

enum class Fault {
  crash,         // a pass vanishes between two steps, committed or not
  error,         // a transaction fails
  restart,       // the server restarts: all passes vanish, the graces begin
  failover,      // … and another server goes on, on another timeline
  lost_tail,     // … to which the last seconds' commits had not come
  clock,         // the database's clock is set forward or back
  hub_down,      // for a while nobody answers
  hub_slow,      // … or late
  hub_restart,   // another instance, with no connections, and perhaps no memory
  hub_lies,      // it calls agents disconnected that are connected, and the other way round
  hub_refuses,   // 401, 429, 4xx
  lost,          // requests, answers and reports that never arrive
  late,          // requests that arrive after their sender has given up, reports that others have overtaken
  doubled,       // requests and reports that arrive twice
  death,         // an agent goes, for minutes, hours or for good
  blink,         // … for seconds
  swap,          // it comes back as another incarnation, perhaps without its sessions
  silence,       // it takes commands and does nothing
  application,   // rows change under a pass: moved, revived, deleted, made anew
  operators,     // hold, release, retry, force, pause, observe, reset the brake
  calls,         // CALL reconcile() beside the worker
  count
};
const char* to_string(Fault);
using Faults = std::uint32_t;
constexpr Faults bit(Fault fault) { return Faults{1} << static_cast<int>(fault); }
constexpr Faults all_faults = bit(Fault::count) - 1;

struct Shape {
  std::uint64_t seed = 1;
  int sessions = 10, agents = 3;
  minutes stormy = hours(2);
  Faults faults = all_faults;
  Plant plant = Plant::none;

  int pools() const;  // 0: in half of the worlds
  bool has(Fault fault) const { return faults & bit(fault); }
};
// Mostly small, a few with thousands of sessions; each with some of the faults.
Shape shape_of(std::uint64_t seed);
Binding binding_of(const Shape&, bool heartbeats, Random&);

}  // namespace reconciler::simulation
