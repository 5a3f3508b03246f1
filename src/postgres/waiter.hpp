// The one place where a backend or the worker waits. Serves MyLatch (never another one: a ProcSignalBarrier, and
// with it every DROP DATABASE, waits for us otherwise), postmaster death and one descriptor.
#pragma once

#include "engine/wait.hpp"

namespace reconciler {

class BackendWaiter final : public Waiter {
 public:
  // Cancel comes out as PostgresError 57014; SIGTERM and the postmaster's death do not return. Waiting with a
  // snapshot or an xid is std::logic_error: nothing is held while HTTP is in flight.
  void wait(int fd, Duration timeout) override;
  Duration uptime() const override;
  static int reloads();  // configuration reloads that a wait of this process followed
};

}  // namespace reconciler
