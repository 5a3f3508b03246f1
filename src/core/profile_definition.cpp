#include "core/profile_definition.hpp"

#include <algorithm>
#include <initializer_list>
#include <set>
#include <stdexcept>

#include "core/text.hpp"

namespace reconciler {

namespace {

// One member of a definition, with its path for messages.
class Member {
 public:
  Member(const Json& value, std::string path) : value_(value), path_(std::move(path)) {}

  [[noreturn]] void wrong(std::string_view what) const { throw std::invalid_argument(cat({path_, " ", what})); }
  const Json& json() const { return value_; }

  std::string text() const {
    if (!value_.is_string()) wrong("must be a string");
    return value_.get<std::string>();
  }
  bool flag() const {
    if (!value_.is_boolean()) wrong("must be true or false");
    return value_.get<bool>();
  }
  // An object with no other members than these: a misspelt one must not be ignored in silence.
  const Member& object(std::initializer_list<std::string_view> known) const {
    if (!value_.is_object()) wrong("must be an object");
    for (const auto& [key, _] : value_.items())
      if (std::find(known.begin(), known.end(), key) == known.end())
        throw std::invalid_argument(cat({path_, " has an unknown member ", in_quotes(key)}));
    return *this;
  }
  std::optional<Member> find(const char* key) const {
    const auto at = value_.find(key);
    if (at == value_.end()) return {};
    return Member(*at, cat({path_, ".", key}));
  }
  Member at(const char* key) const {
    if (auto member = find(key)) return *member;
    throw std::invalid_argument(cat({path_, ".", key, " is missing"}));
  }
  std::vector<std::pair<std::string, Member>> members() const {
    if (!value_.is_object()) wrong("must be an object");
    std::vector<std::pair<std::string, Member>> all;
    for (const auto& [key, value] : value_.items()) all.emplace_back(key, Member(value, cat({path_, ".", key})));
    return all;
  }
  std::vector<Member> elements() const {
    if (!value_.is_array()) wrong("must be a list");
    std::vector<Member> all;
    for (std::size_t i = 0; i < value_.size(); ++i) all.emplace_back(value_[i], cat({path_, "[", std::to_string(i), "]"}));
    return all;
  }
  // What `parse` makes of it; its complaint gets this member's path.
  template <class Parse>
  auto as(Parse parse) const {
    try {
      return parse();
    } catch (const std::invalid_argument& e) {
      wrong(e.what());
    }
  }

 private:
  const Json& value_;
  std::string path_;
};

using Fields = std::vector<Field>;
Fields every_field() {
  return {Field::agent_id, Field::session_id, Field::command_id, Field::platform_resource_id, Field::action, Field::reason, Field::attempt};
}

Pointer read_pointer(const Member& member) {
  return member.as([&] { return Pointer::parse(member.text()); });
}

std::optional<Pointer> maybe_pointer(const Member& in, const char* key) {
  const auto member = in.find(key);
  if (!member) return {};
  return read_pointer(*member);
}

Template read_template(const Member& member, const Fields& allowed) {
  return member.as([&] { return Template::parse(member.text(), allowed); });
}

Template read_path(const Member& member, const Fields& allowed) {
  const std::string path = member.text();
  const bool printable = std::all_of(path.begin(), path.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (path.substr(0, 1) != "/" || path.substr(0, 2) == "//" || !printable) member.wrong("must be a path that starts with one '/'");
  return read_template(member, allowed);
}

std::vector<std::pair<std::string, Template>> read_headers(const Member& member, const Fields& allowed) {
  std::vector<std::pair<std::string, Template>> headers;
  for (const auto& [name, value] : member.members()) {
    const auto token = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; };
    if (name.empty() || !std::all_of(name.begin(), name.end(), token)) value.wrong("is no header name");
    const std::string text = value.text();
    if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
      value.wrong("must not hold control characters");
    headers.emplace_back(name, read_template(value, allowed));
  }
  return headers;
}

// 200, "4xx", or a list of them.
std::vector<std::pair<long, long>> read_statuses(const Member& member) {
  if (member.json().is_array()) {
    std::vector<std::pair<long, long>> all;
    for (const Member& element : member.elements())
      for (const auto& range : read_statuses(element)) all.push_back(range);
    if (all.empty()) member.wrong("must name a status");
    return all;
  }
  if (member.json().is_number_integer()) {
    const auto status = member.json().get<std::int64_t>();
    if (status < 100 || status > 599) member.wrong("must be from 100 to 599");
    return {{static_cast<long>(status), static_cast<long>(status)}};
  }
  const std::string text = member.json().is_string() ? member.text() : std::string();
  if (text.size() != 3 || text[0] < '1' || text[0] > '5' || text.substr(1) != "xx")
    member.wrong("must be a status like 200 or \"4xx\", or a list of them");
  const long from = (text[0] - '0') * 100L;
  return {{from, from + 99}};
}

Condition read_condition(const std::string& at, const Member& member, const Fields& allowed) {
  Condition condition;
  condition.at = member.as([&] { return Pointer::parse(at); });
  const Json& value = member.json();
  if (value.is_string()) {
    condition.text = read_template(member, allowed);
  } else if (value.is_object()) {
    condition.any_string = member.object({"is"}).at("is").text() == "string";
    if (!condition.any_string) member.wrong("knows only {\"is\": \"string\"}");
  } else if (value.is_boolean() || value.is_number_integer()) {
    condition.equals = value;
  } else {
    member.wrong("must be a string, an integer, true, false or {\"is\": \"string\"}");
  }
  return condition;
}

std::vector<Answer> read_answers(const Member& member, const Fields& allowed, std::initializer_list<std::string_view> meanings) {
  std::vector<Answer> answers;
  for (const Member& element : member.elements()) {
    element.object({"status", "retry_after", "where", "means"});
    Answer answer;
    answer.statuses = read_statuses(element.at("status"));
    if (const auto flag = element.find("retry_after")) answer.retry_after = flag->flag();
    if (const auto where = element.find("where"))
      for (const auto& [at, value] : where->members()) answer.where.push_back(read_condition(at, value, allowed));
    const Member means = element.at("means");
    answer.means = means.text();
    if (std::find(meanings.begin(), meanings.end(), answer.means) == meanings.end()) {
      std::string known;
      for (const auto word : meanings) known += cat({known.empty() ? "" : ", ", word});
      means.wrong(cat({"must be one of ", known}));
    }
    answers.push_back(std::move(answer));
  }
  if (answers.empty()) member.wrong("must not be empty");
  return answers;
}

Operation read_operation(const Member& member, const Fields& allowed, std::initializer_list<std::string_view> meanings) {
  member.object({"method", "path", "headers", "body", "bodies", "answers", "agents", "next", "next_parameter", "hub_command_id", "detail", "platform_resource_id"});
  Operation operation;
  const Member method = member.at("method");
  operation.method = method.text();
  if (operation.method != "GET" && operation.method != "POST" && operation.method != "PUT" && operation.method != "DELETE")
    method.wrong("must be GET, POST, PUT or DELETE");
  operation.path = read_path(member.at("path"), allowed);
  if (const auto headers = member.find("headers")) operation.headers = read_headers(*headers, allowed);
  if (const auto body = member.find("body"))
    operation.body = body->as([&] { return BodyTemplate::parse(body->json(), allowed); });
  if (const auto bodies = member.find("bodies")) {
    Fields with_payload = allowed;
    with_payload.push_back(Field::payload);
    for (const auto& [action, own] : bodies->members())
      operation.bodies.emplace(action, own.as([&, &own = own] { return BodyTemplate::parse(own.json(), with_payload); }));
  }
  operation.answers = read_answers(member.at("answers"), allowed, meanings);
  operation.agents = maybe_pointer(member, "agents");
  operation.next = maybe_pointer(member, "next");
  if (const auto parameter = member.find("next_parameter")) operation.next_parameter = parameter->text();
  operation.hub_command_id = maybe_pointer(member, "hub_command_id");
  operation.detail = maybe_pointer(member, "detail");
  operation.runtime = maybe_pointer(member, "platform_resource_id");
  return operation;
}

std::optional<Operation> maybe_operation(const Member& in, const char* key, const Fields& allowed,
                                         std::initializer_list<std::string_view> meanings) {
  const auto member = in.find(key);
  if (!member) return {};
  return read_operation(*member, allowed, meanings);
}

void read_hub(ProfileDefinition& def, const Member& hub) {
  hub.object({"instance", "scope", "scopes", "complete"});
  def.instance = maybe_pointer(hub, "instance");
  def.complete = maybe_pointer(hub, "complete");
  def.scope = maybe_pointer(hub, "scope");
  if (!def.scope) return;
  for (const auto& [word, fleet] : hub.at("scopes").members()) def.scopes.emplace_back(word, fleet.flag());
}

void read_agent(ProfileDefinition& def, const Member& agent) {
  agent.object({"id", "status", "statuses", "incarnation", "heartbeat", "pool", "platform", "region", "capacity", "sessions"});
  def.agent_id = read_pointer(agent.at("id"));
  def.agent_status = maybe_pointer(agent, "status");
  def.agent_incarnation = maybe_pointer(agent, "incarnation");
  def.agent_heartbeat = maybe_pointer(agent, "heartbeat");
  def.agent_pool = maybe_pointer(agent, "pool");
  def.agent_platform = maybe_pointer(agent, "platform");
  def.agent_region = maybe_pointer(agent, "region");
  def.agent_capacity = maybe_pointer(agent, "capacity");
  def.agent_sessions = maybe_pointer(agent, "sessions");
  if (def.authoritative && !def.agent_status) agent.wrong("needs status and statuses: the profile is authoritative");
  if (!def.agent_status) return;
  for (const auto& [word, status] : agent.at("statuses").members()) {
    const std::string is = status.text();
    if (is != "connected" && is != "draining" && is != "disconnected") status.wrong("must be connected, draining or disconnected");
    if (is == "draining") def.draining.push_back(word);
    def.statuses.emplace_back(word, is != "disconnected" ? AgentAnswer::Status::connected : AgentAnswer::Status::disconnected);
  }
}

// Both agent requests may be there, one must.
void read_agent_requests(ProfileDefinition& def, const Member& root) {
  def.list_agents = maybe_operation(root, "list_agents", {}, {"agents"});
  def.ask_agent = maybe_operation(root, "ask_agent", {Field::agent_id}, {"agent", "unknown_agent"});
  if (!def.list_agents && !def.ask_agent) root.wrong("needs list_agents or ask_agent");
  if (!def.list_agents) return;
  const Member list = root.at("list_agents");
  if (!def.list_agents->agents) list.wrong("needs agents, a pointer to the list");
  if (def.list_agents->next && def.list_agents->next_parameter.empty()) list.wrong("needs next_parameter beside next");
}

}  // namespace

ProfileDefinition ProfileDefinition::read(std::string_view name, std::string_view text) {
  ProfileDefinition def;
  def.name = name;
  const std::string path = cat({"hub profile ", in_quotes(name)});
  const auto json = parse_json(text);
  if (!json) throw std::invalid_argument(cat({path, " is not JSON"}));
  const Member root(*json, path);
  if (const auto pull = root.find("pull"); pull && pull->flag()) {
    if (const auto description = root.object({"description", "pull"}).find("description")) description->text();
    def.pulls = def.idempotent = true;  // the key is the command's key in our own table
    return def;
  }
  root.object({"description", "pull", "authoritative", "idempotent", "hub", "agent", "list_agents", "ask_agent", "send", "ask_command",
               "ask_session"});
  if (const auto description = root.find("description")) description->text();
  def.authoritative = root.at("authoritative").flag();
  def.idempotent = root.at("idempotent").flag();
  if (const auto hub = root.find("hub")) read_hub(def, *hub);
  def.ask_session = maybe_operation(root, "ask_session", {Field::session_id}, {"running", "suspended", "gone", "unclear"});
  if (!root.find("agent")) {
    for (const char* of_agents : {"list_agents", "ask_agent", "send", "ask_command"})
      if (root.find(of_agents)) root.at("agent");  // is missing
    if (!def.ask_session) root.wrong("needs agent, or ask_session where the hub knows of sessions alone");
    if (def.authoritative) root.wrong("can't be authoritative without agent");
    return def;
  }
  read_agent(def, root.at("agent"));
  read_agent_requests(def, root);
  def.send = read_operation(root.at("send"), every_field(),
                            {"accepted", "not_connected", "unknown_agent", "session_gone", "busy", "unauthorized", "rejected", "unclear"});
  def.ask_command = maybe_operation(root, "ask_command", {Field::command_id}, {"open", "completed", "failed"});
  return def;
}

}  // namespace reconciler
