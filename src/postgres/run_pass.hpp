// One pass over one binding, from the row to the end: what the worker and CALL reconcile() share.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/pass.hpp"
#include "postgres/transaction.hpp"

namespace reconciler {

struct PassReport {
  std::string table;
  bool ran = false;     // false: `why_not` says why
  std::string why_not;
  bool paused = false;
  Time began{};
  PassEnd end;
};

// A table, column, role or right that has vanished breaks this binding (mode broken, with its event) instead of
// throwing. Throws what stops the caller: cancel, a lost extension, an unexpected error.
PassReport run_pass(int binding_id, TransactionMode, Waiter&, bool ask_again);

// The table's name as attached, for messages.
std::string binding_name(int id, TransactionMode);

// How much longer the worker has to leave this table alone, because its scans cost too much. A CALL does what it is told.
Duration rest_of(int id, TransactionMode);

// Ids of all bindings, or of one table's.
std::vector<int> bindings_to_run(TransactionMode, std::optional<Oid> sessions);

}  // namespace reconciler
