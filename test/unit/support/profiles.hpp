// The two profiles that we ship, as the installed data has them.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "core/profile.hpp"

namespace profiles {

inline std::string text(const std::string& name) {
  // From this file's place, or from wherever below the repository the test is run.
  auto top = std::filesystem::absolute(__FILE__).parent_path();
  for (auto start : {top, std::filesystem::current_path()})
    for (auto at = start; ; at = at.parent_path()) {
      std::ifstream in(at / "src/hub/profiles" / (name + ".json"), std::ios::binary);
      if (in) return {std::istreambuf_iterator<char>(in), {}};
      if (at == at.parent_path()) break;
    }
  throw std::runtime_error("no profile " + name);
}

inline reconciler::Profile load(const std::string& name) { return reconciler::Profile(name, text(name)); }

}  // namespace profiles
