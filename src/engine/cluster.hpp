// A Kubernetes cluster as one collection sees it: lists of what stands there, and removals that presume nothing changed
// since. Implemented by cluster/ over the API server's HTTP, and by tests.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/time.hpp"

namespace reconciler {

// What the API calls group, version and resource: {"apps", "v1", "deployments"}; the core group is "".
struct ResourceKind {
  std::string group, version, resource;
  std::string api_version() const { return group.empty() ? version : group + "/" + version; }
};

// Metadata of one object, as PartialObjectMetadata has it. Nothing else of it is read.
struct ClusterObject {
  std::string name, namespace_name;  // namespace_name is empty for what belongs to none
  std::string uid, resource_version;
  std::optional<Time> created, deleted;  // deleted: since when its end is requested (deletionTimestamp)
  std::map<std::string, std::string> labels, annotations;
  std::vector<std::string> finalizers;
  // The owner that controls it; only roots are removed by us, what they own goes with them.
  struct Owner { std::string kind, name, uid; };
  std::optional<Owner> controller;
};

// How a list ended. Only a complete one proves that what it does not name is not there.
struct Listed {
  enum class Outcome {
    complete,
    not_served,    // the server knows no such kind (404 of the collection)
    forbidden,     // 403; `detail` names the missing right
    unauthorized,  // 401, after the token was read again
    unknown        // down, slow, nonsense, expired more than once in the middle
  } outcome = Outcome::unknown;
  std::int64_t objects = 0;
  std::string detail;  // one sentence for people, no secrets
};

struct Removal {
  ResourceKind kind;
  std::string namespace_name, name;
  std::string uid, resource_version;  // preconditions: another object of that name, or a changed one, is left alone
  bool dry_run = false;               // the server checks everything and does nothing
};

struct Removed {
  enum class Outcome {
    accepted,      // 200, 202: a later list confirms it
    absent,        // 404 of the object: gone already
    changed,       // 409: not what it was when it was listed
    forbidden,     // 403; `detail` names the missing right
    unauthorized,  // 401
    busy,          // 429, 503; `retry_after` where the server says
    unknown        // it may have arrived
  } outcome = Outcome::unknown;
  std::optional<Duration> retry_after;
  std::string detail;
};

class Cluster {
 public:
  virtual ~Cluster() = default;

  // Everything of `kind` in a namespace ('' = in all) that the label selector takes, page by page, metadata only. A list
  // that expires in the middle begins again: what was handed out may come once more. Waits, serving interrupts; throws
  // what the waiter throws, and what `page` throws.
  using Page = std::function<void(const std::vector<ClusterObject>&)>;
  virtual Listed list(const ResourceKind& kind, const std::string& namespace_name, const std::string& selector, const Page& page) = 0;

  // Asks for the end of one object, in the background for what it owns.
  virtual Removed remove(const Removal&) = 0;
};

}  // namespace reconciler
