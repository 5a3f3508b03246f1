// The Look functions' engine: judges the last recorded evidence of every watched session, with the code of the
// pass and without doing anything.
#pragma once

#include <functional>

#include "engine/observe.hpp"
#include "engine/store.hpp"

namespace reconciler {

struct Seen {
  const Tracked& tracked;
  const Facts& facts;
  Verdict verdict;
  Gated gated;       // what else stands between the verdict and the deed
  bool stuck = false;
  std::string reason() const { return gated.text.empty() ? verdict.text : verdict.text + "; " + gated.text; }
  Blocked blocked_by() const { return gated.by != Blocked::none ? gated.by : verdict.blocked_by; }
};

// `at`: the time to judge at. Sessions of policies that are off are shown too, where they have a threshold.
void look_at_all(Store&, Time at, const std::function<void(const Seen&)>&);
Seen look_at(const Gates&, const Tracked&, const Facts&);

}  // namespace reconciler
