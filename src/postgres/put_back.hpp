// Rows as an event's images have them, put back where they still are as we left them.
#pragma once

#include <string>

#include "postgres/mapping.hpp"
#include "postgres/spi.hpp"

namespace reconciler {

// It is not what we left, or is no more.
struct ChangedSince {
  std::string what;  // session "s-1", or a row of public.assignments
};

// Inside the block of the table's owner, in a subtransaction of the caller: what was written before one throws has to be taken back.
// `before`, `after`: the images as JSON. Returns the row as it is now.
Jsonb put_back_session(const Mapping&, const std::string& before, const std::string& after);
// A list of changes as Statements::step() returns them.
void put_back_related(const std::string& changes);

}  // namespace reconciler
