#include "core/inventory.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace reconciler {

const char* to_string(ListedAs as) {
  switch (as) {
    case ListedAs::accepted: return "accepted";
    case ListedAs::rejected: return "rejected";
    case ListedAs::incomplete: return "incomplete";
  }
  return "rejected";
}

InventoryJudgement judge_inventory(bool complete, Time as_of, const std::set<std::string>& subjects, const std::optional<ListedBefore>& last) {
  if (!complete) return {ListedAs::incomplete, "it is not complete: what it does not name is not gone"};
  if (!last) return subjects.empty() ? InventoryJudgement{ListedAs::rejected, "it is empty, and none was accepted before"} : InventoryJudgement{ListedAs::accepted, ""};
  if (as_of < last->as_of) return {ListedAs::rejected, cat({"it is older than the last one that was accepted, of ", instant(last->as_of)})};
  const std::size_t before = last->subjects.size();
  const auto lacking = static_cast<std::size_t>(std::count_if(last->subjects.begin(), last->subjects.end(), [&](const std::string& s) { return !subjects.contains(s); }));
  if (2 * lacking > before)
    return {ListedAs::rejected, cat({subjects.empty() ? "it is empty: " : "", "it lacks ", std::to_string(lacking), " of the ", std::to_string(before), " that the last accepted one names"})};
  return {ListedAs::accepted, ""};
}

}  // namespace reconciler
