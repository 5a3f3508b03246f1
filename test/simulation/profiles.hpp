// The two profiles that we ship, from the tree.
#pragma once

#include "unit/support/profiles.hpp"

namespace reconciler::simulation {

inline Profile standard_profile() { return profiles::load("standard"); }
inline Profile streamspace_profile() { return profiles::load("streamspace"); }

}  // namespace reconciler::simulation
