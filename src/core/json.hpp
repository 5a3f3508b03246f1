// nlohmann_json, with its assertions as exceptions: a document that is not what it should be, in a row that a person wrote or
// in an answer, must not take the server down.
#pragma once

#include <stdexcept>

namespace reconciler::detail {
inline void json_holds(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}
}  // namespace reconciler::detail

#define JSON_ASSERT(condition) ::reconciler::detail::json_holds(static_cast<bool>(condition), "JSON: " #condition)
#include <nlohmann/json.hpp>
