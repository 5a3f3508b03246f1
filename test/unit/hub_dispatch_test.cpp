// Sending commands: what may be sent twice, where it goes next, and what the outcome is called.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "support/hub_world.hpp"
#include "support/temporary_directory.hpp"

namespace reconciler {
namespace {

using namespace reconciler::testing;
using Outcome = Delivery::Outcome;
using Meaning = CommandMeaning;

FaultServer::Handler always(Play play) {
  return [play](const Seen&) { return play; };
}

Dispatch stop(const std::string& session, const std::string& agent = "k8s", Duration not_before = Duration(0)) {
  Dispatch dispatch;
  dispatch.command = {"key-" + session, agent, "stop_session", session, "pod-" + session, "user_requested", 2};
  dispatch.not_before = not_before;
  return dispatch;
}

// All at once.
AgentHub::Next handing_out(std::vector<Dispatch> commands) {
  return [commands]() mutable { return std::exchange(commands, {}); };
}

class HubDispatch : public ::testing::Test {
 protected:
  std::vector<Delivery> dispatch(HttpHub& hub, const std::vector<Dispatch>& commands) {
    std::vector<Delivery> deliveries(commands.size());
    std::vector<int> calls(commands.size());
    hub.dispatch(handing_out(commands), [&](std::size_t index, const Delivery& delivery) {
      ++calls.at(index);
      deliveries.at(index) = delivery;
    });
    for (int count : calls) EXPECT_EQ(count, 1);
    return deliveries;
  }
  Delivery send(HttpHub& hub, bool agent_present = true) {
    Dispatch one = stop("s1");
    one.agent_present = agent_present;
    return dispatch(hub, {one}).at(0);
  }
  Delivery send_to(std::vector<std::string> addresses) { return send(*world.hub(std::move(addresses))); }

  World world;
  TemporaryDirectory directory;
};

void expect(const Delivery& delivery, Outcome outcome, Meaning meaning = Meaning::unclear) {
  EXPECT_EQ(delivery.outcome, outcome) << delivery.detail;
  EXPECT_STREQ(to_string(delivery.meaning), to_string(meaning)) << delivery.detail;
  EXPECT_NE(delivery.detail, "");
}

TEST_F(HubDispatch, SendsACommandWithItsKey) {
  FaultServer server(accepted);
  auto hub = world.hub({server.url()});
  Delivery delivery = send(*hub);
  expect(delivery, Outcome::answered, Meaning::accepted);
  EXPECT_EQ(delivery.hub_command_id, "key-s1");
  EXPECT_GT(delivery.took, Duration(0));
  Seen seen = server.seen().at(0);
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.target, "/v1/agents/k8s/commands");
  EXPECT_EQ(seen.header("idempotency-key"), "key-s1");
  EXPECT_EQ(seen.header("content-type"), "application/json");
  EXPECT_NE(seen.body.find(R"("session_id":"s1")"), std::string::npos);
  EXPECT_EQ(hub->totals().requests, 1);
  EXPECT_EQ(hub->totals().failed, 0);
  EXPECT_EQ(hub->answered().size(), 1u);
}

TEST_F(HubDispatch, WhatAnswersMean) {
  struct { Play play; Meaning meaning; } const cases[] = {
      {error(404, "agent_not_found"), Meaning::unknown_agent}, {error(410, "session_gone"), Meaning::session_gone},
      {error(422, "bad_action"), Meaning::rejected},           {error(403, "forbidden"), Meaning::unauthorized},
      {error(401, "unauthorized"), Meaning::unauthorized},     {error(429, "slow_down"), Meaning::busy},
      {error(503, "overloaded"), Meaning::unclear},            {error(500, "oops"), Meaning::unclear},
      {answer(404, "<html>"), Meaning::unclear},               {answer(202, "{}"), Meaning::unclear},
      {answer(302, "", {{"Location", "/"}}), Meaning::unclear}, {answer(200, ""), Meaning::unclear},
  };
  for (const auto& one : cases) {
    FaultServer server(always(one.play));
    expect(send_to({server.url()}), Outcome::answered, one.meaning);
  }
}

TEST_F(HubDispatch, RetryAfterIsKept) {
  FaultServer server(always(error(503, "overloaded", {{"Retry-After", "17"}})));
  Delivery delivery = send_to({server.url()});
  expect(delivery, Outcome::answered, Meaning::busy);
  EXPECT_EQ(delivery.retry_after, seconds(17));
}

TEST_F(HubDispatch, ABrokenExchangeIsUnknown) {
  for (const Play& play : {raw(""), raw("", Play::Then::reset), never(), raw("garbage\r\n\r\n"),
                           raw("HTTP/1.1 202 Accepted\r\nContent-Length: 50\r\n\r\n{\"command_id\""),
                           raw("HTTP/1.1 202 Acc")}) {
    FaultServer server(always(play)), other(accepted);
    auto hub = world.hub({server.url(), other.url()});
    expect(send(*hub), Outcome::unknown);
    EXPECT_EQ(other.connections(), 0) << "it may have arrived: no second address";
    EXPECT_EQ(hub->totals().failed, 1);
  }
}

TEST_F(HubDispatch, NobodyListeningIsNotSent) {
  Delivery delivery = send_to({nobody(), nobody()});
  expect(delivery, Outcome::not_sent);
  EXPECT_NE(delivery.detail.find("Connection refused"), std::string::npos) << delivery.detail;
}

// ---- the next address

TEST_F(HubDispatch, AnUnreachableAddressLeadsToTheNext) {
  FaultServer server(accepted);
  expect(send_to({nobody(), server.url()}), Outcome::answered, Meaning::accepted);
}

TEST_F(HubDispatch, AnAddressThatDoesNotHaveTheAgentLeadsToTheNext) {
  for (const Play& no : {error(409, "agent_not_connected"), error(404, "agent_not_found"), error(403, "forbidden")}) {
    FaultServer a(always(no)), b(accepted);
    expect(send_to({a.url(), b.url()}), Outcome::answered, Meaning::accepted);
    EXPECT_EQ(a.seen().size(), 1u) << no.bytes;
    EXPECT_EQ(a.seen()[0].header("idempotency-key"), b.seen().at(0).header("idempotency-key"));
    EXPECT_EQ(a.seen()[0].body, b.seen()[0].body);
  }
}

TEST_F(HubDispatch, TheAnswerThatSaysMostIsTheOutcome) {
  FaultServer not_connected(always(error(409, "agent_not_connected"))), unknown(always(error(404, "agent_not_found")));
  world.options.fresh_connection_tries = 0;
  expect(send_to({nobody(), unknown.url(), not_connected.url(), unknown.url()}), Outcome::answered, Meaning::not_connected);
  expect(send_to({unknown.url(), nobody()}), Outcome::answered, Meaning::unknown_agent);
}

TEST_F(HubDispatch, AnAnswerEndsTheTour) {
  for (const Play& yes : {error(410, "session_gone"), error(500, "oops"), error(429, "slow_down"), error(422, "no")}) {
    FaultServer a(always(yes)), b(accepted);
    EXPECT_NE(send_to({a.url(), b.url()}).meaning, Meaning::accepted);
    EXPECT_EQ(b.connections(), 0);
  }
}

TEST_F(HubDispatch, CommandsGoWhereTheAgentWasSeen) {
  auto handler = [](const char* agent) {
    return [=](const Seen& seen) {
      if (seen.method == "POST") return accepted(seen);
      ListBody body;
      body.scope = "instance";
      body.agents = {{agent, "connected"}};
      return answer(200, body.text());
    };
  };
  FaultServer a(handler("x")), b(handler("y"));
  auto hub = world.hub({a.url(), b.url()});
  hub->look({"x", "y"});
  dispatch(*hub, {stop("1", "x"), stop("2", "y")});
  ASSERT_EQ(a.seen().size(), 2u);
  ASSERT_EQ(b.seen().size(), 2u);
  EXPECT_EQ(b.seen()[1].header("idempotency-key"), "key-2");
}

// ---- new connections

TEST_F(HubDispatch, NotConnectedIsTriedAgainOnNewConnections) {
  // A load balancer: every third connection reaches the replica that holds the agent.
  FaultServer server([](const Seen& seen) {
    return seen.connection == 3 ? answer(201, R"({"commandId":"cmd-1","agentId":"k8s","sessionId":"s1"})")
                                : answer(503, R"({"error":"Agent not connected","agentId":"k8s"})");
  });
  auto hub = world.hub({server.url()}, "streamspace");
  Delivery delivery = send(*hub);
  expect(delivery, Outcome::answered, Meaning::accepted);
  EXPECT_EQ(delivery.hub_command_id, "cmd-1");
  ASSERT_EQ(server.seen().size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(server.seen()[static_cast<std::size_t>(i)].connection, i + 1);
}

TEST_F(HubDispatch, NewConnectionsAreCountedOut) {
  FaultServer server(always(error(409, "agent_not_connected")));
  expect(send_to({server.url()}), Outcome::answered, Meaning::not_connected);
  EXPECT_EQ(server.seen().size(), 7u);
  EXPECT_EQ(server.connections(), 7);
  for (const Seen& seen : server.seen()) EXPECT_EQ(seen.header("idempotency-key"), "key-s1");
}

TEST_F(HubDispatch, NewConnectionsAreSharedAmongThoseThatSaidSo) {
  FaultServer a(always(error(409, "agent_not_connected"))), b(always(error(409, "agent_not_connected")));
  FaultServer unknown(always(error(404, "agent_not_found")));
  send_to({a.url(), unknown.url(), b.url()});
  EXPECT_EQ(a.seen().size(), 4u);
  EXPECT_EQ(b.seen().size(), 4u);
  EXPECT_EQ(unknown.seen().size(), 1u);
}

TEST_F(HubDispatch, AnAgentThatIsNotPresentIsNotLookedFor) {
  FaultServer server(always(error(409, "agent_not_connected")));
  auto hub = world.hub({server.url()});
  expect(send(*hub, false), Outcome::answered, Meaning::not_connected);
  EXPECT_EQ(server.seen().size(), 1u);
}

TEST_F(HubDispatch, AnUnknownOutcomeEndsTheNewConnections) {
  std::atomic<int> calls = 0;
  FaultServer server([&](const Seen&) { return ++calls == 3 ? raw("") : error(409, "agent_not_connected"); });
  expect(send_to({server.url()}), Outcome::unknown);
  EXPECT_EQ(calls, 3);
}

TEST_F(HubDispatch, WithoutIdempotencyNothingIsSentTwice) {
  // On a kept connection libcurl would send again by itself when the hub closes it without an answer.
  std::atomic<int> calls = 0;
  FaultServer server([&](const Seen&) {
    return ++calls == 1 ? answer(201, R"({"commandId":"cmd-1","agentId":"k8s","sessionId":"s1"})") : raw("");
  });
  auto hub = world.hub({server.url()}, "streamspace");
  expect(send(*hub), Outcome::answered, Meaning::accepted);
  expect(send(*hub), Outcome::unknown);
  EXPECT_EQ(calls, 2);
}

// ---- order and numbers

TEST_F(HubDispatch, SpacingIsKept) {
  std::mutex mutex;
  std::vector<std::pair<std::string, Duration>> arrived;
  FaultServer server([&](const Seen& seen) {
    std::lock_guard lock(mutex);
    arrived.emplace_back(seen.header("idempotency-key"), world.waiter.uptime());
    return accepted(seen);
  });
  auto hub = world.hub({server.url()});
  Duration start = world.waiter.uptime();
  dispatch(*hub, {stop("c", "k8s", milliseconds(120)), stop("a"), stop("b", "k8s", milliseconds(60)), stop("x", "other")});
  ASSERT_EQ(arrived.size(), 4u);
  std::vector<std::string> of_k8s;
  for (const auto& [key, at] : arrived) {
    if (key != "key-x") of_k8s.push_back(key);
    Duration due = key == "key-b" ? milliseconds(60) : key == "key-c" ? milliseconds(120) : milliseconds(0);
    EXPECT_GE(at - start, due) << key;
  }
  EXPECT_EQ(of_k8s, (std::vector<std::string>{"key-a", "key-b", "key-c"}));
  EXPECT_NE(arrived.back().first, "key-x") << "another agent does not wait";
}

TEST_F(HubDispatch, ManyCommandsStayWithinTheLimit) {
  std::atomic<int> now = 0, most = 0;
  FaultServer server([&](const Seen& seen) {
    int running = ++now;
    for (int known = most; running > known && !most.compare_exchange_weak(known, running);) {
    }
    std::this_thread::sleep_for(milliseconds(1));
    --now;
    return accepted(seen);
  });
  world.options.total_timeout = seconds(10);
  std::vector<Dispatch> commands;
  for (int i = 0; i < 300; ++i) commands.push_back(stop("s" + std::to_string(i)));
  auto hub = world.hub({server.url()});
  auto deliveries = dispatch(*hub, commands);
  std::set<std::string> keys;
  for (const Delivery& delivery : deliveries) {
    expect(delivery, Outcome::answered, Meaning::accepted);
    keys.insert(delivery.hub_command_id);
  }
  EXPECT_EQ(keys.size(), 300u);
  EXPECT_LE(most, 8);
  EXPECT_LE(server.connections(), 8);
  EXPECT_EQ(hub->totals().requests, 300);
}

TEST_F(HubDispatch, MoreIsAskedForWhenAConnectionIsFree) {
  std::atomic<int> now = 0, most = 0;
  FaultServer server([&](const Seen& seen) {
    const int running = ++now;
    for (int known = most; running > known && !most.compare_exchange_weak(known, running);) {
    }
    std::this_thread::sleep_for(milliseconds(seen.header("idempotency-key") == "key-s0" ? 300 : 5));
    --now;
    return accepted(seen);
  });
  world.options.total_timeout = seconds(10);
  auto hub = world.hub({server.url()});
  int handed_out = 0, asked = 0, done = 0;
  std::vector<int> of_index(40);
  bool first_is_out = true;
  hub->dispatch(
      [&] {
        ++asked;
        std::vector<Dispatch> more;
        for (int i = 0; i < 4 && handed_out < 40; ++i) more.push_back(stop("s" + std::to_string(handed_out++)));
        return more;
      },
      [&](std::size_t index, const Delivery& delivery) {
        EXPECT_EQ(delivery.outcome, Outcome::answered);
        ++of_index.at(index), ++done;
        if (index == 0) first_is_out = false;
        if (index == 39) EXPECT_TRUE(first_is_out) << "a slow answer holds up nothing";
      });
  EXPECT_EQ(asked, 11) << "ten times for four, and once for nothing";
  EXPECT_EQ(done, 40);
  for (int n : of_index) EXPECT_EQ(n, 1);
  EXPECT_GT(most, 4) << "the second four do not wait for the first";
  EXPECT_LE(most, 8);
}

TEST_F(HubDispatch, WhatIsSpacedDoesNotHoldUpWhatIsAskedForLater) {
  FaultServer server(accepted);
  auto hub = world.hub({server.url()});
  std::vector<std::vector<Dispatch>> chunks{{stop("a", "k8s", milliseconds(200))}, {stop("b", "other")}};
  std::vector<std::size_t> order;
  hub->dispatch([&, at = std::size_t{0}]() mutable { return at < chunks.size() ? chunks[at++] : std::vector<Dispatch>(); },
                [&](std::size_t index, const Delivery&) { order.push_back(index); });
  EXPECT_EQ(order, (std::vector<std::size_t>{1, 0}));
}

TEST_F(HubDispatch, ADeadHubIsLeftAloneForTheRestOfTheCall) {
  std::vector<Dispatch> commands;
  for (int i = 0; i < 200; ++i) commands.push_back(stop("s" + std::to_string(i)));
  auto hub = world.hub({nobody()});
  for (const Delivery& delivery : dispatch(*hub, commands)) expect(delivery, Outcome::not_sent);
  EXPECT_LE(hub->totals().requests, 3 + 8);
  // It has another chance in the next call.
  std::int64_t before = hub->totals().requests;
  dispatch(*hub, {commands[0]});
  EXPECT_EQ(hub->totals().requests, before + 1);
}

TEST_F(HubDispatch, NothingToSendAsksNobody) {
  FaultServer server(accepted);
  EXPECT_TRUE(dispatch(*world.hub({server.url()}), {}).empty());
  EXPECT_EQ(server.connections(), 0);
}

// ---- what our configuration says

TEST_F(HubDispatch, OutboundOffSendsNothing) {
  FaultServer server(accepted);
  world.options.outbound = false;
  expect(send_to({server.url()}), Outcome::not_sent);
  EXPECT_EQ(server.connections(), 0);
}

TEST_F(HubDispatch, AForbiddenAddressSendsNothing) {
  for (const char* address : {"http://hub.example.com", "http://169.254.169.254", "http://user:SECRET@127.0.0.1"}) {
    Delivery delivery = send_to({address});
    expect(delivery, Outcome::not_sent);
    EXPECT_EQ(delivery.detail.find("SECRET"), std::string::npos);
  }
  expect(send_to({}), Outcome::not_sent);
}

TEST_F(HubDispatch, ANewTokenIsReadOnA401ForAllInFlight) {
  directory.write("token", "OLD");
  std::atomic<int> refused = 0;
  std::once_flag renewed;
  FaultServer server([&](const Seen& seen) {
    if (seen.header("authorization") == "Bearer NEW") return accepted(seen);
    ++refused;
    // Before the first refusal is out: the file is read again once for all of them.
    std::call_once(renewed, [&] { directory.write("token", "NEW"); });
    return error(401, "unauthorized");
  });
  world.credentials = http::Credentials(directory.write(
      "credentials.json", R"([{"name":"hub","origin":")" + server.url() + R"(","token_file":"token"}])"));
  auto hub = world.hub({server.url()});
  std::vector<Dispatch> commands;
  for (int i = 0; i < 50; ++i) commands.push_back(stop("s" + std::to_string(i)));
  for (const Delivery& delivery : dispatch(*hub, commands)) expect(delivery, Outcome::answered, Meaning::accepted);
  EXPECT_LE(refused, 8);
}

// ---- connections that stay busy

bool comes_true(const std::atomic<bool>& flag) {
  for (int i = 0; i < 1000 && !flag; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return flag;
}

TEST_F(HubDispatch, MoreIsAskedForWhileAllConnectionsAreBusy) {
  std::atomic<bool> asked_again = false, in_time = true;
  FaultServer server([&](const Seen& seen) {
    if (!comes_true(asked_again)) in_time = false;
    return accepted(seen);
  });
  world.options.max_in_flight = 2;
  world.options.total_timeout = seconds(10);
  auto hub = world.hub({server.url()});
  int asked = 0;
  hub->dispatch([&]() -> std::vector<Dispatch> {
    if (++asked == 2) asked_again = true;
    if (asked > 2) return {};
    return {stop("a" + std::to_string(asked)), stop("b" + std::to_string(asked))};
  }, [](std::size_t, const Delivery&) {});
  EXPECT_EQ(server.seen().size(), 4u);
  EXPECT_TRUE(in_time);
}

TEST_F(HubDispatch, TheNextLeavesBeforeAnAnswerIsDealtWith) {
  std::atomic<bool> second_arrived = false;
  FaultServer server([&](const Seen& seen) {
    if (seen.body.find("\"s2\"") != std::string::npos) second_arrived = true;
    return accepted(seen);
  });
  world.options.max_in_flight = 1;
  world.options.total_timeout = seconds(10);
  auto hub = world.hub({server.url()});
  bool left = false;
  hub->dispatch(handing_out({stop("s1"), stop("s2")}), [&](std::size_t index, const Delivery&) {
    if (index == 0) left = comes_true(second_arrived);
  });
  EXPECT_TRUE(left);
}

// ---- being interrupted

TEST_F(HubDispatch, ACancelPassesThroughAndTheHubWorksAgain) {
  std::atomic<bool> hang = true;
  FaultServer server([&](const Seen& seen) { return hang ? never() : accepted(seen); });
  world.options.total_timeout = seconds(30);
  auto hub = world.hub({server.url()});
  struct Cancelled {};
  world.waiter.before_wait = [&](Duration) {
    if (hang && server.seen().size() == 3) throw Cancelled{};
  };
  int done = 0;
  auto count = [&](std::size_t, const Delivery&) { ++done; };
  EXPECT_THROW(hub->dispatch(handing_out({stop("1"), stop("2"), stop("3"), stop("4", "k8s", hours(1))}), count), Cancelled);
  EXPECT_EQ(done, 0);
  hang = false;
  expect(send(*hub), Outcome::answered, Meaning::accepted);
  EXPECT_EQ(done, 0) << "nothing of the first call comes back";
}

TEST_F(HubDispatch, AThrowingDonePassesThrough) {
  FaultServer server(accepted);
  auto hub = world.hub({server.url()});
  struct Full {};
  EXPECT_THROW(hub->dispatch(handing_out({stop("1"), stop("2")}), [](std::size_t, const Delivery&) { throw Full{}; }), Full);
  expect(send(*hub), Outcome::answered, Meaning::accepted);
}

}  // namespace
}  // namespace reconciler
