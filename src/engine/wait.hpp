// Waiting goes through one place. In a backend: the latch, postmaster death and one descriptor together,
// serving cancel, terminate and reload at once. In tests: poll().
#pragma once

#include <optional>

#include "core/time.hpp"

namespace reconciler {

class Waiter {
 public:
  virtual ~Waiter() = default;
  // Returns when `fd` (-1: none) is readable, after `timeout`, or early for any reason. Throws when the
  // caller has to stop (query cancel); on shutdown it may not return at all.
  virtual void wait(int fd, Duration timeout) = 0;
  // A clock that only measures spans (monotonic); never compared with database time.
  virtual Duration uptime() const = 0;
};

}  // namespace reconciler
