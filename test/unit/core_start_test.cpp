// Sessions on their way: pending and starting, hibernating and waking.
#include <gtest/gtest.h>

#include "core/rules.hpp"
#include "support/core_world.hpp"

using namespace core_world;

namespace {

World pending_for(Duration age) {
  World w;
  w.in(pending());
  w.episode.first_seen = w.episode.entered = ago(age);
  return w;
}

}  // namespace

// ---- pending ----

TEST(Start, IsSentAgainWhereItWasNeverAcknowledged) {
  World w = pending_for(minutes(10));
  w.other("start_session", ago(minutes(10)));
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "retry_due");
  EXPECT_EQ(v.action, Action::retry);
  w = pending_for(minutes(10) - tick);
  w.other("start_session", ago(minutes(10)));
  EXPECT_EQ(w.verdict().rule, "fresh");
}

TEST(Start, IsNotSentAgainOnceAcknowledged) {
  World w = pending_for(minutes(10));
  w.other("start_session", ago(minutes(11))).acknowledged = ago(minutes(9));
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "start_acknowledged");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.next_action, Action::force);
  EXPECT_EQ(v.due, noon + minutes(1));
}

TEST(Start, TheStatusAloneAcknowledgesToo) {
  World w = pending_for(minutes(20));
  w.other("start_session", ago(minutes(11))).status = "ack";
  EXPECT_EQ(w.verdict().reason, "timeout");
  w.commands->newest_other->status = "sent";
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Start, OfOursIsAcknowledgedWhenTheHubAcceptedIt) {
  World w = pending_for(hours(1));
  w.other("start_session", ago(hours(1)));
  w.episode.hub_command_id = "ours", w.episode.accepted_at = ago(minutes(10) - tick);
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "start_acknowledged");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.due, noon + tick);
  EXPECT_NE(v.text.find("the hub accepted our start"), std::string::npos) << v.text;
  w.pulled = true;
  EXPECT_NE(w.verdict().text.find("our start was queued, for its agent to fetch, 00:09:59 ago"), std::string::npos) << w.verdict().text;
  w.episode.accepted_at = ago(minutes(10));
  v = w.verdict();
  EXPECT_EQ(v.action, Action::force);
  EXPECT_EQ(v.reason, "timeout");
  EXPECT_EQ(v.owes, Owed::stop);
  EXPECT_TRUE(w.stuck());
}

// Where the hub writes it to the command table, its row tells more than the hub's answer did.
TEST(Start, OfOursIsAcknowledgedByItsRowWhereThereIsOne) {
  World w = pending_for(hours(1));
  w.episode.hub_command_id = w.other("start_session", ago(minutes(6))).id;
  w.episode.accepted_at = ago(minutes(6));
  EXPECT_EQ(w.verdict().action, Action::retry) << "no agent has acknowledged it";
  w.commands->newest_other->acknowledged = ago(minutes(5));
  EXPECT_EQ(w.verdict().rule, "start_acknowledged");
}

TEST(Start, ThatAnotherIncarnationWasToldIsSentAgain) {
  World w = pending_for(hours(1));
  w.other("start_session", ago(hours(1)));
  w.episode.incarnation = w.evidence->last.incarnation = "first";
  w.episode.accepted_at = ago(minutes(6));
  EXPECT_EQ(w.verdict().rule, "start_acknowledged");
  w.evidence->last.incarnation = "second";
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Start, FailsTenMinutesAfterItsAcknowledgement) {
  World w = pending_for(hours(1));
  w.other("start_session", ago(minutes(30))).acknowledged = ago(minutes(10) - tick);
  EXPECT_EQ(w.verdict().action, Action::wait);
  w.commands->newest_other->acknowledged = ago(minutes(10));
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "start_acknowledged");
  EXPECT_EQ(v.action, Action::force);
  EXPECT_EQ(v.becomes, "failed");
  EXPECT_EQ(v.reason, "timeout");
}

TEST(Start, OfAnUnknownAgentFailsByNoTimeout) {
  World w = pending_for(hours(1));
  w.other("start_session", ago(minutes(30))).acknowledged = ago(minutes(20));
  w.unknown();
  EXPECT_EQ(w.verdict().rule, "agent_unknown");
}

TEST(Start, AnAcknowledgedOneOfAGoneAgentFails) {
  World w = pending_for(hours(1));
  w.other("start_session", ago(minutes(30))).acknowledged = ago(minutes(20));
  w.gone(minutes(10), 2);
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "agent_gone");
  EXPECT_EQ(v.becomes, "failed");
  EXPECT_EQ(v.reason, "agent_unavailable");
}

TEST(Start, ThatCompletedWhileTheSessionIsStillPendingIsShown) {
  World w = pending_for(hours(1));
  w.other("start_session", ago(minutes(30))).completed = ago(minutes(20));
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.next_action, Action::wait);
  EXPECT_EQ(v.blocked_by, Blocked::contradiction);
  EXPECT_TRUE(w.stuck());
}

TEST(Start, WithoutARecordIsNotMadeUp) {
  World w = pending_for(hours(1));
  EXPECT_EQ(w.verdict().action, Action::wait);
  EXPECT_EQ(w.verdict().rule, "retry_due");
  w.other("start_session", ago(minutes(30))).sendable = false;  // its payload is not known
  EXPECT_EQ(w.verdict().action, Action::wait);
  w.commands->newest_other->sendable = true;
  EXPECT_EQ(w.verdict().action, Action::retry);
  w.commands.reset();
  EXPECT_EQ(w.verdict().action, Action::wait);
}

TEST(Start, IsNotSentAgainAfterAStop) {
  World w = pending_for(hours(1));
  w.other("start_session", ago(minutes(30)));
  w.stop("failed").created = ago(minutes(29));
  EXPECT_EQ(w.verdict().action, Action::wait);
  w.commands->newest_stop->created = ago(minutes(31));
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Start, ThatWasExecutedAndFailedFailsTheSession) {
  World w = pending_for(minutes(1));
  Command& start = w.other("start_session", ago(minutes(1)));
  start.status = "failed", start.sent = ago(minutes(1)), start.error = "image not found";
  w.episode.completion_seen = ago(seconds(30) - tick);
  EXPECT_EQ(w.verdict().blocked_by, Blocked::finalize_rest);
  w.episode.completion_seen = ago(seconds(30));
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "completion_proven");
  EXPECT_EQ(v.action, Action::finalize);
  EXPECT_EQ(v.becomes, "failed");
  EXPECT_EQ(v.reason, "error");
  EXPECT_NE(v.text.find("image not found"), std::string::npos);
}

TEST(Start, ThatNeverLeftIsNoFailure) {
  World w = pending_for(minutes(20));
  Command& start = w.other("start_session", ago(minutes(20)));
  start.status = "failed", start.error = "agent is not connected";
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Start, AFailedOneCountsWhileTheSessionStartsOnly) {
  World w;
  w.in(running());
  Command& start = w.other("start_session", ago(minutes(20)));
  start.status = "failed", start.sent = ago(minutes(20));
  EXPECT_EQ(w.verdict().rule, "alive");
}

TEST(Start, AStopEndsAPendingSessionAsOneThatEnded) {
  World w = pending_for(minutes(20));
  w.completed_stop();
  EXPECT_EQ(w.verdict().becomes, "terminated");
  EXPECT_EQ(w.verdict().reason, "user_requested");
}

TEST(Start, WithoutAnAgentFailsByOurOwnSight) {
  World w = pending_for(minutes(10) - tick);
  w.session.agent.reset();
  EXPECT_EQ(w.verdict().rule, "fresh");
  w = pending_for(minutes(10));
  w.session.agent.reset();
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::force);
  EXPECT_EQ(v.becomes, "failed");
  EXPECT_EQ(v.reason, "no_agent");
}

TEST(Start, RestsFromOurSightWhereTheCommandHasNoTime) {
  const Policy policy = pending();
  CommandHistory commands;
  EXPECT_FALSE(rules::rests_from_sight(&policy, commands, noon));
  commands.newest_other = Command{"c", "start_session", "failed", ago(minutes(1)), ago(minutes(1)), {}, {}, "no"};
  EXPECT_TRUE(rules::rests_from_sight(&policy, commands, noon));
  commands.newest_other->completed = noon;
  EXPECT_FALSE(rules::rests_from_sight(&policy, commands, noon));
  commands.newest_other->completed = noon + tick;
  EXPECT_TRUE(rules::rests_from_sight(&policy, commands, noon));
  const Policy other = running();
  EXPECT_FALSE(rules::rests_from_sight(&other, commands, noon));
}

// ---- hibernating and waking ----

TEST(OnItsWay, ACompletedHibernateMakesItHibernated) {
  World w;
  w.in(on_its_way("hibernating", "hibernate_session", "hibernated"));
  w.other("hibernate_session", ago(minutes(2))).completed = ago(seconds(30) - tick);
  EXPECT_EQ(w.verdict().blocked_by, Blocked::finalize_rest);
  w.commands->newest_other->completed = ago(seconds(30));
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "completion_proven");
  EXPECT_EQ(v.action, Action::finalize);
  EXPECT_EQ(v.becomes, "hibernated");
  EXPECT_EQ(v.reason, "user_requested");
  w.other("wake_session", ago(minutes(1)));  // a newer command decides
  EXPECT_NE(w.verdict().rule, "completion_proven");
}

TEST(OnItsWay, ACompletedWakeOrResumeMakesItRunning) {
  for (const char* action : {"wake_session", "resume_session"}) {
    World w;
    w.in(on_its_way("waking", "wake_session", "running"));
    w.other(action, ago(minutes(2))).completed = ago(minutes(1));
    EXPECT_EQ(w.verdict().becomes, "running") << action;
    w.commands->newest_other->action = "hibernate_session";
    EXPECT_NE(w.verdict().rule, "completion_proven");
  }
}

TEST(OnItsWay, AStopThatCameAfterDecides) {
  World w;
  w.in(on_its_way("hibernating", "hibernate_session", "hibernated"));
  w.other("hibernate_session", ago(minutes(20))).completed = ago(minutes(19));
  w.stop("pending").created = ago(minutes(10));
  EXPECT_NE(w.verdict().rule, "completion_proven");
  w.completed_stop().created = ago(minutes(10));
  EXPECT_EQ(w.verdict().becomes, "terminated");
  w.commands->newest_stop->created = ago(minutes(21));
  EXPECT_EQ(w.verdict().becomes, "hibernated");
}

TEST(OnItsWay, IsNeverClosedByInference) {
  World w;
  w.in(on_its_way("hibernating", "hibernate_session", "hibernated"));
  for (const Duration gone : {Duration(seconds(1)), Duration(hours(24))}) {
    w.gone(gone, 9);
    const Verdict v = w.verdict();
    EXPECT_EQ(v.rule, "agent_gone");
    EXPECT_EQ(v.action, Action::wait);
    EXPECT_EQ(v.next_action, Action::wait);
    EXPECT_TRUE(w.stuck());
  }
  w.session.agent.reset();
  EXPECT_EQ(w.verdict().action, Action::wait);
}

TEST(OnItsWay, IsShownAfterTenMinutes) {
  World w;
  w.in(on_its_way("waking", "wake_session", "running"));
  w.other("wake_session", ago(minutes(11)));
  w.episode.entered = ago(minutes(10) - tick);
  EXPECT_FALSE(w.stuck());
  w.episode.entered = ago(minutes(10));
  EXPECT_TRUE(w.stuck());
  EXPECT_EQ(w.verdict().action, Action::wait);
}
