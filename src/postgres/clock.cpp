#include "postgres/clock.hpp"

#include "postgres/settings.hpp"
#include "postgres/pg.hpp"

namespace reconciler {

namespace {
constexpr std::int64_t epoch_shift = INT64CONST(86400000000) * (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE);
}

Time time_from_timestamptz(std::int64_t t) {
  if (TIMESTAMP_IS_NOBEGIN(t)) return Time::min();
  if (TIMESTAMP_IS_NOEND(t)) return Time::max();
  // The last 30 years of year 294276 don't fit the Unix count.
  return from_unix_micros(std::min<std::int64_t>(t, PG_INT64_MAX - 1 - epoch_shift) + epoch_shift);
}

std::int64_t timestamptz_from_time(Time t) {
  if (t == Time::min()) return DT_NOBEGIN;
  if (t == Time::max()) return DT_NOEND;
  // Before 4713 BC: the earliest there is, never a value that the type refuses.
  return std::max<std::int64_t>(unix_micros(t), MIN_TIMESTAMP + epoch_shift) - epoch_shift;
}

Time database_now() { return time_from_timestamptz(GetCurrentTimestamp()) + settings::clock_offset(); }

Time transaction_start() {
  return time_from_timestamptz(GetCurrentTransactionStartTimestamp()) + settings::clock_offset();
}

}  // namespace reconciler
