// The verdict table: the order in which rules are asked, the rules that need no evidence, what counts as stuck,
// traces, and what holds whatever the facts are. The other rules: core_completion, core_orphan, core_retry.
#include "core/verdict.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "support/core_world.hpp"

using namespace core_world;

namespace {

bool contains(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

}  // namespace

TEST(Verdict, TheTableInOrder) {
  std::vector<std::string_view> names;
  for (const RuleName& rule : rule_names()) {
    names.push_back(rule.name);
    EXPECT_FALSE(rule.title.empty()) << rule.name;
  }
  EXPECT_EQ(names, (std::vector<std::string_view>{"late_agent", "terminal", "held", "completion_proven", "agent_replaced", "planned_move", "policy_off", "fresh", "sibling_due",
                                                  "runtime_shared", "runtime_gone", "runtime_gone_waiting", "runtime_unknown", "runtime_present", "row_alone", "no_agent", "agent_gone",
                                                  "agent_gone_waiting", "start_acknowledged", "command_open", "agent_unknown", "tries_spent", "retry_due", "other_incarnation", "alive"}));
}

// The seed: terminating for more than 5 minutes.
TEST(Verdict, TheSeedRule) {
  World w;
  w.episode.entered = ago(minutes(6));
  EXPECT_EQ(w.verdict().action, Action::retry);
  w.gone(minutes(6), 7);
  EXPECT_EQ(w.verdict().action, Action::wait);
  w.gone(minutes(10), 11);
  const Verdict v = w.verdict();
  EXPECT_EQ(v.action, Action::force);
  EXPECT_EQ(v.becomes, "terminated");
  EXPECT_EQ(v.reason, "agent_unavailable");
}

// ---- terminal, held, policy_off ----

TEST(Verdict, TerminalIsLeftAlone) {
  World w;
  w.terminal = true;
  w.hold = Hold{noon + hours(1), "", ""};
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "terminal");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.blocked_by, Blocked::none);
  EXPECT_FALSE(v.due);
}

TEST(Verdict, AHoldLastsUntilItsEnd) {
  World w;
  w.hold = Hold{noon + tick, "looking at it", "ann"};
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "held");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.blocked_by, Blocked::hold);
  EXPECT_EQ(v.due, noon + tick);
  EXPECT_TRUE(contains(v.text, "ann") && contains(v.text, "looking at it"));
  w.hold->until = noon;
  EXPECT_EQ(w.verdict().rule, "retry_due");
  w.hold->until = Time::max();
  EXPECT_EQ(w.verdict().rule, "held") << "until infinity";
}

TEST(Verdict, WithoutAPolicyNothingIsDone) {
  World w;
  w.policy.reset();
  EXPECT_EQ(w.verdict().rule, "policy_off");
  EXPECT_EQ(w.verdict().action, Action::wait);
  w.policy = terminating();
  w.policy->enabled = false;
  EXPECT_EQ(w.verdict().rule, "policy_off");
}

// ---- fresh ----

TEST(Verdict, FreshUntilStuckAfter) {
  World w;
  w.episode.entered = ago(minutes(5) - tick);
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "fresh");
  EXPECT_EQ(v.due, noon + tick);
  EXPECT_EQ(v.next_action, Action::retry);
  EXPECT_EQ(v.blocked_by, Blocked::none);
  w.episode.entered = ago(minutes(5));
  EXPECT_EQ(w.verdict().rule, "retry_due");
}

TEST(Verdict, AFutureEntryCountsAsNow) {
  World w;
  w.episode.entered = noon + hours(7);
  EXPECT_EQ(w.verdict().rule, "fresh");
  EXPECT_EQ(w.verdict().due, noon + minutes(5));
  w.episode.entered = Time::min();
  EXPECT_EQ(w.verdict().rule, "retry_due");
}

TEST(Verdict, FreshSaysWhatIsLikelyNext) {
  World w;
  w.episode.entered = noon;
  w.gone(seconds(0), 1);
  EXPECT_EQ(w.verdict().next_action, Action::force);
  w.session.agent.reset();
  EXPECT_EQ(w.verdict().next_action, Action::force);
  w.policy->no_agent = NoAgent::show;
  EXPECT_EQ(w.verdict().next_action, Action::wait);
  w.session.agent = "k8s-1";
  w.present();
  w.policy->retry_action.clear();
  EXPECT_EQ(w.verdict().next_action, Action::wait);
}

TEST(Verdict, WithoutAThresholdNothingIsFresh) {
  World w;
  w.policy->stuck_after.reset();
  w.episode.entered = noon;
  EXPECT_EQ(w.verdict().rule, "retry_due");
}

TEST(Verdict, AnOperatorsRetryDoesNotWaitForTheThreshold) {
  World w;
  w.episode.entered = noon;
  w.episode.retry_requested = ago(seconds(1));
  EXPECT_EQ(w.verdict().action, Action::retry);
  w.episode.last_attempt = ago(seconds(1));
  EXPECT_EQ(w.verdict().rule, "fresh") << "that try was made";
}

// ---- stuck ----

TEST(Stuck, PastItsThreshold) {
  World w;
  w.episode.entered = ago(minutes(5) - tick);
  EXPECT_FALSE(w.stuck());
  w.hold = Hold{noon + hours(1), "", ""};
  EXPECT_FALSE(w.stuck()) << "held and fresh";
  w.episode.entered = ago(minutes(5));
  EXPECT_TRUE(w.stuck()) << "held and late";
  w.hold.reset();
  EXPECT_TRUE(w.stuck());
  w.unknown();
  EXPECT_TRUE(w.stuck());
}

TEST(Stuck, WhereThePolicyIsOffToo) {
  World w;
  w.policy->enabled = false;
  EXPECT_TRUE(w.stuck());
  w.episode.entered = ago(minutes(5) - tick);
  EXPECT_FALSE(w.stuck());
  w.policy.reset();
  w.episode.entered = ago(hours(9));
  EXPECT_FALSE(w.stuck()) << "no policy: nothing says what is late";
}

TEST(Stuck, QuarantinedAlways) {
  World w;
  w.episode.entered = noon;
  w.episode.quarantined = noon;
  EXPECT_TRUE(w.stuck());
  w.policy.reset();
  EXPECT_TRUE(w.stuck());
}

TEST(Stuck, ContradictedByEvidenceHoweverFresh) {
  World w;
  w.episode.entered = noon;
  w.completed_stop(seconds(1));
  EXPECT_EQ(w.verdict().action, Action::wait) << "it rests";
  EXPECT_TRUE(w.stuck());
  w.policy.reset();
  EXPECT_TRUE(w.stuck());
}

TEST(Stuck, StatesWithoutAThresholdByEvidenceOnly) {
  World w;
  w.policy = running();
  EXPECT_FALSE(w.stuck());
  w.unknown();
  EXPECT_FALSE(w.stuck());
  w.gone(seconds(0), 1);
  EXPECT_TRUE(w.stuck());
  w.policy->enabled = false;
  EXPECT_TRUE(w.stuck());
  w.session.agent.reset();
  w.evidence.reset();
  EXPECT_TRUE(w.stuck()) << "no agent where one is mapped";
  w.agent_mapped = false;
  EXPECT_FALSE(w.stuck());
}

TEST(Stuck, WhatIsDoneNow) {
  World w;
  w.episode.entered = noon;
  w.episode.retry_requested = noon;
  EXPECT_TRUE(w.stuck());
}

// ---- order ----

namespace {

// Makes one rule match, keeping what makes the later ones match.
struct Case {
  std::string_view rule;
  std::function<void(World&)> arrange;
};

// From the last rule to the first: each change must take over from all before it.
const std::vector<Case> layers{
    {"retry_due", [](World&) {}},
    {"tries_spent", [](World& w) { w.episode.attempts = 8; }},
    {"agent_unknown", [](World& w) { w.unknown(); }},
    {"command_open", [](World& w) { w.episode.accepted_at = ago(seconds(10)); }},
    {"start_acknowledged", [](World& w) {
       w.policy->awaits = "start_session";
       w.other("start_session", ago(minutes(40))).acknowledged = ago(minutes(1));
       w.present();
     }},
    {"agent_gone_waiting", [](World& w) { w.gone(minutes(1), 2); }},
    {"agent_gone", [](World& w) { w.gone(minutes(11), 2); }},
    {"no_agent", [](World& w) { w.session.agent.reset(); }},
    {"row_alone", [](World& w) { w.policy->judged_by = JudgedBy::row; }},
    {"runtime_present", [](World& w) {
       w.policy->judged_by = JudgedBy::runtime, w.session.runtime = "pod-1";
       w.record = w.evidence.value_or(Evidence());
       w.record->last.presence = Presence::present, w.record->last.at = noon;
     }},
    {"runtime_unknown", [](World& w) { w.record->last.presence = Presence::unknown; }},
    {"runtime_gone_waiting", [](World& w) { w.record->last.presence = Presence::gone, w.record->gone_time = minutes(1); }},
    {"runtime_gone", [](World& w) { w.record->gone_time = minutes(11), w.record->gone_observations = 2; }},
    {"runtime_shared", [](World& w) { w.shared = true; }},
    {"sibling_due", [](World& w) { w.in_pool("k8s-2"); }},
    {"fresh", [](World& w) { w.episode.entered = ago(seconds(1)); }},
    {"policy_off", [](World& w) { w.policy->enabled = false; }},
    {"planned_move", [](World& w) {
       w.in(running());
       w.session.agent = "k8s-1", w.present();
       w.planned = PlannedMove{"k8s-3", "ann"};
     }},
    {"agent_replaced", [](World& w) {
       w.in(running());
       w.session.agent = "k8s-1", w.gone(minutes(11), 2);
     }},
    {"completion_proven", [](World& w) { w.completed_stop(); }},
    {"held", [](World& w) { w.hold = Hold{noon + hours(1), "", ""}; }},
    {"terminal", [](World& w) { w.terminal = true; }},
    {"late_agent", [](World& w) { w.hold.reset(), w.episode.owed = Owed::stop; }},
};

}  // namespace

TEST(Order, EachRuleTakesOverFromThoseBehindIt) {
  World w;
  for (const Case& layer : layers) {
    layer.arrange(w);
    EXPECT_EQ(w.verdict().rule, layer.rule);
  }
}

TEST(Order, CoversTheWholeTable) {
  std::vector<std::string_view> reversed{"alive", "other_incarnation"};
  for (const Case& layer : layers) reversed.push_back(layer.rule);
  std::reverse(reversed.begin(), reversed.end());
  std::vector<std::string_view> table;
  for (const RuleName& rule : rule_names()) table.push_back(rule.name);
  EXPECT_EQ(table, reversed);
}

// ---- traces ----

TEST(Trace, ListsEveryRuleInOrderAndOneThatDecides) {
  World w;
  for (const Case& layer : layers) {
    layer.arrange(w);
    std::vector<TraceStep> trace;
    const Verdict v = judge(w.facts(), &trace);
    ASSERT_EQ(trace.size(), rule_names().size());
    int deciding = 0;
    for (std::size_t i = 0; i < trace.size(); ++i) {
      EXPECT_EQ(trace[i].rule, rule_names()[i].name);
      EXPECT_FALSE(trace[i].detail.empty()) << trace[i].rule << " when " << layer.rule;
      deciding += trace[i].matched;
      EXPECT_EQ(trace[i].matched, trace[i].rule == v.rule);
    }
    EXPECT_EQ(deciding, 1);
    const Verdict quiet = judge(w.facts());
    EXPECT_EQ(quiet.rule, v.rule);
    EXPECT_EQ(quiet.action, v.action);
    EXPECT_EQ(quiet.text, v.text);
    EXPECT_EQ(quiet.due, v.due);
  }
}

TEST(Trace, WorksWithNothingKnown) {
  World w;
  w.policy.reset();
  w.evidence.reset();
  w.commands.reset();
  w.session.agent.reset();
  std::vector<TraceStep> trace;
  EXPECT_EQ(judge(w.facts(), &trace).rule, "policy_off");
  EXPECT_EQ(trace.size(), rule_names().size());
}

TEST(Trace, NamesSourceAndAge) {
  World w;
  w.gone(minutes(7) + seconds(12), 3, seconds(12));
  w.evidence->last.instance = "hub-a";
  w.evidence->last.incarnation = "i7";
  std::vector<TraceStep> trace;
  judge(w.facts(), &trace);
  const auto& step = *std::find_if(trace.begin(), trace.end(), [](const TraceStep& s) { return s.rule == "agent_gone_waiting"; });
  for (const char* part : {"k8s-1", "gone", "by hub", "hub-a", "i7", "00:00:12 ago", "00:07:12", "00:10:00 (policy"})
    EXPECT_TRUE(contains(step.detail, part)) << part << " in: " << step.detail;
}

TEST(Text, IsOneSentenceWithNumbers) {
  World w;
  w.gone(minutes(7) + seconds(12), 3);
  EXPECT_EQ(w.verdict().text, "agent \"k8s-1\" has been gone for 00:07:12 of 00:10:00 (3 looks)");
  w.present();
  w.episode.attempts = 2;
  EXPECT_EQ(w.verdict().text, "agent \"k8s-1\" is there; try 3 of 8 of stop_session is due");
}

// ---- properties ----

TEST(Property, WhateverTheFactsTheVerdictIsWhole) {
  std::mt19937 random(20251205);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const auto some_time = [&]() -> Time {
    static const Duration steps[] = {Duration(0), tick, seconds(10), seconds(59), minutes(5), minutes(10), hours(2), hours(9000)};
    if (pick(40) == 0) return pick(2) ? Time::max() : Time::min();
    const Duration step = steps[pick(8)];
    return pick(4) ? noon - step : noon + step;
  };
  const auto maybe = [&](int n = 2) -> std::optional<Time> { return pick(n) ? std::nullopt : std::optional(some_time()); };

  for (int i = 0; i < 100000; ++i) {
    World w;
    w.terminal = pick(20) == 0;
    w.agent_mapped = pick(10) != 0;
    w.hub_set = pick(4) != 0;
    if (pick(6) == 0) w.session.agent.reset();
    if (pick(5) == 0) w.policy = running();
    if (pick(12) == 0) w.policy.reset();
    if (w.policy) {
      w.policy->enabled = pick(8) != 0;
      w.policy->when_spent = pick(2) ? WhenSpent::quarantine : WhenSpent::close_unconfirmed;
      if (pick(20) == 0) w.policy->gone_after = Duration::max();
    }
    Episode& e = w.episode;
    e.first_seen = some_time(), e.entered = some_time();
    e.attempts = pick(10), e.accepted = pick(5);
    e.first_accepted = maybe(), e.accepted_at = maybe(3), e.lease_until = maybe(5), e.last_attempt = maybe(), e.next_attempt = maybe();
    e.unreachable_since = maybe(4), e.quarantined = maybe(6), e.completion_seen = maybe(4), e.session_gone = maybe(12), e.retry_requested = maybe(6);
    w.saw(static_cast<Presence>(pick(4)));
    w.evidence->last.at = some_time();
    w.evidence->gone_time = pick(2) ? minutes(pick(20)) : Duration(0);
    w.evidence->gone_observations = pick(4);
    w.evidence->last_gone_counted = maybe();
    if (pick(5) == 0) w.evidence.reset();
    if (pick(3) == 0) {
      Command& stop = w.stop(pick(2) ? "sent" : pick(2) ? "failed" : "completed");
      stop.created = maybe(), stop.sent = maybe(), stop.acknowledged = maybe(), stop.completed = maybe(4);
    }
    if (pick(6) == 0) w.other("start_session", some_time());
    if (pick(12) == 0) w.hold = Hold{some_time(), "r", "a"};

    std::vector<TraceStep> trace;
    const Verdict v = judge(w.facts(), &trace);
    const bool stuck = w.stuck();
    ASSERT_FALSE(v.rule.empty());
    ASSERT_FALSE(v.text.empty());
    ASSERT_EQ(trace.size(), rule_names().size());
    if (v.action == Action::force || v.action == Action::finalize) {
      ASSERT_FALSE(v.becomes.empty());
      ASSERT_FALSE(v.reason.empty());
    }
    if (v.action != Action::wait) {
      ASSERT_TRUE(stuck);
      ASSERT_EQ(v.blocked_by, Blocked::none);
      ASSERT_FALSE(w.terminal);
      ASSERT_TRUE(!w.hold || w.hold->until <= noon);
    } else if (v.due) {
      ASSERT_TRUE(*v.due >= noon || v.rule == "held") << v.rule;
    }
    // No force but by current evidence, by our own long sight of a session without an agent, or by a user's wish.
    if (v.action == Action::force) {
      ASSERT_TRUE(w.policy && w.policy->enabled);
      if (v.reason == "no_agent") {
        ASSERT_TRUE(w.agent_mapped && !w.session.agent && e.first_seen <= noon - w.policy->gone_after);
      } else if (v.reason == "stop_unconfirmed") {
        ASSERT_TRUE(w.policy->user_requested && e.accepted >= 3);
      } else {
        ASSERT_EQ(current(*w.evidence, noon, w.limits), Presence::gone);
        ASSERT_GE(w.evidence->gone_observations, 2);
        ASSERT_GE(w.evidence->gone_time, w.policy->gone_after);
      }
    }
    if (v.action == Action::retry) {
      ASSERT_EQ(current(*w.evidence, noon, w.limits), Presence::present);
    }
  }
}

TEST(Names, AreTheContracts) {
  EXPECT_STREQ(to_string(Action::quarantine), "quarantine");
  EXPECT_STREQ(to_string(Action::reassign), "reassign");
  EXPECT_STREQ(to_string(Blocked::second_observation), "second_observation");
  EXPECT_STREQ(to_string(Blocked::sign_of_life), "sign_of_life");
  EXPECT_STREQ(to_string(Blocked::replacement_grace), "replacement_grace");
  EXPECT_STREQ(to_string(Blocked::observe_mode), "observe_mode");
}
