// Limits on `force`. Two budgets over a sliding 10 minutes: inferred forces (latching) and forces of sessions
// that a user asked to end (a rate, never latching).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "core/time.hpp"

namespace reconciler {

// Counts per minute of the last 10 minutes. Stored as one row; all passes spend from it under its lock.
struct Window {
  std::int64_t minute = 0;            // Unix minute of the newest bucket
  std::array<std::int32_t, 10> used{};  // used[0] is the newest minute
  std::int64_t total(Time now);       // rolls forward, then sums; a clock that went back keeps what is there
  void add(Time now, std::int64_t n);
  // When `n` more (1 ≤ n) will fit under `limit`; now if they do.
  Time frees_at(Time now, std::int64_t n, std::int64_t limit);
};

struct BrakeLimits {
  std::int64_t floor = 20;        // inferred forces: max(floor, share × watched) per 10 min
  double share = 0.05;
  std::int64_t user_floor = 200;  // forces a user asked for: max(user_floor, user_share × watched) per 10 min
  double user_share = 0.25;
  std::int64_t per_second = 50;   // pace of inferred forces inside the budget
};

// Losses, not stock: of the agents seen present within 30 minutes, how many are gone now. Three are the fewest
// that can say anything. few: nothing; most (≥ 55 %): a tenth of per_second; all: no inferred force until one
// is back or reset_brake().
enum class Losses { few, most, all };
Losses judge_losses(std::int64_t seen_present, std::int64_t now_gone);

// The pace of inferred forces: a bucket of tokens that fills at the rate and holds a second's worth. Stored with
// the budget; all passes take from it.
struct Pace {
  double tokens = 0;
  Time filled{};  // as of then
};
// How many of `wanted` (≥ 1) may be done now: all of them or a second's worth, else none and how long to wait.
struct Paced {
  std::int64_t granted = 0;
  Duration wait{0};
};
Paced take_pace(Pace&, const BrakeLimits&, Losses, std::int64_t wanted, Time now);

struct BrakeState {
  Window inferred, user_requested;
  std::optional<Time> tripped;    // latched until reset_brake()
  std::int64_t allowance = 0;     // forces that reset_brake() lets through beside the budget
};

// Whether judge_brake() needs the number of watched sessions: only when those done in the last 10 minutes and
// those due now are more than the floor. Counting a large table is not free.
bool needs_watched(BrakeState&, const BrakeLimits&, std::int64_t due, Time now);

// Inferred forces, judged before the first of them is done. `due`: how many this pass would do. `watched`:
// non-terminal sessions in watched states (any value is right unless needs_watched()).
// `left`: how many may be done now, the allowance included. `trips`: more are due than that and it was not
// tripped before; the caller sets `tripped` and writes the event.
struct BrakeJudgement { std::int64_t budget; std::int64_t used; std::int64_t left; bool trips; };
BrakeJudgement judge_brake(BrakeState&, const BrakeLimits&, std::int64_t due, std::int64_t watched, Time now);
// Books `n` inferred forces that were done: out of the allowance first, the rest out of the budget.
void spend_inferred(BrakeState&, std::int64_t n, Time now);
// How many forces of sessions that a user asked to end may be done now.
std::int64_t user_rate_left(BrakeState&, const BrakeLimits&, std::int64_t watched, Time now);

// Grace periods before any force.
struct Grace {
  Time server_started{}, first_pass{};
  std::optional<Time> new_instance;   // a hub instance first answered then
  std::optional<Time> promoted;       // or the timeline changed
  Duration start = seconds(60), instance = seconds(120), promotion = seconds(300);
  // The time before which nothing is forced; empty when none holds at `now`.
  std::optional<Time> until(Time now) const;
};

}  // namespace reconciler
