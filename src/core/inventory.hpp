// Whether a list of all that is there can be believed. What it lacks counts as gone, so that a list that its maker cut short
// would end what is well.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "core/time.hpp"

namespace reconciler {

enum class ListedAs { accepted, rejected, incomplete };
const char* to_string(ListedAs);

// The last one that was accepted.
struct ListedBefore { Time as_of{}; std::set<std::string> subjects; };

struct InventoryJudgement { ListedAs as; std::string why; };  // why: a sentence where it is not accepted
InventoryJudgement judge_inventory(bool complete, Time as_of, const std::set<std::string>& subjects, const std::optional<ListedBefore>& last);

}  // namespace reconciler
