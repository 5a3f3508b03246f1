// Several sources may speak of one runtime: a hub, and whoever pushes what it knows of a backend. Here they become one record.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/evidence.hpp"

namespace reconciler {

// Where a session's runtime may be.
struct Backends {
  std::vector<std::string> possible;  // each has to call it gone; none: nobody has declared any
  bool several = false;               // more than one is declared: who names none can't prove that one has it no more
};

inline constexpr const char* hub_source = "hub";  // asked about the session, wherever its runtime is

// One more word of who pushes, said.stated being when it was so by his clock. Empty: it is not newer than his last one.
std::optional<Evidence> heard(const std::optional<Evidence>& before, const Observation& said, const std::optional<Duration>& max_age, const EvidenceLimits&);

// present: somebody sees it. gone: for every backend that it may be in somebody says so, and nobody who saw it within
// sign_ceiling has fallen silent. unknown: else, with the reason as detail. Empty: nobody said anything.
std::optional<Evidence> combine(const std::vector<Evidence>& said, const Backends&, Time now, const EvidenceLimits&);

}  // namespace reconciler
