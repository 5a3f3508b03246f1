// The standard protocol as its profile reads it (SPEC section 6).
#include <gtest/gtest.h>

#include "core/json.hpp"
#include "core/profile.hpp"
#include "support/profiles.hpp"

using namespace reconciler;
using nlohmann::json;
using Status = AgentAnswer::Status;

namespace {

const Profile hub = profiles::load("standard");
const CommandRequest command{"c-1", "k8s-1", "stop_session", "s-1", "pod-1", "stuck", 3};

CommandMeaning meaning(long status, const std::string& body, bool retry_after = false) {
  return hub.read_send(command, status, retry_after, body).meaning;
}

std::string page(const std::string& agents, const std::string& rest = R"("complete":true,"next":null)") {
  return R"({"hub":{"instance_id":"h1","started_at":"2025-12-05T10:00:00Z","scope":"fleet"},)" + rest + R"(,"agents":)" + agents + "}";
}

const char* const nonsense[] = {"", " ", "{", "null", "true", "[]", "\"agents\"", "17", "<html><body>502 Bad Gateway</body></html>", "{}", "{\"agents\":{}}",
                                "\xff\xfe{}", "{\"agents\":[]} trailing", "{\"hub\":1}"};

}  // namespace

TEST(Standard, SaysWhatItCan) {
  EXPECT_EQ(hub.name(), "standard");
  EXPECT_TRUE(hub.authoritative());
  EXPECT_TRUE(hub.idempotent());
  EXPECT_TRUE(hub.can_list());
  EXPECT_TRUE(hub.can_ask_command());
  EXPECT_TRUE(hub.can_ask_session());
}

TEST(Standard, AsksInItsWords) {
  const HttpRequest list = hub.list_agents(std::nullopt);
  EXPECT_EQ(list.method, "GET");
  EXPECT_EQ(list.target, "/v1/agents");
  EXPECT_TRUE(list.body.empty());
  EXPECT_EQ(hub.ask_agent("k8s-1").target, "/v1/agents/k8s-1");
  EXPECT_EQ(hub.ask_command("c-1").target, "/v1/commands/c-1");
  EXPECT_EQ(hub.ask_session("s-1").target, "/v1/sessions/s-1");
}

TEST(Standard, SendsTheCommand) {
  const HttpRequest request = hub.send(command);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.target, "/v1/agents/k8s-1/commands");
  EXPECT_EQ(json::parse(request.body), (json{{"command_id", "c-1"}, {"action", "stop_session"}, {"session_id", "s-1"},
                                             {"platform_resource_id", "pod-1"}, {"attempt", 3}, {"reason", "stuck"}}));
  const std::vector<std::pair<std::string, std::string>> headers{
      {"Accept", "application/json"}, {"Idempotency-Key", "c-1"}, {"Content-Type", "application/json"}};
  EXPECT_EQ(request.headers, headers);
}

TEST(Standard, FollowsPages) {
  EXPECT_EQ(hub.list_agents("/v1/agents?page=2").target, "/v1/agents?page=2");
  EXPECT_EQ(hub.list_agents("a b&c=/d").target, "/v1/agents?next=a%20b%26c%3D%2Fd");
}

// ---- lists ----

TEST(Standard, ReadsAPage) {
  const auto read = hub.read_agents(200, page(R"([
    {"id":"a","status":"connected","incarnation":"i1","pool":"p","sessions":3,"capacity":{"x":1},"last_seen_at":"whenever"},
    {"id":"b","status":"disconnected"},{"id":"c","status":"draining","incarnation":7},{"id":"d","status":"new-word"}])"));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->hub.instance, "h1");
  EXPECT_EQ(read->hub.fleet, true);
  EXPECT_TRUE(read->hub.complete);
  EXPECT_FALSE(read->next);
  ASSERT_EQ(read->agents.size(), 4u);
  EXPECT_EQ(read->agents[0].id, "a");
  EXPECT_EQ(read->agents[0].status, Status::connected);
  EXPECT_EQ(read->agents[0].incarnation, "i1");
  EXPECT_FALSE(read->agents[0].heartbeat);
  EXPECT_EQ(read->agents[1].status, Status::disconnected);
  EXPECT_EQ(read->agents[1].incarnation, "");
  EXPECT_EQ(read->agents[0].pool, "p");
  EXPECT_EQ(read->agents[0].platform, "");
  EXPECT_EQ(read->agents[0].sessions, 3);
  EXPECT_FALSE(read->agents[0].capacity) << "of another type: not said, and the agent is there all the same";
  EXPECT_FALSE(read->agents[0].draining);
  EXPECT_TRUE(read->agents[2].draining);
  EXPECT_EQ(read->agents[2].status, Status::connected) << "draining is connected";
  EXPECT_EQ(read->agents[2].incarnation, "7");
  EXPECT_EQ(read->agents[3].status, Status::unclear) << "a word from the future blinds us for this agent only";
}

TEST(Standard, AnEmptyListIsProper) {
  const auto read = hub.read_agents(200, page("[]"));
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->agents.empty());
  EXPECT_TRUE(read->hub.complete);
}

TEST(Standard, WhatIsNotSaidIsNotClaimed) {
  const auto read = hub.read_agents(200, R"({"agents":[]})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->hub.instance, "");
  EXPECT_EQ(read->hub.fleet, std::nullopt);
  EXPECT_FALSE(read->hub.complete);
  EXPECT_EQ(hub.read_agents(200, R"({"hub":{"instance_id":"h","scope":"instance"},"complete":false,"agents":[]})")->hub.fleet, false);
  EXPECT_EQ(hub.read_agents(200, R"({"hub":{"instance_id":"h","scope":null},"agents":[]})")->hub.fleet, std::nullopt);
}

TEST(Standard, NextIsAPathOrAToken) {
  const auto next = [](const std::string& value) { return hub.read_agents(200, page("[]", R"("complete":true,"next":)" + value)); };
  EXPECT_EQ(next("\"/v1/agents?page=2\"")->next, "/v1/agents?page=2");
  EXPECT_EQ(next("\"opaque token\"")->next, "opaque token");
  EXPECT_FALSE(next("null")->next);
  for (const char* bad : {"1", "true", "{}", "[]", "\"\"", "\"//evil.example/v1\"", "\"/a b\"", "\"/a\\r\\nHost: x\"", "\"/\\\\evil\"", "\"/a#b\"", "\"/\\u00e4\""})
    EXPECT_FALSE(next(bad)) << bad;
  EXPECT_FALSE(next('"' + std::string(9000, 'x') + '"'));
}

TEST(Standard, OneAgentThatDoesNotFitSpoilsThePage) {
  for (const char* bad : {"null", "1", "\"b\"", "[]", "{}", R"({"id":"b"})", R"({"status":"connected"})", R"({"id":"","status":"connected"})",
                          R"({"id":7,"status":"connected"})", R"({"id":null,"status":"connected"})", R"({"id":"b","status":1})",
                          R"({"id":"b","status":null})", R"({"id":"b","status":"connected","incarnation":{}})",
                          R"({"id":"b\u0000c","status":"connected"})"})
    EXPECT_FALSE(hub.read_agents(200, page(std::string(R"([{"id":"a","status":"connected"},)") + bad + "]"))) << bad;
}

TEST(Standard, AnIdentityThatDoesNotFitSpoilsThePage) {
  for (const char* bad : {R"({"hub":{"instance_id":{}},"agents":[]})", R"({"hub":{"scope":"galaxy"},"agents":[]})", R"({"hub":{"scope":1},"agents":[]})",
                          R"({"complete":"yes","agents":[]})", R"({"complete":1,"agents":[]})", R"({"agents":null})", R"({"agents":{}})"})
    EXPECT_FALSE(hub.read_agents(200, bad)) << bad;
}

TEST(Standard, NonsenseIsNoPage) {
  for (const char* body : nonsense)
    for (const long status : {200L, 204L, 302L, 401L, 404L, 429L, 500L, 503L, 0L, -1L}) {
      EXPECT_FALSE(hub.read_agents(status, body)) << body;
      EXPECT_FALSE(hub.read_agent("k8s-1", status, body)) << body;
    }
  for (const long status : {201L, 202L, 206L, 301L, 400L, 401L, 403L, 404L, 429L, 500L, 502L, 503L}) EXPECT_FALSE(hub.read_agents(status, page("[]"))) << status;
}

// ---- one agent ----

TEST(Standard, ReadsOneAgent) {
  const auto one = hub.read_agent("k8s-1", 200, R"({"id":"k8s-1","status":"disconnected","incarnation":"i2"})");
  ASSERT_TRUE(one);
  EXPECT_EQ(one->agent.status, Status::disconnected);
  EXPECT_EQ(one->agent.incarnation, "i2");
  EXPECT_FALSE(one->hub.complete);
  const auto with_hub = hub.read_agent("k8s-1", 200, R"({"id":"k8s-1","status":"connected","hub":{"instance_id":"h9","scope":"fleet"},"complete":true})");
  ASSERT_TRUE(with_hub);
  EXPECT_EQ(with_hub->hub.instance, "h9");
  EXPECT_TRUE(with_hub->hub.complete);
}

TEST(Standard, AnotherAgentsAnswerIsNone) {
  EXPECT_FALSE(hub.read_agent("k8s-1", 200, R"({"id":"k8s-2","status":"connected"})"));
  EXPECT_FALSE(hub.read_agent("k8s-1", 200, R"({"status":"connected"})"));
  EXPECT_FALSE(hub.read_agent("k8s-1", 200, R"({"id":"K8S-1","status":"connected"})"));
}

TEST(Standard, AnUnknownAgent) {
  const auto one = hub.read_agent("k8s-1", 404, R"({"error":{"code":"agent_not_found"}})");
  ASSERT_TRUE(one);
  EXPECT_EQ(one->agent.status, Status::unknown_agent);
  EXPECT_EQ(one->agent.id, "k8s-1");
  EXPECT_FALSE(hub.read_agent("k8s-1", 404, R"({"error":{"code":"no_such_route"}})"));
  EXPECT_FALSE(hub.read_agent("k8s-1", 404, R"({"error":"agent_not_found"})"));
  EXPECT_FALSE(hub.read_agent("k8s-1", 404, "404 page not found"));
  EXPECT_FALSE(hub.read_agent("k8s-1", 410, R"({"error":{"code":"agent_not_found"}})"));
}

// ---- commands ----

TEST(Standard, AcceptedOnlyWithItsOwnId) {
  const auto answer = hub.read_send(command, 202, false, R"({"command_id":"c-1","status":"accepted"})");
  EXPECT_EQ(answer.meaning, CommandMeaning::accepted);
  EXPECT_EQ(answer.hub_command_id, "c-1");
  for (const char* bad : {R"({"command_id":"c-2","status":"accepted"})", R"({"status":"accepted"})", R"({"command_id":"c-1"})", R"({"command_id":"c-1","status":"ok"})",
                          R"({"command_id":null,"status":"accepted"})", "{}", "", "OK", "[]"})
    EXPECT_EQ(meaning(202, bad), CommandMeaning::unclear) << bad;
  for (const long status : {200L, 201L, 204L, 301L}) EXPECT_EQ(meaning(status, R"({"command_id":"c-1","status":"accepted"})"), CommandMeaning::unclear) << status;
}

TEST(Standard, RefusalsNeedTheirWord) {
  const auto error = [](const char* code) { return std::string(R"({"error":{"code":")") + code + R"("}})"; };
  EXPECT_EQ(meaning(404, error("agent_not_found")), CommandMeaning::unknown_agent);
  EXPECT_EQ(meaning(409, error("agent_not_connected")), CommandMeaning::not_connected);
  EXPECT_EQ(meaning(410, error("session_gone")), CommandMeaning::session_gone);
  EXPECT_EQ(meaning(404, error("session_gone")), CommandMeaning::rejected) << "a 404 never says that a session is gone";
  EXPECT_EQ(meaning(410, error("other")), CommandMeaning::rejected);
  EXPECT_EQ(meaning(400, error("bad_request")), CommandMeaning::rejected);
  EXPECT_EQ(meaning(422, error("")), CommandMeaning::rejected);
  for (const long status : {400L, 404L, 409L, 410L, 418L})
    for (const char* body : nonsense) EXPECT_EQ(meaning(status, body), CommandMeaning::unclear) << status << body;
}

TEST(Standard, CredentialAndBusyNeedNoBody) {
  EXPECT_EQ(meaning(401, "<html>"), CommandMeaning::unauthorized);
  EXPECT_EQ(meaning(403, ""), CommandMeaning::unauthorized);
  EXPECT_EQ(meaning(429, ""), CommandMeaning::busy);
  EXPECT_EQ(meaning(503, "", true), CommandMeaning::busy);
  EXPECT_EQ(meaning(503, "", false), CommandMeaning::unclear);
  EXPECT_EQ(meaning(500, "", true), CommandMeaning::unclear);
  EXPECT_EQ(meaning(502, R"({"error":{"code":"session_gone"}})"), CommandMeaning::unclear);
}

TEST(Standard, TheDetailIsShortAndPrintable) {
  const auto detail = [](const std::string& code) { return hub.read_send(command, 400, false, json{{"error", {{"code", code}}}}.dump()).detail; };
  EXPECT_EQ(detail("bad_request"), "the hub answered 400: bad_request");
  EXPECT_EQ(detail("a\r\nb\x01" "c"), "the hub answered 400: a  b c");
  EXPECT_EQ(detail(std::string("a\0b", 3)).find('\0'), std::string::npos);
  const std::string umlauts = detail(std::string(1, 'x') + [] { std::string s; for (int i = 0; i < 500; ++i) s += "ä"; return s; }());
  EXPECT_LT(umlauts.size(), 250u);
  EXPECT_NO_THROW(json(umlauts).dump()) << "cut between characters";
}

TEST(Standard, CommandProgress) {
  const auto progress = [](long status, const std::string& body) { return hub.read_command("c-1", status, body).progress; };
  EXPECT_EQ(progress(200, R"({"status":"accepted"})"), CommandProgress::open);
  EXPECT_EQ(progress(200, R"({"status":"delivered","error":null})"), CommandProgress::open);
  EXPECT_EQ(progress(200, R"({"status":"completed"})"), CommandProgress::completed);
  const auto failed = hub.read_command("c-1", 200, R"({"status":"failed","error":"no such pod"})");
  EXPECT_EQ(failed.progress, CommandProgress::failed);
  EXPECT_EQ(failed.error, "no such pod");
  EXPECT_EQ(progress(200, R"({"status":"done"})"), CommandProgress::unclear);
  EXPECT_EQ(progress(404, R"({"status":"completed"})"), CommandProgress::unclear);
  EXPECT_EQ(progress(500, R"({"status":"completed"})"), CommandProgress::unclear);
  for (const char* body : nonsense) EXPECT_EQ(progress(200, body), CommandProgress::unclear) << body;
}

TEST(Standard, SessionStatus) {
  EXPECT_EQ(hub.read_session(200, R"({"status":"running","platform_resource_id":"p"})").answer, SessionAnswer::running);
  EXPECT_EQ(hub.read_session(200, R"({"status":"suspended"})").answer, SessionAnswer::suspended);
  EXPECT_EQ(hub.read_session(200, R"({"status":"gone"})").answer, SessionAnswer::gone);
  EXPECT_EQ(hub.read_session(404, R"({"status":"gone"})").answer, SessionAnswer::unclear) << "404 is unknown";
  EXPECT_EQ(hub.read_session(200, R"({"status":"Gone"})").answer, SessionAnswer::unclear);
  EXPECT_EQ(hub.read_session(200, R"({"status":"gone","platform_resource_id":"p"})").runtime, "p");
  EXPECT_EQ(hub.read_session(200, R"({"status":"gone","platform_resource_id":["p"]})").answer, SessionAnswer::unclear) << "about which runtime?";
  for (const char* body : nonsense) EXPECT_EQ(hub.read_session(200, body).answer, SessionAnswer::unclear) << body;
}

// ---- ids of every kind, in and out ----

TEST(Standard, AnyIdComesBackAsItWent) {
  std::string many;
  for (int i = 0; i < 255; ++i) many += "é";
  for (const std::string& id : {std::string("a\"b'c"), std::string("a/b/../c"), std::string("100%25"), std::string(255, 'x'), many, std::string("данные 数据 🙂"),
                                std::string("a b?c#d&e=f;g"), std::string("line\nbreak\ttab"), std::string("back\\slash"), std::string("{session_id}"), std::string("${x}")}) {
    CommandRequest request = command;
    request.agent = request.session = request.command_id = id;
    const HttpRequest sent = hub.send(request);
    const json body = json::parse(sent.body);
    EXPECT_EQ(body["session_id"], id);
    EXPECT_EQ(body["command_id"], id);
    EXPECT_EQ(sent.target, "/v1/agents/" + percent_encode(id) + "/commands");
    for (const auto& [name, value] : sent.headers) EXPECT_EQ(value.find_first_of("\r\n"), std::string::npos);
    EXPECT_EQ(sent.target.find_first_of(" \"\n?#"), std::string::npos);

    EXPECT_EQ(hub.read_send(request, 202, false, json{{"command_id", id}, {"status", "accepted"}}.dump()).meaning, CommandMeaning::accepted);
    const auto one = hub.read_agent(id, 200, json{{"id", id}, {"status", "connected"}}.dump());
    ASSERT_TRUE(one) << id;
    EXPECT_EQ(one->agent.id, id);
  }
}

TEST(Standard, DotsDoNotWalkUpThePath) {
  EXPECT_EQ(hub.ask_agent("..").target, "/v1/agents/%2E%2E");
  EXPECT_EQ(hub.ask_agent(".").target, "/v1/agents/%2E");
  EXPECT_EQ(hub.ask_agent("a..b").target, "/v1/agents/a..b");
}

TEST(Standard, AnIdThatIsNotUtf8DoesNotThrow) {
  CommandRequest request = command;
  request.session = "a\xff\xfe";
  EXPECT_NO_THROW(json::parse(hub.send(request).body));
}

TEST(PercentEncode, LeavesTheUnreservedAlone) {
  EXPECT_EQ(percent_encode("AZaz09-._~"), "AZaz09-._~");
  EXPECT_EQ(percent_encode("a/b c%"), "a%2Fb%20c%25");
  EXPECT_EQ(percent_encode("\xc3\xa4\x00"), "%C3%A4");
  EXPECT_EQ(percent_encode(std::string("\0\x7f", 2)), "%00%7F");
  EXPECT_EQ(percent_encode(""), "");
}

// ---- hostile bodies ----

TEST(Standard, DeepNestingIsRefused) {
  for (const char* open : {"[", "{\"a\":"}) {
    std::string body = R"({"agents":)";
    for (int i = 0; i < 200000; ++i) body += open;
    EXPECT_FALSE(hub.read_agents(200, body));
    EXPECT_EQ(meaning(202, body), CommandMeaning::unclear);
  }
  std::string closed = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_FALSE(hub.read_agents(200, page(R"([{"id":"a","status":"connected","x":)" + closed + "}]")));
  const std::string brackets(500, '[');
  EXPECT_TRUE(hub.read_agents(200, page(R"([{"id":"a","status":"connected","x":"\")" + brackets + R"("}])"))) << "in a string they are text";
}

TEST(Standard, HugeNumbersAreRefused) {
  for (const char* number : {"1e999999", "-1e999999", "1e-999999", "99999999999999999999999999999999"}) {
    EXPECT_NO_THROW((void)hub.read_agents(200, page(std::string(R"([{"id":"a","status":"connected","sessions":)") + number + "}]")));
    EXPECT_NO_THROW((void)hub.read_agents(200, page(std::string(R"([{"id":"a","status":"connected","incarnation":)") + number + "}]")));
  }
  EXPECT_FALSE(hub.read_agents(200, page(R"([{"id":"a","status":"connected","incarnation":1.5}])")));
}

TEST(Standard, EveryPrefixAndEveryChangedByteIsSafe) {
  const std::string body = page(R"([{"id":"a","status":"connected","incarnation":"i\u00e4"},{"id":"b","status":"disconnected"}])");
  for (std::size_t n = 0; n < body.size(); ++n) EXPECT_FALSE(hub.read_agents(200, body.substr(0, n)));
  for (std::size_t at = 0; at < body.size(); ++at)
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = body;
      changed[at] = static_cast<char>(byte);
      EXPECT_NO_THROW((void)hub.read_agents(200, changed));
    }
}
