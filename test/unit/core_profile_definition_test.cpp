// What a profile's definition may say, and how it is told what is wrong.
#include <gtest/gtest.h>

#include <stdexcept>

#include "core/json.hpp"
#include "core/profile.hpp"
#include "support/profiles.hpp"

using namespace reconciler;
using nlohmann::json;

namespace {

std::string complaint(const std::string& definition) {
  try {
    Profile profile("mine", definition);
    return "";
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
}

// The standard profile after one change.
std::string changed(const char* pointer, const json& value) {
  json definition = json::parse(profiles::text("standard"));
  definition[json::json_pointer(pointer)] = value;
  return complaint(definition.dump());
}
std::string without(const char* object, const char* member) {
  json definition = json::parse(profiles::text("standard"));
  definition[json::json_pointer(object)].erase(member);
  return complaint(definition.dump());
}

}  // namespace

TEST(Definition, TheShippedOnesAreFine) {
  EXPECT_EQ(complaint(profiles::text("standard")), "");
  EXPECT_EQ(complaint(profiles::text("streamspace")), "");
}

TEST(Definition, OneWithoutAHubToCallSaysNothingElse) {
  EXPECT_EQ(complaint(profiles::text("pull")), "");
  const Profile pull = profiles::load("pull");
  EXPECT_TRUE(pull.pulls() && pull.idempotent() && pull.can_ask_command());
  EXPECT_FALSE(pull.authoritative() || pull.can_list() || pull.can_ask_session());
  EXPECT_FALSE(profiles::load("standard").pulls());
  EXPECT_EQ(changed("/pull", true), "hub profile \"mine\" has an unknown member \"agent\"");
  EXPECT_EQ(changed("/pull", false), "");
  EXPECT_EQ(changed("/pull", "yes"), "hub profile \"mine\".pull must be true or false");
}

TEST(Definition, MustBeJson) {
  EXPECT_EQ(complaint(""), "hub profile \"mine\" is not JSON");
  EXPECT_EQ(complaint("{"), "hub profile \"mine\" is not JSON");
  EXPECT_EQ(complaint(std::string(100000, '[')), "hub profile \"mine\" is not JSON");
  EXPECT_EQ(complaint("[]"), "hub profile \"mine\" must be an object");
}

TEST(Definition, NamesTheMemberThatIsMissing) {
  EXPECT_EQ(without("", "authoritative"), "hub profile \"mine\".authoritative is missing");
  EXPECT_EQ(without("", "idempotent"), "hub profile \"mine\".idempotent is missing");
  EXPECT_EQ(without("", "send"), "hub profile \"mine\".send is missing");
  EXPECT_EQ(without("/send", "path"), "hub profile \"mine\".send.path is missing");
  EXPECT_EQ(without("/send", "answers"), "hub profile \"mine\".send.answers is missing");
  EXPECT_EQ(without("/send/answers/2", "means"), "hub profile \"mine\".send.answers[2].means is missing");
  EXPECT_EQ(without("/agent", "id"), "hub profile \"mine\".agent.id is missing");
  EXPECT_EQ(without("/agent", "statuses"), "hub profile \"mine\".agent.statuses is missing");
  EXPECT_EQ(without("/list_agents", "agents"), "hub profile \"mine\".list_agents needs agents, a pointer to the list");
  EXPECT_EQ(without("/list_agents", "next_parameter"), "hub profile \"mine\".list_agents needs next_parameter beside next");
  EXPECT_EQ(without("/agent", "status"), "hub profile \"mine\".agent needs status and statuses: the profile is authoritative");
}

TEST(Definition, NamesTheMemberThatIsWrong) {
  EXPECT_EQ(changed("/idempotent", "yes"), "hub profile \"mine\".idempotent must be true or false");
  EXPECT_EQ(changed("/idempotnet", true), "hub profile \"mine\" has an unknown member \"idempotnet\"");
  EXPECT_EQ(changed("/send/method", "BREW"), "hub profile \"mine\".send.method must be GET, POST, PUT or DELETE");
  EXPECT_EQ(changed("/send/answers", json::array()), "hub profile \"mine\".send.answers must not be empty");
  EXPECT_EQ(changed("/send/answers/0/status", 42), "hub profile \"mine\".send.answers[0].status must be from 100 to 599");
  EXPECT_EQ(changed("/send/answers/0/status", "6xx"), "hub profile \"mine\".send.answers[0].status must be a status like 200 or \"4xx\", or a list of them");
  EXPECT_EQ(changed("/send/answers/0/status", json::array()), "hub profile \"mine\".send.answers[0].status must name a status");
  EXPECT_EQ(changed("/send/answers/0/where", json{{"command_id", "x"}}),
            "hub profile \"mine\".send.answers[0].where.command_id must be a JSON pointer: it starts with '/'");
  EXPECT_EQ(changed("/send/answers/0/where", json{{"/a~2", "x"}}),
            "hub profile \"mine\".send.answers[0].where./a~2 must be a JSON pointer: '~' is written ~0, '/' in a name ~1");
  EXPECT_EQ(changed("/send/answers/0/where", json{{"/a", json{{"is", "number"}}}}), "hub profile \"mine\".send.answers[0].where./a knows only {\"is\": \"string\"}");
  EXPECT_NE(changed("/send/answers/0/where", json{{"/a", nullptr}}), "");
  EXPECT_EQ(changed("/ask_session/answers/0/means", "dead"), "hub profile \"mine\".ask_session.answers[0].means must be one of running, suspended, gone, unclear");
  EXPECT_EQ(changed("/agent/statuses/connected", "maybe"), "hub profile \"mine\".agent.statuses.connected must be connected, draining or disconnected");
  EXPECT_EQ(changed("/hub/scopes/fleet", "all"), "hub profile \"mine\".hub.scopes.fleet must be true or false");
}

TEST(Definition, PlaceholdersMustBeKnownToTheOperation) {
  EXPECT_EQ(changed("/send/path", "/x/{agent}"), "hub profile \"mine\".send.path cannot use the placeholder {agent}");
  EXPECT_EQ(changed("/list_agents/path", "/x/{agent_id}"), "hub profile \"mine\".list_agents.path cannot use the placeholder {agent_id}");
  EXPECT_EQ(changed("/ask_agent/path", "/x/{session_id}"), "hub profile \"mine\".ask_agent.path cannot use the placeholder {session_id}");
  EXPECT_EQ(changed("/send/body/action", "{acton}"), "hub profile \"mine\".send.body cannot use the placeholder {acton}");
  EXPECT_EQ(changed("/send/path", "/x/{agent_id"), "hub profile \"mine\".send.path has an unmatched brace");
  EXPECT_EQ(changed("/send/path", "/x/agent_id}"), "hub profile \"mine\".send.path has an unmatched brace");
}

TEST(Definition, PathsAndHeadersCannotBreakARequest) {
  for (const char* path : {"", "v1/agents", "//evil.example/", "/a b", "/a\r\nb", "http://evil.example/"}) EXPECT_NE(changed("/send/path", path), "") << path;
  EXPECT_NE(changed("/send/headers", json{{"X\r\nY", "1"}}), "");
  EXPECT_NE(changed("/send/headers", json{{"", "1"}}), "");
  EXPECT_NE(changed("/send/headers", json{{"X", "1\r\nY: 2"}}), "");
  EXPECT_EQ(changed("/send/headers", json{{"X-Request-Id", "r-{command_id}"}}), "");
}

TEST(Definition, BodiesKeepTheirShape) {
  json definition = json::parse(profiles::text("standard"));
  definition["send"]["body"] = json::parse(R"({"list":["{session_id}",1,null,true],"text":"s-{session_id}-{attempt}","n":"{attempt}","plain":"x"})");
  const Profile profile("mine", definition.dump());
  CommandRequest request;
  request.session = "s\"1";
  request.attempt = 4;
  EXPECT_EQ(json::parse(profile.send(request).body), json::parse(R"({"list":["s\"1",1,null,true],"text":"s-s\"1-4","n":4,"plain":"x"})"));
}

TEST(Definition, ConditionsCompareValues) {
  json definition = json::parse(profiles::text("standard"));
  definition["send"]["answers"] = json::parse(R"([{"status":"2xx","where":{"/ok":true,"/n":1,"/a~1b/c~0d":"x-{session_id}"},"means":"accepted"}])");
  definition["send"].erase("hub_command_id");
  const Profile profile("mine", definition.dump());
  CommandRequest request;
  request.session = "s1";
  const auto meaning = [&](long status, const char* body) { return profile.read_send(request, status, false, body).meaning; };
  EXPECT_EQ(meaning(299, R"({"ok":true,"n":1,"a/b":{"c~d":"x-s1"}})"), CommandMeaning::accepted);
  EXPECT_EQ(meaning(300, R"({"ok":true,"n":1,"a/b":{"c~d":"x-s1"}})"), CommandMeaning::unclear);
  EXPECT_EQ(meaning(200, R"({"ok":false,"n":1,"a/b":{"c~d":"x-s1"}})"), CommandMeaning::unclear);
  EXPECT_EQ(meaning(200, R"({"ok":true,"n":2,"a/b":{"c~d":"x-s1"}})"), CommandMeaning::unclear);
  EXPECT_EQ(meaning(200, R"({"ok":true,"n":1,"a/b":{"c~d":"x-s2"}})"), CommandMeaning::unclear);
  EXPECT_EQ(meaning(200, R"({"ok":true,"n":1,"a/b":["x-s1"]})"), CommandMeaning::unclear);
}

TEST(Definition, APageParameterJoinsAQuery) {
  json definition = json::parse(profiles::text("standard"));
  definition["list_agents"]["path"] = "/v1/agents?limit=500";
  EXPECT_EQ(Profile("mine", definition.dump()).list_agents("t").target, "/v1/agents?limit=500&next=t");
}

TEST(Definition, ProfilesMove) {
  Profile a = profiles::load("standard");
  Profile b = std::move(a);
  EXPECT_EQ(b.name(), "standard");
  a = profiles::load("streamspace");
  EXPECT_EQ(a.name(), "streamspace");
}
