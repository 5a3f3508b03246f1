// What the worker does after its passes: collections of the clusters that are due, each for itself.
#include <algorithm>
#include <exception>

#include "postgres/boundary.hpp"
#include "postgres/run_collection.hpp"
#include "postgres/worker.hpp"

namespace reconciler {
namespace {

// Some seconds of deletions: the sessions wait meanwhile.
constexpr std::int64_t most_deletions = 50;

}  // namespace

Duration DueCollections::run() {
  const DueClusters due = due_clusters(TransactionMode::worker);
  Duration sleep = due.next;
  for (const std::string& cluster : due.names) {
    const auto found = failing_.find(cluster);
    const Duration left = found == failing_.end() ? Duration(0) : found->second.next_try - waiter_.uptime();
    sleep = std::min(sleep, left > Duration(0) ? left : run_one(cluster));
  }
  return sleep;
}

Duration DueCollections::run_one(const std::string& cluster) {
  try {
    const CollectionReport report = run_collection(cluster, TransactionMode::worker, waiter_, "session_reconciler", most_deletions);
    if (report.start.id == 0) return put_off(cluster, report.start.why_not);
    if (const auto found = failing_.find(cluster); found != failing_.end()) {
      found->second.failures.end("session_reconciler: cluster " + cluster);
      failing_.erase(found);
    }
    return minutes(1);
  } catch (const ExtensionMissing&) {
    throw;
  } catch (const std::exception& e) {
    Failing& failing = failing_[cluster];
    const Duration pause = failing.failures.note("session_reconciler: cluster " + cluster, e);
    failing.next_try = waiter_.uptime() + pause;
    return pause;
  }
}

// It may not be collected now; said once.
Duration DueCollections::put_off(const std::string& cluster, const std::string& why) {
  Failing& failing = failing_[cluster];
  if (failing.put_off != why) report(LogLevel::log, "session_reconciler: cluster " + cluster + " is not collected: " + why);
  failing.put_off = why;
  failing.next_try = waiter_.uptime() + minutes(1);
  return minutes(1);
}

}  // namespace reconciler
