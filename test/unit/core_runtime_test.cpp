// Sessions that are judged by what they run in, and several sources that speak of one runtime.
#include <gtest/gtest.h>

#include "core/sources.hpp"
#include "support/core_world.hpp"

using namespace core_world;

namespace {

Policy suspended() {
  Policy policy = running();
  policy.state = "suspended";
  policy.gone_after = minutes(10);
  policy.becomes = "gone";
  policy.judged_by = JudgedBy::runtime;
  return policy;
}

struct Suspended : World {
  Suspended() {
    in(suspended());
    session.runtime = "pod-1";
    agent_mapped = false, session.agent.reset(), evidence.reset();
  }
  void runtime(Presence presence, Duration since = seconds(5)) {
    record.emplace();
    record->last.presence = presence, record->last.at = now - since, record->last.source = "kube";
  }
  void runtime_gone(Duration time, int looks, Duration since = seconds(0)) {
    runtime(Presence::gone, since);
    record->gone_time = time, record->gone_observations = looks, record->last_gone_counted = record->last.at;
  }
};

}  // namespace

TEST(Runtime, GoneNeedsItsFullTime) {
  Suspended w;
  w.runtime_gone(minutes(10) - tick, 5);
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "runtime_gone_waiting");
  EXPECT_EQ(v.next_action, Action::force);
  EXPECT_EQ(v.due, noon + tick);
  w.runtime_gone(minutes(10), 5);
  v = w.verdict();
  EXPECT_EQ(v.rule, "runtime_gone");
  EXPECT_EQ(v.action, Action::force);
  EXPECT_EQ(v.reason, "runtime_gone");
  EXPECT_EQ(v.becomes, "gone");
  EXPECT_EQ(v.owes, Owed::nothing);
}

TEST(Runtime, GoneNeedsTwoLooks) {
  Suspended w;
  w.runtime_gone(minutes(10), 1);
  EXPECT_EQ(w.verdict().rule, "runtime_gone_waiting");
  EXPECT_EQ(w.verdict().blocked_by, Blocked::second_observation);
  EXPECT_EQ(w.verdict().due, noon + seconds(10));
  w.runtime_gone(minutes(10), 2);
  EXPECT_EQ(w.verdict().action, Action::force);
}

TEST(Runtime, ItsAgentDoesNotMatter) {
  Suspended w;
  w.agent_mapped = true, w.session.agent = "k8s-1";
  w.runtime(Presence::present);
  w.gone(hours(9), 99);
  EXPECT_EQ(w.verdict().rule, "runtime_present");
  EXPECT_FALSE(w.stuck());
  w.present();
  w.runtime_gone(minutes(10), 2);
  EXPECT_EQ(w.verdict().rule, "runtime_gone");
  w.session.agent.reset(), w.evidence.reset();
  EXPECT_EQ(w.verdict().rule, "runtime_gone");
}

TEST(Runtime, UnknownChangesNothing) {
  Suspended w;
  EXPECT_EQ(w.verdict().rule, "runtime_unknown") << "nobody has said anything";
  EXPECT_EQ(w.verdict().blocked_by, Blocked::hub_unknown);
  w.runtime(Presence::unknown);
  EXPECT_EQ(w.verdict().rule, "runtime_unknown");
  w.record->last.unauthorized = true;
  EXPECT_EQ(w.verdict().blocked_by, Blocked::hub_auth);
  w.runtime_gone(hours(2), 99, seconds(120));
  EXPECT_EQ(w.verdict().action, Action::force);
  w.runtime_gone(hours(2), 99, seconds(120) + tick);
  EXPECT_EQ(w.verdict().rule, "runtime_unknown") << "too old";
  EXPECT_FALSE(w.stuck());
}

TEST(Runtime, PushedEvidenceAgesByItsOwnLimit) {
  Suspended w;
  w.runtime_gone(hours(2), 99, minutes(6));
  w.record->max_age = minutes(6);
  EXPECT_EQ(w.verdict().action, Action::force);
  w.now += tick;
  EXPECT_EQ(w.verdict().rule, "runtime_unknown");
}

TEST(Runtime, WhatIsPushedIsNotWaitedFor) {
  Suspended w;
  w.runtime_gone(minutes(9), 9, seconds(70));
  EXPECT_EQ(w.verdict().due, noon) << "overdue: look now";
  w.record->last.stated = noon;
  EXPECT_FALSE(w.verdict().due) << "its source comes when it comes";
}

TEST(Runtime, WithoutOneItIsShownAndNeverClosed) {
  for (const std::optional<std::string>& none : {std::optional<std::string>(), std::optional<std::string>("")}) {
    Suspended w;
    w.session.runtime = none;
    const Verdict v = w.verdict();
    EXPECT_EQ(v.rule, "runtime_unknown");
    EXPECT_EQ(v.next_action, Action::wait);
    EXPECT_TRUE(w.stuck());
  }
}

TEST(Runtime, TwoSessionsWithOneAreNeverWritten) {
  Suspended w;
  w.runtime_gone(hours(2), 99);
  w.shared = true;
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "runtime_shared");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.blocked_by, Blocked::contradiction);
  EXPECT_TRUE(w.stuck());
  w.runtime(Presence::present);
  EXPECT_EQ(w.verdict().rule, "runtime_present");
}

TEST(Runtime, ARuntimeThatIsNewIsNotInferredDead) {
  Suspended w;
  w.runtime_gone(hours(2), 99);
  w.episode.first_seen = ago(seconds(120) - tick);
  EXPECT_EQ(w.verdict().blocked_by, Blocked::replacement_grace);
  w.episode.first_seen = ago(seconds(120));
  EXPECT_EQ(w.verdict().action, Action::force);
}

TEST(Runtime, ASignOfLifeSpeaksUpToTheCeiling) {
  Suspended w;
  w.session.sign = ago(seconds(119));
  w.runtime_gone(minutes(30) - tick, 9);
  EXPECT_EQ(w.verdict().blocked_by, Blocked::sign_of_life);
  w.runtime_gone(minutes(30), 9);
  EXPECT_EQ(w.verdict().action, Action::force);
  w.runtime_gone(minutes(10), 9);
  w.session.sign = ago(seconds(120));
  EXPECT_EQ(w.verdict().action, Action::force);
}

TEST(Runtime, WithoutInferenceItIsShown) {
  Suspended w;
  w.policy->infers = false;
  w.runtime_gone(hours(2), 99);
  EXPECT_EQ(w.verdict().action, Action::wait);
  EXPECT_EQ(w.verdict().next_action, Action::wait);
  EXPECT_TRUE(w.stuck());
}

TEST(Runtime, WhereTheRowAloneJudgesNobodyIsAsked) {
  Suspended w;
  w.policy->judged_by = JudgedBy::row;
  w.runtime_gone(hours(2), 99);
  w.agent_mapped = true;
  EXPECT_EQ(w.verdict().rule, "row_alone");
  EXPECT_FALSE(w.stuck());
}

TEST(Runtime, TheTraceSaysWhichRulesAreNotForIt) {
  Suspended w;
  std::vector<TraceStep> trace;
  judge(w.facts(), &trace);
  std::string detail;
  for (const TraceStep& step : trace)
    if (step.rule == "agent_gone") detail = step.detail;
  EXPECT_NE(detail.find("judged by its runtime"), std::string::npos) << detail;
}

// ---- several sources ----

namespace {

Evidence said(const char* source, Presence presence, const char* backend = "", Duration since = seconds(5), Duration gone = minutes(10), int looks = 2) {
  Evidence e;
  e.last.source = source, e.last.presence = presence, e.last.at = noon - since, e.backend = backend;
  if (presence == Presence::gone) e.gone_time = gone, e.gone_observations = looks;
  if (presence == Presence::present) e.last_present = e.last.at;
  return e;
}

std::optional<Evidence> together(const std::vector<Evidence>& all, const Backends& backends = {}) { return combine(all, backends, noon, EvidenceLimits()); }
Presence worth(const std::vector<Evidence>& all, const Backends& backends = {}) { return current(*together(all, backends), noon, EvidenceLimits()); }

const Backends both{{"pod", "sandbox"}, true}, pod{{"pod"}, true};

}  // namespace

TEST(Sources, NobodySaidAnything) { EXPECT_FALSE(together({})); }

TEST(Sources, WhoSeesItIsBelieved) {
  EXPECT_EQ(worth({said("a", Presence::gone, "", seconds(5), hours(9), 99), said("b", Presence::present)}), Presence::present);
  EXPECT_EQ(worth({said("a", Presence::gone), said("b", Presence::unknown)}), Presence::gone);
}

TEST(Sources, WhoSawItLastAndFellSilentIsHeardForAWhile) {
  const auto gone = said("a", Presence::gone, "", seconds(5), hours(9), 99);
  EXPECT_EQ(worth({gone, said("b", Presence::present, "", minutes(30) - tick)}), Presence::unknown);
  EXPECT_EQ(worth({gone, said("b", Presence::present, "", minutes(30))}), Presence::gone);
  Evidence down = said("hub", Presence::unknown);
  down.last_present = ago(minutes(5));
  EXPECT_EQ(worth({gone, down}), Presence::unknown);
  down.gone_observations = 1;
  EXPECT_EQ(worth({gone, down}), Presence::gone) << "it had called it gone before it fell silent";
}

TEST(Sources, EveryBackendThatItMayBeInHasToSaySo) {
  EXPECT_EQ(worth({said("p", Presence::gone, "pod")}, both), Presence::unknown);
  EXPECT_NE(together({said("p", Presence::gone, "pod")}, both)->last.detail.find("\"sandbox\""), std::string::npos);
  EXPECT_EQ(worth({said("p", Presence::gone, "pod"), said("s", Presence::gone, "sandbox")}, both), Presence::gone);
  EXPECT_EQ(worth({said("p", Presence::gone, "pod"), said("s", Presence::present, "sandbox")}, both), Presence::present);
  EXPECT_EQ(worth({said("p", Presence::gone, "pod"), said("s", Presence::gone, "sandbox", minutes(3))}, both), Presence::unknown) << "that is too old";
  EXPECT_EQ(worth({said("p", Presence::gone)}, both), Presence::unknown) << "of which backend?";
  EXPECT_EQ(worth({said("hub", Presence::gone)}, both), Presence::gone) << "asked about the session itself";
}

TEST(Sources, OfAnotherBackendNobodysWordCounts) {
  EXPECT_EQ(worth({said("p", Presence::gone, "pod"), said("s", Presence::present, "sandbox")}, pod), Presence::gone);
  EXPECT_FALSE(together({said("s", Presence::gone, "sandbox")}, pod));
  EXPECT_EQ(worth({said("p", Presence::gone)}, Backends{{"pod"}, false}), Presence::gone) << "there is one backend only";
}

TEST(Sources, TheWeakestWordCountsForTheTime) {
  const auto all = together({said("p", Presence::gone, "pod", seconds(5), minutes(9), 7), said("q", Presence::gone, "pod", seconds(5), minutes(30), 7),
                             said("s", Presence::gone, "sandbox", seconds(5), minutes(12), 7)}, both);
  EXPECT_EQ(all->gone_time, minutes(12)) << "pod for 30 minutes, sandbox for 12";
  EXPECT_EQ(together({said("p", Presence::gone, "pod", seconds(5), hours(2), 1), said("s", Presence::gone, "sandbox", seconds(5), minutes(12), 7)}, both)->gone_observations, 1);
}

// ---- one word after the other ----

TEST(Heard, OnlyWhatIsNewerThanTheLastWordOfThatSource) {
  Observation word;
  word.presence = Presence::gone, word.at = ago(minutes(5)), word.stated = ago(hours(1)), word.source = "kube";
  auto record = heard({}, word, minutes(20), EvidenceLimits());
  ASSERT_TRUE(record);
  EXPECT_EQ(record->max_age, minutes(20));
  word.at = noon;
  EXPECT_FALSE(heard(record, word, minutes(20), EvidenceLimits())) << "the same again";
  word.stated = ago(hours(1)) + tick;
  const auto next = heard(record, word, minutes(20), EvidenceLimits());
  ASSERT_TRUE(next);
  EXPECT_EQ(next->gone_time, minutes(5)) << "from receipt to receipt";
  EXPECT_EQ(next->gone_observations, 2);
  word.source = "other", word.stated = ago(hours(2));
  EXPECT_TRUE(heard(record, word, minutes(20), EvidenceLimits())) << "the clock of another";
}

TEST(Heard, ItsSourceIsExpectedTwiceWithinItsLimit) {
  Observation word;
  word.presence = Presence::gone, word.at = ago(minutes(31)), word.stated = ago(minutes(31)), word.source = "kube";
  const auto record = heard({}, word, minutes(20), EvidenceLimits());
  word.at = word.stated.emplace(ago(minutes(1)));
  EXPECT_EQ(heard(record, word, minutes(20), EvidenceLimits())->gone_time, minutes(0)) << "further apart than the limit and the hub's grace";
  word.at = word.stated.emplace(ago(minutes(10)));
  EXPECT_EQ(heard(record, word, minutes(20), EvidenceLimits())->gone_time, minutes(21));
}
