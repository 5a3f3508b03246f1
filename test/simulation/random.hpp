// Dice that fall the same way on every machine: splitmix64, and no distribution of the standard library.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/backoff.hpp"
#include "core/time.hpp"

namespace reconciler::simulation {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  // Dice of its own for each matter: what one throws more often or never leaves the others as they were.
  Random(std::uint64_t seed, std::string_view matter) : state_(seed ^ seed_of(matter)) { next(); }

  std::uint64_t next() {
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
  }
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : next() % n; }
  std::int64_t between(std::int64_t least, std::int64_t most) { return least + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(most - least + 1))); }
  Duration between(Duration least, Duration most) { return Duration(between(least.count(), most.count())); }
  bool chance(int per_mille) { return below(1000) < static_cast<std::uint64_t>(per_mille); }
  template <class Container> auto& pick(Container& from) {
    auto at = from.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(from.size())));
    return *at;
  }

 private:
  std::uint64_t state_;
};

}  // namespace reconciler::simulation
