// Sessions whose agent is not there.
#include <gtest/gtest.h>

#include "support/core_world.hpp"

using namespace core_world;

// ---- no agent ----

TEST(Orphan, WithoutAnAgentOurOwnSightCounts) {
  World w;
  w.session.agent.reset();
  w.episode.entered = ago(hours(24 * 365));  // a foreign timestamp
  w.episode.first_seen = ago(minutes(10) - tick);
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "no_agent");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.next_action, Action::force);
  EXPECT_EQ(v.blocked_by, Blocked::no_agent);
  EXPECT_EQ(v.due, noon + tick);
  w.episode.first_seen = ago(minutes(10));
  v = w.verdict();
  EXPECT_EQ(v.action, Action::force);
  EXPECT_EQ(v.reason, "no_agent");
  EXPECT_EQ(v.becomes, "terminated");
}

TEST(Orphan, AnEmptyAgentIsNone) {
  World w;
  w.session.agent = "";
  EXPECT_EQ(w.verdict().reason, "no_agent");
}

TEST(Orphan, ShownButNeverClosed) {
  World w;
  w.policy = running();
  w.session.agent.reset();
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "no_agent");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.next_action, Action::wait);
  EXPECT_EQ(v.blocked_by, Blocked::no_agent);
  EXPECT_FALSE(v.due);
}

TEST(Orphan, WithoutAnAgentColumnNothingIsInferred) {
  World w;
  w.agent_mapped = false;
  w.session.agent.reset();
  w.gone(hours(5), 99);
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "agent_unknown");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.blocked_by, Blocked::no_agent);
}

// ---- agent gone ----

TEST(Orphan, GoneNeedsItsFullTime) {
  World w;
  w.gone(minutes(10) - tick, 5);
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "agent_gone_waiting");
  EXPECT_EQ(v.next_action, Action::force);
  EXPECT_EQ(v.due, noon + tick);
  EXPECT_EQ(v.blocked_by, Blocked::none);
  w.gone(minutes(10), 5);
  EXPECT_EQ(w.verdict().rule, "agent_gone");
  EXPECT_EQ(w.verdict().action, Action::force);
}

TEST(Orphan, GoneNeedsTwoLooks) {
  World w;
  w.gone(minutes(10), 1);
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "agent_gone_waiting");
  EXPECT_EQ(v.blocked_by, Blocked::second_observation);
  EXPECT_EQ(v.due, noon + seconds(10));
  w.gone(minutes(10), 2);
  EXPECT_EQ(w.verdict().action, Action::force);
}

TEST(Orphan, TheSecondLookComesWhenItCanDecide) {
  World w;
  w.gone(seconds(0), 1);
  EXPECT_EQ(w.verdict().due, noon + minutes(10)) << "the later of the spacing and what is missing";
  w.policy = running();
  w.policy->gone_after = seconds(3);
  EXPECT_EQ(w.verdict().due, noon + seconds(10));
}

TEST(Orphan, GoneTimeStandsAsOfTheLastLook) {
  World w;
  w.gone(minutes(9), 9, seconds(20));
  EXPECT_EQ(w.verdict().due, noon + seconds(40));
  w.gone(minutes(9), 9, seconds(100));
  EXPECT_EQ(w.verdict().due, noon) << "overdue: look now";
}

TEST(Orphan, OldEvidenceForcesNothing) {
  World w;
  w.gone(hours(2), 99, seconds(120));
  EXPECT_EQ(w.verdict().action, Action::force);
  w.gone(hours(2), 99, seconds(120) + tick);
  EXPECT_EQ(w.verdict().rule, "agent_unknown");
}

TEST(Orphan, ThePolicySaysWhatAnOrphanBecomes) {
  World w;
  w.policy = running();
  w.policy->becomes = "lost";
  w.gone(seconds(30), 2);
  EXPECT_EQ(w.verdict().becomes, "lost");
  EXPECT_EQ(w.verdict().reason, "agent_disconnected");
}

TEST(Orphan, GoneComesBeforeQuarantineAndOpenCommands) {
  World w;
  w.gone(minutes(10), 2);
  w.episode.quarantined = ago(hours(1));
  w.episode.attempts = 8;
  w.episode.accepted_at = ago(seconds(1));
  EXPECT_EQ(w.verdict().action, Action::force) << "a quarantine ends by evidence";
}

TEST(Orphan, GoneForcesWithoutAHub) {
  World w;
  w.gone(minutes(10), 2);
  w.hub_set = false;
  EXPECT_EQ(w.verdict().action, Action::force);
}
