// A table as reconciler.binding or reconciler.policy names it, with its columns.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/json.hpp"
#include "postgres/mapping.hpp"
#include "postgres/table_columns.hpp"

namespace reconciler {

// Name and columns, read at once: a binding maps dozens.
class MappedTable {
 public:
  explicit MappedTable(Oid relation);
  // `related`: an object whose member "table" has the name, with its schema. UserError 55000: no such table.
  explicit MappedTable(const nlohmann::json& related);

  const std::string& qualified() const { return qualified_; }
  Oid relation() const;
  // UserError 42703: no such column.
  Column named(const std::string& name) const;
  // The column that `columns` maps as `what`; empty: none.
  std::optional<Column> mapped(const nlohmann::json& columns, const char* what) const;

 private:
  explicit MappedTable(const TableColumns&);

  std::string qualified_;
  std::map<std::string, Column> columns_;
};

}  // namespace reconciler
