// StreamSpace's admin API as its profile reads it.
#include <gtest/gtest.h>

#include "core/json.hpp"
#include "core/profile.hpp"
#include "core/text.hpp"
#include "support/profiles.hpp"

using namespace reconciler;
using nlohmann::json;
using Status = AgentAnswer::Status;

namespace {

const Profile hub = profiles::load("streamspace");
const CommandRequest command{"c-1", "k8s-prod", "stop_session", "admin-brave-f7b5e0f5", "", "stuck", 1};

std::string created(const json& change = json::object()) {
  json body{{"id", "0a"}, {"commandId", "cmd-1"}, {"agentId", "k8s-prod"}, {"sessionId", "admin-brave-f7b5e0f5"}, {"action", "stop_session"},
            {"payload", {{"deletePVC", false}, {"sessionId", "admin-brave-f7b5e0f5"}}}, {"status", "pending"}, {"createdAt", "2025-12-05T10:00:00.123456Z"}};
  body.merge_patch(change);
  return body.dump();
}

CommandMeaning meaning(long status, const std::string& body, bool retry_after = false) {
  return hub.read_send(command, status, retry_after, body).meaning;
}

}  // namespace

TEST(StreamSpace, SaysWhatItCannot) {
  EXPECT_FALSE(hub.authoritative());
  EXPECT_FALSE(hub.idempotent());
  EXPECT_FALSE(hub.can_list());
  EXPECT_FALSE(hub.can_ask_command());
  EXPECT_FALSE(hub.can_ask_session());
  EXPECT_THROW((void)hub.list_agents(std::nullopt), std::logic_error);
}

TEST(StreamSpace, SendsTheSessionTwice) {
  const HttpRequest request = hub.send(command);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.target, "/api/v1/admin/agents/k8s-prod/command");
  EXPECT_EQ(json::parse(request.body), json::parse(R"({"action":"stop_session","sessionId":"admin-brave-f7b5e0f5",
      "payload":{"sessionId":"admin-brave-f7b5e0f5","deletePVC":false}})"));
  for (const auto& [name, value] : request.headers) EXPECT_NE(name, "Idempotency-Key");
}

TEST(StreamSpace, AStartCarriesWhatTheApplicationSent) {
  CommandRequest start = command;
  start.action = "start_session";
  start.payload = R"({"sessionId":"admin-brave-f7b5e0f5","templateManifest":{"image":"brave"},"memory":"2Gi"})";
  EXPECT_EQ(json::parse(hub.send(start).body), json::parse(R"({"action":"start_session","sessionId":"admin-brave-f7b5e0f5",
      "payload":{"sessionId":"admin-brave-f7b5e0f5","templateManifest":{"image":"brave"},"memory":"2Gi"}})"));
  start.payload = "";
  EXPECT_TRUE(json::parse(hub.send(start).body)["payload"].is_null());
}

TEST(StreamSpace, ReadsTheHeartbeatAndNothingElse) {
  const auto one = hub.read_agent("k8s-prod", 200, R"({"id":"9f","agentId":"k8s-prod","platform":"kubernetes","region":"","status":"online","capacity":{"maxSessions":100},
      "lastHeartbeat":"2025-12-05T10:00:00.5Z","approvalStatus":"","createdAt":"2025-12-01T00:00:00Z"})");
  ASSERT_TRUE(one);
  EXPECT_EQ(one->agent.status, Status::unclear) << "status proves nothing";
  EXPECT_EQ(one->agent.heartbeat, parse_rfc3339("2025-12-05T10:00:00.5Z"));
  EXPECT_EQ(one->hub.instance, "");
  EXPECT_FALSE(one->hub.complete);
}

TEST(StreamSpace, AHeartbeatMayBeMissingButNotWrong) {
  EXPECT_TRUE(hub.read_agent("k8s-prod", 200, R"({"agentId":"k8s-prod"})"));
  EXPECT_FALSE(hub.read_agent("k8s-prod", 200, R"({"agentId":"k8s-prod","lastHeartbeat":null})")->agent.heartbeat);
  for (const char* bad : {"\"\"", "\"now\"", "17", "true", "{}", "\"2025-12-05 10:00:00\""})
    EXPECT_FALSE(hub.read_agent("k8s-prod", 200, std::string(R"({"agentId":"k8s-prod","lastHeartbeat":)") + bad + "}")) << bad;
}

TEST(StreamSpace, TheAgentMustBeTheOneAskedFor) {
  EXPECT_FALSE(hub.read_agent("k8s-prod", 200, R"({"agentId":"k8s-other","lastHeartbeat":"2025-12-05T10:00:00Z"})"));
  EXPECT_FALSE(hub.read_agent("k8s-prod", 200, R"({"id":"k8s-prod"})"));
  EXPECT_FALSE(hub.read_agent("k8s-prod", 200, R"({"agents":[],"total":0})"));
  EXPECT_FALSE(hub.read_agent("k8s-prod", 200, "<html>ok</html>"));
}

TEST(StreamSpace, AnotherHubDoesNotKnowTheAgent) {
  const auto one = hub.read_agent("k8s-prod", 404, R"({"error":"Agent not found","agentId":"k8s-prod"})");
  ASSERT_TRUE(one);
  EXPECT_EQ(one->agent.status, Status::unknown_agent);
  EXPECT_FALSE(hub.read_agent("k8s-prod", 404, "404 page not found"));
  EXPECT_FALSE(hub.read_agent("k8s-prod", 404, R"({"error":"Not found"})"));
  EXPECT_FALSE(hub.read_agent("k8s-prod", 500, R"({"error":"Agent not found"})"));
  for (const long status : {401L, 403L, 429L, 500L, 503L}) EXPECT_FALSE(hub.read_agent("k8s-prod", status, R"({"agentId":"k8s-prod"})")) << status;
}

TEST(StreamSpace, AcceptedOnlyWithBothEchoes) {
  const auto answer = hub.read_send(command, 201, false, created());
  EXPECT_EQ(answer.meaning, CommandMeaning::accepted);
  EXPECT_EQ(answer.hub_command_id, "cmd-1");
  for (const json& change : {json{{"agentId", "k8s-other"}}, json{{"sessionId", "s2"}}, json{{"agentId", nullptr}}, json{{"sessionId", nullptr}},
                             json{{"commandId", nullptr}}, json{{"commandId", ""}}, json{{"commandId", 7}}, json{{"commandId", std::string("a\0b", 3)}}}) {
    const auto other = hub.read_send(command, 201, false, created(change));
    EXPECT_EQ(other.meaning, CommandMeaning::unclear) << change;
    EXPECT_EQ(other.hub_command_id, "") << change;
  }
  EXPECT_EQ(meaning(200, created()), CommandMeaning::unclear);
  EXPECT_EQ(meaning(202, created()), CommandMeaning::unclear);
  EXPECT_EQ(meaning(201, ""), CommandMeaning::unclear);
}

TEST(StreamSpace, Refusals) {
  EXPECT_EQ(meaning(503, R"({"error":"Agent not connected","details":"Agent must be connected","agentId":"k8s-prod","status":"online"})"), CommandMeaning::not_connected);
  EXPECT_EQ(meaning(503, R"({"error":"Agent not connected"})", true), CommandMeaning::not_connected);
  EXPECT_EQ(meaning(503, "upstream connect error"), CommandMeaning::unclear) << "a proxy's 503 says nothing of the agent";
  EXPECT_EQ(meaning(503, "", true), CommandMeaning::busy);
  EXPECT_EQ(meaning(404, R"({"error":"Agent not found","agentId":"k8s-prod"})"), CommandMeaning::unknown_agent);
  EXPECT_EQ(meaning(404, "404 page not found"), CommandMeaning::unclear);
  EXPECT_EQ(meaning(400, R"({"error":"Validation failed","fields":{"action":"Must be one of: ..."}})"), CommandMeaning::rejected);
  EXPECT_EQ(meaning(400, ""), CommandMeaning::unclear);
  EXPECT_EQ(meaning(401, R"({"error":"Invalid or expired token"})"), CommandMeaning::unauthorized);
  EXPECT_EQ(meaning(403, R"({"error":"Insufficient permissions"})"), CommandMeaning::unauthorized);
  EXPECT_EQ(meaning(429, ""), CommandMeaning::busy);
}

TEST(StreamSpace, AFailedDispatchMayStillArrive) {
  // The row is inserted already: the next start of the API may replay it.
  EXPECT_EQ(meaning(500, R"({"error":"Failed to dispatch command","details":"command queue is full"})"), CommandMeaning::unclear);
  EXPECT_EQ(meaning(500, R"({"error":"Database error","details":"x"})"), CommandMeaning::unclear);
  EXPECT_EQ(hub.read_send(command, 500, false, R"({"error":"Database error"})").detail, "the hub answered 500: Database error (this proves nothing)");
}

TEST(StreamSpace, AnyIdComesBackAsItWent) {
  for (const std::string& id : {std::string("a\"b'c"), std::string("a/b%"), std::string(255, 'x'), std::string("данные 🙂"), std::string("{agent_id}")}) {
    CommandRequest request = command;
    request.agent = request.session = id;
    const HttpRequest sent = hub.send(request);
    EXPECT_EQ(json::parse(sent.body)["payload"]["sessionId"], id);
    EXPECT_EQ(sent.target, "/api/v1/admin/agents/" + percent_encode(id) + "/command");
    EXPECT_EQ(hub.read_send(request, 201, false, created({{"agentId", id}, {"sessionId", id}})).meaning, CommandMeaning::accepted);
    EXPECT_TRUE(hub.read_agent(id, 200, json{{"agentId", id}}.dump()));
  }
}
