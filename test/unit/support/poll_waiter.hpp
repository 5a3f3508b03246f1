// Waiting by poll(), for tests outside a backend.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "engine/wait.hpp"

namespace reconciler::testing {

class PollWaiter final : public Waiter {
 public:
  // Called before every wait; may throw, as the real one does on a cancel.
  std::function<void(Duration)> before_wait = [](Duration) {};

  void wait(int fd, Duration timeout) override {
    before_wait(timeout);
    pollfd one{fd, POLLIN, 0};  // -1 is ignored
    // Often early, as the real one is when a latch is set.
    timeout = std::clamp<Duration>(timeout, Duration(0), milliseconds(20));
    auto ms = std::chrono::ceil<milliseconds>(timeout).count();
    ::poll(&one, 1, static_cast<int>(ms));
  }
  Duration uptime() const override {
    return std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch());
  }
};

}  // namespace reconciler::testing
