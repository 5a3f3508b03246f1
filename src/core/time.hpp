// Points and spans of time as values. Nothing below src/postgres reads a clock: the time of a decision is
// the database's clock, read once and passed in, so that a test can move it and a plan can look ahead.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

namespace reconciler {

using Duration = std::chrono::microseconds;
// Microseconds since the Unix epoch, UTC: the resolution of timestamptz.
using Time = std::chrono::time_point<std::chrono::system_clock, Duration>;

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr Time from_unix_micros(std::int64_t micros) { return Time(Duration(micros)); }
constexpr std::int64_t unix_micros(Time at) { return at.time_since_epoch().count(); }

// Tables hold '-infinity' and '3000-01-01' too: these saturate where plain arithmetic would overflow.
// How long ago `since` is; a time that lies ahead counts as now.
constexpr Duration elapsed(Time since, Time now) {
  if (since >= now) return Duration(0);
  std::int64_t micros = 0;
  if (__builtin_sub_overflow(unix_micros(now), unix_micros(since), &micros)) return Duration::max();
  return Duration(micros);
}
constexpr Time plus(Time at, Duration span) {
  std::int64_t micros = 0;
  if (__builtin_add_overflow(unix_micros(at), static_cast<std::int64_t>(span.count()), &micros))
    return span.count() < 0 ? Time::min() : Time::max();
  return from_unix_micros(micros);
}

}  // namespace reconciler
