// What a forced session may leave behind: names, the command that cleans, and user data apart from it.

#include "core/json.hpp"
#include "postgres/store.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

// Inside a JSON string; bytes that are no UTF-8 are replaced.
std::string escaped(const std::string& text) {
  const std::string quoted = json(text).dump(-1, ' ', false, json::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2);
}

// For a shell: nothing in a session id may become a command of its own.
std::string shell_quoted(const std::string& text) {
  if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == std::string::npos && !text.empty()) return text;
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

void put(std::string& text, std::string_view mark, const std::string& value) {
  for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += value.size()) text.replace(at, mark.size(), value);
}

// The binding's templates as JSON texts. A session's part is put into the text: thousands of them are closed at once.
struct Templates {
  std::string resources, cleanup, user_data, name_space;

  explicit Templates(const json& templates)
      : resources(templates.at("resources").dump()),
        cleanup(json(templates.value("cleanup", "")).dump()),
        user_data(templates.value("user_data", json::array()).dump()),
        name_space(templates.value("namespace", "default")) {}

  static std::string filled(std::string text, const std::string& session, const std::string& name_space) {
    put(text, "{namespace}", name_space);
    put(text, "{session_id}", session);
    return text;
  }

  std::string evidence(const Session& s, const std::string& in) const {
    const std::string session = escaped(s.key), space = escaped(in);
    return "{\"namespace\": \"" + space + "\", \"resources\": " + filled(resources, session, space) +
           ", \"cleanup\": " + filled(cleanup, escaped(shell_quoted(s.key)), escaped(shell_quoted(in))) +
           ", \"user_data\": " + filled(user_data, session, space) + ", \"agent_id\": \"" + escaped(s.agent.value_or("")) + "\"}";
  }
};

}  // namespace

std::vector<Event> PgStore::leftovers(const std::vector<const Closing*>& closed) {
  const json configured = json::parse(b_.leftover_json);
  std::vector<Event> events;
  if (!configured.contains("resources")) return events;
  const Templates templates(configured);
  std::set<std::string> agents;
  for (const Closing* c : closed)
    if (c->verdict.action == Action::force && c->tracked->session.agent) agents.insert(*c->tracked->session.agent);
  const std::map<std::string, std::string> namespaces = namespaces_of({agents.begin(), agents.end()});
  for (const Closing* c : closed) {
    const Session& s = c->tracked->session;
    if (c->verdict.action != Action::force) continue;
    const auto found = s.agent ? namespaces.find(*s.agent) : namespaces.end();
    events.push_back({.session = s.key, .kind = "leftover", .from_state = s.state, .to_state = c->verdict.becomes, .reason = c->verdict.reason,
                      .rule = std::string(c->verdict.rule), .evidence = templates.evidence(s, found != namespaces.end() ? found->second : templates.name_space),
                      .before = {}, .after = {}});
  }
  return events;
}

// Where each agent works, as far as the agents table says.
std::map<std::string, std::string> PgStore::namespaces_of(const std::vector<std::string>& agents) {
  std::map<std::string, std::string> namespaces;
  if (!b_.mapping.agents || !b_.mapping.agents->metadata || agents.empty()) return namespaces;
  const Rows rows = theirs([&] { return query_batch(sql_.agent_namespaces(), {Param::texts(agents)}); });
  for (Rows::Row row : rows)
    if (auto name = row.maybe_text("namespace")) namespaces[row.text("id")] = *name;
  return namespaces;
}

}  // namespace reconciler
