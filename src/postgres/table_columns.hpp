// A table's name and the types of its columns, out of the server's caches: a binding reads some of them in every pass.
#pragma once

#include <map>
#include <string>

#include "postgres/mapping.hpp"

namespace reconciler {

struct TableColumns {
  std::string schema, name;  // both empty: no such table
  std::map<std::string, Column> columns;
};

TableColumns columns_of(Oid relation);
// By name, quoted where needed; a name without a schema is looked for in search_path.
TableColumns columns_of(const std::string& name);

}  // namespace reconciler
