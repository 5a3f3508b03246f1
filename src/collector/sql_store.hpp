// The store of a collection outside of the server: every step is one SQL function.
#pragma once

#include "collector/database.hpp"
#include "engine/collect.hpp"

namespace reconciler {

class SqlStore final : public CollectionStore {
 public:
  // dry_run: removals are only checked by the API server.
  SqlStore(Database& database, std::string cluster, bool dry_run) : database_(database), cluster_(std::move(cluster)), dry_run_(dry_run) {}

  CollectionStart begin() override;
  void classify(const CollectionStart&, const Selected&, const std::vector<ClusterObject>&) override;
  void listed(const CollectionStart&, const Selected&, const Listed&) override;
  std::vector<Deletion> deletions(const CollectionStart&, std::int64_t limit) override;
  void report(const CollectionStart&, const Deletion&, const Removed&) override;
  void end(const CollectionStart&, const CollectionEnd&) override;

  // Ends what has begun and goes no further, so that the next collection need not wait for it.
  void give_up(const std::string& why);

 private:
  void finish(std::int64_t id, const std::string& detail);

  Database& database_;
  const std::string cluster_;
  const bool dry_run_;
  std::int64_t open_ = 0;  // the collection that has begun; 0: none
};

}  // namespace reconciler
