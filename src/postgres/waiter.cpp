#include "postgres/waiter.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "postgres/boundary.hpp"
#include "postgres/pg.hpp"

namespace reconciler {

namespace {

int reload_count = 0;

// One set for the life of the process: latch, postmaster death and `inner`. The caller's descriptor is watched by
// `inner`, because a member of a wait set can't be removed, and because a descriptor number says little: epoll forgets
// one that is closed, and the next HTTP client gets the same number. Asking `inner` to add it each time costs one
// system call and settles both; a set made anew for each wait costs ten times as much.
struct Kept {
  WaitEventSet* set = nullptr;
  int inner = -1;
  int watched = -1;
} kept;

void make_set() {
  const int inner = epoll_create1(EPOLL_CLOEXEC);
  if (inner < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  ReserveExternalFD();  // fd.c keeps its own count below the limit
  WaitEventSet* set = nullptr;
  try {
    guarded([&] {
      set = compat::create_wait_set(3);
      AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, nullptr);
      AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, nullptr, nullptr);
      AddWaitEventToSet(set, WL_SOCKET_READABLE, inner, nullptr, nullptr);
    });
  } catch (...) {
    if (set) FreeWaitEventSet(set);
    close(inner);
    ReleaseExternalFD();
    throw;
  }
  kept.set = set;
  kept.inner = inner;
}

void watch(int fd) {
  if (kept.watched >= 0 && kept.watched != fd) epoll_ctl(kept.inner, EPOLL_CTL_DEL, kept.watched, nullptr);  // if it is there
  kept.watched = fd;
  if (fd < 0) return;
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(kept.inner, EPOLL_CTL_ADD, fd, &event) != 0 && errno != EEXIST)
    throw std::system_error(errno, std::generic_category(), "could not watch a descriptor");
}

// What a worker does between two steps, because no command loop does it: follow a reload, and read invalidation
// messages before the others have to wait for us. A backend in a CALL does both when the command has ended.
void serve_idle_worker() {
  if (MyBgworkerEntry == nullptr || IsTransactionState()) return;
  if (ConfigReloadPending) {
    ConfigReloadPending = false;
    ProcessConfigFile(PGC_SIGHUP);
    ++reload_count;
  }
  if (catchupInterruptPending) {
    MemoryContext outer = CurrentMemoryContext;
    ProcessCatchupInterrupt();
    MemoryContextSwitchTo(outer);
  }
}

// No transaction, snapshot or row lock is held while HTTP is in flight: checked where it would be broken.
void refuse_to_hold() {
  InvalidateCatalogSnapshotConditionally();
  if (compat::holds_snapshot() || TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
      TransactionIdIsValid(compat::oldest_xmin_of_this_backend()))
    throw std::logic_error("would wait for the network with a snapshot or a transaction id held");
}

}  // namespace

void BackendWaiter::wait(int fd, Duration timeout) {
  static uint32 event_name = 0;
  // Rounded up: an early return would spin until the due time. A wait of a day is as good as a longer one.
  const auto millis = std::chrono::ceil<milliseconds>(std::clamp<Duration>(timeout, Duration(0), hours(24))).count();
  if (!kept.set) make_set();
  watch(fd);
  guarded([&] {
    serve_idle_worker();
    refuse_to_hold();
    WaitEvent event{};
    const uint32 shown_as = compat::wait_event("SessionReconciler", &event_name);
    const int events = WaitEventSetWait(kept.set, static_cast<long>(millis), &event, 1, shown_as);
    if (events > 0 && (event.events & WL_LATCH_SET)) ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
    serve_idle_worker();
  });
}

int BackendWaiter::reloads() { return reload_count; }

Duration BackendWaiter::uptime() const {
  return std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace reconciler
