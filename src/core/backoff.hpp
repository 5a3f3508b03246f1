// When to try again: exponential with jitter, drawn from a seed so that a plan and a replay agree.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/policy.hpp"

namespace reconciler {

// Delay before the try after `tries` tries (≥ 1): base × 2^(tries-1), capped, ± 20 % jitter, never negative.
Duration backoff(const Policy&, int tries, std::uint64_t seed);
// The longest delay that backoff() can return for this policy: a due time further ahead counts as due.
Duration longest_backoff(const Policy&);
std::uint64_t seed_of(std::string_view key);  // FNV-1a: stable over versions and machines

}  // namespace reconciler
