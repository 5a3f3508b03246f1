// The log of a run: one JSON object a line, on standard output.
#pragma once

#include "core/json.hpp"

namespace reconciler {

// log("listed", {{"kind", "pods"}}): with the time before it.
void log_line(const char* event, const nlohmann::json& fields);

}  // namespace reconciler
