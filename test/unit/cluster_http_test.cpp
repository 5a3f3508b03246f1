// The client of the API server, against a server whose every answer a test decides.
#include <gtest/gtest.h>

#include "cluster/http_cluster.hpp"
#include "core/json.hpp"
#include "support/cluster_bodies.hpp"
#include "support/fault_server.hpp"
#include "support/poll_waiter.hpp"
#include "support/temporary_directory.hpp"

namespace reconciler {
namespace {

using namespace reconciler::testing;
using L = Listed::Outcome;
using R = Removed::Outcome;

const ResourceKind deployments{"apps", "v1", "deployments"}, sandboxes{"agents.x-k8s.io", "v1alpha1", "sandboxes"};

class ClusterHttp : public ::testing::Test {
 protected:
  ClusterHttp() {
    options.connect_timeout = milliseconds(500);
    options.total_timeout = milliseconds(300);  // what hangs in these tests hangs for good
    options.first_pause = milliseconds(1);
  }
  Listed list(const std::string& url, const ResourceKind& kind = deployments, const std::string& namespace_name = "ws") {
    options.address = url;
    HttpCluster cluster(options, *credentials, waiter);
    names.clear();
    return cluster.list(kind, namespace_name, "app=x", [&](const std::vector<ClusterObject>& page) {
      for (const ClusterObject& object : page) names.push_back(object.name);
    });
  }
  Removed remove(const std::string& url, bool dry_run = false) {
    options.address = url;
    return HttpCluster(options, *credentials, waiter).remove({deployments, "ws", "s-1", "uid-1", "77", dry_run});
  }
  Removed removal_answered(Play play) {
    FaultServer server([play](const Seen&) { return play; });
    return remove(server.url());
  }

  PollWaiter waiter;
  std::unique_ptr<http::Credentials> credentials = std::make_unique<http::Credentials>("");
  ClusterOptions options;
  std::vector<std::string> names;
  TemporaryDirectory directory;
};

TEST_F(ClusterHttp, ListsPageByPageMetadataOnly) {
  FaultServer server([](const Seen& seen) {
    return seen.target.find("continue=t%2B1") == std::string::npos ? answer(200, list_of({"a", "b"}, "t+1")) : answer(200, list_of({"c"}));
  });
  const Listed listed = list(server.url());
  EXPECT_EQ(listed.outcome, L::complete) << listed.detail;
  EXPECT_EQ(listed.objects, 3);
  EXPECT_EQ(names, (std::vector<std::string>{"a", "b", "c"}));
  ASSERT_EQ(server.seen().size(), 2u);
  EXPECT_EQ(server.connections(), 1);
  EXPECT_EQ(server.seen()[0].target, "/apis/apps/v1/namespaces/ws/deployments?limit=500&labelSelector=app%3Dx");
  EXPECT_EQ(server.seen()[1].target, "/apis/apps/v1/namespaces/ws/deployments?limit=500&labelSelector=app%3Dx&continue=t%2B1");
  EXPECT_EQ(server.seen()[0].header("accept"), "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
}

TEST_F(ClusterHttp, AnEmptyListIsComplete) {
  FaultServer server([](const Seen&) { return answer(200, list_of({})); });
  const Listed listed = list(server.url() + "/k8s/clusters/c-1", deployments, "");
  EXPECT_EQ(listed.outcome, L::complete) << listed.detail;
  EXPECT_EQ(listed.objects, 0);
  EXPECT_EQ(server.seen()[0].target, "/k8s/clusters/c-1/apis/apps/v1/deployments?limit=500&labelSelector=app%3Dx") << "behind a proxy, in all namespaces";
}

Play expired() { return answer(410, status_of(410, "Expired", "The provided continue parameter is too old", R"({})")); }

TEST_F(ClusterHttp, AListThatExpiresBeginsAgainOnce) {
  int expirations = 0, allowed = 1;
  FaultServer server([&](const Seen& seen) {
    if (seen.target.find("continue") == std::string::npos) return answer(200, list_of({"a"}, "t"));
    return expirations++ < allowed ? expired() : answer(200, list_of({"b"}));
  });
  Listed listed = list(server.url());
  EXPECT_EQ(listed.outcome, L::complete) << listed.detail;
  EXPECT_EQ(listed.objects, 2) << "of the list that was complete";
  EXPECT_EQ(names, (std::vector<std::string>{"a", "a", "b"}));
  expirations = 0, allowed = 2;
  listed = list(server.url());
  EXPECT_EQ(listed.outcome, L::unknown);
  EXPECT_EQ(listed.detail, "the API server answered 410: The provided continue parameter is too old");
}

TEST_F(ClusterHttp, WaitsWhereItIsBusyAndGivesUp) {
  int failures = 0, allowed = 3;
  FaultServer server([&](const Seen&) {
    return failures++ < allowed ? answer(failures % 2 ? 429 : 503, status_of(429, "TooManyRequests", "slow down"), {{"Retry-After", "0"}}) : answer(200, list_of({"a"}));
  });
  EXPECT_EQ(list(server.url()).outcome, L::complete);
  EXPECT_EQ(server.seen().size(), 4u);
  failures = 0, allowed = 100;
  const Listed listed = list(server.url());
  EXPECT_EQ(listed.outcome, L::unknown);
  EXPECT_EQ(server.seen().size(), 8u);
}

TEST_F(ClusterHttp, HonoursRetryAfterWithinReason) {
  Duration waited{0};
  waiter.before_wait = [&](Duration span) { waited = std::max(waited, span); };
  int answers = 0;
  FaultServer server([&](const Seen&) { return answers++ == 0 ? answer(503, "", {{"Retry-After", "1"}}) : answer(503, "", {{"Retry-After", "3600"}}); });
  options.total_timeout = milliseconds(500);
  EXPECT_EQ(list(server.url()).outcome, L::unknown);
  EXPECT_EQ(server.seen().size(), 2u) << "an hour is not waited";
}

TEST_F(ClusterHttp, SaysWhichRightIsMissing) {
  const std::string message = R"(deployments.apps is forbidden: User \"system:serviceaccount:ws:gc\" cannot list resource \"deployments\" in API group \"apps\" in the namespace \"ws\")";
  FaultServer server([&](const Seen&) { return answer(403, status_of(403, "Forbidden", message, R"({"group":"apps","kind":"deployments"})")); });
  Listed listed = list(server.url());
  EXPECT_EQ(listed.outcome, L::forbidden);
  EXPECT_EQ(listed.detail,
            "may not list deployments.apps in namespace \"ws\": the API server answered 403: deployments.apps is forbidden: User \"system:serviceaccount:ws:gc\" "
            "cannot list resource \"deployments\" in API group \"apps\" in the namespace \"ws\"");
  EXPECT_EQ(remove(server.url()).outcome, R::forbidden);
  FaultServer mute([&](const Seen&) { return answer(403, "<html>no</html>"); });
  listed = list(mute.url(), deployments, "");
  EXPECT_EQ(listed.detail, "may not list deployments.apps in all namespaces: the API server answered 403");
}

TEST_F(ClusterHttp, AKindThatIsNotServedIsProvenByDiscovery) {
  const std::string apps = R"({"kind":"APIResourceList","apiVersion":"v1","groupVersion":"apps/v1","resources":[{"name":"deployments"}]})";
  const std::string core = R"({"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods"}]})";
  bool api_server = true;
  FaultServer server([&](const Seen& seen) {
    if (api_server && seen.target == "/apis/apps/v1") return answer(200, apps);
    if (api_server && seen.target == "/apis/apps") return answer(200, R"({"kind":"APIGroup","apiVersion":"v1","name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]})");
    if (api_server && seen.target == "/api/v1") return answer(200, core);
    return answer(404, "404 page not found\n");
  });
  Listed listed = list(server.url(), sandboxes);
  EXPECT_EQ(listed.outcome, L::not_served) << listed.detail;
  EXPECT_EQ(listed.detail, "the API server has no sandboxes.agents.x-k8s.io");
  EXPECT_EQ(list(server.url(), {"apps", "v1", "rockets"}).outcome, L::not_served) << "the group is there";
  EXPECT_EQ(list(server.url(), deployments).outcome, L::unknown) << "it says that it has them";
  listed = list(server.url(), {"apps", "v1beta1", "deployments"});
  EXPECT_EQ(listed.outcome, L::unknown) << "what is stored is there in another version";
  EXPECT_EQ(listed.detail, "the API server has deployments.apps, but not of version v1beta1");
  api_server = false;
  EXPECT_EQ(list(server.url(), sandboxes).outcome, L::unknown) << "some other server";
}

TEST_F(ClusterHttp, WhatIsNotAListProvesNothing) {
  for (const std::string& body : {std::string("{}"), std::string(R"({"kind":"DeploymentList","apiVersion":"apps/v1","metadata":{},"items":[]})"), list_of({"a"}).substr(0, 120)}) {
    FaultServer server([&](const Seen&) { return answer(200, body); });
    EXPECT_EQ(list(server.url()).outcome, L::unknown) << body;
  }
  FaultServer refusing([](const Seen&) { return answer(406, status_of(406, "NotAcceptable", "only the following media types are accepted: application/json")); });
  EXPECT_EQ(list(refusing.url()).outcome, L::unknown);
  options.most_pages = 5;
  FaultServer circular([](const Seen&) { return answer(200, list_of({}, "round")); });
  EXPECT_EQ(list(circular.url()).outcome, L::unknown);
  options.longest_page = 100;
  FaultServer endless([](const Seen&) { return answer(200, list_of({"a", "b"})); });
  const Listed listed = list(endless.url());
  EXPECT_EQ(listed.outcome, L::unknown);
  EXPECT_NE(listed.detail.find("longer than 100 bytes"), std::string::npos) << listed.detail;
}

TEST_F(ClusterHttp, AServerThatIsNotThereIsAskedByOneListOnly) {
  FaultServer hanging([](const Seen&) { return never(); });
  options.total_timeout = milliseconds(30);
  options.address = hanging.url();
  HttpCluster cluster(options, *credentials, waiter);
  const auto nothing = [](const std::vector<ClusterObject>&) { FAIL(); };
  EXPECT_EQ(cluster.list(deployments, "ws", "", nothing).outcome, L::unknown);
  EXPECT_EQ(hanging.seen().size(), 4u);
  EXPECT_EQ(cluster.list(deployments, "ws", "", nothing).outcome, L::unknown);
  EXPECT_EQ(cluster.remove({deployments, "ws", "s-1", "u", "1"}).outcome, R::unknown);
  EXPECT_EQ(hanging.seen().size(), 4u);
  const Listed listed = list("http://127.0.0.1:" + std::to_string(free_port()));
  EXPECT_EQ(listed.outcome, L::unknown);
  EXPECT_NE(listed.detail.find("could not connect"), std::string::npos) << listed.detail;
}

TEST_F(ClusterHttp, DoesNotConnectWhereItMayNot) {
  FaultServer server([](const Seen&) { return answer(200, list_of({})); });
  options.outbound = false;
  EXPECT_EQ(list(server.url()).detail, "outbound connections are switched off");
  options.outbound = true;
  EXPECT_EQ(list("https://10.0.0.1").detail, "there is no credential for cluster https://10.0.0.1:443");
  EXPECT_EQ(server.connections(), 0);
}

TEST_F(ClusterHttp, ReadsTheTokenAgainWhenItIsRefused) {
  const std::string token = directory.write("token", "OLD\n");
  std::string wanted = "Bearer NEW";
  FaultServer server([&](const Seen& seen) {
    if (seen.header("authorization") == wanted) return answer(200, list_of({"a"}));
    if (seen.header("authorization") == "Bearer OLD") directory.write("token", "NEW\n");  // what the kubelet does
    return answer(401, status_of(401, "Unauthorized", "Unauthorized"));
  });
  credentials = std::make_unique<http::Credentials>(http::CredentialFiles{"cluster", http::parse_address(server.url()).origin, token, {}});
  EXPECT_EQ(list(server.url()).outcome, L::complete);
  EXPECT_EQ(server.seen().size(), 2u);
  wanted = "Bearer OTHER";
  const Listed listed = list(server.url());
  EXPECT_EQ(listed.outcome, L::unauthorized);
  EXPECT_EQ(server.seen().size(), 4u) << "once more, and no more";
  EXPECT_EQ(remove(server.url()).outcome, R::unauthorized);
}

TEST_F(ClusterHttp, PagesAreInterrupted) {
  FaultServer server([](const Seen&) { return never(); });
  waiter.before_wait = [](Duration) { throw std::runtime_error("cancelled"); };
  EXPECT_THROW(list(server.url()), std::runtime_error);
}

TEST_F(ClusterHttp, RemovesWhatItHasSeenAndNothingElse) {
  FaultServer server([](const Seen&) { return answer(200, status_of(200, "", "", R"({"name":"s-1","group":"apps","kind":"deployments","uid":"uid-1"})")); });
  const Removed removed = remove(server.url(), true);
  EXPECT_EQ(removed.outcome, R::accepted) << removed.detail;
  const Seen seen = server.seen().at(0);
  EXPECT_EQ(seen.method, "DELETE");
  EXPECT_EQ(seen.target, "/apis/apps/v1/namespaces/ws/deployments/s-1");
  EXPECT_EQ(seen.header("content-type"), "application/json");
  EXPECT_EQ(nlohmann::json::parse(seen.body), nlohmann::json::parse(R"({"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background",
      "preconditions":{"uid":"uid-1","resourceVersion":"77"},"dryRun":["All"]})"));
  remove(server.url());
  EXPECT_FALSE(nlohmann::json::parse(server.seen().at(1).body).contains("dryRun"));
  options.address = server.url();
  EXPECT_EQ(HttpCluster(options, *credentials, waiter).remove({deployments, "ws", "s-1", "", "77"}).outcome, R::unknown);
  EXPECT_EQ(HttpCluster(options, *credentials, waiter).remove({deployments, "ws", "../x", "u", "77"}).outcome, R::unknown);
  EXPECT_EQ(server.seen().size(), 2u) << "without preconditions, or elsewhere, nothing is sent";
}

TEST_F(ClusterHttp, WhatBecameOfARemoval) {
  const std::string named = R"({"name":"s-1","group":"apps","kind":"deployments"})";
  EXPECT_EQ(removal_answered(answer(200, R"({"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"s-1","uid":"uid-1","deletionTimestamp":"2025-12-05T10:00:00Z"}})")).outcome, R::accepted);
  EXPECT_EQ(removal_answered(answer(202, status_of(202, "", "", named))).outcome, R::accepted);
  EXPECT_EQ(removal_answered(answer(200, "<html>welcome</html>")).outcome, R::unknown);
  EXPECT_EQ(removal_answered(answer(404, status_of(404, "NotFound", "not found", named))).outcome, R::absent);
  EXPECT_EQ(removal_answered(answer(404, status_of(404, "NotFound", "the server could not find the requested resource"))).outcome, R::unknown);
  EXPECT_EQ(removal_answered(answer(404, "404 page not found\n")).outcome, R::unknown);
  const Removed changed = removal_answered(answer(409, status_of(409, "Conflict", "Precondition failed: UID in precondition: a, UID in object meta: b", named)));
  EXPECT_EQ(changed.outcome, R::changed);
  EXPECT_EQ(changed.detail, "the API server answered 409: Precondition failed: UID in precondition: a, UID in object meta: b");
  const Removed busy = removal_answered(answer(429, "", {{"Retry-After", "7"}}));
  EXPECT_EQ(busy.outcome, R::busy);
  EXPECT_EQ(busy.retry_after, seconds(7));
  EXPECT_EQ(removal_answered(answer(500, status_of(500, "InternalError", "etcd"))).outcome, R::unknown);
  EXPECT_EQ(removal_answered(answer(422, status_of(422, "Invalid", "denied"))).outcome, R::unknown);
  EXPECT_EQ(removal_answered(raw("", Play::Then::reset)).outcome, R::unknown);
}

}  // namespace
}  // namespace reconciler
