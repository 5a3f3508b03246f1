// Sessions that get another agent: the row, the application's audit, the session's episode and the event, in one transaction.
// What the agents have is counted by who reserves and releases their places (pool_agents.hpp).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/session.hpp"
#include "core/time.hpp"
#include "postgres/binding_store.hpp"
#include "postgres/events.hpp"

namespace reconciler {

struct Move {
  const Session* session;  // as it was read: a row that is no longer so is left alone
  std::string to;          // a registered agent
  std::string_view rule, reason;  // of the event
  std::string why;         // a sentence, for its evidence
};

// Who moves, and as what.
struct Mover {
  std::optional<std::int64_t> pass_id;  // empty: a person
  std::string actor;
};

// The first part of it: the rows, and the application's audit, as the table's owner. By key, those that were written.
std::map<std::string, RowImage> write_agents(const AttachedBinding&, const Mover&, const std::vector<Move>&, Time at);

// Keys of those that were moved. In the caller's transaction and outside of a role block.
std::vector<std::string> move_sessions(const AttachedBinding&, const Mover&, const std::vector<Move>&, Time at);

}  // namespace reconciler
