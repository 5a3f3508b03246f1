// What an API server's answers say. Foreign bytes: what does not fit proves nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cluster.hpp"

namespace reconciler {

// PartialObjectMetadataList
struct ObjectPage {
  std::vector<ClusterObject> objects;
  std::string next;  // the token of the next page; '' = this is the last
};
// Empty: not such a list, or one with an object that has no name, uid or resource version, or stands in another namespace
// than the one that was asked for ('' = all were).
std::optional<ObjectPage> read_page(std::string_view body, const std::string& namespace_name);

// Status: how a request ended, where the answer is not the thing that was asked for.
struct ApiStatus {
  bool success = false;
  std::string message;  // for people
  std::string named;    // details.name: the object that it speaks of
};
std::optional<ApiStatus> read_status(std::string_view body);

// The answer to a removal that was taken: a Status that says so, or the object itself, which now ends.
bool confirms_removal(std::string_view body, const std::string& uid);

// APIGroup: the versions that it is served in. Empty: not such an answer.
std::optional<std::vector<std::string>> group_versions(std::string_view body);

// APIResourceList: whether it names the resource. Empty: not such a list.
std::optional<bool> lists_resource(std::string_view body, const std::string& resource);

}  // namespace reconciler
