#include "cluster/answers.hpp"

#include <algorithm>

#include "core/profile_definition.hpp"
#include "core/text.hpp"

namespace reconciler {
namespace {

// Not read, and large: who manages which field; and the copy that kubectl keeps of a whole object, with whatever secrets
// its environment has.
bool worth_keeping(int, Json::parse_event_t event, Json& parsed) {
  if (event != Json::parse_event_t::key) return true;
  const auto& name = parsed.get_ref<const std::string&>();
  return name != "managedFields" && name != "kubectl.kubernetes.io/last-applied-configuration";
}

// A member that is missing or null is empty; one of another type makes the whole unfit.
class Members {
 public:
  explicit Members(const Json& in) : in_(in) { fits_ = in.is_object(); }

  std::string text(const char* name) {
    const Json* member = find(name, Json::value_t::string);
    return member ? member->get<std::string>() : std::string();
  }
  std::optional<Time> time(const char* name) {
    const std::string written = text(name);
    if (written.empty()) return {};
    auto at = parse_rfc3339(written);
    fits_ = fits_ && at.has_value();
    return at;
  }
  bool truth(const char* name) {
    const Json* member = find(name, Json::value_t::boolean);
    return member && member->get<bool>();
  }
  const Json& object(const char* name) { return or_nothing(find(name, Json::value_t::object)); }
  const Json& array(const char* name) { return or_nothing(find(name, Json::value_t::array)); }
  std::map<std::string, std::string> texts(const char* name) {
    std::map<std::string, std::string> all;
    for (const auto& member : object(name).items()) {
      std::string value = member.value().is_string() ? member.value().get<std::string>() : (fits_ = false, "");
      value.erase(std::remove(value.begin(), value.end(), '\0'), value.end());  // no database holds it
      all.emplace(member.key(), std::move(value));
    }
    return all;
  }
  bool fits() const { return fits_; }

 private:
  const Json* find(const char* name, Json::value_t type) {
    if (!in_.is_object()) return nullptr;
    auto found = in_.find(name);
    if (found == in_.end() || found->is_null()) return nullptr;
    if (found->type() == type) return &*found;
    fits_ = false;
    return nullptr;
  }
  static const Json& or_nothing(const Json* found) {
    static const Json nothing;
    return found ? *found : nothing;
  }

  const Json& in_;
  bool fits_;
};

bool is_kind(const Json& body, std::string_view kind, std::string_view api_version) {
  Members said(body);
  return said.text("kind") == kind && std::string_view(said.text("apiVersion")).substr(0, api_version.size()) == api_version;
}

// An answer of discovery; that of the core group says no version.
bool discovers(const Json& body, std::string_view kind) { return is_kind(body, kind, "v1") || (is_kind(body, kind, "") && !body.contains("apiVersion")); }

bool read_owner(const Json& reference, ClusterObject& object) {
  Members said(reference);
  if (said.truth("controller")) object.controller = ClusterObject::Owner{said.text("kind"), said.text("name"), said.text("uid")};
  return said.fits();
}

std::optional<ClusterObject> read_object(const Json& item) {
  Members outer(item);
  Members said(outer.object("metadata"));
  ClusterObject object;
  object.name = said.text("name"), object.namespace_name = said.text("namespace");
  object.uid = said.text("uid"), object.resource_version = said.text("resourceVersion");
  object.created = said.time("creationTimestamp"), object.deleted = said.time("deletionTimestamp");
  object.labels = said.texts("labels"), object.annotations = said.texts("annotations");
  bool fits = true;
  for (const Json& finalizer : said.array("finalizers")) {
    if (finalizer.is_string()) object.finalizers.push_back(finalizer.get<std::string>());
    else fits = false;
  }
  for (const Json& reference : said.array("ownerReferences")) fits = read_owner(reference, object) && fits;
  const bool named = !object.name.empty() && !object.uid.empty() && !object.resource_version.empty();
  if (!fits || !named || !outer.fits() || !said.fits()) return {};
  return object;
}

}  // namespace

std::optional<ObjectPage> read_page(std::string_view text, const std::string& namespace_name) {
  const auto body = parse_json(text, worth_keeping);
  if (!body || !body->is_object() || !is_kind(*body, "PartialObjectMetadataList", "meta.k8s.io/")) return {};
  const auto items = body->find("items");  // a server that has none writes null
  if (items == body->end() || !(items->is_array() || items->is_null())) return {};
  ObjectPage page;
  for (const Json& item : *items) {
    auto object = read_object(item);
    if (!object || (!namespace_name.empty() && object->namespace_name != namespace_name)) return {};
    page.objects.push_back(*std::move(object));
  }
  Members outer(*body);
  Members said(outer.object("metadata"));
  page.next = said.text("continue");
  if (!outer.fits() || !said.fits()) return {};
  return page;
}

std::optional<ApiStatus> read_status(std::string_view text) {
  const auto body = parse_json(text);
  if (!body || !body->is_object() || !is_kind(*body, "Status", "v1")) return {};
  Members said(*body);
  ApiStatus status;
  status.success = said.text("status") == "Success";
  status.message = one_line(said.text("message"), 400);
  status.named = Members(said.object("details")).text("name");
  return status;
}

bool confirms_removal(std::string_view text, const std::string& uid) {
  if (const auto status = read_status(text)) return status->success;
  const auto body = parse_json(text, worth_keeping);
  return body && body->is_object() && !uid.empty() && Members(Members(*body).object("metadata")).text("uid") == uid;
}

std::optional<std::vector<std::string>> group_versions(std::string_view text) {
  const auto body = parse_json(text);
  if (!body || !body->is_object() || !discovers(*body, "APIGroup")) return {};
  std::vector<std::string> versions;
  for (const Json& one : Members(*body).array("versions"))
    if (one.is_object()) versions.push_back(Members(one).text("version"));
  return versions;
}

std::optional<bool> lists_resource(std::string_view text, const std::string& resource) {
  const auto body = parse_json(text);
  if (!body || !body->is_object() || !discovers(*body, "APIResourceList")) return {};
  for (const Json& one : Members(*body).array("resources"))
    if (one.is_object() && Members(one).text("name") == resource) return true;
  return false;
}

}  // namespace reconciler
