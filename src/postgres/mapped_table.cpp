#include "postgres/mapped_table.hpp"

#include "postgres/spi.hpp"
#include "postgres/statements.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {

using nlohmann::json;

MappedTable::MappedTable(Oid relation) : MappedTable(columns_of(relation)) {}

MappedTable::MappedTable(const json& related) : MappedTable(columns_of(related.at("table").get<std::string>())) {
  if (columns_.empty())
    throw UserError("55000", "related table " + related.at("table").get<std::string>() + " does not exist", "Restore it, or detach_sessions() and attach again.");
}

MappedTable::MappedTable(const TableColumns& found) : columns_(found.columns) {
  if (!found.name.empty()) qualified_ = quote_identifier(found.schema) + "." + quote_identifier(found.name);
}

Oid MappedTable::relation() const { return static_cast<Oid>(query("SELECT $1::regclass::oid AS relation", {Param::text(qualified_)}).only().integer("relation")); }

Column MappedTable::named(const std::string& name) const {
  const auto found = columns_.find(name);
  if (found != columns_.end()) return found->second;
  throw UserError("42703", "column \"" + name + "\" of table " + query("SELECT $1::regclass::text", {Param::text(qualified_)}).only().text(0) + " does not exist", "Restore the column, or detach_sessions() and attach again.");
}

std::optional<Column> MappedTable::mapped(const json& columns, const char* what) const {
  const auto found = columns.find(what);
  if (found == columns.end() || !found->is_string()) return std::nullopt;
  return named(found->get<std::string>());
}

}  // namespace reconciler
