// The database clock, and the two ways of counting time.
#pragma once

#include <cstdint>

#include "core/time.hpp"

namespace reconciler {

// clock_timestamp() plus session_reconciler.clock_offset. The only clock of a decision.
Time database_now();
Time transaction_start();  // now(), with the same offset

// timestamptz counts microseconds since 2000-01-01; infinities are Time::min() and Time::max().
Time time_from_timestamptz(std::int64_t);
std::int64_t timestamptz_from_time(Time);

}  // namespace reconciler
