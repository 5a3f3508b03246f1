#include "core/backoff.hpp"

#include <algorithm>

namespace reconciler {

namespace {

// A century: far above any sane cap, and low enough that nothing below overflows.
constexpr Duration ceiling = hours(24 * 36525);

Duration cap_of(const Policy& policy) { return std::clamp(policy.retry_cap, Duration(0), ceiling); }
Duration jitter_of(Duration delay) { return delay / 5; }

// splitmix64: neighbouring seeds (the tries of one session) give unrelated numbers.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

}  // namespace

Duration backoff(const Policy& policy, int tries, std::uint64_t seed) {
  const Duration cap = cap_of(policy);
  Duration delay = std::clamp(policy.retry_base, Duration(0), cap);
  // Stops at the cap, so that a huge number of tries costs nothing; base 0 stays 0.
  for (int i = 1; i < tries && delay < cap && delay.count() > 0; ++i) delay = std::min(delay * 2, cap);

  const std::int64_t fifth = jitter_of(delay).count();
  const auto draw = mix(seed ^ mix(static_cast<std::uint64_t>(std::max(tries, 1))));
  const auto shift = static_cast<std::int64_t>(draw % static_cast<std::uint64_t>(2 * fifth + 1)) - fifth;
  return delay + Duration(shift);
}

Duration longest_backoff(const Policy& policy) { return cap_of(policy) + jitter_of(cap_of(policy)); }

std::uint64_t seed_of(std::string_view key) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

}  // namespace reconciler
