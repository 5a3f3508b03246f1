#include "core/text.hpp"

#include <gtest/gtest.h>

#include "core/time.hpp"
#include "support/core_world.hpp"

using namespace reconciler;
using core_world::noon;

TEST(Until, SaysThatAHoldHasNoEndOfItsOwn) {
  EXPECT_EQ(until(from_unix_micros(1'764'928'800'000'000)), "until 2025-12-05 10:00:00 UTC");
  EXPECT_EQ(until(Time::max()), "until released");
}

TEST(Span, IsWhatPostgresPrints) {
  EXPECT_EQ(span(minutes(7) + seconds(12)), "00:07:12");
  EXPECT_EQ(span(Duration(0)), "00:00:00");
  EXPECT_EQ(span(hours(23) + minutes(59) + seconds(59)), "23:59:59");
  EXPECT_EQ(span(hours(24)), "1 day 00:00:00");
  EXPECT_EQ(span(hours(73)), "3 days 01:00:00");
  EXPECT_EQ(span(-seconds(5)), "-00:00:05");
  EXPECT_EQ(span(Duration(-1)), "00:00:00");
  EXPECT_FALSE(span(Duration::max()).empty());
  EXPECT_FALSE(span(Duration::min()).empty());
}

TEST(Instant, IsUtcAndKnowsInfinity) {
  EXPECT_EQ(instant(noon), "2025-12-05 12:00:00 UTC");
  EXPECT_EQ(instant(from_unix_micros(-1)), "1969-12-31 23:59:59 UTC");
  EXPECT_EQ(instant(Time::max()), "infinity");
  EXPECT_EQ(instant(Time::min()), "-infinity");
}

TEST(Elapsed, SaturatesAndKnowsNoFuture) {
  EXPECT_EQ(elapsed(noon - seconds(5), noon), seconds(5));
  EXPECT_EQ(elapsed(noon + seconds(5), noon), Duration(0));
  EXPECT_EQ(elapsed(Time::min(), noon), Duration::max());
  EXPECT_EQ(plus(Time::max(), seconds(1)), Time::max());
  EXPECT_EQ(plus(Time::min(), -seconds(1)), Time::min());
  EXPECT_EQ(plus(noon, seconds(1)), noon + seconds(1));
}

TEST(Rfc3339, ReadsWhatHubsWrite) {
  EXPECT_EQ(parse_rfc3339("2025-12-05T12:00:00Z"), noon);
  EXPECT_EQ(parse_rfc3339("2025-12-05t12:00:00z"), noon);
  EXPECT_EQ(parse_rfc3339("2025-12-05T12:00:00.123456Z"), noon + Duration(123456));
  EXPECT_EQ(parse_rfc3339("2025-12-05T12:00:00.5Z"), noon + milliseconds(500));
  EXPECT_EQ(parse_rfc3339("2025-12-05T12:00:00.123456789Z"), noon + Duration(123456));
  EXPECT_EQ(parse_rfc3339("2025-12-05T05:30:00-06:30"), noon);
  EXPECT_EQ(parse_rfc3339("2025-12-05T14:00:00+02:00"), noon);
  EXPECT_TRUE(parse_rfc3339("0001-01-01T00:00:00Z")) << "Go's zero time";
  EXPECT_TRUE(parse_rfc3339("2016-12-31T23:59:60Z")) << "a leap second";
  EXPECT_TRUE(parse_rfc3339("2024-02-29T00:00:00Z"));
}

TEST(Rfc3339, RefusesTheRest) {
  for (const char* text : {"", "2025", "2025-12-05", "2025-12-05T12:00:00", "2025-12-05T12:00Z", "2025-13-05T12:00:00Z",
                           "2025-02-29T12:00:00Z", "2025-12-05T24:00:00Z", "2025-12-05T12:60:00Z", "2025-12-05T12:00:61Z",
                           "2025-12-05T12:00:00.Z", "2025-12-05T12:00:00Zx", "2025-12-05T12:00:00+24:00", "2025-12-05T12:00:00+0200",
                           "+025-12-05T12:00:00Z", "2025-12-05T12:00:00 Z", "not a time"})
    EXPECT_FALSE(parse_rfc3339(text)) << text;
}
