// The slots in shared memory, one a database, for launcher and worker. A slot walks this way:
//
//      request_worker          launcher registers       worker found an attached table
//   empty ------------> wanted ----------------> starting ---------------------> running
//     ^                   ^                          |                              |
//     |  nothing to do    |   it died: due later     |                              |
//     +-------------------+--------------------------+------------------------------+
//   Any of them --stop_worker()--> stopped --request_worker()--> wanted.
//
// Everything is read and written under one LWLock; a slot is an index and a database, never a pointer kept.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "postgres/oid.hpp"

namespace reconciler::shared {

constexpr int slot_count = 64;
enum class SlotState : std::int32_t { empty, wanted, starting, running, stopped };

struct Slot {
  Oid database = 0;
  SlotState state = SlotState::empty;
  std::int32_t pid = 0;        // of the worker, from its first to its last step
  bool wake = false;           // somebody committed something since the worker last looked
  std::int32_t failures = 0;   // in a row; each doubles the pause before the next start
  std::int64_t started_at = 0; // of the last start, TimestampTz
  std::int64_t due_at = 0;     // wanted: not before this, TimestampTz
};

// The launcher's side.
void enter_launcher();                  // publishes the pid; removed again at exit
std::vector<Slot> snapshot();
bool want(Oid database, bool even_if_stopped);  // false: no slot is free
void forget(Oid database);              // no such database, or none of ours: the slot is free
void dismiss(Oid database);             // the setting forbids it now: its worker ends, the slot is free
bool begin_start(Oid database);         // wanted -> starting, if it still is wanted
void start_failed(Oid database);        // registered, but never ran: wanted again, later
void set_health(bool out_of_slots, bool out_of_workers);

// The worker's side.
bool enter_worker(Oid database);        // false: stopped, or another one is there
void serving();                         // it found work: starting -> running
bool leave_for_good();                  // nothing to do here; false: somebody asked meanwhile, look again
void note_look();                       // clears the wake flag, before looking
bool woken();                           // somebody asked since

}  // namespace reconciler::shared
