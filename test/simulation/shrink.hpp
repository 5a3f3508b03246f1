// A world from its beginning to its end, and the least world in which the same invariant still fails.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "simulation/world.hpp"

namespace reconciler::simulation {

struct Outcome {
  std::optional<Violation> violation;
  std::int64_t passes = 0;
  std::uint64_t digest = 0;
};
Outcome run(const Shape&, bool trace = false);  // trace: all that happens, on stderr
Shape shrunk(const Shape&, const std::string& invariant);
std::string command_line(const Shape&);
Faults faults_from(const std::string& comma_separated);

// `among`: what else goes wrong in the worlds that it is looked for in; 0: as the seed has it.
struct Planted { Plant plant; const char* name; const char* found_by; Faults among = 0; };
const std::vector<Planted>& planted_faults();
Plant plant_from(const std::string& name);

}  // namespace reconciler::simulation
