// What acting functions that write a user's table have in common: which table, and what they refuse.
#pragma once

#include <optional>
#include <string>

#include "core/session.hpp"
#include "postgres/binding_store.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {

AttachedBinding binding_of(std::optional<Oid> sessions);

void refuse_copy(const AttachedBinding&);
void refuse_terminal(const Binding&, const Session&);
UserError held(const std::string& key, const Hold&);
void refuse_held(const AttachedBinding&, const std::string& key, Time now);

}  // namespace reconciler
