// Evidence that somebody pushes, as looks of its source: single words, and lists of all that is there.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/json.hpp"
#include "core/time.hpp"
#include "postgres/oid.hpp"

namespace reconciler {

// What the configuration says of who pushes.
struct Source { std::optional<Duration> max_age; std::string backend; };
Source source_named(const std::string& name);
void check_kind(const std::string& kind, const std::string& which);

struct Report {
  std::string kind, subject, verdict;
  nlohmann::json detail;
  Time stated{};  // by its source's clock
  std::string source;
  std::optional<Oid> sessions;
};
// Throws UserError 22023; `which` begins the message.
void check_report(const Report&, const std::string& which);

enum class Told { recorded, ignored, unknown_session, no_runtime };
const char* to_string(Told);
// Records them, in this transaction; wakes the worker where something is otherwise than it was. One for each report.
std::vector<Told> take_reports(const std::vector<Report>&);

// All that is there of a kind, as one source says.
struct Inventory {
  std::string kind, scope, source;
  Time as_of{};
  bool complete = false;
  std::set<std::string> subjects;
};
struct InventoryTaken { std::int64_t id = 0; std::string outcome, detail; };
InventoryTaken take_inventory(const Inventory&);
std::string accept_inventory(std::int64_t id, const std::string& reason);

nlohmann::json read_json(const std::string& text, const char* what);

}  // namespace reconciler
