#include "engine/cluster_json.hpp"

#include <array>
#include <stdexcept>

#include "core/text.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

std::string text_of(const json& document, const char* name, bool required) {
  const auto found = document.find(name);
  if (found == document.end() || found->is_null()) {
    if (required) throw std::invalid_argument(cat({in_quotes(name), " is missing"}));
    return {};
  }
  if (!found->is_string()) throw std::invalid_argument(cat({in_quotes(name), " must be a string"}));
  return found->get<std::string>();
}

std::optional<Time> time_of(const json& document, const char* name) {
  const std::string text = text_of(document, name, false);
  if (text.empty()) return {};
  const auto time = parse_rfc3339(text);
  if (!time) throw std::invalid_argument(cat({in_quotes(name), " is not a time: ", in_quotes(text)}));
  return time;
}

// A map of texts, or a list of them.
template <class Texts>
Texts texts_of(const json& document, const char* name) {
  const auto found = document.find(name);
  if (found == document.end() || found->is_null()) return {};
  try {
    return found->get<Texts>();
  } catch (const json::exception&) {
    throw std::invalid_argument(cat({in_quotes(name), " must hold strings only"}));
  }
}

// As instant() has it, in the one format that parse_rfc3339() reads: whole seconds, as the API has them.
std::string rfc3339(Time at) {
  const std::string text = instant(at);  // 2025-12-05 10:00:00 UTC; or infinity
  return text.size() < 19 ? std::string() : text.substr(0, 10) + "T" + text.substr(11, 8) + "Z";
}

void put(json& document, const char* name, const std::string& text) {
  if (!text.empty()) document[name] = text;
}

template <class Outcome, std::size_t n>
std::optional<Outcome> outcome_from(std::string_view text, const std::array<Outcome, n>& all) {
  for (Outcome outcome : all)
    if (text == to_string(outcome)) return outcome;
  return {};
}

}  // namespace

json to_json(const ClusterObject& o) {
  json document = {{"name", o.name}, {"uid", o.uid}};
  put(document, "namespace", o.namespace_name), put(document, "resource_version", o.resource_version);
  if (o.created) put(document, "created", rfc3339(*o.created));
  if (o.deleted) put(document, "deleted", rfc3339(*o.deleted));
  if (!o.labels.empty()) document["labels"] = o.labels;
  if (!o.annotations.empty()) document["annotations"] = o.annotations;
  if (!o.finalizers.empty()) document["finalizers"] = o.finalizers;
  if (o.controller) document["controller"] = {{"kind", o.controller->kind}, {"name", o.controller->name}, {"uid", o.controller->uid}};
  return document;
}

json to_json(const Selected& s) {
  return {{"group", s.kind.group}, {"version", s.kind.version}, {"resource", s.kind.resource}, {"namespaces", s.namespaces}, {"selector", s.selector}};
}

ClusterObject object_from(const json& document) {
  if (!document.is_object()) throw std::invalid_argument("an object of a cluster must be a JSON object");
  ClusterObject o;
  o.name = text_of(document, "name", true), o.namespace_name = text_of(document, "namespace", false);
  o.uid = text_of(document, "uid", true), o.resource_version = text_of(document, "resource_version", false);
  o.created = time_of(document, "created"), o.deleted = time_of(document, "deleted");
  o.labels = texts_of<std::map<std::string, std::string>>(document, "labels");
  o.annotations = texts_of<std::map<std::string, std::string>>(document, "annotations");
  o.finalizers = texts_of<std::vector<std::string>>(document, "finalizers");
  if (const auto found = document.find("controller"); found != document.end() && !found->is_null()) {
    if (!found->is_object()) throw std::invalid_argument("\"controller\" must be a JSON object");
    o.controller = ClusterObject::Owner{text_of(*found, "kind", true), text_of(*found, "name", true), text_of(*found, "uid", true)};
  }
  return o;
}

Selected selected_from(const json& document) {
  if (!document.is_object()) throw std::invalid_argument("a kind must be a JSON object");
  Selected s;
  s.kind = {text_of(document, "group", false), text_of(document, "version", true), text_of(document, "resource", true)};
  s.namespaces = texts_of<std::vector<std::string>>(document, "namespaces");
  s.selector = text_of(document, "selector", false);
  if (s.namespaces.empty()) s.namespaces = {""};
  return s;
}

const char* to_string(Listed::Outcome outcome) {
  switch (outcome) {
    case Listed::Outcome::complete: return "complete";
    case Listed::Outcome::not_served: return "not_served";
    case Listed::Outcome::forbidden: return "forbidden";
    case Listed::Outcome::unauthorized: return "unauthorized";
    case Listed::Outcome::unknown: return "unknown";
  }
  return "unknown";
}

const char* to_string(Removed::Outcome outcome) {
  switch (outcome) {
    case Removed::Outcome::accepted: return "accepted";
    case Removed::Outcome::absent: return "absent";
    case Removed::Outcome::changed: return "changed";
    case Removed::Outcome::forbidden: return "forbidden";
    case Removed::Outcome::unauthorized: return "unauthorized";
    case Removed::Outcome::busy: return "busy";
    case Removed::Outcome::unknown: return "unknown";
  }
  return "unknown";
}

std::optional<Listed::Outcome> listed_outcome_from(std::string_view text) {
  using O = Listed::Outcome;
  return outcome_from(text, std::array{O::complete, O::not_served, O::forbidden, O::unauthorized, O::unknown});
}

std::optional<Removed::Outcome> removed_outcome_from(std::string_view text) {
  using O = Removed::Outcome;
  return outcome_from(text, std::array{O::accepted, O::absent, O::changed, O::forbidden, O::unauthorized, O::busy, O::unknown});
}

}  // namespace reconciler
