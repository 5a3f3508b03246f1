#include "cluster/targets.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/profile.hpp"
#include "core/text.hpp"

namespace reconciler {
namespace {

constexpr std::size_t longest_name = 253;  // of what the API takes as the name of anything

// A DNS name in lower case, as groups, versions and resources are.
const std::string& api_name(const std::string& name, const char* what) {
  const bool proper = !name.empty() && name.size() <= longest_name && name.front() != '.' && name.front() != '-' &&
                      std::all_of(name.begin(), name.end(), [](unsigned char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'; });
  if (!proper) throw std::invalid_argument(cat({"not the name of an API ", what, ": ", in_quotes(one_line(name))}));
  return name;
}

// The API refuses these as names of objects, since they would be other paths.
std::string segment(const std::string& name, const char* what) {
  const bool proper = !name.empty() && name.size() <= longest_name && name != "." && name != ".." && name.find_first_of("/%") == name.npos;
  if (!proper) throw std::invalid_argument(cat({"not the name of ", what, ": ", in_quotes(one_line(name))}));
  return percent_encode(name);
}

}  // namespace

std::string version_target(const ResourceKind& kind) {
  const std::string& version = api_name(kind.version, "version");
  return kind.group.empty() ? "/api/" + version : cat({"/apis/", api_name(kind.group, "group"), "/", version});
}

std::string collection_target(const ResourceKind& kind, const std::string& namespace_name) {
  std::string target = version_target(kind);
  if (!namespace_name.empty()) target += "/namespaces/" + segment(namespace_name, "a namespace");
  return target + "/" + api_name(kind.resource, "resource");
}

std::string page_target(const ResourceKind& kind, const std::string& namespace_name, const std::string& selector, int limit, const std::string& next) {
  std::string target = cat({collection_target(kind, namespace_name), "?limit=", std::to_string(limit)});
  if (!selector.empty()) target += "&labelSelector=" + percent_encode(selector);
  if (!next.empty()) target += "&continue=" + percent_encode(next);
  return target;
}

std::string object_target(const ResourceKind& kind, const std::string& namespace_name, const std::string& name) {
  return cat({collection_target(kind, namespace_name), "/", segment(name, "an object")});
}

std::string shown(const ResourceKind& kind) { return kind.group.empty() ? kind.resource : cat({kind.resource, ".", kind.group}); }

}  // namespace reconciler
