// The smaller questions: progress of commands, status of sessions, and the live check.
#include <gtest/gtest.h>

#include <ctime>

#include "support/hub_world.hpp"

namespace reconciler {
namespace {

using namespace reconciler::testing;

FaultServer::Handler always(Play play) {
  return [play](const Seen&) { return play; };
}

TEST(HubQuestions, ProgressOfCommands) {
  FaultServer server([](const Seen& seen) {
    if (seen.target == "/v1/commands/open") return answer(200, R"({"status":"delivered","error":null})");
    if (seen.target == "/v1/commands/done") return answer(200, R"({"status":"completed"})");
    if (seen.target == "/v1/commands/bad") return answer(200, R"({"status":"failed","error":"no such pod"})");
    return error(404, "command_not_found");
  });
  World world;
  auto known = world.hub({nobody(), server.url()})->command_progress({"open", "done", "bad", "lost"});
  ASSERT_EQ(known.size(), 3u);
  EXPECT_EQ(known["open"].progress, CommandProgress::open);
  EXPECT_EQ(known["done"].progress, CommandProgress::completed);
  EXPECT_EQ(known["bad"].progress, CommandProgress::failed);
  EXPECT_EQ(known["bad"].error, "no such pod");
}

TEST(HubQuestions, StatusOfSessions) {
  FaultServer server([](const Seen& seen) {
    if (seen.target == "/v1/sessions/a%2Fb") return answer(200, R"({"status":"gone"})");
    if (seen.target == "/v1/sessions/c") return answer(200, R"({"status":"exploded"})");
    return error(404, "session_not_found");
  });
  World world;
  auto known = world.hub({server.url()})->session_status({"a/b", "c", "d"});
  EXPECT_EQ(known["a/b"].answer, SessionAnswer::gone);
  EXPECT_EQ(known["c"].answer, SessionAnswer::unclear);
  EXPECT_EQ(known["d"].answer, SessionAnswer::unclear) << "404 proves nothing";
  EXPECT_TRUE(known["d"].proper) << "but it is an answer";
  EXPECT_FALSE(known["c"].proper);
  EXPECT_NE(known["c"].detail.find("not understood"), std::string::npos) << known["c"].detail;
}

TEST(HubQuestions, AProfileWithoutTheQuestionAsksNobody) {
  FaultServer server(always(answer(200, "{}")));
  World world;
  auto hub = world.hub({server.url()}, "streamspace");
  EXPECT_TRUE(hub->command_progress({"c"}).empty());
  EXPECT_TRUE(hub->session_status({"s"}).empty());
  EXPECT_EQ(server.connections(), 0);
}

TEST(HubProbe, SaysWhoAnsweredEverywhere) {
  ListBody body;
  body.scope = "instance";
  body.agents = {{"a", "connected"}, {"b", "disconnected"}};
  FaultServer good(always(answer(200, body.text()))), refusing(always(error(401, "no"))), strange(always(answer(200, "hello")));
  World world;
  std::string dead = nobody();
  auto probes = world.hub({good.url(), refusing.url(), strange.url(), dead, "http://hub.example.com"})->probe();
  ASSERT_EQ(probes.size(), 5u);
  EXPECT_TRUE(probes[0].ok);
  EXPECT_EQ(probes[0].address, good.url());
  EXPECT_EQ(probes[0].hub.instance, "hub-1");
  EXPECT_EQ(probes[0].hub.fleet, false);
  EXPECT_EQ(probes[0].detail, "answered properly: 2 agents");
  EXPECT_GT(probes[0].took, Duration(0));
  EXPECT_FALSE(probes[0].clock_offset) << "it sent no Date";
  for (std::size_t i = 1; i < 5; ++i) {
    EXPECT_FALSE(probes[i].ok) << i;
    EXPECT_NE(probes[i].detail, "") << i;
  }
  EXPECT_NE(probes[1].detail.find("refuses our credential (status 401)"), std::string::npos) << probes[1].detail;
  EXPECT_NE(probes[3].detail.find("Connection refused"), std::string::npos) << probes[3].detail;
}

TEST(HubProbe, MeasuresTheClock) {
  std::time_t ahead = std::time(nullptr) + 3600;
  char date[64];
  std::tm parts;
  std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&ahead, &parts));
  FaultServer server(always(answer(200, ListBody{}.text(), {{"Date", date}})));
  World world;
  auto probe = world.hub({server.url()})->probe().at(0);
  ASSERT_TRUE(probe.clock_offset);
  EXPECT_GT(*probe.clock_offset, minutes(59));
  EXPECT_LE(*probe.clock_offset, minutes(60));
}

TEST(HubProbe, StreamSpaceIsAskedForNobody) {
  FaultServer good(always(answer(404, R"({"error":"Agent not found","agentId":"x"})")));
  FaultServer other(always(answer(404, "404 page not found")));
  World world;
  auto probes = world.hub({good.url(), other.url()}, "streamspace")->probe();
  EXPECT_TRUE(probes.at(0).ok) << probes[0].detail;
  EXPECT_FALSE(probes.at(1).ok) << "a 404 of anything but such a hub";
  EXPECT_EQ(good.seen().at(0).method, "GET");
}

}  // namespace
}  // namespace reconciler
