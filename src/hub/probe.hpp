// The live check of a hub's addresses.
#pragma once

#include <vector>

#include "hub/exchange.hpp"

namespace reconciler {

// Asks every address for its agents, or, where it has no list, for one that cannot exist. Changes nothing.
std::vector<HttpHub::Probe> probe_addresses(Exchange&, const Profile&);

}  // namespace reconciler
