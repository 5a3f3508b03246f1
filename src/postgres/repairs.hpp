// What a policy's `sets` and `steps` say: which columns of the session's row, and which rows of other tables, a close by it
// writes besides the state.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/json.hpp"
#include "postgres/mapping.hpp"

namespace reconciler {

// Of the policy of `state`. UserError 22023 for what is not of that form, 42703 and 55000 for a column or table that is not there.
Repair read_repair(const SessionsTable&, const std::string& state, const nlohmann::json& sets, const nlohmann::json& steps);

// Throws UserError for values that their columns would refuse. For a binding that loads; as the extension's owner.
void check_repairs(const Mapping&);

// What the look for rows that hang on no session is counted as, beside those for states: none is served by an index.
inline constexpr std::string_view look_for_orphans = "rows without a session";

// In words: "agent_thread_id NULL, updated_at now".
std::string describe(const std::vector<Assignment>&);
std::string describe(const Step&);

}  // namespace reconciler
