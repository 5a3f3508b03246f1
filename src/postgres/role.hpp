// Whose rights a statement runs with. Inside one Transactions::run(); never across a commit.
#pragma once

#include <type_traits>
#include <utility>

#include "postgres/boundary.hpp"
#include "postgres/oid.hpp"

namespace reconciler {

// Runs `body` as `role` on a user's table: security-restricted, in a GUC nest level of its own with search_path =
// pg_catalog, pg_temp, row_security = off and fixed output formats. SET CONSTRAINTS ALL IMMEDIATE comes before the
// switch, so that deferred triggers of that table fire inside the block, as `role`. Restores on errors too.
namespace detail {
struct RoleBlock { Oid saved_user = 0; int saved_context = 0; int guc_level = 0; };
RoleBlock enter_role(Oid role, bool restricted);
void leave_role(const RoleBlock&);
void leave_role_after_error(const RoleBlock&) noexcept;
class OwnersBlock {
 public:
  OwnersBlock();
  ~OwnersBlock();
  OwnersBlock(const OwnersBlock&) = delete;
  OwnersBlock& operator=(const OwnersBlock&) = delete;
};
}
// Whether as_role() runs: what is written to a user's table now is written by us. No setting, so nobody else can say so.
bool in_owners_block();
// Owner of the extension session_reconciler. Throws ExtensionMissing.
Oid extension_owner();

namespace detail {
template <class Body>
auto in_role_block(const RoleBlock block, Body&& body) -> std::invoke_result_t<Body&> {
  using Result = std::invoke_result_t<Body&>;
  try {
    if constexpr (std::is_void_v<Result>) {
      body();
      leave_role(block);
    } else {
      Result result = body();
      leave_role(block);
      return result;
    }
  } catch (...) {
    leave_role_after_error(block);
    throw;
  }
}
}  // namespace detail

template <class Body>
auto as_role(Oid role, Body&& body) -> std::invoke_result_t<Body&> {
  const detail::OwnersBlock inside;
  return detail::in_role_block(detail::enter_role(role, true), std::forward<Body>(body));
}
// The same as the extension's owner, for our own tables, without the restriction and without touching the caller's
// deferred constraints.
template <class Body>
auto as_extension_owner(Body&& body) -> std::invoke_result_t<Body&> {
  return detail::in_role_block(detail::enter_role(extension_owner(), false), std::forward<Body>(body));
}

}  // namespace reconciler
