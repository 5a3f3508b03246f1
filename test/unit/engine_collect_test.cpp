// One collection against a store and a cluster in memory: the order of things, and what ends it early.
#include <gtest/gtest.h>

#include "engine/cluster_json.hpp"
#include "engine/collect.hpp"

namespace reconciler::test {
namespace {

using Log = std::vector<std::string>;

struct FakeCollectionStore final : CollectionStore {
  Log& log;
  CollectionStart start{7, "", true, {{{"apps", "v1", "deployments"}, {"a"}, "x=y"}, {{"", "v1", "services"}, {"a", "b"}, "x=y"}}};
  std::vector<std::vector<Deletion>> rounds;
  std::map<std::string, Listed> lists;
  CollectionEnd ended;

  explicit FakeCollectionStore(Log& log) : log(log) {}
  CollectionStart begin() override { return log.push_back("begin"), start; }
  void classify(const CollectionStart&, const Selected& kind, const std::vector<ClusterObject>& page) override {
    log.push_back("classify " + kind.kind.resource + " " + std::to_string(page.size()));
  }
  void listed(const CollectionStart&, const Selected& kind, const Listed& l) override {
    log.push_back("listed " + kind.kind.resource + " " + to_string(l.outcome)), lists[kind.kind.resource] = l;
  }
  std::vector<Deletion> deletions(const CollectionStart&, std::int64_t limit) override {
    log.push_back("deletions " + std::to_string(limit));
    if (rounds.empty()) return {};
    const auto round = rounds.front();
    rounds.erase(rounds.begin());
    return round;
  }
  void report(const CollectionStart&, const Deletion& d, const Removed& r) override { log.push_back("report " + d.removal.name + " " + to_string(r.outcome)); }
  void end(const CollectionStart&, const CollectionEnd& e) override { log.push_back("end"), ended = e; }
};

struct FakeCluster final : Cluster {
  Log& log;
  std::map<std::string, std::vector<std::size_t>> pages;  // by resource/namespace
  std::map<std::string, Listed::Outcome> fails;
  std::map<std::string, Removed::Outcome> answers;  // by name

  explicit FakeCluster(Log& log) : log(log) {}
  Listed list(const ResourceKind& kind, const std::string& name_space, const std::string& selector, const Page& page) override {
    const std::string key = kind.resource + "/" + name_space;
    log.push_back("list " + key + " " + selector);
    Listed listed;
    for (std::size_t n : pages[key]) page(std::vector<ClusterObject>(n)), listed.objects += static_cast<std::int64_t>(n);
    const auto failed = fails.find(key);
    listed.outcome = failed == fails.end() ? Listed::Outcome::complete : failed->second;
    if (failed != fails.end()) listed.detail = "it failed";
    return listed;
  }
  Removed remove(const Removal& r) override {
    log.push_back("remove " + r.name);
    Removed removed;
    removed.outcome = answers.count(r.name) ? answers[r.name] : Removed::Outcome::accepted;
    removed.detail = "so it was";
    return removed;
  }
};

struct CountingWaiter final : Waiter {
  Duration now{0};
  void wait(int, Duration span) override { now += std::min<Duration>(span, milliseconds(150)); }  // early
  Duration uptime() const override { return now; }
};

struct CollectTest : testing::Test {
  Log log;
  FakeCollectionStore store{log};
  FakeCluster cluster{log};
  CountingWaiter waiter;
  CollectionEnd run(std::int64_t most = 100) { return Collection(store, cluster, waiter).run(most); }
  static Deletion deletion(const std::string& name) {
    Deletion d;
    d.removal.name = name;
    return d;
  }
};

TEST_F(CollectTest, EveryPageIsClassifiedAfterItCameAndNothingIsRemovedBeforeAllKindsAreListed) {
  cluster.pages = {{"deployments/a", {500, 2}}, {"services/b", {1}}};
  store.rounds = {{deletion("one"), deletion("two")}};
  const CollectionEnd end = run();
  EXPECT_EQ(log, (Log{"begin", "list deployments/a x=y", "classify deployments 500", "classify deployments 2", "listed deployments complete", "list services/a x=y",
                      "list services/b x=y", "classify services 1", "listed services complete", "deletions 20", "remove one", "report one accepted", "remove two",
                      "report two accepted", "deletions 20", "end"}));
  EXPECT_EQ(end.objects, 503);
  EXPECT_EQ(end.removed, 2);
  EXPECT_TRUE(end.complete);
}

TEST_F(CollectTest, WhatMustNotBeginAsksNobody) {
  store.start.id = 0, store.start.why_not = "paused";
  run();
  EXPECT_EQ(log, Log{"begin"});
}

TEST_F(CollectTest, AKindThatFailsInOneNamespaceHasFailedAndTheOthersGoOn) {
  cluster.fails = {{"services/a", Listed::Outcome::forbidden}};
  const CollectionEnd end = run();
  EXPECT_EQ(store.lists["services"].outcome, Listed::Outcome::forbidden);
  EXPECT_EQ(store.lists["deployments"].outcome, Listed::Outcome::complete);
  EXPECT_FALSE(end.complete);
  EXPECT_EQ(end.detail, "services: it failed");
  EXPECT_TRUE(std::count(log.begin(), log.end(), "deletions 20"));  // the store knows what a failed list forbids
}

TEST_F(CollectTest, WhereAKindIsNotServedThereIsNothingOfIt) {
  cluster.fails = {{"services/a", Listed::Outcome::not_served}};
  EXPECT_TRUE(run().complete);
  EXPECT_EQ(store.lists["services"].outcome, Listed::Outcome::not_served);
  cluster.fails["services/b"] = Listed::Outcome::unknown;
  EXPECT_FALSE(run().complete);
  EXPECT_EQ(store.lists["services"].outcome, Listed::Outcome::unknown);
}

TEST_F(CollectTest, APoliteDistanceBetweenRemovals) {
  store.rounds = {{deletion("one"), deletion("two"), deletion("three")}};
  run();
  EXPECT_GE(waiter.now, 3 * Collection::pace);
}

TEST_F(CollectTest, AsManyAsAreWantedAndTheNextCollectionGoesOn) {
  for (int i = 0; i < 5; ++i) store.rounds.push_back(std::vector<Deletion>(20, deletion("x")));
  EXPECT_EQ(run(50).removed, 60);  // the fake hands out more than it was asked for
  EXPECT_TRUE(std::count(log.begin(), log.end(), "deletions 10"));
}

TEST_F(CollectTest, WhoIsNotLetInOrToldToWaitStops) {
  for (const auto outcome : {Removed::Outcome::unauthorized, Removed::Outcome::busy}) {
    log.clear();
    store.rounds = {{deletion("one"), deletion("two")}};
    cluster.answers = {{"one", outcome}};
    const CollectionEnd end = run();
    EXPECT_FALSE(std::count(log.begin(), log.end(), "remove two"));
    EXPECT_EQ(end.failed, 1);
    EXPECT_EQ(end.detail, "so it was");
    EXPECT_EQ(log.back(), "end");
  }
}

TEST_F(CollectTest, WhatChangedOrIsForbiddenIsLeftAndTheRestGoesOn) {
  store.rounds = {{deletion("one"), deletion("two"), deletion("three"), deletion("four")}};
  cluster.answers = {{"one", Removed::Outcome::changed}, {"two", Removed::Outcome::forbidden}, {"three", Removed::Outcome::absent}};
  const CollectionEnd end = run();
  EXPECT_EQ(end.removed, 2);
  EXPECT_EQ(end.failed, 1);
}

TEST(ClusterJson, AnObjectComesBackAsItWas) {
  ClusterObject o;
  o.name = "s1", o.namespace_name = "ns", o.uid = "u", o.resource_version = "42";
  o.created = from_unix_micros(1'764'936'000'000'000);
  o.labels = {{"session", "s1"}}, o.annotations = {{"a", "b"}}, o.finalizers = {"f"};
  o.controller = ClusterObject::Owner{"ReplicaSet", "rs", "v"};
  EXPECT_EQ(to_json(object_from(to_json(o))), to_json(o));
  EXPECT_EQ(object_from(to_json(o)).created, o.created);
  EXPECT_EQ(to_json(object_from({{"name", "s"}, {"uid", "u"}})), (nlohmann::json{{"name", "s"}, {"uid", "u"}}));
}

TEST(ClusterJson, WhatIsMissingOrOfAnotherTypeIsSaid) {
  const auto refused = [](const nlohmann::json& document) {
    try {
      object_from(document);
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(refused({{"name", "s"}}), "\"uid\" is missing");
  EXPECT_EQ(refused({{"name", 1}, {"uid", "u"}}), "\"name\" must be a string");
  EXPECT_EQ(refused({{"name", "s"}, {"uid", "u"}, {"created", "yesterday"}}), "\"created\" is not a time: \"yesterday\"");
  EXPECT_EQ(refused({{"name", "s"}, {"uid", "u"}, {"labels", {{"a", 1}}}}), "\"labels\" must hold strings only");
  EXPECT_THROW(selected_from({{"group", "apps"}}), std::invalid_argument);
  EXPECT_EQ(selected_from({{"version", "v1"}, {"resource", "pods"}}).namespaces, std::vector<std::string>{""});
}

TEST(ClusterJson, OutcomesByName) {
  EXPECT_EQ(listed_outcome_from("forbidden"), Listed::Outcome::forbidden);
  EXPECT_EQ(removed_outcome_from("changed"), Removed::Outcome::changed);
  EXPECT_FALSE(listed_outcome_from("fine"));
}

}  // namespace
}  // namespace reconciler::test
