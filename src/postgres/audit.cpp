#include "postgres/audit.hpp"

#include <optional>

#include <nlohmann/json.hpp>

#include "core/text.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"

namespace reconciler {

void write_audit(const Mapping& mapping, const std::vector<Change>& changes, Time at) {
  if (!mapping.audit || changes.empty()) return;
  std::vector<std::optional<std::string>> keys, texts;
  for (const Change& c : changes) {
    const std::string reason = nlohmann::json(c.reason).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    keys.emplace_back(c.session);
    // The images are JSON already: parsed and printed again they would cost more than the update.
    texts.push_back(cat({"{\"action\": \"", c.action, "\", \"rule\": \"", c.rule, "\", \"reason\": ", reason, ", \"pass_id\": ", std::to_string(c.pass_id),
                         ", \"before\": ", c.before, ", \"after\": ", c.after, "}"}));
  }
  query_batch(Statements(mapping).audit(), {Param::texts(keys), Param::texts(texts), Param::text("system:session_reconciler"), Param::time(at), Param::text("session")});
}

}  // namespace reconciler
