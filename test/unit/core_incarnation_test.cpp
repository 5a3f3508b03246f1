// An agent that comes back under the same id is not the same agent.
#include <gtest/gtest.h>

#include "support/core_world.hpp"

using namespace core_world;

namespace {

World came_back(Policy policy) {
  World w;
  w.in(std::move(policy));
  w.episode.incarnation = "first";
  w.evidence->last.incarnation = "second";
  return w;
}

}  // namespace

TEST(Incarnation, ASessionOfAnotherIsAskedAboutAndShown) {
  World w = came_back(running());
  EXPECT_EQ(w.verdict().rule, "other_incarnation");
  EXPECT_EQ(w.verdict().action, Action::wait);
  EXPECT_TRUE(w.stuck());
  EXPECT_TRUE(wants_session_status(w.facts()));
  w.policy->enabled = false;
  EXPECT_FALSE(wants_session_status(w.facts()));
}

TEST(Incarnation, TheSameOneOrOneThatIsNotKnownIsNoOther) {
  for (const auto& [episode, agent] : {std::pair("first", "first"), std::pair("", "second"), std::pair("first", "")}) {
    World w = came_back(running());
    w.episode.incarnation = episode, w.evidence->last.incarnation = agent;
    EXPECT_EQ(w.verdict().rule, "alive") << episode << " " << agent;
    EXPECT_FALSE(wants_session_status(w.facts()));
  }
}

TEST(Incarnation, WhoIsNotThereIsNoOther) {
  World w = came_back(running());
  w.evidence->last.presence = Presence::unknown;
  EXPECT_EQ(w.verdict().rule, "agent_unknown");
  EXPECT_FALSE(wants_session_status(w.facts()));
}

TEST(Incarnation, WhatTheFirstAcceptedTheSecondWillNotDo) {
  World w = came_back(terminating());
  w.episode.accepted_at = ago(seconds(10));
  EXPECT_EQ(w.verdict().rule, "retry_due");
  w.evidence->last.incarnation = "first";
  EXPECT_EQ(w.verdict().rule, "command_open");
}

TEST(Incarnation, WhatTheHubCallsGoneIsProven) {
  World w = came_back(running());
  w.episode.session_gone = ago(seconds(30));
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::finalize);
  EXPECT_EQ(v.reason, "runtime_gone");
  EXPECT_EQ(v.becomes, "terminated");
}

TEST(Incarnation, AStartThatTimedOutIsAskedAboutFirst) {
  World w;
  w.in(pending());
  w.other("start_session", ago(minutes(30))).acknowledged = ago(minutes(10) - tick);
  EXPECT_FALSE(wants_session_status(w.facts()));
  w.commands->newest_other->acknowledged = ago(minutes(10));
  EXPECT_TRUE(wants_session_status(w.facts()));
  EXPECT_EQ(w.verdict().action, Action::force);
  w.episode.session_running = noon;
  EXPECT_EQ(w.verdict().action, Action::wait);
  EXPECT_EQ(w.verdict().blocked_by, Blocked::contradiction);
}

TEST(Incarnation, AStartOfOursThatTheAgentFailedFailsTheSession) {
  World w;
  w.in(pending());
  w.other("start_session", ago(minutes(30)));
  w.episode.start_failed = ago(seconds(30));
  w.episode.last_result = "failed: no such image";
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::finalize);
  EXPECT_EQ(v.becomes, "failed");
  EXPECT_EQ(v.reason, "error");
  EXPECT_NE(v.text.find("no such image"), std::string::npos);
}
