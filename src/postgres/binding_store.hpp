// One row of reconciler.binding with everything that hangs on it, as values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/binding.hpp"
#include "postgres/mapping.hpp"
#include "postgres/spi.hpp"

namespace reconciler {

class Transactions;

struct AttachedBinding {
  Binding binding;
  Mapping mapping;
  std::string schema, table, preset;
  std::string leftover_json;          // templates for the leftover event
  Mode mode = Mode::observe;
  std::string mode_reason;
  bool paused = false, paused_everything = false;
  bool guard_terminal = false;        // a trigger on the table is wanted
  Duration start_grace{0}, instance_grace{0}, promotion_grace{0};
  std::string armed_system, armed_name;
  Oid armed_database = 0;
};

// Ids of the bindings, lowest first; with `sessions` only that table's (UserError 42704 when it is not attached).
std::vector<int> binding_ids(std::optional<Oid> sessions);
// The only binding there is, or that of `sessions`; UserError that lists them otherwise.
int one_binding(std::optional<Oid> sessions);

// Tables of another version may lack what this library reads and writes: UserError 0A000 with the statement that is due.
// Not one of the errors that break a binding.
void require_fitting_version();

// Throws UserError (55000 or 42703) when the table, a column or a related table has vanished: the binding is broken.
// `policy_overrides`: {"state": {"column": value}}, for a what-if; empty: none.
AttachedBinding load_binding(int id, const std::string& policy_overrides = "");
// A column of a table that is not the binding's own, by the table's name. UserError as load_binding().
ReferenceColumn load_reference(const std::string& table, const std::string& column);
// Who owns the table now, if it and its columns are there as attached; in a transaction of its own.
std::optional<Oid> owner_if_it_loads(int id, Transactions&);

// For the Look functions: all bindings, or that of `sessions`. Where all are wanted, one that does not load is a WARNING
// to the client: the others are to be seen.
std::vector<AttachedBinding> bindings_to_show(std::optional<Oid> sessions);

}  // namespace reconciler
