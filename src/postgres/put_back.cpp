#include "postgres/put_back.hpp"

#include "core/json.hpp"
#include "postgres/audit.hpp"
#include "postgres/mapped_table.hpp"
#include "postgres/statements.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

// What an image names, and what of it was changed. By the event, not by the mapping: that may be another one by now. The texts
// go back as they are: a number may have more digits than any double.
Jsonb put_back(const MappedTable& table, const std::vector<Column>& key, const std::string& was, const std::string& is, const std::string& what) {
  const json before = json::parse(was), after = json::parse(is);
  std::vector<Column> changed, all;
  for (const auto& [name, value] : after.items()) {
    all.push_back(table.named(name));
    if (before.contains(name) && before[name] != value) changed.push_back(all.back());
  }
  if (changed.empty()) throw ChangedSince{what};
  const Rows rows = query(Statements::put_back(table.qualified(), key, changed, all), {Param::jsonb(was), Param::jsonb(is)});
  if (rows.empty()) throw ChangedSince{what};
  if (rows.size() > 1) throw two_rows();
  return rows[0].jsonb("after");
}

}  // namespace

Jsonb put_back_session(const Mapping& mapping, const std::string& before, const std::string& after) {
  const json image = json::parse(after);
  const Column& key = mapping.sessions.key;
  const std::string shown = image.contains(key.name) ? image[key.name].is_string() ? image[key.name].get<std::string>() : image[key.name].dump() : std::string("?");
  return put_back(MappedTable(mapping.sessions.relation), {key}, before, after, "session \"" + shown + "\"");
}

// The last one first.
void put_back_related(const std::string& changes) {
  for (Rows::Row change : query("SELECT u.c->>'table' AS name, ARRAY(SELECT jsonb_array_elements_text(u.c->'key')) AS key, (u.c->'before')::text AS before, (u.c->'after')::text AS after"
                                " FROM jsonb_array_elements($1) WITH ORDINALITY AS u(c, n) ORDER BY u.n DESC", {Param::jsonb(changes)})) {
    const MappedTable table(json{{"table", change.text("name")}});
    std::vector<Column> key;
    for (const std::string& name : change.texts("key")) key.push_back(table.named(name));
    put_back(table, key, change.text("before"), change.text("after"), "a row of " + table.qualified());
  }
}

}  // namespace reconciler
