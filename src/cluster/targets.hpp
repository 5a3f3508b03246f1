// Where things stand at an API server: the path and query of a collection, a page of it, an object.
// https://kubernetes.io/docs/reference/using-api/api-concepts/
#pragma once

#include <string>

#include "engine/cluster.hpp"

namespace reconciler {

// /api/v1 or /apis/apps/v1. What these return stays below it, whatever a name contains: group, version and resource must
// be names as the API has them, and what else goes into a path is percent-encoded. Throw std::invalid_argument with a sentence for people.
std::string version_target(const ResourceKind&);
std::string collection_target(const ResourceKind&, const std::string& namespace_name);
std::string page_target(const ResourceKind&, const std::string& namespace_name, const std::string& selector, int limit, const std::string& next);
std::string object_target(const ResourceKind&, const std::string& namespace_name, const std::string& name);

// As in the API server's own words: deployments.apps, pods
std::string shown(const ResourceKind&);

}  // namespace reconciler
