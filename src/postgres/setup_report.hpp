// What setting up has to say: rows of attach_sessions() and preflight().
#pragma once

#include <string>
#include <vector>

namespace reconciler {

struct Finding {
  std::string item;
  std::string status;  // ok, info, warn, missing, fail
  std::string detail;
  std::string hint;    // what to do about it
};

using Findings = std::vector<Finding>;

}  // namespace reconciler
