// The small pieces of a profile: placeholders, pointers, conditions, and the JSON that foreign bytes become.
#include <algorithm>
#include <stdexcept>

#include "core/profile_definition.hpp"
#include "core/text.hpp"

namespace reconciler {

namespace {

// Deeper than any hub's answer, shallow enough for every recursive walk below and in the library.
constexpr int deepest = 64;

bool too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > deepest) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

struct Named { std::string_view name; Field field; };
constexpr std::array names{Named{"agent_id", Field::agent_id},         Named{"session_id", Field::session_id},
                           Named{"command_id", Field::command_id},     Named{"platform_resource_id", Field::platform_resource_id},
                           Named{"action", Field::action},             Named{"reason", Field::reason},
                           Named{"attempt", Field::attempt},           Named{"payload", Field::payload}};

// An id of dots alone would walk up the path; encoded dots at least are no plain segment.
std::string encode_segment(const std::string& value) {
  if (value == "." || value == "..") return value.size() == 1 ? "%2E" : "%2E%2E";
  return percent_encode(value);
}

}  // namespace

std::optional<Json> parse_json(std::string_view text, const Json::parser_callback_t& keep) {
  if (too_deep(text)) return {};
  // Without exceptions: numbers that do not fit, bad UTF-8 and trailing bytes make it `discarded`.
  Json json = Json::parse(text.begin(), text.end(), keep, false);
  if (json.is_discarded()) return {};
  return json;
}

std::string percent_encode(std::string_view text) {
  static constexpr char hex[] = "0123456789ABCDEF";
  std::string out;
  for (const unsigned char c : text) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) out += static_cast<char>(c);
    else out += {'%', hex[c >> 4], hex[c & 15]};
  }
  return out;
}

std::string text_of(Field field, const CommandRequest& request) {
  switch (field) {
    case Field::agent_id: return request.agent;
    case Field::session_id: return request.session;
    case Field::command_id: return request.command_id;
    case Field::platform_resource_id: return request.runtime;
    case Field::action: return request.action;
    case Field::reason: return request.reason;
    case Field::attempt: return std::to_string(request.attempt);
    case Field::payload: return request.payload;
  }
  return {};
}

Template Template::parse(const std::string& text, const std::vector<Field>& allowed) {
  Template result;
  std::size_t from = 0;
  while (from < text.size()) {
    const std::size_t brace = text.find_first_of("{}", from);
    if (brace != from) result.parts_.emplace_back(text.substr(from, brace - from));
    if (brace == text.npos) break;
    const std::size_t end = text.find('}', brace);
    if (text[brace] == '}' || end == text.npos) throw std::invalid_argument("has an unmatched brace");
    const std::string name = text.substr(brace + 1, end - brace - 1);
    const auto known = std::find_if(names.begin(), names.end(), [&](const Named& n) { return n.name == name; });
    if (known == names.end() || std::find(allowed.begin(), allowed.end(), known->field) == allowed.end())
      throw std::invalid_argument(cat({"cannot use the placeholder {", name, "}"}));
    result.parts_.emplace_back(known->field);
    from = end + 1;
  }
  return result;
}

std::string Template::fill(const CommandRequest& request) const {
  std::string out;
  for (const auto& part : parts_) {
    const auto* field = std::get_if<Field>(&part);
    out += field ? text_of(*field, request) : std::get<std::string>(part);
  }
  return out;
}

std::string Template::fill_encoded(const CommandRequest& request) const {
  std::string out;
  for (const auto& part : parts_) {
    const auto* field = std::get_if<Field>(&part);
    out += field ? encode_segment(text_of(*field, request)) : std::get<std::string>(part);
  }
  return out;
}

bool Template::has(Field field) const {
  return std::any_of(parts_.begin(), parts_.end(), [&](const auto& part) {
    const auto* is = std::get_if<Field>(&part);
    return is && *is == field;
  });
}

std::optional<Field> Template::only() const {
  if (parts_.size() != 1 || !std::holds_alternative<Field>(parts_.front())) return {};
  return std::get<Field>(parts_.front());
}

BodyTemplate BodyTemplate::parse(const Json& json, const std::vector<Field>& allowed) {
  BodyTemplate result;
  if (json.is_object()) {
    std::vector<std::pair<std::string, BodyTemplate>> members;
    for (const auto& [key, value] : json.items()) members.emplace_back(key, parse(value, allowed));
    result.node_ = std::move(members);
  } else if (json.is_array()) {
    std::vector<BodyTemplate> elements;
    for (const Json& value : json) elements.push_back(parse(value, allowed));
    result.node_ = std::move(elements);
  } else if (json.is_string()) {
    Template text = Template::parse(json.get<std::string>(), allowed);
    if (text.has(Field::payload) && !text.only()) throw std::invalid_argument("holds more than {payload}, which is a value of its own");
    result.node_ = std::move(text);
  } else {
    result.node_ = json;
  }
  return result;
}

Json BodyTemplate::fill(const CommandRequest& request) const {
  if (const auto* text = std::get_if<Template>(&node_)) {
    if (text->only() == Field::attempt) return request.attempt;
    if (text->only() == Field::payload) return parse_json(request.payload).value_or(Json());
    return text->fill(request);
  }
  if (const auto* members = std::get_if<std::vector<std::pair<std::string, BodyTemplate>>>(&node_)) {
    Json object = Json::object();
    for (const auto& [key, value] : *members) object[key] = value.fill(request);
    return object;
  }
  if (const auto* elements = std::get_if<std::vector<BodyTemplate>>(&node_)) {
    Json array = Json::array();
    for (const BodyTemplate& value : *elements) array.push_back(value.fill(request));
    return array;
  }
  return std::get<Json>(node_);
}

Pointer Pointer::parse(const std::string& text) {
  Pointer result;
  if (text.empty()) return result;
  if (text.front() != '/') throw std::invalid_argument("must be a JSON pointer: it starts with '/'");
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '/') {
      result.names_.emplace_back();
    } else if (text[i] == '~') {
      const char escaped = i + 1 < text.size() ? text[++i] : '\0';
      if (escaped != '0' && escaped != '1') throw std::invalid_argument("must be a JSON pointer: '~' is written ~0, '/' in a name ~1");
      result.names_.back() += escaped == '0' ? '~' : '/';
    } else {
      result.names_.back() += text[i];
    }
  }
  return result;
}

const Json* Pointer::find(const Json& in) const {
  const Json* at = &in;
  for (const std::string& name : names_) {
    if (!at->is_object()) return nullptr;
    const auto member = at->find(name);
    if (member == at->end()) return nullptr;
    at = &*member;
  }
  return at->is_null() ? nullptr : at;
}

bool Condition::holds(const Json& body, const CommandRequest& request) const {
  const Json* value = at.find(body);
  if (!value) return false;
  if (equals) return *value == *equals;
  if (!value->is_string()) return false;
  return any_string || value->get_ref<const std::string&>() == text->fill(request);
}

HttpRequest Operation::request(const CommandRequest& values) const {
  HttpRequest request;
  request.method = method;
  request.target = path.fill_encoded(values);
  request.headers.emplace_back("Accept", "application/json");
  // Encoded here too: no id can end a header line.
  for (const auto& [name, value] : headers) request.headers.emplace_back(name, value.fill_encoded(values));
  const auto own = bodies.find(values.action);
  const BodyTemplate* filled = own != bodies.end() ? &own->second : body ? &*body : nullptr;
  if (filled) {
    request.headers.emplace_back("Content-Type", "application/json");
    // An id that is not UTF-8 (a SQL_ASCII database) can't be said in JSON: its bad bytes are replaced, and the
    // hub finds no such session.
    request.body = filled->fill(values).dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return request;
}

const Answer* Operation::match(const CommandRequest& request, long status, bool has_retry_after, const std::optional<Json>& body) const {
  for (const Answer& answer : answers) {
    const bool status_fits = std::any_of(answer.statuses.begin(), answer.statuses.end(),
                                         [&](const auto& range) { return status >= range.first && status <= range.second; });
    if (!status_fits || (answer.retry_after && !has_retry_after)) continue;
    const bool holds = std::all_of(answer.where.begin(), answer.where.end(),
                                   [&](const Condition& condition) { return body && condition.holds(*body, request); });
    if (holds) return &answer;
  }
  return nullptr;
}

}  // namespace reconciler
