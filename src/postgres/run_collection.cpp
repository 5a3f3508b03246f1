#include "postgres/run_collection.hpp"

#include <algorithm>

#include "cluster/http_cluster.hpp"
#include "postgres/clock.hpp"
#include "postgres/collection_store.hpp"
#include "postgres/role.hpp"
#include "postgres/settings.hpp"
#include "postgres/spi.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {

CollectionReport run_collection(const std::string& cluster, TransactionMode mode, Waiter& waiter, const std::string& actor, std::int64_t most) {
  const std::optional<std::string> address = Transactions(mode).run("reading the cluster", [&] { return as_extension_owner([&] { return load_cluster(cluster).api_url; }); });
  http::Credentials credentials(settings::credentials_file());
  ClusterOptions options;
  options.address = address.value_or("");
  options.outbound = settings::outbound();
  HttpCluster api(std::move(options), credentials, waiter);
  PgCollectionStore store(cluster, mode, actor);
  Collection collection(store, api, waiter);
  CollectionReport report;
  try {
    report.end = collection.run(most);
  } catch (...) {
    store.give_up(collection.start());
    throw;
  }
  report.start = collection.start();
  return report;
}

std::vector<std::string> clusters_to_collect(TransactionMode mode, const std::optional<std::string>& name) {
  return Transactions(mode).run("reading the clusters", [&] {
    return as_extension_owner([&] {
      std::vector<std::string> names;
      for (Rows::Row row : query("SELECT name, api_url IS NULL AS elsewhere FROM reconciler.cluster WHERE $1::text IS NULL OR name = $1 ORDER BY name", {Param::text(name)})) {
        if (!row.boolean("elsewhere")) names.push_back(row.text("name"));
        else if (name) throw UserError("55000", "cluster \"" + *name + "\" has no address", "Run session-reconciler-gc where it can be reached, or give set_cluster() its api_url.");
      }
      if (name && names.empty()) throw UserError("42704", "cluster \"" + *name + "\" does not exist", "Create it with set_cluster().");
      return names;
    });
  });
}

DueClusters due_clusters(TransactionMode mode) {
  DueClusters due{{}, settings::interval()};
  if (!settings::outbound()) return due;
  return Transactions(mode).run("reading the clusters", [&] {
    return as_extension_owner([&] {
      const Time at = database_now();
      // A collection that lies ahead means that the clock was set back. One that left something to do is followed soon.
      for (Rows::Row row : query("SELECT c.name, least(l.started_at, $1) + CASE WHEN l.removed > 0 AND l.due > l.removed + l.failed THEN '1 min' ELSE c.collect_every END AS due FROM reconciler.cluster c"
                                 " LEFT JOIN LATERAL (SELECT * FROM reconciler.collection n WHERE n.cluster = c.name ORDER BY n.id DESC LIMIT 1) AS l ON true"
                                 " WHERE c.api_url IS NOT NULL AND c.binding_id IS NOT NULL ORDER BY l.started_at NULLS FIRST, c.name",
                                 {Param::time(at)})) {
        const Duration left = row.null("due") ? Duration(0) : std::max<Duration>(row.time("due") - at, Duration(0));
        if (left == Duration(0)) due.names.push_back(row.text("name"));
        else due.next = std::min(due.next, left);
      }
      return due;
    });
  });
}

}  // namespace reconciler
