#include "core/backoff.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <set>

using namespace reconciler;

namespace {

Policy policy(Duration base = seconds(60), Duration cap = minutes(15)) {
  Policy p;
  p.retry_base = base;
  p.retry_cap = cap;
  return p;
}

}  // namespace

TEST(Backoff, DoublesUpToTheCapWithinAFifth) {
  const Duration expected[] = {seconds(60), seconds(120), seconds(240), seconds(480), minutes(15), minutes(15)};
  for (int tries = 1; tries <= 6; ++tries)
    for (std::uint64_t seed = 0; seed < 500; ++seed) {
      const Duration delay = backoff(policy(), tries, seed);
      EXPECT_GE(delay, expected[tries - 1] * 4 / 5);
      EXPECT_LE(delay, expected[tries - 1] * 6 / 5);
    }
}

TEST(Backoff, JitterReachesBothEnds) {
  Duration least = Duration::max(), most{0};
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    least = std::min(least, backoff(policy(), 1, seed));
    most = std::max(most, backoff(policy(), 1, seed));
  }
  EXPECT_LT(least, seconds(49));
  EXPECT_GT(most, seconds(71));
}

TEST(Backoff, SameSeedSameDelay) {
  EXPECT_EQ(backoff(policy(), 3, 42), backoff(policy(), 3, 42));
  EXPECT_NE(backoff(policy(), 3, 42), backoff(policy(), 3, 43));
  // The tries of one session are not shifted alike.
  EXPECT_NE(backoff(policy(), 5, 42), backoff(policy(), 6, 42));
}

TEST(Backoff, NeverAboveTheLongestNorNegative) {
  const Duration caps[] = {Duration(-5), Duration(0), Duration(1), Duration(7), seconds(1), minutes(15), hours(24 * 400), Duration::max()};
  const Duration bases[] = {Duration(-1), Duration(0), Duration(1), seconds(60), Duration::max()};
  for (const Duration cap : caps)
    for (const Duration base : bases)
      for (const int tries : {std::numeric_limits<int>::min(), 0, 1, 2, 64, 1000, std::numeric_limits<int>::max()})
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
          const Policy p = policy(base, cap);
          const Duration delay = backoff(p, tries, seed);
          EXPECT_GE(delay, Duration(0));
          EXPECT_LE(delay, longest_backoff(p));
        }
}

TEST(Backoff, LongestIsTheCapAndAFifth) { EXPECT_EQ(longest_backoff(policy()), minutes(18)); }

TEST(Backoff, FirstTryIsTheLeastWait) {
  EXPECT_EQ(backoff(policy(), 0, 9), backoff(policy(), 1, 9));
  EXPECT_EQ(backoff(policy(), -3, 9), backoff(policy(), 1, 9));
  EXPECT_LE(backoff(policy(hours(2)), 1, 9), longest_backoff(policy())) << "a base above the cap is the cap";
}

TEST(Seed, IsFnv1aForEver) {
  EXPECT_EQ(seed_of(""), 0xcbf29ce484222325U);
  EXPECT_EQ(seed_of("a"), 0xaf63dc4c8601ec8cU);
  EXPECT_EQ(seed_of("foobar"), 0x85944171f73967e8U);
  EXPECT_EQ(seed_of("\xff"), seed_of(std::string(1, '\xff')));
}
