// The engine's CollectionStore over SPI: one cluster's rows. Reads of the user's tables run as the owner of the sessions
// table in a restricted block; ours run as the extension's owner.
//
//   collection_store.cpp   begin, what a list and a removal told, end
//   collection_judge.cpp   what the database says of listed objects
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/leftover.hpp"
#include "engine/collect.hpp"
#include "postgres/binding_store.hpp"
#include "postgres/transaction.hpp"

namespace reconciler {

// A row of reconciler.cluster.
struct ClusterSetup {
  std::string name;
  std::optional<std::string> api_url;
  std::optional<int> binding;
  bool enforce = false, dry_run = false;
  std::vector<Selected> kinds;
  std::string session_label, warm_label;   // '' = none
  std::vector<ReferenceColumn> references;
  LeftoverFacts limits;                    // how the cluster is set; nothing of an object
};
// As the extension's owner. UserError 42704: no such cluster.
ClusterSetup load_cluster(const std::string& name);
// deployments.apps, pods: as the API's own words have it.
std::string kind_name(const ResourceKind&);

// An object, what was found out of it, and what follows.
struct JudgedObject {
  ClusterObject object;
  LeftoverFacts facts;
  LeftoverVerdict verdict;
};

class PgCollectionStore final : public CollectionStore {
 public:
  // dry_run: the API server is asked to check deletions and does none, whatever the cluster's mode. begin() writes it down.
  PgCollectionStore(std::string cluster, TransactionMode mode, std::string actor, bool dry_run = false)
      : cluster_(std::move(cluster)), transactions_(mode), actor_(std::move(actor)), dry_run_(dry_run) {}

  CollectionStart begin() override;
  void classify(const CollectionStart&, const Selected&, const std::vector<ClusterObject>&) override;
  void listed(const CollectionStart&, const Selected&, const Listed&) override;
  std::vector<Deletion> deletions(const CollectionStart&, std::int64_t limit) override;
  void report(const CollectionStart&, const Deletion&, const Removed&) override;
  void end(const CollectionStart&, const CollectionEnd&) override;
  // After what ended it in the middle: another one may begin.
  void give_up(const CollectionStart&) noexcept;

  // The same as classify(), for who wants to see.
  std::vector<JudgedObject> judge_page(std::int64_t collection, const Selected&, const std::vector<ClusterObject>&);

 private:
  template <class Body> auto ours(Body&& body) { return as_extension_owner(std::forward<Body>(body)); }
  ClusterSetup still_running(std::int64_t collection, Time at);
  std::string why_not(const ClusterSetup&, const std::optional<AttachedBinding>&);
  std::vector<JudgedObject> judge(const ClusterSetup&, const Selected&, const std::vector<ClusterObject>&, Time at);
  void remember(const ClusterSetup&, std::int64_t collection, const Selected&, const std::vector<JudgedObject>&, Time at);
  bool may_remove(const ClusterSetup&, std::int64_t collection);
  void count_due(const ClusterSetup&, std::int64_t collection, bool removes, Time at);
  void note_absent(const ClusterSetup&, std::int64_t collection, Time at);
  struct Candidate { Deletion deletion; Selected selected; ClusterObject object; };
  std::vector<Candidate> candidates(std::int64_t collection, std::int64_t limit, bool dry_run);
  void note_removed(const ClusterSetup&, std::int64_t collection, const std::vector<std::int64_t>& resources, const std::string& outcome, Time at);
  void confirm(const ClusterSetup&, std::int64_t collection, Time at);

  const std::string cluster_;
  Transactions transactions_;
  const std::string actor_;
  const bool dry_run_;
};

}  // namespace reconciler
