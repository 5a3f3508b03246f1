// Agents that accept and never act.
#include <gtest/gtest.h>

#include "support/core_world.hpp"

using namespace core_world;

namespace {

World accepted(Duration since) {
  World w;
  w.episode.accepted_at = ago(since);
  return w;
}

}  // namespace

TEST(Suspect, AnAcceptedTryIsIgnoredOnceItsTimeIsOver) {
  EXPECT_FALSE(ignored_last_try(accepted(minutes(5) - tick).facts()));
  EXPECT_TRUE(ignored_last_try(accepted(minutes(5)).facts()));
  World w;
  EXPECT_FALSE(ignored_last_try(w.facts()));
}

TEST(Suspect, WhoIsNotThereIgnoresNothing) {
  World w = accepted(minutes(6));
  w.unknown();
  EXPECT_FALSE(ignored_last_try(w.facts()));
  w.gone(minutes(1), 2);
  EXPECT_FALSE(ignored_last_try(w.facts()));
}

TEST(Suspect, WhatAnotherIncarnationAcceptedIsNotIgnoredByThisOne) {
  World w = accepted(minutes(6));
  w.episode.incarnation = "first", w.evidence->last.incarnation = "second";
  EXPECT_FALSE(ignored_last_try(w.facts()));
}

TEST(Suspect, WhereNoCompletionCanBeSeenSilenceSaysNothing) {
  World w = accepted(minutes(6));
  w.policy->when_spent = WhenSpent::close_unconfirmed;
  EXPECT_FALSE(ignored_last_try(w.facts()));
}

TEST(Suspect, LooksKeepTheCountAndAnotherIncarnationStartsItOver) {
  Evidence record;
  record.last.at = ago(seconds(60)), record.last.presence = Presence::present, record.last.incarnation = "first";
  record.ignored = 4, record.suspect_since = ago(minutes(10));
  Observation seen = record.last;
  seen.at = noon;
  EXPECT_EQ(accumulate(record, seen, {}).ignored, 4);
  EXPECT_EQ(accumulate(record, seen, {}).suspect_since, record.suspect_since);
  seen.incarnation = "";
  EXPECT_EQ(accumulate(record, seen, {}).ignored, 4);
  seen.incarnation = "second";
  EXPECT_EQ(accumulate(record, seen, {}).ignored, 0);
  EXPECT_FALSE(accumulate(record, seen, {}).suspect_since);
}

TEST(Suspect, ItIsThereAndExplainSaysWhatItDoes) {
  World w;
  w.evidence->ignored = 3, w.evidence->suspect_since = ago(minutes(2));
  EXPECT_EQ(w.verdict().rule, "retry_due");
  std::vector<TraceStep> trace;
  judge(w.facts(), &trace);
  bool said = false;
  for (const TraceStep& step : trace) said |= step.detail.find("suspect since 2025-12-05 11:58:00 UTC: it accepted 3 commands and ended none of them") != std::string::npos;
  EXPECT_TRUE(said);
}
