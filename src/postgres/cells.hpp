// Values as cells of a SQL result: text in the input syntax of the column's type.
#pragma once

#include <optional>
#include <string>

#include "core/time.hpp"

namespace reconciler {

std::string interval_cell(Duration);
std::string time_cell(Time);  // UTC, ISO 8601
std::optional<std::string> time_cell(const std::optional<Time>&);

}  // namespace reconciler
