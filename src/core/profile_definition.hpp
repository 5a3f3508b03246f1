// Inside core/ only: a hub profile's definition, read and checked. The language is described in profile.cpp.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/json.hpp"
#include "core/profile.hpp"

namespace reconciler {

using Json = nlohmann::json;

// Foreign JSON, or nothing: never throws, and refuses what is nested deeper than anything that a hub says. `keep` may leave
// members out while they are read.
std::optional<Json> parse_json(std::string_view, const Json::parser_callback_t& keep = nullptr);

enum class Field { agent_id, session_id, command_id, platform_resource_id, action, reason, attempt, payload };
// The value of a placeholder as text; a CommandRequest carries those of the other requests too.
std::string text_of(Field, const CommandRequest&);

// Text with {placeholders}.
class Template {
 public:
  static Template parse(const std::string& text, const std::vector<Field>& allowed);  // throws std::invalid_argument
  std::string fill(const CommandRequest&) const;
  std::string fill_encoded(const CommandRequest&) const;  // values percent-encoded
  bool has(Field) const;
  std::optional<Field> only() const;                      // the template is this placeholder and nothing else

 private:
  std::vector<std::variant<std::string, Field>> parts_;
};

// A JSON body whose strings are templates.
class BodyTemplate {
 public:
  static BodyTemplate parse(const Json&, const std::vector<Field>& allowed);
  Json fill(const CommandRequest&) const;

 private:
  std::variant<Json, Template, std::vector<std::pair<std::string, BodyTemplate>>, std::vector<BodyTemplate>> node_;
};

// A JSON pointer through objects ("/error/code"; "" is the whole body).
class Pointer {
 public:
  static Pointer parse(const std::string&);      // throws std::invalid_argument
  const Json* find(const Json& in) const;        // nullptr: not there, or null

 private:
  std::vector<std::string> names_;
};

struct Condition {
  Pointer at;
  std::optional<Json> equals;        // a number or a boolean
  std::optional<Template> text;      // a string
  bool any_string = false;
  bool holds(const Json& body, const CommandRequest&) const;
};

struct Answer {
  std::vector<std::pair<long, long>> statuses;  // from, to
  bool retry_after = false;
  std::vector<Condition> where;
  std::string means;
};

struct Operation {
  std::string method;
  Template path;
  std::vector<std::pair<std::string, Template>> headers;
  std::optional<BodyTemplate> body;
  std::map<std::string, BodyTemplate, std::less<>> bodies;  // by action, before body
  std::vector<Answer> answers;
  std::optional<Pointer> agents, next, hub_command_id, detail, runtime;
  std::string next_parameter;

  HttpRequest request(const CommandRequest&) const;
  // The first answer that fits; nullptr: none does.
  const Answer* match(const CommandRequest&, long status, bool retry_after, const std::optional<Json>& body) const;
};

struct ProfileDefinition {
  std::string name;
  bool pulls = false, authoritative = false, idempotent = false;

  std::optional<Pointer> instance, scope, complete;
  std::vector<std::pair<std::string, bool>> scopes;  // word → whole fleet
  Pointer agent_id;
  std::optional<Pointer> agent_status, agent_incarnation, agent_heartbeat;
  std::optional<Pointer> agent_pool, agent_platform, agent_region, agent_capacity, agent_sessions;
  std::vector<std::pair<std::string, AgentAnswer::Status>> statuses;
  std::vector<std::string> draining;  // words of those that are connected and get no new work

  std::optional<Operation> list_agents, ask_agent, ask_command, ask_session;
  Operation send;

  // What an answer says; empty where its body does not fit.
  std::optional<HubIdentity> identity(const Json& body) const;
  std::optional<AgentAnswer> agent(const Json& object) const;

  static ProfileDefinition read(std::string_view name, std::string_view json);  // throws std::invalid_argument
};

}  // namespace reconciler
