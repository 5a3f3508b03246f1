// The application's audit table, where one is mapped: a row for each row of the sessions table that we write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/time.hpp"
#include "postgres/boundary.hpp"
#include "postgres/mapping.hpp"
#include "postgres/spi.hpp"

namespace reconciler {

struct Change {
  std::string_view session, action, rule, reason;
  std::int64_t pass_id = 0;         // 0: a person's act
  Jsonb before, after;
};

// In the block of the table's owner and in the transaction of the change.
void write_audit(const Mapping&, const std::vector<Change>&, Time at);

// A session that stands in two rows: whatever was written is to be taken back.
PostgresError two_rows();

}  // namespace reconciler
