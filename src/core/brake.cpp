#include "core/brake.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace reconciler {

namespace {

std::int64_t minute_of(Time at) { return std::chrono::floor<minutes>(at.time_since_epoch()).count(); }

void roll(Window& window, Time now) {
  const std::int64_t minute = minute_of(now);
  // A clock that went back must not hand out the budget twice: what was used stays used.
  if (minute <= window.minute) return;
  const auto size = static_cast<std::int64_t>(window.used.size());
  const std::int64_t gap = minute - window.minute;
  if (gap >= size) {
    window.used.fill(0);
  } else {
    std::shift_right(window.used.begin(), window.used.end(), gap);
    std::fill_n(window.used.begin(), gap, 0);
  }
  window.minute = minute;
}

std::int64_t sum(const Window& window) {
  return std::accumulate(window.used.begin(), window.used.end(), std::int64_t{0});
}

// 5 % of 60 is 3, whatever the binary fraction says.
std::int64_t share_of(double share, std::int64_t of) {
  return static_cast<std::int64_t>(std::floor(share * static_cast<double>(std::max<std::int64_t>(of, 0)) + 1e-9));
}

}  // namespace

std::int64_t Window::total(Time now) {
  roll(*this, now);
  return sum(*this);
}

void Window::add(Time now, std::int64_t n) {
  roll(*this, now);
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  used[0] = static_cast<std::int32_t>(std::clamp<std::int64_t>(used[0] + std::min(n, most), 0, most));
}

Time Window::frees_at(Time now, std::int64_t n, std::int64_t limit) {
  std::int64_t left_over = total(now);
  if (left_over == 0 || left_over + n <= limit) return now;
  // The oldest minutes leave first. More than fits at all: when the window is empty.
  for (auto age = static_cast<std::int64_t>(used.size()) - 1; age >= 0; --age) {
    left_over -= used[static_cast<std::size_t>(age)];
    if (left_over + n <= limit || left_over == 0)
      return std::max(now, Time(minutes(minute - age + static_cast<std::int64_t>(used.size()))));
  }
  return now;
}

bool needs_watched(BrakeState& state, const BrakeLimits& limits, std::int64_t due, Time now) {
  return state.inferred.total(now) + due > limits.floor;
}

BrakeJudgement judge_brake(BrakeState& state, const BrakeLimits& limits, std::int64_t due, std::int64_t watched, Time now) {
  const std::int64_t used = state.inferred.total(now);
  std::int64_t budget = limits.floor;
  if (used + due > limits.floor) budget = std::max(budget, share_of(limits.share, watched));

  const std::int64_t allowance = std::max<std::int64_t>(state.allowance, 0);
  const std::int64_t left = allowance + (state.tripped ? 0 : std::max<std::int64_t>(budget - used, 0));
  return {budget, used, left, !state.tripped && due > left};
}

void spend_inferred(BrakeState& state, std::int64_t n, Time now) {
  const std::int64_t allowed = std::clamp<std::int64_t>(n, 0, std::max<std::int64_t>(state.allowance, 0));
  state.allowance -= allowed;
  if (n > allowed) state.inferred.add(now, n - allowed);
}

std::int64_t user_rate_left(BrakeState& state, const BrakeLimits& limits, std::int64_t watched, Time now) {
  const std::int64_t rate = std::max(limits.user_floor, share_of(limits.user_share, watched));
  return std::max<std::int64_t>(rate - state.user_requested.total(now), 0);
}

Losses judge_losses(std::int64_t seen_present, std::int64_t now_gone) {
  if (seen_present < 3) return Losses::few;  // one agent only, which died, must work
  if (now_gone >= seen_present) return Losses::all;
  return now_gone * 100 >= seen_present * 55 ? Losses::most : Losses::few;
}

Paced take_pace(Pace& pace, const BrakeLimits& limits, Losses losses, std::int64_t wanted, Time now) {
  const double rate = std::max(1.0, static_cast<double>(limits.per_second) / (losses == Losses::few ? 1 : 10));
  // A clock that went back fills nothing, and is followed.
  const double passed = static_cast<double>(elapsed(pace.filled, now).count()) / 1e6;
  pace.tokens = std::min(rate, std::max(0.0, pace.tokens) + rate * std::max(0.0, passed));
  pace.filled = now;
  const double chunk = std::floor(std::min(rate, static_cast<double>(wanted)));
  if (pace.tokens + 1e-9 >= chunk) {
    pace.tokens -= chunk;
    return {static_cast<std::int64_t>(chunk), Duration(0)};
  }
  return {0, Duration(static_cast<std::int64_t>(std::ceil((chunk - pace.tokens) / rate * 1e6)))};
}

std::optional<Time> Grace::until(Time now) const {
  Time end = now;
  // What lies ahead was recorded before the clock was set back: a grace of hours would come of it.
  const auto hold = [&](Time since, Duration span) {
    if (since <= now) end = std::max(end, plus(since, span));
  };
  hold(server_started, start), hold(first_pass, start);
  if (new_instance) hold(*new_instance, instance);
  if (promoted) hold(*promoted, promotion);
  if (end <= now) return {};
  return end;
}

}  // namespace reconciler
