// What is owed to an agent that comes back after its sessions were closed.
#include <gtest/gtest.h>

#include "support/core_world.hpp"

using namespace core_world;

namespace {

World closed(Owed owed = Owed::stop) {
  World w;
  w.session.state = "terminated";
  w.policy.reset();
  w.terminal = true;
  w.episode.owed = owed;
  w.episode.owed_until = noon + hours(20);
  return w;
}

}  // namespace

TEST(Late, AStopIsSentOnceTheAgentIsThere) {
  World w = closed();
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "late_agent");
  EXPECT_EQ(v.action, Action::retry);
  EXPECT_FALSE(w.stuck()) << "the session has ended";
  w.unknown();
  EXPECT_EQ(w.verdict().action, Action::wait);
  EXPECT_EQ(w.verdict().next_action, Action::retry);
  w.gone(hours(1), 9);
  EXPECT_EQ(w.verdict().action, Action::wait);
}

TEST(Late, AProvisionalPresenceWillDo) {
  World w = closed();
  w.evidence->last.provisional = true;
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Late, BacksOffAndGivesUp) {
  World w = closed();
  w.episode.next_attempt = noon + tick;
  EXPECT_EQ(w.verdict().action, Action::wait);
  EXPECT_EQ(w.verdict().due, noon + tick);
  w.episode.next_attempt = noon;
  w.episode.lease_until = noon + tick;
  EXPECT_EQ(w.verdict().due, noon + tick);
  w.episode.lease_until = noon;
  EXPECT_EQ(w.verdict().action, Action::retry);
  w.episode.next_attempt = noon + hours(24);
  EXPECT_EQ(w.verdict().action, Action::retry) << "written by a clock that was wrong";
  w.episode.attempts = 7;
  EXPECT_EQ(w.verdict().action, Action::retry);
  w.episode.attempts = 8;
  EXPECT_EQ(w.verdict().action, Action::wait);
}

TEST(Late, WaitsForTheEndOfAHold) {
  World w = closed();
  w.hold = Hold{noon + tick, "", ""};
  EXPECT_EQ(w.verdict().rule, "terminal");
  w.hold->until = noon;
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Late, WhatIsTakenBackIsAskedAboutAndNotStopped) {
  World w = closed(Owed::readopt);
  EXPECT_EQ(w.verdict().action, Action::wait);
  EXPECT_TRUE(wants_session_status(w.facts()));
  w.unknown();
  EXPECT_FALSE(wants_session_status(w.facts()));
  w = closed();
  EXPECT_FALSE(wants_session_status(w.facts()));
}

TEST(Late, NothingOwedIsAnOrdinaryEnd) { EXPECT_EQ(closed(Owed::nothing).verdict().rule, "terminal"); }

TEST(Late, IsOwedByWhatClosesWithoutTheAgent) {
  World w;
  w.gone(minutes(10), 2);
  EXPECT_EQ(w.verdict().owes, Owed::stop);
  w.in(running());
  EXPECT_EQ(w.verdict().owes, Owed::stop);
  w.policy->late_return = LateReturn::readopt;
  EXPECT_EQ(w.verdict().owes, Owed::readopt);

  World start;
  start.in(pending());
  start.other("start_session", ago(minutes(30))).acknowledged = ago(minutes(20));
  EXPECT_EQ(start.verdict().reason, "timeout");
  EXPECT_EQ(start.verdict().owes, Owed::stop);
  Command& failed = start.other("start_session", ago(minutes(30)));
  failed.status = "failed", failed.sent = ago(minutes(30)), failed.completed = ago(minutes(29)), failed.error = "no";
  EXPECT_EQ(start.verdict().reason, "error");
  EXPECT_EQ(start.verdict().owes, Owed::stop);
}

TEST(Late, NothingIsOwedByAProvenEndOrWithoutAnAgent) {
  World w;
  w.completed_stop();
  EXPECT_EQ(w.verdict().owes, Owed::nothing);
  w = World();
  w.session.agent.reset();
  EXPECT_EQ(w.verdict().reason, "no_agent");
  EXPECT_EQ(w.verdict().owes, Owed::nothing);
}
