#include "postgres/shmem.hpp"

#include <signal.h>

#include "postgres/boundary.hpp"
#include "postgres/slots.hpp"
#include "postgres/waiter.hpp"
#include "postgres/pg.hpp"

namespace reconciler::shared {

namespace {

constexpr const char* area_name = "session_reconciler";
constexpr std::uint32_t area_magic = 0x53524331;  // "SRC1"
constexpr std::uint32_t area_version = 1;         // of this layout
constexpr std::int64_t first_pause = 5 * USECS_PER_SEC, longest_pause = 5 * USECS_PER_MINUTE;
constexpr std::int64_t healthy_after = 60 * USECS_PER_SEC;

struct Area {
  std::uint32_t magic, version, size;
  std::int32_t launcher_pid;
  bool out_of_slots, out_of_workers;
  Slot slots[slot_count];
};

Area* area;
LWLock* lock;
Oid own_database;  // of the worker that this process is

// Held for a few instructions; nothing in between may raise.
class Locked {
 public:
  explicit Locked(LWLockMode mode = LW_EXCLUSIVE) { LWLockAcquire(lock, mode); }
  ~Locked() { LWLockRelease(lock); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
};

Slot* find(Oid database) {
  for (Slot& slot : area->slots)
    if (slot.state != SlotState::empty && slot.database == database) return &slot;
  return nullptr;
}

Slot* find_or_take(Oid database) {
  if (Slot* slot = find(database)) return slot;
  for (Slot& slot : area->slots)
    if (slot.state == SlotState::empty) {
      slot = Slot{};
      slot.database = database;
      return &slot;
    }
  area->out_of_slots = true;
  return nullptr;
}

// A latch is reached through the pid, looked up at that moment: the process may be gone.
void set_latch_of(int pid) {
  if (pid == 0 || pid == MyProcPid) return;
  if (PGPROC* process = BackendPidGetProc(pid)) SetLatch(&process->procLatch);
}

void want_again_later(Slot& slot, TimestampTz now) {
  slot.failures = now - slot.started_at >= healthy_after ? 1 : slot.failures + 1;
  std::int64_t pause = first_pause;
  for (int i = 1; i < slot.failures && pause < longest_pause; ++i) pause *= 2;
  slot.due_at = now + std::min(pause, longest_pause);
  slot.state = SlotState::wanted;
  slot.pid = 0;
}

void leave_launcher(int, Datum) {
  const Locked locked;
  if (area->launcher_pid == MyProcPid) area->launcher_pid = 0;
}

// However the worker ends, short of a crash, which empties all of shared memory.
void leave_worker(int, Datum) {
  int launcher = 0;
  {
    const Locked locked;
    Slot* slot = find(own_database);
    if (!slot || slot->pid != MyProcPid) return;
    if (slot->state == SlotState::starting || slot->state == SlotState::running)
      want_again_later(*slot, GetCurrentTimestamp());
    else slot->pid = 0;  // stopped, or already asked for again
    launcher = area->launcher_pid;
  }
  set_latch_of(launcher);
}

void create_area() {
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  bool found = false;
  area = static_cast<Area*>(ShmemInitStruct(area_name, sizeof(Area), &found));
  lock = &GetNamedLWLockTranche(area_name)->lock;
  if (!found) {
    new (area) Area{};
    area->magic = area_magic;
    area->version = area_version;
    area->size = sizeof(Area);
  } else if (area->magic != area_magic || area->version != area_version || area->size != sizeof(Area)) {
    area = nullptr;  // made by another version of this library: as if it were not there
  }
  LWLockRelease(AddinShmemInitLock);
}

void request_memory() {
  RequestAddinShmemSpace(MAXALIGN(sizeof(Area)));
  RequestNamedLWLockTranche(area_name, 1);
}

shmem_startup_hook_type previous_startup;

void on_startup() {
  if (previous_startup) previous_startup();
  create_area();
}

}  // namespace

void request() {
  compat::on_shmem_request(request_memory);
  previous_startup = shmem_startup_hook;
  shmem_startup_hook = on_startup;
}

bool available() { return area != nullptr; }

// ---- launcher ----

void enter_launcher() {
  {
    const Locked locked;
    area->launcher_pid = MyProcPid;
  }
  before_shmem_exit(leave_launcher, static_cast<Datum>(0));
}

std::vector<Slot> snapshot() {
  std::vector<Slot> used;
  if (!area) return used;
  used.reserve(slot_count);  // no allocation under the lock
  const Locked locked(LW_SHARED);
  for (const Slot& slot : area->slots)
    if (slot.state != SlotState::empty) used.push_back(slot);
  return used;
}

bool want(Oid database, bool even_if_stopped) {
  if (!area) return false;
  const Locked locked;
  Slot* slot = find_or_take(database);
  if (!slot) return false;
  const bool idle = slot->state == SlotState::empty || (slot->state == SlotState::stopped && even_if_stopped);
  if (idle) slot->failures = 0;
  if (idle || (slot->state == SlotState::wanted && even_if_stopped)) {
    slot->state = SlotState::wanted;
    slot->due_at = 0;
  }
  slot->wake = true;
  return true;
}

void forget(Oid database) {
  const Locked locked;
  if (Slot* slot = find(database); slot && slot->pid == 0) *slot = Slot{};
}

void dismiss(Oid database) {
  const Locked locked;
  Slot* slot = find(database);
  if (!slot) return;
  if (slot->pid != 0) kill(slot->pid, SIGTERM);
  *slot = Slot{};
}

bool begin_start(Oid database) {
  const Locked locked;
  Slot* slot = find(database);
  if (!slot || slot->state != SlotState::wanted) return false;
  // A stopped worker that is still on its way out, and was asked for again: after it.
  if (slot->pid != 0 && BackendPidGetProc(slot->pid) != nullptr) return false;
  slot->state = SlotState::starting;
  slot->pid = 0;
  slot->started_at = GetCurrentTimestamp();
  return true;
}

void start_failed(Oid database) {
  const Locked locked;
  Slot* slot = find(database);
  if (slot && slot->pid == 0 && (slot->state == SlotState::starting || slot->state == SlotState::running))
    want_again_later(*slot, GetCurrentTimestamp());
}

void set_health(bool out_of_slots, bool out_of_workers) {
  const Locked locked;
  area->out_of_slots = out_of_slots;
  area->out_of_workers = out_of_workers;
}

// ---- worker ----

bool enter_worker(Oid database) {
  {
    const Locked locked;
    Slot* slot = find(database);
    if (!slot || slot->state != SlotState::starting || (slot->pid != 0 && slot->pid != MyProcPid)) return false;
    slot->pid = MyProcPid;
  }
  own_database = database;
  before_shmem_exit(leave_worker, static_cast<Datum>(0));
  return true;
}

void serving() {
  int launcher = 0;
  {
    const Locked locked;
    Slot* slot = find(own_database);
    if (!slot || slot->state != SlotState::starting) return;
    slot->state = SlotState::running;
    launcher = area->launcher_pid;
  }
  set_latch_of(launcher);  // the next database may be looked at
}

bool leave_for_good() {
  int launcher = 0;
  {
    const Locked locked;
    Slot* slot = find(own_database);
    if (slot && slot->pid == MyProcPid) {
      if (slot->state == SlotState::stopped) {
        slot->pid = 0;
      } else if (slot->wake) {
        return false;
      } else {
        *slot = Slot{};
      }
    }
    launcher = area->launcher_pid;
  }
  set_latch_of(launcher);
  return true;
}

void note_look() {
  const Locked locked;
  if (Slot* slot = find(own_database)) slot->wake = false;
}

bool woken() {
  const Locked locked(LW_SHARED);
  const Slot* slot = find(own_database);
  return slot && slot->wake;
}

// ---- backends ----

namespace {

enum class Wish { none, wake, request } wish = Wish::none;

// After the commit, so that who is woken sees what was written. Must not raise.
void at_transaction_end(XactEvent event, void*) {
  if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE) return;
  const Wish wished = std::exchange(wish, Wish::none);
  if (wished == Wish::none || event == XACT_EVENT_ABORT || !OidIsValid(MyDatabaseId)) return;
  want(MyDatabaseId, wished == Wish::request);
  int worker = 0, launcher = 0;
  {
    const Locked locked(LW_SHARED);
    if (const Slot* slot = find(MyDatabaseId)) worker = slot->pid;
    launcher = area->launcher_pid;
  }
  set_latch_of(worker);
  if (worker == 0) set_latch_of(launcher);
}

void wish_at_commit(Wish wished) {
  if (!area) return;
  static bool registered = false;
  if (!registered) {
    guarded([] { RegisterXactCallback(at_transaction_end, nullptr); });
    registered = true;
  }
  wish = std::max(wish, wished);
}

}  // namespace

void wake_worker_at_commit() { wish_at_commit(Wish::wake); }
void request_worker_at_commit() { wish_at_commit(Wish::request); }

int worker_pid(Oid database) {
  if (!area) return 0;
  const Locked locked(LW_SHARED);
  const Slot* slot = find(database);
  return slot ? slot->pid : 0;
}

int launcher_pid() {
  if (!area) return 0;
  const Locked locked(LW_SHARED);
  return area->launcher_pid;
}

Health health() {
  Health result;
  if (!area) return result;
  const Locked locked(LW_SHARED);
  result.slots = slot_count;
  for (const Slot& slot : area->slots) result.used += slot.state != SlotState::empty;
  result.out_of_slots = area->out_of_slots;
  result.out_of_workers = area->out_of_workers;
  return result;
}

Stopped stop_worker(Oid database, Duration timeout) {
  if (!area) return Stopped::not_preloaded;
  int pid = 0;
  bool was_there = false;
  {
    const Locked locked;
    Slot* slot = find_or_take(database);
    if (!slot) return Stopped::none_ran;
    was_there = slot->state == SlotState::starting || slot->state == SlotState::running || slot->pid != 0;
    slot->state = SlotState::stopped;
    slot->wake = false;
    pid = slot->pid;
    if (pid != 0) kill(pid, SIGTERM);  // alive as long as we hold the lock: it clears its slot before it exits
  }
  if (pid == 0) return was_there ? Stopped::stopped : Stopped::none_ran;
  const TimestampTz deadline = GetCurrentTimestamp() + timeout.count();
  while (BackendPidGetProc(pid) != nullptr) {
    if (GetCurrentTimestamp() >= deadline) return Stopped::timed_out;
    guarded([] {
      // Nobody sets our latch when a worker has gone; it takes a few milliseconds.
      if (WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT, 10, PG_WAIT_EXTENSION) & WL_LATCH_SET)
        ResetLatch(MyLatch);
      CHECK_FOR_INTERRUPTS();
    });
  }
  return Stopped::stopped;
}

}  // namespace reconciler::shared
