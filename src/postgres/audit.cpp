#include "postgres/audit.hpp"

#include <optional>

#include "postgres/spi.hpp"
#include "postgres/statements.hpp"

namespace reconciler {

void write_audit(const Mapping& mapping, const std::vector<Change>& changes, Time at) {
  if (!mapping.audit || changes.empty()) return;
  std::vector<std::string> keys, actions, rules, reasons;
  std::vector<std::int64_t> pass_ids;
  std::vector<std::optional<Jsonb>> before, after;
  for (const Change& c : changes) {
    keys.emplace_back(c.session), actions.emplace_back(c.action), rules.emplace_back(c.rule), reasons.emplace_back(c.reason);
    pass_ids.push_back(c.pass_id), before.push_back(c.before), after.push_back(c.after);
  }
  query_batch(Statements(mapping).audit(), {Param::texts(keys), Param::texts(actions), Param::texts(rules), Param::texts(reasons), Param::integers(pass_ids), Param::jsonbs(before),
                                            Param::jsonbs(after), Param::text("system:session_reconciler"), Param::time(at), Param::text("session")});
}

PostgresError two_rows() {
  return PostgresError(sqlstate_code("21000"), "writing one session would write two rows", {},
                       "Map a key_column that is unique by itself, or add the table's partition columns as route_columns.");
}

}  // namespace reconciler
