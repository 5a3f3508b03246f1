// What is left behind in a cluster: every rule on both sides of its thresholds, and that what is for keeping comes first.
#include "core/leftover.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace reconciler {
namespace {

constexpr Time noon = from_unix_micros(1'764'936'000'000'000);
constexpr Duration tick(1);
Time ago(Duration span) { return plus(noon, -span); }
bool contains(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

// A deployment of a session that ended an hour ago: to be removed.
LeftoverFacts orphan() {
  LeftoverFacts f;
  f.control_plane = f.our_control_plane = "cp";
  f.created = ago(hours(5));
  f.session = "s1", f.says_so = true;
  f.row = true, f.ended = true, f.state = "terminated", f.ended_at = ago(hours(1));
  f.now = noon;
  return f;
}

// The same without a row, found absent ten minutes ago.
LeftoverFacts unknown() {
  LeftoverFacts f = orphan();
  f.row = f.ended = false, f.state.clear(), f.ended_at.reset();
  f.absent_looks = 1, f.absent_counted = ago(minutes(10));
  return f;
}

void expect(const LeftoverFacts& f, std::string_view rule, Keeping verdict) {
  const LeftoverVerdict v = judge_leftover(f);
  EXPECT_EQ(v.rule, rule) << v.text;
  EXPECT_EQ(v.verdict, verdict) << v.text;
  EXPECT_FALSE(v.text.empty());
}

TEST(Leftover, TheTableInOrder) {
  std::vector<std::string_view> names;
  for (const RuleName& rule : leftover_rule_names()) {
    names.push_back(rule.name);
    EXPECT_FALSE(rule.title.empty());
  }
  EXPECT_EQ(names, (std::vector<std::string_view>{"not_ours", "referenced", "opted_out", "in_deletion", "too_young", "controlled", "session_alive", "unlabelled", "volume",
                                                  "session_closed", "session_unknown"}));
}

TEST(Leftover, OfAnotherControlPlaneOrOfNone) {
  LeftoverFacts f = orphan();
  expect(f, "session_closed", Keeping::remove);
  f.control_plane = "another";
  expect(f, "not_ours", Keeping::keep);
  f.label_required = false;
  expect(f, "not_ours", Keeping::keep);
  f.control_plane.reset();
  expect(f, "session_closed", Keeping::remove);
  f.label_required = true;
  expect(f, "not_ours", Keeping::keep);
}

TEST(Leftover, WithoutTheControlPlanesLabelOnlyWhatSaysWhoseItIsAndHasARow) {
  LeftoverFacts f = unknown();
  f.label_required = false, f.control_plane.reset();
  expect(f, "unlabelled", Keeping::keep);
  f = orphan();
  f.label_required = false, f.control_plane.reset();
  f.says_so = false, f.ownership_by_label = false;
  expect(f, "unlabelled", Keeping::keep);
}

TEST(Leftover, WhatARowHasIsKept) {
  LeftoverFacts f = orphan();
  f.referenced_by = "public.session_warm_sandboxes.sandbox_id";
  expect(f, "referenced", Keeping::keep);
  EXPECT_TRUE(contains(judge_leftover(f).text, f.referenced_by));
}

TEST(Leftover, AnAnnotationKeepsIt) {
  LeftoverFacts f = orphan();
  f.opted_out = true;
  expect(f, "opted_out", Keeping::keep);
}

TEST(Leftover, AnEndThatHangsShowsItsFinalizers) {
  LeftoverFacts f = orphan();
  f.finalizers = "example.com/backup";
  f.deleted = ago(minutes(30));
  expect(f, "in_deletion", Keeping::keep);
  EXPECT_FALSE(contains(judge_leftover(f).text, "backup"));
  f.deleted = ago(minutes(30) + tick);
  expect(f, "in_deletion", Keeping::keep);
  EXPECT_TRUE(contains(judge_leftover(f).text, "example.com/backup"));
}

TEST(Leftover, TheYoungAreLeftAlone) {
  LeftoverFacts f = orphan();
  f.created = ago(hours(1) - tick);
  expect(f, "too_young", Keeping::keep);
  f.created = ago(hours(1));
  expect(f, "session_closed", Keeping::remove);
  f.warm = true;
  expect(f, "too_young", Keeping::keep);
  f.created = ago(hours(2) - tick);
  expect(f, "too_young", Keeping::keep);
  f.created = ago(hours(2));
  expect(f, "session_closed", Keeping::remove);
  f.created = noon + hours(9);
  expect(f, "too_young", Keeping::keep);
  f.created.reset();
  expect(f, "too_young", Keeping::keep);
}

TEST(Leftover, OnlyRoots) {
  LeftoverFacts f = orphan();
  f.controller = "ReplicaSet s1-5d4f";
  expect(f, "controlled", Keeping::keep);
}

TEST(Leftover, ASessionThatHasNotEndedKeepsWhatItHas) {
  LeftoverFacts f = orphan();
  f.ended = false, f.state = "hibernated";
  expect(f, "session_alive", Keeping::keep);
  f = orphan();
  f.spared = "held by ann";
  expect(f, "session_alive", Keeping::keep);
  EXPECT_TRUE(contains(judge_leftover(f).text, "ann"));
}

TEST(Leftover, WithoutASessionsLabelItIsNobodysUnlessRowsAloneDecide) {
  LeftoverFacts f = unknown();
  f.session.clear(), f.says_so = false;
  expect(f, "unlabelled", Keeping::keep);
  f.ownership_by_label = false;
  expect(f, "session_unknown", Keeping::remove);
}

TEST(Leftover, VolumesStayUnlessSaid) {
  LeftoverFacts f = orphan();
  f.volume = true;
  expect(f, "volume", Keeping::keep);
  f.volumes_after = hours(1) + tick;
  expect(f, "volume", Keeping::wait);
  EXPECT_EQ(judge_leftover(f).due, noon + tick);
  f.volumes_after = hours(1);
  expect(f, "session_closed", Keeping::remove);
  f.ended_at.reset();
  expect(f, "volume", Keeping::wait);
  f = unknown();
  f.volume = true, f.volumes_after = Duration(0);
  expect(f, "volume", Keeping::keep);
}

TEST(Leftover, AfterTheEndOfItsSessionAGrace) {
  LeftoverFacts f = orphan();
  f.ended_at = ago(minutes(15) - tick);
  expect(f, "session_closed", Keeping::wait);
  EXPECT_EQ(judge_leftover(f).due, noon + tick);
  f.ended_at = ago(minutes(15));
  expect(f, "session_closed", Keeping::remove);
  f.ended_at = noon + hours(3);
  expect(f, "session_closed", Keeping::wait);
  f.ended_at.reset();
  expect(f, "session_closed", Keeping::wait);
}

TEST(Leftover, WithoutARowTwoCompleteCollectionsTenMinutesApart) {
  LeftoverFacts f = unknown();
  expect(f, "session_unknown", Keeping::remove);
  f.absent_counted = ago(minutes(10) - tick);
  expect(f, "session_unknown", Keeping::wait);
  EXPECT_EQ(judge_leftover(f).due, noon + tick);
  f.absent_looks = 0, f.absent_counted.reset();
  expect(f, "session_unknown", Keeping::wait);
  EXPECT_EQ(judge_leftover(f).due, noon + minutes(10));
  f.absent_looks = 2, f.absent_counted = noon;
  expect(f, "session_unknown", Keeping::remove);
}

TEST(Leftover, AnAbsenceProvesNothingInADatabaseThatWasRestored) {
  LeftoverFacts f = unknown();
  f.absent_looks = 9, f.absence_counts = false;
  expect(f, "session_unknown", Keeping::wait);
  EXPECT_FALSE(judge_leftover(f).due);
  f = orphan();
  f.absence_counts = false;
  expect(f, "session_closed", Keeping::remove);
}

TEST(Leftover, ATraceHasEveryRule) {
  LeftoverFacts f = orphan();
  f.opted_out = true;
  std::vector<TraceStep> trace;
  judge_leftover(f, &trace);
  ASSERT_EQ(trace.size(), leftover_rule_names().size());
  EXPECT_EQ(std::count_if(trace.begin(), trace.end(), [](const TraceStep& step) { return step.matched; }), 1);
  for (const TraceStep& step : trace) EXPECT_FALSE(step.detail.empty()) << step.rule;
}

TEST(Leftover, TwentyOrATenthOfOurs) {
  EXPECT_EQ(removal_budget(0), 20);
  EXPECT_EQ(removal_budget(209), 20);
  EXPECT_EQ(removal_budget(210), 21);
  EXPECT_EQ(removal_budget(2000), 200);
}

// Whatever the facts are: one thing that speaks for keeping is enough.
TEST(Leftover, OneReasonToKeepIsEnough) {
  const auto keeps = [](auto change) {
    for (LeftoverFacts f : {orphan(), unknown()}) {
      change(f);
      EXPECT_NE(judge_leftover(f).verdict, Keeping::remove) << judge_leftover(f).rule;
    }
  };
  keeps([](LeftoverFacts& f) { f.control_plane = "another"; });
  keeps([](LeftoverFacts& f) { f.control_plane.reset(); });
  keeps([](LeftoverFacts& f) { f.referenced_by = "a row"; });
  keeps([](LeftoverFacts& f) { f.opted_out = true; });
  keeps([](LeftoverFacts& f) { f.deleted = ago(hours(9)); });
  keeps([](LeftoverFacts& f) { f.created = noon; });
  keeps([](LeftoverFacts& f) { f.controller = "Sandbox s1"; });
  keeps([](LeftoverFacts& f) { f.volume = true; });
}

}  // namespace
}  // namespace reconciler
