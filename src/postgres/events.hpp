// Writing reconciler.event: many rows in one statement, one NOTIFY for all of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/time.hpp"
#include "postgres/binding_store.hpp"
#include "postgres/spi.hpp"

namespace reconciler {

// A row before and after: key, guard and written columns; and the rows that were changed with it, as members of a JSON list.
struct RowImage {
  Jsonb before, after;
  std::string related{};
};

struct Event {
  std::optional<std::string> session;
  std::string kind;
  std::optional<std::string> from_state, to_state, reason, rule;
  std::optional<std::string> evidence;  // JSON
  std::optional<Jsonb> before, after;   // key, guard and written columns
};

// As the extension's owner, in the caller's transaction. Returns the first event's id, 0 for none. A binding without a name:
// they are about no table.
std::int64_t write_events(const AttachedBinding&, std::optional<std::int64_t> pass_id, Time at, const std::string& actor,
                          const std::vector<Event>&);

// The NOTIFY of one batch of events, for statements that write their own.
void announce(const AttachedBinding&, std::optional<std::int64_t> pass_id, std::int64_t first, std::int64_t last);

// Adds to an exact counter. As the extension's owner.
void count(int binding_id, const std::string& name, const std::string& label, double add);

// The role that acts, for `actor`: SET ROLE's, else the session's.
std::string acting_role();

// Lets the append-only trigger pass while it lives: for retention only.
class Retention {
 public:
  Retention();
  ~Retention();
  static bool running();
};

}  // namespace reconciler
