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
  std::optional<Time> stay{};      // the episode that it was judged in; empty: whichever is of that state and agent
  std::optional<Time> accepted{};  // the new agent took its command over then; empty: none had to be
};

// Who moves, and as what.
struct Mover {
  std::optional<std::int64_t> pass_id;  // empty: a person
  std::string actor;
};

// The first part of it: the rows, and the application's audit, as the table's owner. By key, those that were written.
std::map<std::string, RowImage> write_agents(const AttachedBinding&, const Mover&, const std::vector<Move>&, Time at);

// The second part, as the extension's owner: their attempts go on, and they do not get younger. How many episodes there were.
std::size_t carry_episodes_on(const AttachedBinding&, const std::vector<const Move*>& moved);

// Keys of those that were moved. In the caller's transaction and outside of a role block.
std::vector<std::string> move_sessions(const AttachedBinding&, const Mover&, const std::vector<Move>&, Time at);

}  // namespace reconciler
