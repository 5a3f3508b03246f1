// Other agents of a session's pool: when they are asked, and when they get it.
#include <gtest/gtest.h>

#include "support/core_world.hpp"

using namespace core_world;

namespace {

// A stop whose agent went just now.
World lost() {
  World w;
  w.gone(Duration(0), 1);
  w.in_pool("k8s-2");
  return w;
}

void expect_reassign(const World& w, std::string_view rule, const std::string& command) {
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::reassign) << v.text;
  EXPECT_EQ(v.rule, rule);
  EXPECT_EQ(v.to_agent, "k8s-2");
  EXPECT_EQ(v.sends, command);
}

World starting() {
  World w = lost();
  w.in(pending());
  w.episode.entered = ago(minutes(12));
  w.other("start_session", ago(minutes(12)));
  w.gone(seconds(10), 2);
  return w;
}

}  // namespace

TEST(Sibling, AStopGoesToAnotherAgentAtOnce) {
  const World w = lost();
  expect_reassign(w, "sibling_due", "stop_session");
  EXPECT_EQ(w.verdict().reason, "agent_unavailable");
  EXPECT_TRUE(w.stuck());
}

TEST(Sibling, ItsOwnAgentIsAskedFirst) {
  World w = lost();
  w.present();
  EXPECT_EQ(w.verdict().action, Action::retry);
  EXPECT_EQ(w.verdict().to_agent, "");
  w.unknown();
  EXPECT_EQ(w.verdict().rule, "agent_unknown");
}

TEST(Sibling, OneThatDoesNothingIsNotAskedForEver) {
  World w = lost();
  w.present();
  w.evidence->suspect_since = ago(minutes(1));
  expect_reassign(w, "sibling_due", "stop_session");
  EXPECT_EQ(w.verdict().reason, "timeout");
  w.episode.accepted_at = ago(minutes(1));
  EXPECT_EQ(w.verdict().rule, "command_open") << "it still has its time";
}

TEST(Sibling, WhenTheTriesAreSpentAnotherOneIsTriedAFewTimes) {
  World w = lost();
  w.present();
  w.episode.attempts = 8;
  expect_reassign(w, "sibling_due", "stop_session");
  w.episode.siblings = most_siblings - 1, w.episode.attempts = 10;
  expect_reassign(w, "sibling_due", "stop_session");
  w.episode.siblings = most_siblings;
  EXPECT_EQ(w.verdict().action, Action::quarantine);
  w.episode.siblings = 0, w.episode.attempts = 8 + most_siblings;
  EXPECT_EQ(w.verdict().action, Action::quarantine);
}

TEST(Sibling, AForceWaitsForTheGoneTimeAndOneTryElsewhere) {
  World w = lost();
  w.gone(minutes(11), 5);
  expect_reassign(w, "sibling_due", "stop_session");
  w.episode.siblings = 1, w.episode.sent_to = "k8s-2", w.episode.next_attempt = ago(tick);
  EXPECT_EQ(w.verdict().rule, "agent_gone");
  EXPECT_EQ(w.verdict().action, Action::force);
  w.gone(minutes(9), 5);
  expect_reassign(w, "sibling_due", "stop_session");
}

TEST(Sibling, TriesElsewhereHaveTheirOwnBackoff) {
  World w = lost();
  w.episode.next_attempt = noon + minutes(1);
  expect_reassign(w, "sibling_due", "stop_session");
  w.episode.sent_to = "k8s-3", w.episode.siblings = 1;
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.next_action, Action::reassign);
  EXPECT_EQ(v.due, noon + minutes(1));
}

TEST(Sibling, WhatIsOnItsWayIsWaitedFor) {
  World w = lost();
  w.episode.lease_until = noon + seconds(20);
  EXPECT_NE(w.verdict().action, Action::reassign);
  w.episode.lease_until = ago(tick);
  EXPECT_EQ(w.verdict().action, Action::reassign);
  w.episode.accepted_at = ago(seconds(10));
  EXPECT_EQ(w.verdict().action, Action::reassign) << "who has it is gone";
}

TEST(Sibling, WhoHasTakenOverGetsItWithoutAnotherCommand) {
  World w = lost();
  w.episode.sent_to = "k8s-2", w.episode.accepted_at = ago(seconds(10)), w.episode.siblings = 1;
  w.pool->taker.reset();
  expect_reassign(w, "sibling_due", "");
}

TEST(Sibling, NobodyTakesItOver) {
  World w = lost();
  w.in_pool({});
  EXPECT_EQ(w.verdict().rule, "agent_gone_waiting");
  w.gone(minutes(11), 2);
  EXPECT_EQ(w.verdict().action, Action::force);
}

TEST(Sibling, ASessionWithoutAnAgentGetsOne) {
  World w = lost();
  w.session.agent.reset(), w.evidence.reset();
  expect_reassign(w, "sibling_due", "stop_session");
  EXPECT_EQ(w.verdict().reason, "no_agent");
  w.in_pool({});
  EXPECT_EQ(w.verdict().rule, "no_agent");
}

TEST(Sibling, AStartIsMovedWhileNobodyHasIt) {
  World w = starting();
  expect_reassign(w, "sibling_due", "start_session");
  w.gone(seconds(10), 1);
  EXPECT_EQ(w.verdict().rule, "agent_gone_waiting") << "one look may be a blip";
  w = starting();
  w.commands->newest_other->acknowledged = ago(minutes(11));
  EXPECT_EQ(w.verdict().rule, "agent_gone_waiting") << "its agent had begun";
  w = starting();
  w.episode.accepted_at = ago(minutes(11));
  EXPECT_EQ(w.verdict().rule, "agent_gone_waiting") << "the hub had taken it over";
  w = starting();
  w.commands->newest_other->sendable = false;
  EXPECT_EQ(w.verdict().rule, "agent_gone_waiting") << "what it was is not known";
  w = starting();
  w.episode.entered = ago(hours(1) - tick);
  expect_reassign(w, "sibling_due", "start_session");
  w.episode.entered = ago(hours(1));
  EXPECT_EQ(w.verdict().rule, "agent_gone_waiting") << "nobody waits for it any more";
}

TEST(Sibling, WhereAcknowledgementsAreNotSeenAStartMovesOnlyIfItsRuntimeStandsInOnePlace) {
  World w = starting();
  w.policy->retry_action.clear();
  expect_reassign(w, "sibling_due", "start_session");
  w.in_pool("k8s-2", false);
  EXPECT_EQ(w.verdict().rule, "agent_gone_waiting");
}

TEST(Replaced, ASessionThatRunsOnGetsAnotherAgent) {
  World w = lost();
  w.in(running());
  w.gone(seconds(30), 2);
  expect_reassign(w, "agent_replaced", "");
  w.policy.reset();
  expect_reassign(w, "agent_replaced", "");
  w.gone(seconds(30) - tick, 2);
  EXPECT_EQ(w.verdict().action, Action::wait);
  EXPECT_EQ(w.verdict().next_action, Action::reassign);
  EXPECT_EQ(w.verdict().due, noon + tick);
  w.gone(seconds(30), 1);
  EXPECT_EQ(w.verdict().blocked_by, Blocked::second_observation);
  w.present();
  EXPECT_EQ(w.verdict().rule, "policy_off");
}

TEST(Replaced, ItIsNeverEndedBecauseNobodyHasRoom) {
  World w = lost();
  w.in(running());
  w.gone(hours(5), 200);
  w.in_pool({});
  EXPECT_EQ(w.verdict().action, Action::wait);
  EXPECT_EQ(w.verdict().rule, "agent_replaced");
  EXPECT_EQ(w.verdict().blocked_by, Blocked::no_agent);
  EXPECT_TRUE(w.stuck());
  w.pool->full = true;
  EXPECT_EQ(w.verdict().blocked_by, Blocked::no_room);
  w.in_pool({}, false);
  EXPECT_EQ(w.verdict().action, Action::force) << "its runtime went with its agent";
}

TEST(Replaced, ADrainedAgentGivesItsSessionsAway) {
  World w = lost();
  w.in(running());
  w.present();
  w.pool->emptied = true;
  expect_reassign(w, "agent_replaced", "");
  EXPECT_EQ(w.verdict().reason, "drained");
  EXPECT_FALSE(w.stuck()) << "nothing is wrong with it";
  w.in(terminating());
  EXPECT_EQ(w.verdict().action, Action::retry) << "what its agent can end it ends";
}

TEST(Planned, ASessionGoesWhereAnOperatorWantsIt) {
  World w;
  w.in(running());
  w.planned = PlannedMove{"k8s-2", "ann"};
  expect_reassign(w, "planned_move", "");
  EXPECT_EQ(w.verdict().reason, "rebalanced");
  w.policy.reset();
  expect_reassign(w, "planned_move", "");
  w.in(terminating());
  EXPECT_EQ(w.verdict().action, Action::retry) << "what waits for a command stays";
  w.in(running());
  w.hold = Hold{noon + hours(1), "mine", "bob"};
  EXPECT_EQ(w.verdict().rule, "held");
}

TEST(Owed, AStopThatIsOwedGoesToAnotherAgentOnceItsOwnIsGone) {
  World w = lost();
  w.session.state = "terminated", w.terminal = true, w.policy.reset();
  w.episode.owed = Owed::stop;
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::retry);
  EXPECT_EQ(v.to_agent, "k8s-2");
  w.unknown();
  EXPECT_EQ(w.verdict().action, Action::wait);
  w.present();
  EXPECT_EQ(w.verdict().to_agent, "") << "its own is back";
}

TEST(Owed, WhereAnyAgentCanItRemovesTheResourceItself) {
  World w = lost();
  w.session.state = "terminated", w.terminal = true, w.policy.reset();
  w.episode.owed = Owed::stop;
  w.session.runtime = "container-1";
  EXPECT_EQ(w.verdict().sends, "") << "on this platform a stop will do";
  w.pool->cleans_by_resource = true;
  EXPECT_EQ(w.verdict().sends, "cleanup_resource");
  w.session.runtime.reset();
  EXPECT_EQ(w.verdict().sends, "") << "which one is not known";
  w.session.runtime = "container-1";
  w.present();
  EXPECT_EQ(w.verdict().sends, "") << "its own agent has the session";
}
