// Proof that a session has ended, and what it does to it.
#include <gtest/gtest.h>

#include "support/core_world.hpp"

using namespace core_world;

TEST(Completion, AnOldCompletedStopFinalizes) {
  World w;
  w.completed_stop();
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "completion_proven");
  EXPECT_EQ(v.action, Action::finalize);
  EXPECT_EQ(v.becomes, "terminated");
  EXPECT_EQ(v.reason, "user_requested");
  EXPECT_TRUE(w.stuck());
}

TEST(Completion, RestsFromItsOwnTime) {
  World w;
  w.completed_stop(seconds(30) - tick);
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "completion_proven");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.next_action, Action::finalize);
  EXPECT_EQ(v.blocked_by, Blocked::finalize_rest);
  EXPECT_EQ(v.due, noon + tick);
  w.completed_stop(seconds(30));
  EXPECT_EQ(w.verdict().action, Action::finalize);
}

TEST(Completion, ThePolicysRestCounts) {
  World w;
  w.policy->finalize_after = minutes(2);
  w.completed_stop(seconds(119));
  EXPECT_EQ(w.verdict().due, noon + seconds(1));
  w.policy->finalize_after = Duration(0);
  w.completed_stop(Duration(0));
  EXPECT_EQ(w.verdict().action, Action::finalize);
}

TEST(Completion, WithoutATimeItRestsFromOurFirstSight) {
  World w;
  w.stop("completed");
  EXPECT_EQ(w.verdict().due, noon + seconds(30)) << "as if first seen now";
  w.episode.completion_seen = ago(seconds(30) - tick);
  EXPECT_EQ(w.verdict().due, noon + tick);
  w.episode.completion_seen = ago(seconds(30));
  EXPECT_EQ(w.verdict().action, Action::finalize);
}

TEST(Completion, AFutureTimeCountsAsNow) {
  World w;
  w.completed_stop(-hours(7));
  EXPECT_EQ(w.verdict().due, noon + seconds(30));
  w.episode.completion_seen = ago(minutes(1));
  EXPECT_EQ(w.verdict().action, Action::finalize) << "or as our first sight of it, where that is known";
  w.episode.completion_seen = noon + hours(1);
  EXPECT_EQ(w.verdict().due, noon + seconds(30));
}

TEST(Completion, TimesOverruleTheStatus) {
  for (const char* status : {"pending", "sent", "ack", "completed", ""}) {
    World w;
    w.completed_stop().status = status;
    EXPECT_EQ(w.verdict().action, Action::finalize) << status;
  }
  World w;
  w.completed_stop().status = "failed";  // it was sent
  EXPECT_EQ(w.verdict().action, Action::finalize);
  w.completed_stop().status = "failed";
  w.commands->newest_stop->error = "no such pod";  // an error tells a failure that was stamped with its time
  EXPECT_NE(w.verdict().rule, "completion_proven");
}

TEST(Completion, OtherStatusesProveNothing) {
  for (const char* status : {"pending", "sent", "ack", "failed", "COMPLETED", ""}) {
    World w;
    w.stop(status).sent = ago(minutes(29));
    EXPECT_EQ(w.verdict().rule, "retry_due") << status;
  }
}

TEST(Completion, AnUndeliveredFailureProvesNothing) {
  World w;
  Command& stop = w.stop("failed");
  EXPECT_EQ(w.verdict().rule, "retry_due");
  stop.completed = ago(minutes(20));
  EXPECT_EQ(w.verdict().rule, "retry_due") << "somebody noted when they gave up";
  stop.acknowledged = ago(minutes(21));
  EXPECT_EQ(w.verdict().action, Action::finalize) << "acknowledged: it was delivered";
}

TEST(Completion, TheSessionsNewestCommandDecides) {
  for (const char* action : {"start_session", "wake_session", "resume_session", "hibernate_session"}) {
    World w;
    w.completed_stop();
    w.other(action, ago(minutes(30)));
    EXPECT_EQ(w.verdict().action, Action::finalize) << "created with the stop, not after it";
    w.other(action, ago(minutes(30)) + tick);
    EXPECT_EQ(w.verdict().rule, "retry_due") << action;
    w.other(action, ago(minutes(31)));
    EXPECT_EQ(w.verdict().action, Action::finalize);
  }
}

TEST(Completion, WhoeverStartsItElsewhereWantsIt) {
  World w;
  w.completed_stop();
  w.commands->newest_elsewhere = Command{"c", "start_session", "pending", ago(minutes(30)), {}, {}, {}, {}};
  EXPECT_EQ(w.verdict().action, Action::finalize) << "created with the stop, not after it";
  w.commands->newest_elsewhere->created = ago(minutes(30)) + tick;
  EXPECT_EQ(w.verdict().rule, "retry_due");
  w.episode.session_gone = ago(minutes(31));
  EXPECT_EQ(w.verdict().rule, "retry_due") << "the hub's word is no better";
  w.episode.session_gone = ago(minutes(5));
  EXPECT_EQ(w.verdict().action, Action::finalize);
}

TEST(Completion, WhatWasStartedElsewhereIsNotWhatTheStateAwaits) {
  World w;
  w.in(on_its_way("waking", "wake_session", "running"));
  w.commands->newest_elsewhere = Command{"c", "wake_session", "completed", ago(minutes(5)), {}, {}, ago(minutes(4)), {}};
  EXPECT_NE(w.verdict().rule, "completion_proven");
  w.commands->newest_other = w.commands->newest_elsewhere;
  EXPECT_EQ(w.verdict().rule, "completion_proven");
}

TEST(Completion, AnUndeliveredStartSaysAllTheSameThatSomebodyWantsTheSession) {
  World w;
  w.completed_stop();
  w.other("start_session", ago(minutes(1))).status = "failed";
  EXPECT_NE(w.verdict().rule, "completion_proven");
}

TEST(Completion, AnOrderThatCannotBeToldProvesNothing) {
  World w;
  w.completed_stop();
  w.other("start_session", noon).created.reset();
  EXPECT_NE(w.verdict().rule, "completion_proven");
  w.other("start_session", ago(hours(2)));
  EXPECT_EQ(w.verdict().rule, "completion_proven");
  Command& stop = *w.commands->newest_stop;
  stop.created = stop.sent = stop.completed = std::nullopt;
  EXPECT_NE(w.verdict().rule, "completion_proven");
  w.commands->newest_other.reset();
  EXPECT_EQ(w.verdict().rule, "completion_proven") << "no other command: nothing to order";
}

TEST(Completion, TheHubsWordIsProof) {
  World w;
  w.episode.session_gone = ago(seconds(30) - tick);
  EXPECT_EQ(w.verdict().blocked_by, Blocked::finalize_rest);
  EXPECT_EQ(w.verdict().due, noon + tick);
  w.episode.session_gone = ago(seconds(30));
  EXPECT_EQ(w.verdict().action, Action::finalize);
  w.commands.reset();
  EXPECT_EQ(w.verdict().action, Action::finalize) << "no command table needed";
}

TEST(Completion, AStartAfterTheHubsWordOverrulesIt) {
  World w;
  w.episode.session_gone = ago(minutes(10));
  w.other("start_session", ago(minutes(10)));
  EXPECT_EQ(w.verdict().action, Action::finalize);
  w.other("start_session", ago(minutes(10)) + tick);
  EXPECT_NE(w.verdict().rule, "completion_proven");
}

TEST(Completion, TheEarlierProofCounts) {
  World w;
  w.completed_stop(seconds(10));
  w.episode.session_gone = ago(minutes(1));
  EXPECT_EQ(w.verdict().action, Action::finalize);
  w.completed_stop(minutes(1));
  w.episode.session_gone = ago(seconds(10));
  EXPECT_EQ(w.verdict().action, Action::finalize);
}

TEST(Completion, NeedsNeitherPolicyNorHubNorAgentNorAge) {
  World w;
  w.completed_stop();
  w.policy.reset();
  w.session.state = "running";
  w.session.agent.reset();
  w.evidence.reset();
  w.hub_set = false;
  w.episode.entered = w.episode.first_seen = noon;
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::finalize);
  EXPECT_EQ(v.becomes, "terminated");
  EXPECT_TRUE(w.stuck());
  w.policy = running();
  w.policy->enabled = false;
  w.policy->becomes = "ended";
  EXPECT_EQ(w.verdict().becomes, "ended");
}

TEST(Completion, ComesBeforeGoneAndSpentAndAfterAHold) {
  World w;
  w.completed_stop();
  w.gone(hours(1), 9);
  w.episode.quarantined = ago(hours(3));
  EXPECT_EQ(w.verdict().action, Action::finalize);
  w.hold = Hold{noon + tick, "looking at it", "ann"};
  EXPECT_EQ(w.verdict().rule, "held");
  EXPECT_TRUE(w.stuck()) << "held, and contradicted all the same";
}

TEST(Completion, NeverReopensTerminalStates) {
  World w;
  w.completed_stop();
  w.terminal = true;
  EXPECT_EQ(w.verdict().rule, "terminal");
  EXPECT_FALSE(w.stuck());
}
