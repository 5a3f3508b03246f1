// What the server's catalogs say of a table. Reads pg_catalog only, with anybody's rights; for attach_sessions() and
// preflight().
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "postgres/oid.hpp"
#include "postgres/setup_presets.hpp"

namespace reconciler {

struct ColumnLook {
  enum class Kind { text, enumeration, timestamp, timestamptz, document, other };  // of the base type
  std::string name, type, labelled;  // type as format_type prints it; labelled: the enum that it is, or that the domain is over
  Kind kind = Kind::other;
  bool not_null = false, generated = false, filled = false;  // filled: has a default or is an identity
  std::optional<int> length;                                 // of varchar(n)
};

struct UniqueKey {
  std::vector<std::string> columns;
  bool primary = false, not_null = false;
};

struct TableLook {
  Oid oid = 0, owner = 0;
  std::string schema, name, qualified;  // qualified: quoted where needed, as people write it
  std::string kind;                     // pg_class.relkind
  std::string owner_name;
  bool temporary = false, partitioned = false;
  bool row_security = false, forced = false;  // RLS is on; also for the owner
  bool owner_superuser = false, owner_bypasses = false;
  std::vector<ColumnLook> columns;

  const ColumnLook* column(const std::string& name) const;
};

TableLook look_at(Oid);
// A name as a person types it, quoted where needed; without a schema it is looked for in `schema`. Empty: no such table.
std::optional<Oid> table_named(const std::string& name, const std::string& schema);

// Unique by the server's word: valid, immediate, whole table, plain columns. The primary key first, then the shortest.
std::vector<UniqueKey> unique_keys(Oid);
// Tables of the old inheritance, whose rows are read with this one's and which its indexes don't cover. Partitions are none.
std::vector<std::string> inheriting(const TableLook&);
std::vector<std::string> enum_labels(Oid relation, const std::string& column);
// Those that fire, but the guard.
std::vector<std::string> user_triggers(Oid);
// Conditions on pg_trigger t, as SQL: whether it is a guard, whatever its name, and whether it is that of a binding.
std::string is_guard();
std::string names_binding(const std::string& id);

// An index that finds the rows of one state without reading the others: it leads with the state, or is partial on it.
std::optional<std::string> index_for_state(Oid, const std::string& state_column, const std::string& state);

// An index that finds the latest rows of one action without reading the older ones: it leads with the time, or with both.
std::optional<std::string> index_for_latest(Oid, const std::string& action_column, const std::string& action, const std::string& time_column);

// One that is not partial and leads with this column.
std::optional<std::string> index_led_by(Oid, const std::string& column);

// Whether rows may be hidden from `role`, which is no superuser and does not bypass row security.
bool hides_rows(const TableLook&, Oid role);
// Of these columns, those on which `role` lacks `privilege` (SELECT, INSERT, UPDATE); also without USAGE on the schema.
std::vector<std::string> columns_without(const TableLook&, Oid role, const char* privilege, const std::vector<std::string>& columns);
bool may_use_schema(const TableLook&, Oid role);
// Sequences of serial columns that `role` may not use.
std::vector<std::string> sequences_without_usage(const TableLook&, Oid role);

// Why this column can't be used so; '' = it can.
std::string misfit(const ColumnLook&, const WantedColumn&);

}  // namespace reconciler
