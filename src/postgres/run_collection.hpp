// One collection of a cluster, from the row to the end: what the worker and CALL collect_garbage() share.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/collect.hpp"
#include "postgres/transaction.hpp"

namespace reconciler {

struct CollectionReport {
  CollectionStart start;  // id 0: it did not begin, why_not says why
  CollectionEnd end;
};

// Removes `most` objects at most. Throws what stops the caller, ConfigError for the credentials, UserError 42704: no such cluster.
CollectionReport run_collection(const std::string& cluster, TransactionMode, Waiter&, const std::string& actor, std::int64_t most);

// Clusters with an address that the server may connect to; with `name` that one. UserError 42704: no such cluster; 55000: it has none.
std::vector<std::string> clusters_to_collect(TransactionMode, const std::optional<std::string>& name);

// Those whose next collection is due, and how long until the next one is.
struct DueClusters { std::vector<std::string> names; Duration next; };
DueClusters due_clusters(TransactionMode);

}  // namespace reconciler
