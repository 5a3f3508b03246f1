// A hub profile is a JSON object; src/hub/profiles/ has three. Its members:
//
//   pull           true: there is no hub to call, agents fetch their commands from this database. Nothing below is said then
//   authoritative  true: agent status proves a connection. false: only heartbeats are read
//   idempotent     true: the hub honours the idempotency key that `send` carries
//   hub            who answers: pointers `instance`, `scope` (with `scopes`: word → true for the whole fleet) and
//                  `complete` (a list names every agent), all optional, read from the body of both agent requests
//   agent          optional: without it, list_agents, ask_agent, send and ask_command the hub knows of sessions alone. What an agent looks like: pointers `id`, `status` (with `statuses`: word → connected or
//                  disconnected), `incarnation`, `heartbeat` (RFC 3339), relative to the agent's object
//   list_agents    optional; with pointers `agents` and `next`, and `next_parameter`
//   ask_agent      optional beside list_agents; the body of its answer is the agent's object
//   send           its `bodies` (action → body) come before `body`; with pointers `hub_command_id` (must be there when accepted) and `detail` (for people)
//   ask_command, ask_session   optional; the second with a pointer `platform_resource_id` to the runtime that it speaks of
//
// The last five are operations: `method`, `path`, `headers`, `body`, `answers`. Strings in them may hold the
// placeholders {agent_id} {session_id} {command_id} {platform_resource_id} {action} {reason} {attempt}, those that
// the operation knows: percent-encoded in path and headers, JSON values in the body ({attempt} alone: a number). In
// `bodies` "{payload}", alone, is what the application sent with the command, as JSON.
// `answers` is asked from the top: {"status": 202 | "4xx" | [401, 403], "retry_after": true, "where": {pointer:
// value, …}, "means": word}. All values must be there and equal; placeholders stand in them too, {"is": "string"} is
// any string. The first that fits says what the answer means; where none fits, nothing is known.
//
// Pointers are JSON pointers through objects. null counts as absent.
#include "core/profile.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/profile_definition.hpp"
#include "core/text.hpp"

namespace reconciler {

const char* to_string(CommandMeaning meaning) {
  switch (meaning) {
    case CommandMeaning::accepted: return "accepted";
    case CommandMeaning::not_connected: return "not_connected";
    case CommandMeaning::unknown_agent: return "unknown_agent";
    case CommandMeaning::session_gone: return "session_gone";
    case CommandMeaning::busy: return "busy";
    case CommandMeaning::unauthorized: return "unauthorized";
    case CommandMeaning::rejected: return "rejected";
    case CommandMeaning::unclear: return "unclear";
  }
  return "unclear";
}

Profile::Profile(std::string_view name, std::string_view definition_json)
    : def_(std::make_unique<const ProfileDefinition>(ProfileDefinition::read(name, definition_json))) {}
Profile::Profile(Profile&&) noexcept = default;
Profile& Profile::operator=(Profile&&) noexcept = default;
Profile::~Profile() = default;

const std::string& Profile::name() const { return def_->name; }
bool Profile::authoritative() const { return def_->authoritative; }
bool Profile::idempotent() const { return def_->idempotent; }
bool Profile::pulls() const { return def_->pulls; }
bool Profile::knows_agents() const { return def_->list_agents || def_->ask_agent; }
bool Profile::can_list() const { return def_->list_agents.has_value(); }
bool Profile::can_ask_command() const { return def_->pulls || def_->ask_command.has_value(); }
bool Profile::can_ask_session() const { return def_->ask_session.has_value(); }

namespace {

constexpr std::int64_t most_sessions = 1000000;  // of an agent, as reconciler.agent takes it

const Operation& known(const std::optional<Operation>& operation, const char* what) {
  if (!operation) throw std::logic_error(cat({"the hub profile has no ", what}));
  return *operation;
}

CommandRequest of_agent(std::string_view agent) {
  CommandRequest values;
  values.agent = agent;
  return values;
}
CommandRequest of_command(std::string_view command_id) {
  CommandRequest values;
  values.command_id = command_id;
  return values;
}
CommandRequest of_session(std::string_view session) {
  CommandRequest values;
  values.session = session;
  return values;
}

}  // namespace

HttpRequest Profile::list_agents(const std::optional<std::string>& next) const {
  const Operation& operation = known(def_->list_agents, "list_agents");
  HttpRequest request = operation.request({});
  if (!next) return request;
  if (next->starts_with('/')) {
    request.target = *next;  // read_agents() has checked it
  } else {
    const char* glue = request.target.find('?') == std::string::npos ? "?" : "&";
    request.target += cat({glue, operation.next_parameter, "=", percent_encode(*next)});
  }
  return request;
}

HttpRequest Profile::ask_agent(std::string_view agent) const { return known(def_->ask_agent, "ask_agent").request(of_agent(agent)); }
HttpRequest Profile::send(const CommandRequest& command) const { return def_->send.request(command); }
HttpRequest Profile::ask_command(std::string_view id) const { return known(def_->ask_command, "ask_command").request(of_command(id)); }
HttpRequest Profile::ask_session(std::string_view id) const { return known(def_->ask_session, "ask_session").request(of_session(id)); }

namespace {

// Longer than any id that a database column of 255 characters can hold.
constexpr std::size_t longest_text = 1024;

// Reads members of a foreign body. Absent is fine unless it is required; what is there and does not fit makes
// the whole body improper: half of an answer proves nothing.
class Reading {
 public:
  explicit Reading(const Json& in) : in_(in) {}
  bool fits() const { return fits_; }

  std::string text(const std::optional<Pointer>& at) {
    const Json* value = find(at);
    if (!value) return {};
    if (value->is_number_integer()) return value->dump();
    return string(*value);
  }
  std::string required_text(const Pointer& at) {
    const Json* value = at.find(in_);
    if (!value) return fail();
    const std::string text = string(*value);
    return text.empty() ? fail() : text;
  }
  std::optional<bool> flag(const std::optional<Pointer>& at) {
    const Json* value = find(at);
    if (!value) return {};
    if (!value->is_boolean()) return fail(), std::nullopt;
    return value->get<bool>();
  }
  std::optional<Time> time(const std::optional<Pointer>& at) {
    const Json* value = find(at);
    if (!value) return {};
    const auto read = value->is_string() ? parse_rfc3339(value->get_ref<const std::string&>()) : std::nullopt;
    if (!read) fail();
    return read;
  }
  template <class T>
  std::optional<T> word(const std::optional<Pointer>& at, const std::vector<std::pair<std::string, T>>& words) {
    const Json* value = find(at);
    if (!value) return {};
    const auto known = std::find_if(words.begin(), words.end(), [&](const auto& w) { return value->is_string() && *value == w.first; });
    if (known == words.end()) return fail(), std::nullopt;
    return known->second;
  }

 private:
  const Json* find(const std::optional<Pointer>& at) const { return at ? at->find(in_) : nullptr; }
  std::string fail() {
    fits_ = false;
    return {};
  }
  // Postgres texts hold no NUL, and nobody's id is a page long.
  std::string string(const Json& value) {
    if (!value.is_string()) return fail();
    const auto& text = value.get_ref<const std::string&>();
    return text.size() > longest_text || text.find('\0') != text.npos ? fail() : text;
  }

  const Json& in_;
  bool fits_ = true;
};

// Foreign words for people.
std::string clean(const std::optional<Json>& body, const std::optional<Pointer>& at) {
  const Json* value = body && at ? at->find(*body) : nullptr;
  return value && value->is_string() ? one_line(value->get<std::string>()) : std::string();
}

// The word that leads to the next page: a path on the same origin, or an opaque token.
bool proper_next(const std::string& next) {
  if (next.empty() || next.size() > 8 * longest_text) return false;
  if (!next.starts_with('/')) return true;
  return !next.starts_with("//") && std::all_of(next.begin(), next.end(), [](unsigned char c) {
    return c > 0x20 && c < 0x7f && c != '\\' && c != '#';
  });
}

CommandMeaning meaning_of(const std::string& word) {
  for (const auto meaning : {CommandMeaning::accepted, CommandMeaning::not_connected, CommandMeaning::unknown_agent,
                             CommandMeaning::session_gone, CommandMeaning::busy, CommandMeaning::unauthorized, CommandMeaning::rejected})
    if (word == to_string(meaning)) return meaning;
  return CommandMeaning::unclear;
}

}  // namespace

std::optional<HubIdentity> ProfileDefinition::identity(const Json& body) const {
  Reading read(body);
  HubIdentity hub;
  hub.instance = read.text(instance);
  hub.fleet = read.word(scope, scopes);
  hub.complete = read.flag(complete).value_or(false);
  if (!read.fits()) return {};
  return hub;
}

std::optional<AgentAnswer> ProfileDefinition::agent(const Json& object) const {
  Reading read(object);
  AgentAnswer agent;
  agent.id = read.required_text(agent_id);
  agent.incarnation = read.text(agent_incarnation);
  agent.heartbeat = read.time(agent_heartbeat);
  if (agent_status) {
    // A word that we don't know leaves this one agent unclear; no word at all is a body that does not fit.
    const std::string status = read.required_text(*agent_status);
    const auto known = std::find_if(statuses.begin(), statuses.end(), [&](const auto& s) { return s.first == status; });
    if (known != statuses.end()) agent.status = known->second;
    agent.draining = std::find(draining.begin(), draining.end(), status) != draining.end();
  }
  if (!read.fits()) return {};
  // What pools are made of says nothing of who is there: where it is of another type it is not said, no more.
  const auto text = [&](const std::optional<Pointer>& at) {
    const Json* value = at ? at->find(object) : nullptr;
    return value && value->is_string() ? value->get<std::string>() : std::string();
  };
  const auto number = [&](const std::optional<Pointer>& at) -> std::optional<std::int64_t> {
    const Json* value = at ? at->find(object) : nullptr;
    if (!value || !value->is_number_integer() || *value < 0) return {};
    return *value > most_sessions ? most_sessions : value->get<std::int64_t>();
  };
  agent.pool = text(agent_pool), agent.platform = text(agent_platform), agent.region = text(agent_region);
  agent.capacity = number(agent_capacity), agent.sessions = number(agent_sessions);
  return agent;
}

std::optional<Profile::AgentsPage> Profile::read_agents(long status, std::string_view body) const {
  const Operation& operation = known(def_->list_agents, "list_agents");
  const auto json = parse_json(body);
  if (!json || !operation.match({}, status, false, json)) return {};
  AgentsPage page;
  const auto hub = def_->identity(*json);
  const Json* agents = operation.agents->find(*json);
  if (!hub || !agents || !agents->is_array()) return {};
  page.hub = *hub;
  // One agent that does not fit spoils the page: another's absence from it would prove nothing.
  for (const Json& object : *agents) {
    auto agent = def_->agent(object);
    if (!agent) return {};
    page.agents.push_back(std::move(*agent));
  }
  const Json* next = operation.next ? operation.next->find(*json) : nullptr;
  if (!next) return page;
  if (!next->is_string() || !proper_next(next->get_ref<const std::string&>())) return {};
  page.next = next->get<std::string>();
  return page;
}

std::optional<Profile::OneAgent> Profile::read_agent(std::string_view asked, long status, std::string_view body) const {
  const Operation& operation = known(def_->ask_agent, "ask_agent");
  const auto json = parse_json(body);
  const auto* answer = json ? operation.match(of_agent(asked), status, false, json) : nullptr;
  const auto hub = answer ? def_->identity(*json) : std::nullopt;
  if (!hub) return {};
  OneAgent one;
  one.hub = *hub;
  if (answer->means == "unknown_agent") {
    one.agent.id = asked;
    one.agent.status = AgentAnswer::Status::unknown_agent;
    return one;
  }
  auto agent = def_->agent(*json);
  if (!agent || agent->id != asked) return {};  // about another agent, or about none
  one.agent = std::move(*agent);
  return one;
}

Profile::CommandAnswer Profile::read_send(const CommandRequest& command, long status, bool retry_after, std::string_view body) const {
  const Operation& operation = def_->send;
  const auto json = parse_json(body);
  const auto* answer = operation.match(command, status, retry_after, json);
  CommandAnswer result{answer ? meaning_of(answer->means) : CommandMeaning::unclear, {}, {}};
  if (result.meaning == CommandMeaning::accepted && operation.hub_command_id) {
    if (json) {
      Reading read(*json);
      result.hub_command_id = read.required_text(*operation.hub_command_id);
    }
    // Accepted, but under no name: whether it was is not proven.
    if (result.hub_command_id.empty()) result.meaning = CommandMeaning::unclear;
  }
  const std::string words = clean(json, operation.detail);
  result.detail = cat({"the hub answered ", std::to_string(status), words.empty() ? "" : ": ", words,
                       result.meaning == CommandMeaning::unclear ? " (this proves nothing)" : ""});
  return result;
}

Profile::CommandState Profile::read_command(std::string_view command_id, long status, std::string_view body) const {
  const Operation& operation = known(def_->ask_command, "ask_command");
  const auto json = parse_json(body);
  const auto* answer = operation.match(of_command(command_id), status, false, json);
  if (!answer) return {CommandProgress::unclear, {}};
  const CommandProgress progress = answer->means == "completed" ? CommandProgress::completed
                                   : answer->means == "failed"  ? CommandProgress::failed
                                                                : CommandProgress::open;
  return {progress, clean(json, operation.detail)};
}

Profile::SessionState Profile::read_session(long status, std::string_view body) const {
  const Operation& operation = known(def_->ask_session, "ask_session");
  const auto json = parse_json(body);
  const auto* answer = operation.match({}, status, false, json);
  if (!answer) return {SessionAnswer::unclear, {}};
  SessionState state{SessionAnswer::unclear, {}, true};
  for (const auto& [word, means] : {std::pair{"running", SessionAnswer::running}, std::pair{"suspended", SessionAnswer::suspended}, std::pair{"gone", SessionAnswer::gone}})
    if (answer->means == word) state.answer = means;
  if (operation.runtime && json) {
    Reading read(*json);
    state.runtime = read.text(operation.runtime);
    if (!read.fits()) return {SessionAnswer::unclear, {}};
  }
  return state;
}

}  // namespace reconciler
