// Signs of life and new runtimes: what holds an inference back, and how long.
#include <gtest/gtest.h>

#include "support/core_world.hpp"

using namespace core_world;

namespace {

World orphan(Duration gone = minutes(10)) {
  World w;
  w.gone(gone, 9);
  return w;
}

}  // namespace

TEST(Life, AFreshSignHoldsAnInferenceBack) {
  World w = orphan();
  w.session.sign = ago(seconds(120) - tick);
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "agent_gone");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.next_action, Action::force);
  EXPECT_EQ(v.blocked_by, Blocked::sign_of_life);
  EXPECT_EQ(v.due, noon + tick);
  EXPECT_TRUE(w.stuck());
  w.session.sign = ago(seconds(120));
  EXPECT_EQ(w.verdict().action, Action::force);
}

TEST(Life, TheWriteSaysWhatTheVerdictSaw) {
  World w = orphan();
  EXPECT_EQ(w.verdict().quiet_since, ago(seconds(120)));
  w = orphan(minutes(30));
  EXPECT_EQ(w.verdict().quiet_since, std::nullopt) << "heard no more";
}

TEST(Life, IsHeardUpToTheCeiling) {
  World w = orphan(minutes(30) - tick);
  w.session.sign = noon;
  EXPECT_EQ(w.verdict().blocked_by, Blocked::sign_of_life);
  EXPECT_EQ(w.verdict().due, noon + tick);
  w = orphan(minutes(30));
  w.session.sign = noon;
  EXPECT_EQ(w.verdict().action, Action::force);
}

TEST(Life, ASignFromTheFutureIsOneOfNow) {
  World w = orphan();
  w.session.sign = noon + hours(24);
  EXPECT_EQ(w.verdict().due, noon + seconds(120));
  EXPECT_NE(w.verdict().text.find("the session showed a sign of life until 2"), std::string::npos) << w.verdict().text;
  w = orphan(minutes(30));
  w.session.sign = noon + hours(24);
  EXPECT_EQ(w.verdict().action, Action::force);
}

TEST(Life, WhatWasJustAskedMayBringAnotherRuntime) {
  World w = orphan();
  w.session.asked = ago(seconds(120) - tick);
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.next_action, Action::force);
  EXPECT_EQ(v.blocked_by, Blocked::replacement_grace);
  EXPECT_EQ(v.due, noon + tick);
  w.session.asked = ago(seconds(120));
  EXPECT_EQ(w.verdict().action, Action::force);
  EXPECT_EQ(w.verdict().idle_since, ago(seconds(120))) << "the write compares it again";
}

TEST(Life, WhatIsAskedHasNoCeilingButWhatLiesFarAheadHas) {
  World w = orphan(hours(5));
  w.session.asked = ago(seconds(5));
  EXPECT_EQ(w.verdict().blocked_by, Blocked::replacement_grace) << "however long its runtime is gone";
  w.session.asked = noon + seconds(120);
  EXPECT_EQ(w.verdict().blocked_by, Blocked::replacement_grace) << "a clock that is a little ahead";
  w.session.asked = noon + seconds(120) + tick;
  EXPECT_EQ(w.verdict().action, Action::force) << "no time of this clock";
  EXPECT_EQ(w.verdict().idle_since, std::nullopt) << "and not compared, or it would never be written";
  w = orphan(minutes(30) - tick);
  w.session.asked = noon + hours(24);
  EXPECT_EQ(w.verdict().blocked_by, Blocked::replacement_grace);
}

TEST(Life, HoldsBackEveryKindOfInference) {
  World none;
  none.session.agent.reset();
  none.episode.first_seen = ago(minutes(10));
  none.session.sign = noon;
  EXPECT_EQ(none.verdict().blocked_by, Blocked::sign_of_life);

  World start;
  start.in(pending());
  start.other("start_session", ago(minutes(30))).acknowledged = ago(minutes(10));
  start.session.sign = noon;
  EXPECT_EQ(start.verdict().blocked_by, Blocked::sign_of_life);

  World unconfirmed;
  unconfirmed.policy->when_spent = WhenSpent::close_unconfirmed;
  unconfirmed.episode.accepted = 3, unconfirmed.episode.first_accepted = ago(minutes(15));
  unconfirmed.session.sign = noon;
  EXPECT_EQ(unconfirmed.verdict().blocked_by, Blocked::sign_of_life);
  unconfirmed.session.sign.reset();
  EXPECT_EQ(unconfirmed.verdict().action, Action::force);
}

TEST(Life, RetriesGoOn) {
  World w;
  w.session.sign = noon;
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Life, AfterAProvenEndIsAContradiction) {
  World w;
  w.completed_stop(seconds(90));
  w.session.sign = ago(seconds(90) - tick);
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "completion_proven");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.blocked_by, Blocked::contradiction);
  EXPECT_EQ(v.due, noon + seconds(30) + tick);
  EXPECT_TRUE(w.stuck());
  w.session.sign = ago(seconds(90));  // until it ended it lived
  EXPECT_EQ(w.verdict().action, Action::finalize);
  EXPECT_EQ(w.verdict().quiet_since, ago(seconds(90)));
}

TEST(Life, AContradictionLastsUpToTheCeiling) {
  World w;
  w.completed_stop(minutes(30) - tick);
  w.commands->newest_stop->created = ago(minutes(40));
  w.session.sign = noon;
  EXPECT_EQ(w.verdict().blocked_by, Blocked::contradiction);
  w.commands->newest_stop->completed = ago(minutes(30));
  EXPECT_EQ(w.verdict().action, Action::finalize);
  EXPECT_EQ(w.verdict().quiet_since, std::nullopt);
}

TEST(Life, OfASessionThatWokeUpIsNoContradiction) {
  World w;
  w.in(on_its_way("waking", "wake_session", "running"));
  w.other("wake_session", ago(minutes(20))).completed = ago(minutes(10));
  w.session.sign = noon;
  EXPECT_EQ(w.verdict().action, Action::finalize);
  EXPECT_EQ(w.verdict().quiet_since, std::nullopt);
}

TEST(Life, NothingIsInferredOfANewRuntime) {
  World w = orphan();
  w.session.runtime = "pod-2";
  w.episode.first_seen = ago(seconds(120) - tick);
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.blocked_by, Blocked::replacement_grace);
  EXPECT_EQ(v.due, noon + tick);
  w.episode.first_seen = ago(seconds(120));
  EXPECT_EQ(w.verdict().action, Action::force);
  w.episode.first_seen = noon;
  w.session.runtime.reset();
  EXPECT_EQ(w.verdict().action, Action::force) << "no runtime, no replacement";
}
