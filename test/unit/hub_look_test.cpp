// Asking hubs about agents over real connections, with everything a hub can do wrong.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "support/hub_world.hpp"
#include "support/temporary_directory.hpp"

namespace reconciler {
namespace {

using namespace reconciler::testing;
using Kind = Sighting::Kind;

FaultServer::Handler always(Play play) {
  return [play](const Seen&) { return play; };
}
FaultServer::Handler lists(const ListBody& body) { return always(answer(200, body.text())); }

ListBody instance(const std::string& name, std::vector<std::pair<std::string, std::string>> agents) {
  ListBody body;
  body.instance = name;
  body.scope = "instance";
  body.agents = std::move(agents);
  return body;
}

class HubLook : public ::testing::Test {
 protected:
  Sighting look(HttpHub& hub, const std::string& id) {
    auto sightings = hub.look({id});
    EXPECT_EQ(sightings.size(), 1u);
    return sightings[id];
  }
  World world;
  TemporaryDirectory directory;
};

// ---- lists

TEST_F(HubLook, OneListAnswersForAll) {
  FaultServer server(lists({.agents = {{"a", "connected"}, {"b", "disconnected"}, {"c", "draining"}, {"z", "connected"}}}));
  auto hub = world.hub({server.url()});
  auto sightings = hub->look({"a", "b", "c", "d", "a"});
  ASSERT_EQ(sightings.size(), 4u);
  EXPECT_EQ(sightings["a"].presence, Presence::present);
  EXPECT_EQ(sightings["a"].agent.incarnation, "i-a");
  EXPECT_EQ(sightings["a"].hub.instance, "hub-1");
  EXPECT_EQ(sightings["b"].presence, Presence::gone);
  EXPECT_EQ(sightings["c"].presence, Presence::present) << "draining is connected";
  EXPECT_EQ(sightings["d"].presence, Presence::gone) << "unknown at a complete hub";
  EXPECT_EQ(server.seen().size(), 1u);
  EXPECT_EQ(server.seen()[0].target, "/v1/agents");
  EXPECT_EQ(hub->answered(), std::vector<std::string>{server.url()});
  EXPECT_EQ(hub->totals().requests, 1);
  EXPECT_EQ(hub->totals().failed, 0);
}

TEST_F(HubLook, TheListNamesThoseThatNobodyAskedAbout) {
  FaultServer server(lists({.agents = {{"a", "connected"}, {"b", "disconnected"}, {"c", "draining"}}}));
  auto hub = world.hub({server.url()});
  const auto listed = hub->list();
  ASSERT_EQ(listed.size(), 3u);
  EXPECT_EQ(listed[0].id, "a");
  EXPECT_TRUE(listed[2].draining);
}

TEST_F(HubLook, AnIncompleteListProvesNothingForTheAbsent) {
  FaultServer server(lists({.complete = false, .agents = {{"b", "disconnected"}}}));
  auto hub = world.hub({server.url()});
  auto sightings = hub->look({"a", "b"});
  EXPECT_EQ(sightings["a"].presence, Presence::unknown);
  EXPECT_EQ(sightings["a"].kind, Kind::answered);
  EXPECT_EQ(sightings["b"].presence, Presence::gone);
}

TEST_F(HubLook, APrefixBelongsToTheAddress) {
  FaultServer server(lists({.agents = {{"a", "connected"}}}));
  auto hub = world.hub({server.url() + "/hub/"});
  EXPECT_EQ(look(*hub, "a").presence, Presence::present);
  EXPECT_EQ(server.seen()[0].target, "/hub/v1/agents");
}

TEST_F(HubLook, AskingAboutNobodyAsksNobody) {
  FaultServer server(lists({}));
  EXPECT_TRUE(world.hub({server.url()})->look({}).empty());
  EXPECT_EQ(server.connections(), 0);
}

FaultServer::Handler three_pages(Play last) {
  return [last](const Seen& seen) {
    if (seen.target == "/v1/agents") return answer(200, ListBody{.next = "p 2", .agents = {{"a", "connected"}}}.text());
    if (seen.target == "/v1/agents?next=p%202") return answer(200, ListBody{.next = "/v1/agents?page=3", .agents = {{"b", "disconnected"}}}.text());
    EXPECT_EQ(seen.target, "/v1/agents?page=3");
    return last;
  };
}

TEST_F(HubLook, ReadsAListToItsEnd) {
  FaultServer server(three_pages(answer(200, ListBody{.agents = {{"c", "connected"}}}.text())));
  auto sightings = world.hub({server.url()})->look({"a", "b", "c", "d"});
  EXPECT_EQ(sightings["a"].presence, Presence::present);
  EXPECT_EQ(sightings["b"].presence, Presence::gone);
  EXPECT_EQ(sightings["c"].presence, Presence::present);
  EXPECT_EQ(sightings["d"].presence, Presence::gone);
  EXPECT_EQ(server.seen().size(), 3u);
}

TEST_F(HubLook, AListThatBreaksOffIsNoAnswer) {
  ListBody other{.instance = "hub-2", .agents = {{"c", "connected"}}};
  for (Play last : {answer(500, "{}"), raw(""), never(), answer(200, "{\"agents\":["), answer(200, other.text()),
                    answer(302, "", {{"Location", "/v1/agents?page=4"}})}) {
    FaultServer server(three_pages(last));
    auto sightings = world.hub({server.url()})->look({"a", "b", "d"});
    for (const char* id : {"a", "b", "d"}) {
      EXPECT_EQ(sightings[id].presence, Presence::unknown) << last.bytes;
      EXPECT_EQ(sightings[id].kind, Kind::unknown) << last.bytes;
      EXPECT_NE(sightings[id].detail, "") << last.bytes;
    }
  }
}

TEST_F(HubLook, AnEndlessListIsLeftAtAThousandPages) {
  std::atomic<int> page = 0;
  FaultServer endless([&](const Seen&) { return answer(200, ListBody{.next = "p" + std::to_string(++page)}.text()); });
  EXPECT_EQ(look(*world.hub({endless.url()}), "a").presence, Presence::unknown);
  EXPECT_EQ(page, 1000);
  FaultServer circle(lists({.next = "again"}));
  EXPECT_EQ(look(*world.hub({circle.url()}), "a").presence, Presence::unknown);
  EXPECT_LE(circle.seen().size(), 2u);
}

TEST_F(HubLook, TheNextPageCannotLeadToAnotherHost) {
  FaultServer other(lists({.agents = {{"a", "disconnected"}}}));
  for (std::string next : {other.url() + "/v1/agents", "//127.0.0.1:" + std::to_string(other.port()) + "/v1/agents",
                           "@127.0.0.1:" + std::to_string(other.port())}) {
    FaultServer server(lists({.next = next, .agents = {{"a", "disconnected"}}}));
    EXPECT_EQ(look(*world.hub({server.url()}), "a").presence, Presence::unknown) << next;
  }
  EXPECT_EQ(other.connections(), 0);
}

// ---- answers that prove nothing

TEST_F(HubLook, WhatDoesNotFitIsUnknown) {
  const Play plays[] = {
      answer(500, ListBody{}.text()), answer(503, "{}"), answer(429, "{}"), answer(404, "{}"), answer(204, ""),
      answer(200, ""), answer(200, "null"), answer(200, "[]"), answer(200, "<html>maintenance</html>"),
      answer(200, R"({"agents":{}})"), answer(200, std::string(2 << 20, ' ')), answer(302, "", {{"Location", "/"}}),
      raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + ListBody{}.text()), raw("nonsense\r\n\r\n"), raw(""),
      raw("", Play::Then::reset), never(),
  };
  for (const Play& play : plays) {
    FaultServer server(always(play));
    auto hub = world.hub({server.url()});
    Sighting sighting = look(*hub, "a");
    EXPECT_EQ(sighting.kind, Kind::unknown) << play.bytes.substr(0, 100);
    EXPECT_EQ(sighting.presence, Presence::unknown) << play.bytes.substr(0, 100);
    EXPECT_NE(sighting.detail.find("127.0.0.1"), std::string::npos) << sighting.detail;
    EXPECT_EQ(hub->totals().failed, 1);
    EXPECT_TRUE(hub->answered().empty());
  }
}

TEST_F(HubLook, AHubThatIsDownIsUnknown) {
  Sighting sighting = look(*world.hub({nobody()}), "a");
  EXPECT_EQ(sighting.kind, Kind::unknown);
  EXPECT_NE(sighting.detail.find("Connection refused"), std::string::npos) << sighting.detail;
}

TEST_F(HubLook, ASlowHubIsHeard) {
  Play slow = answer(200, ListBody{.agents = {{"a", "connected"}}}.text());
  slow.byte_by_byte = true;
  FaultServer server(always(slow));
  world.options.total_timeout = seconds(10);
  EXPECT_EQ(look(*world.hub({server.url()}), "a").presence, Presence::present);
}

// ---- several addresses

TEST_F(HubLook, TwoInstancesAreOneHub) {
  FaultServer a(lists(instance("A", {{"x", "connected"}, {"y", "disconnected"}})));
  FaultServer b(lists(instance("B", {{"y", "disconnected"}, {"z", "connected"}})));
  auto sightings = world.hub({a.url(), b.url()})->look({"x", "y", "z", "w"});
  EXPECT_EQ(sightings["x"].presence, Presence::present);
  EXPECT_EQ(sightings["y"].presence, Presence::gone);
  EXPECT_EQ(sightings["y"].hub.instance, "A,B");
  EXPECT_EQ(sightings["z"].presence, Presence::present);
  EXPECT_EQ(sightings["z"].hub.instance, "B");
  EXPECT_EQ(sightings["w"].presence, Presence::unknown) << "no instance is complete";
}

TEST_F(HubLook, AnInstanceThatAnsweredLatelyIsMissed) {
  FaultServer a(lists(instance("A", {{"y", "disconnected"}})));
  std::string b = nobody();
  EXPECT_EQ(look(*world.hub({a.url(), b}), "y").presence, Presence::gone) << "b has not answered in 10 minutes";
  world.options.answered_recently = {b};
  Sighting sighting = look(*world.hub({a.url(), b}), "y");
  EXPECT_EQ(sighting.presence, Presence::unknown);
  EXPECT_NE(sighting.detail.find(b), std::string::npos) << sighting.detail;
}

// A replica that is ill holds its agents, however long it is ill; one that is taken away does not.
TEST_F(HubLook, AnInstanceThatSaysAnythingIsThere) {
  FaultServer a(lists(instance("A", {{"y", "disconnected"}})));
  world.options.total_timeout = milliseconds(300);
  for (const Play& play : {answer(503, ""), answer(200, "<html>"), error(401, "unauthorized"), never()}) {
    FaultServer b(always(play));
    Sighting sighting = look(*world.hub({a.url(), b.url()}), "y");
    EXPECT_EQ(sighting.presence, Presence::unknown) << sighting.detail;
  }
}

// ---- credentials

class HubCredentials : public HubLook {
 protected:
  void credential(const std::string& origin, const std::string& token) {
    directory.write("token", token);
    std::string file = directory.write("credentials.json", R"([{"name":"hub","origin":")" + origin + R"(","token_file":"token"}])");
    world.credentials = http::Credentials(file);
  }
  static FaultServer::Handler expects(const std::string& token, const ListBody& body) {
    return [=](const Seen& seen) {
      return seen.header("authorization") == "Bearer " + token ? answer(200, body.text()) : error(401, "unauthorized");
    };
  }
};

TEST_F(HubCredentials, ATokenGoesOnlyToItsOrigin) {
  FaultServer a(expects("SECRET", instance("A", {{"x", "disconnected"}}))), b(lists(instance("B", {{"x", "connected"}})));
  credential(a.url(), "SECRET");
  auto hub = world.hub({a.url(), b.url()});
  EXPECT_EQ(look(*hub, "x").presence, Presence::present);
  EXPECT_EQ(a.seen().at(0).header("authorization"), "Bearer SECRET");
  EXPECT_EQ(b.seen().at(0).headers.count("authorization"), 0u);
}

TEST_F(HubCredentials, ANewTokenIsReadOnA401) {
  FaultServer server(expects("NEW", {.agents = {{"a", "connected"}}}));
  credential(server.url(), "OLD");
  auto hub = world.hub({server.url()});
  std::atomic<bool> rotated = false;
  world.waiter.before_wait = [&](Duration) {
    if (!rotated.exchange(true)) directory.write("token", "NEW");  // after the files were looked at
  };
  EXPECT_EQ(look(*hub, "a").presence, Presence::present);
  EXPECT_EQ(server.seen().size(), 2u);
}

TEST_F(HubCredentials, A401ThatStaysIsUnauthorized) {
  FaultServer server(expects("OTHER", {}));
  credential(server.url(), "SECRET");
  auto hub = world.hub({server.url()});
  Sighting sighting = look(*hub, "a");
  EXPECT_EQ(sighting.kind, Kind::unauthorized);
  EXPECT_EQ(sighting.presence, Presence::unknown);
  EXPECT_EQ(sighting.detail.find("SECRET"), std::string::npos) << sighting.detail;
  EXPECT_EQ(server.seen().size(), 2u);
}

TEST_F(HubCredentials, A403IsUnauthorizedAtOnce) {
  FaultServer server(always(error(403, "forbidden")));
  EXPECT_EQ(look(*world.hub({server.url()}), "a").kind, Kind::unauthorized);
  EXPECT_EQ(server.seen().size(), 1u);
}

TEST_F(HubCredentials, WhatOurConfigurationForbidsIsNotAsked) {
  for (const char* address : {"http://hub.example.com", "http://169.254.169.254", "http://user:SECRET@127.0.0.1", "nonsense"}) {
    auto hub = world.hub({address});
    Sighting sighting = look(*hub, "a");
    EXPECT_EQ(sighting.kind, Kind::unauthorized) << address;
    EXPECT_NE(sighting.detail, "") << address;
    EXPECT_EQ(sighting.detail.find("SECRET"), std::string::npos) << sighting.detail;
    EXPECT_EQ(hub->totals().requests, 0) << address;
  }
}

TEST_F(HubCredentials, ABadFileStopsEverything) {
  FaultServer server(lists({.agents = {{"a", "connected"}}}));
  world.credentials = http::Credentials(directory.write("credentials.json", "[]", 0666));
  auto hub = world.hub({server.url()});
  EXPECT_EQ(look(*hub, "a").kind, Kind::unauthorized);
  EXPECT_EQ(server.connections(), 0);
  directory.write("credentials.json", "[]", 0600);
  EXPECT_EQ(look(*hub, "a").presence, Presence::present);
}

TEST_F(HubLook, OutboundOffConnectsNowhere) {
  FaultServer server(lists({}));
  world.options.outbound = false;
  auto hub = world.hub({server.url()});
  Sighting sighting = look(*hub, "a");
  EXPECT_EQ(sighting.kind, Kind::unknown);
  EXPECT_EQ(sighting.detail, "outbound connections are switched off (session_reconciler.outbound)");
  EXPECT_EQ(hub->probe().at(0).ok, false);
  EXPECT_TRUE(hub->command_progress({"c"}).empty());
  EXPECT_TRUE(hub->session_status({"s"}).empty());
  EXPECT_EQ(server.connections(), 0);
}

// ---- one by one

Play streamspace_agent(const std::string& id) {
  return answer(200, R"({"agentId":")" + id + R"(","status":"online","lastHeartbeat":"2025-12-05T10:00:00Z"})");
}
Play streamspace_404(const std::string& id) { return answer(404, R"({"error":"Agent not found","agentId":")" + id + "\"}"); }

TEST_F(HubLook, StreamSpaceIsAskedForEach) {
  FaultServer server([](const Seen& seen) {
    return seen.target == "/api/v1/admin/agents/k8s%2F1" ? streamspace_agent("k8s/1") : streamspace_404("x");
  });
  auto sightings = world.hub({server.url()}, "streamspace")->look({"k8s/1", "x"});
  EXPECT_EQ(sightings["k8s/1"].kind, Kind::answered);
  EXPECT_EQ(sightings["k8s/1"].agent.heartbeat, from_unix_micros(1764928800000000));
  EXPECT_EQ(sightings["k8s/1"].presence, Presence::unknown) << "an answer proves no connection";
  EXPECT_EQ(sightings["x"].kind, Kind::other_hub);
}

TEST_F(HubLook, TheFirstProperAnswerWins) {
  FaultServer broken(always(answer(500, "{}"))), strange(always(streamspace_404("k"))), good(always(streamspace_agent("k")));
  FaultServer spare(always(streamspace_agent("k")));
  auto hub = world.hub({broken.url(), nobody(), strange.url(), good.url(), spare.url()}, "streamspace");
  EXPECT_EQ(look(*hub, "k").kind, Kind::answered);
  EXPECT_EQ(spare.connections(), 0);
}

TEST_F(HubLook, AnAnswerAboutAnotherAgentIsUnknown) {
  FaultServer server(always(streamspace_agent("other")));
  EXPECT_EQ(look(*world.hub({server.url()}, "streamspace"), "k").kind, Kind::unknown);
}

TEST_F(HubLook, ManyAgentsAreAskedSideBySideWithinTheLimit) {
  std::atomic<int> now = 0, most = 0;
  FaultServer server([&](const Seen& seen) {
    int running = ++now;
    int seen_most = most;
    while (running > seen_most && !most.compare_exchange_weak(seen_most, running)) {
    }
    std::this_thread::sleep_for(milliseconds(2));
    --now;
    return streamspace_agent(seen.target.substr(seen.target.rfind('/') + 1));
  });
  world.options.total_timeout = seconds(10);
  std::vector<std::string> ids;
  for (int i = 0; i < 200; ++i) ids.push_back("agent-" + std::to_string(i));
  auto sightings = world.hub({server.url()}, "streamspace")->look(ids);
  ASSERT_EQ(sightings.size(), 200u);
  for (const auto& [id, sighting] : sightings) EXPECT_EQ(sighting.kind, Kind::answered) << id;
  EXPECT_LE(most, 8);
  EXPECT_GT(most, 1);
}

TEST_F(HubLook, ADeadAddressIsNotTriedForEveryAgent) {
  std::vector<std::string> ids;
  for (int i = 0; i < 100; ++i) ids.push_back("agent-" + std::to_string(i));
  auto hub = world.hub({nobody()}, "streamspace");
  auto sightings = hub->look(ids);
  EXPECT_EQ(sightings.size(), 100u);
  EXPECT_EQ(sightings["agent-99"].kind, Kind::unknown);
  EXPECT_NE(sightings["agent-99"].detail.find("Connection refused"), std::string::npos);
  EXPECT_LE(hub->totals().requests, 3 + world.options.max_in_flight);
}

TEST_F(HubLook, A401IsNotAskedForEveryAgent) {
  FaultServer server(always(error(401, "no")));
  std::vector<std::string> ids;
  for (int i = 0; i < 100; ++i) ids.push_back("agent-" + std::to_string(i));
  auto sightings = world.hub({server.url()}, "streamspace")->look(ids);
  for (const auto& [id, sighting] : sightings) EXPECT_EQ(sighting.kind, Kind::unauthorized) << id;
  EXPECT_LE(server.seen().size(), 2u * 8 + 8);
}

TEST_F(HubLook, AHeartbeatHubWithAListIsAskedOnce) {
  auto hub_of = [&](const FaultServer& server) {
    HubOptions options;
    options.addresses = {server.url()};
    return HttpHub(Profile("heartbeats", R"({"authoritative": false, "idempotent": false,
      "hub": {"complete": "/complete"}, "agent": {"id": "/id", "heartbeat": "/beat"},
      "list_agents": {"method": "GET", "path": "/agents", "agents": "/agents", "answers": [{"status": 200, "means": "agents"}]},
      "send": {"method": "POST", "path": "/{agent_id}", "body": {}, "answers": [{"status": 202, "means": "accepted"}]}})"),
                   options, world.credentials, world.waiter);
  };
  for (bool complete : {true, false}) {
    FaultServer server(always(answer(200, std::string(R"({"complete":)") + (complete ? "true" : "false") +
                                              R"(,"agents":[{"id":"a","beat":"2025-12-05T10:00:00Z"}]})")));
    HttpHub hub = hub_of(server);
    auto sightings = hub.look({"a", "b"});
    EXPECT_EQ(sightings["a"].kind, Kind::answered);
    EXPECT_TRUE(sightings["a"].agent.heartbeat);
    EXPECT_EQ(sightings["b"].kind, complete ? Kind::other_hub : Kind::unknown);
    EXPECT_EQ(server.seen().size(), 1u);
  }
}

// ---- being interrupted

TEST_F(HubLook, ACancelPassesThroughAndTheHubWorksAgain) {
  std::atomic<bool> hang = true;
  FaultServer server([&](const Seen&) { return hang ? never() : answer(200, ListBody{.agents = {{"a", "connected"}}}.text()); });
  world.options.total_timeout = seconds(30);
  auto hub = world.hub({server.url()});
  struct Cancelled {};
  world.waiter.before_wait = [&](Duration) {
    if (hang && !server.seen().empty()) throw Cancelled{};
  };
  EXPECT_THROW(hub->look({"a"}), Cancelled);
  hang = false;
  EXPECT_EQ(look(*hub, "a").presence, Presence::present);
}

}  // namespace
}  // namespace reconciler
