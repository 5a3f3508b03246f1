// An error that a person caused and can mend: what, why and a hint, in the server's own style (message in lower
// case without a full stop; detail and hint are sentences).
#pragma once

#include <stdexcept>
#include <string>

namespace reconciler {

struct UserError : std::runtime_error {
  std::string sqlstate;  // five characters: "22023", "42501", "2D000"
  std::string detail, hint;
  UserError(std::string sqlstate, const std::string& message, std::string hint = {}, std::string detail = {})
      : std::runtime_error(message), sqlstate(std::move(sqlstate)), detail(std::move(detail)), hint(std::move(hint)) {}
};

}  // namespace reconciler
