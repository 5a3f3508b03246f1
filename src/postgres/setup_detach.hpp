#pragma once

#include <string>

namespace reconciler {

// The binding of a table by name ("schema.table" or "table"), also of one that has vanished. UserError 42704, or 42725
// where several have that name.
int binding_named(const std::string& name);

}  // namespace reconciler
