// One pass against a world in memory: what it does, in which order, and what it leaves alone.
#include <gtest/gtest.h>

#include "support/fake_world.hpp"

namespace reconciler::test {
namespace {

struct PassTest : testing::Test {
  FakeStore store;
  FakeHub hub{store};
  FakeWaiter waiter{store};
  PassEnd run(bool ask_again = false) { return Pass(store, &hub, waiter).run(ask_again); }
};

TEST_F(PassTest, AFreshSessionAsksNobody) {
  store.add("s", "a", minutes(4));
  const PassEnd end = run();
  EXPECT_EQ(hub.looks, 0);
  EXPECT_EQ(end.next_due, store.clock + minutes(1));
}

TEST_F(PassTest, ARetryIsClaimedBeforeItIsSentAndRecordedAfter) {
  store.add("s", "a", minutes(6));
  hub.says["a"] = Presence::present;
  run();
  EXPECT_EQ(store.log, (std::vector<std::string>{"begin", "stuck 1", "claim 1", "send s", "record 1", "end"}));
  EXPECT_EQ(hub.sent, std::vector<std::string>{"key-s"});
}

TEST_F(PassTest, WhatIsNotClaimedIsNotSent) {
  store.add("s1", "a", minutes(6)), store.add("s2", "a", minutes(6));
  store.refuse_claims = {"s1"};
  hub.says["a"] = Presence::present;
  run();
  EXPECT_FALSE(store.logged("send s1"));
  EXPECT_TRUE(store.logged("send s2"));
}

TEST_F(PassTest, AnAgentGoneForLongEnoughClosesOnAUsersRequestWithoutTheBrake) {
  store.add("s", "a", minutes(30));
  store.gone("a", minutes(10));
  hub.says["a"] = Presence::gone;
  run();
  EXPECT_TRUE(store.logged("force asked 1"));
  EXPECT_EQ(store.brake_due, 0);
}

TEST_F(PassTest, WhereAgentsFetchOneThatMakesNoHeartbeatIsGoneByOurOwnLooks) {
  hub.the_profile = Profile("pull", R"({"pull": true})");
  hub.says["a"] = Presence::unknown;  // the registry answers, and knows no heartbeat
  const auto look = [&] { Observer(store, &hub).look({"a"}); return store.records["a"].last.presence; };
  EXPECT_EQ(look(), Presence::unknown);
  store.clock += store.bind.limits.heartbeat_fresh;
  EXPECT_EQ(look(), Presence::gone);
}

TEST_F(PassTest, AnUnknownAgentClosesNothing) {
  store.add("s", "a", minutes(30));
  store.gone("a", hours(5));
  const PassEnd end = run();
  EXPECT_EQ(store.closed, 0);
  EXPECT_EQ(end.next_due, store.clock + seconds(10) + Duration(100));  // asked again after observation_spacing
}

TEST_F(PassTest, UnknownAgentsOfManySessionsAreAskedAgainLater) {
  store.bind.batch_size = 10000;
  for (int n = 0; n < 5000; ++n) store.add("s" + std::to_string(n), "a", minutes(30));
  EXPECT_EQ(run().next_due, store.clock + milliseconds(10500));
  store.bind.limits.interval = milliseconds(10400);
  EXPECT_EQ(run().next_due, store.clock + store.bind.limits.interval);
}

TEST_F(PassTest, WithoutAHubNobodyIsAskedAgain) {
  store.add("s", "a", minutes(30));
  EXPECT_FALSE(Pass(store, nullptr, waiter).run(false).next_due);
}

TEST_F(PassTest, ALongPassLooksAgain) {
  store.add("s", "a", minutes(30));
  hub.says["a"] = Presence::gone;
  Observer observer(store, &hub);
  observer.look({"a"}), observer.look({"a"});
  EXPECT_EQ(hub.looks, 1);
  store.clock += store.bind.limits.interval;
  observer.look({"a"});
  EXPECT_EQ(hub.looks, 2);
}

TEST_F(PassTest, ANewHubInstanceStartsGoneTimeOverForEveryAgentHoweverLateItIsAsked) {
  store.bind.batch_size = 1;
  store.add("s1", "a", minutes(30)), store.add("s2", "b", minutes(30));
  store.gone("a", hours(1)), store.gone("b", hours(1));
  hub.says = {{"a", Presence::gone}, {"b", Presence::gone}};
  store.instance_since = store.clock;  // it answers for the first time now
  run();
  EXPECT_EQ(store.closed, 0);
  EXPECT_EQ(store.records["a"].gone_time, Duration(0));
  EXPECT_EQ(store.records["b"].gone_time, Duration(0));
}

TEST_F(PassTest, ACallAsksAgainInsideThePass) {
  store.add("s", "a", minutes(30));
  const PassEnd end = run(true);
  EXPECT_EQ(hub.looks, 2);
  EXPECT_EQ(waiter.waited, std::vector<Duration>{seconds(10)});
  EXPECT_EQ(end.scanned, 1);  // not twice
}

Policy running_policy() {
  Policy running;
  running.state = "running", running.stuck_after.reset(), running.gone_after = seconds(30), running.reason = "agent_disconnected";
  running.user_requested = false, running.no_agent = NoAgent::show, running.retry_action = "";
  return running;
}

TEST_F(PassTest, InferredForcesAreCountedBeforeTheFirstIsDone) {
  store.bind.policies = {running_policy()};
  store.bind.batch_size = 2;
  for (const char* key : {"s1", "s2", "s3"}) store.add(key, "a", hours(1), "running");
  store.gone("a", minutes(1));
  hub.says["a"] = Presence::gone;
  store.brake_lets = false;
  run();
  EXPECT_EQ(store.brake_due, 3);
  EXPECT_EQ(store.closed, 0);
  store.brake_lets = true;
  run();
  EXPECT_EQ(store.closed, 3);
}

TEST_F(PassTest, WhereTheBudgetIsSpentNobodyWaitsForThePace) {
  store.bind.policies = {running_policy()};
  store.tokens = store.per_second = 1;
  for (int n = 0; n < 100; ++n) store.add("s" + std::to_string(100 + n), "a", hours(1), "running");
  store.gone("a", minutes(1));
  hub.says["a"] = Presence::gone;
  store.budget_left = 3;
  run(true);
  EXPECT_EQ(store.closed, 3);
  EXPECT_LE(waiter.waited.size(), 4U) << "not a second for each that waits";
}

TEST_F(PassTest, WhatTheBrakeIsAboutIsCountedByStateReasonAndAgent) {
  store.bind.policies = {running_policy()};
  for (const char* key : {"s1", "s2", "s3"}) store.add(key, key == std::string("s3") ? "b" : "a", hours(1), "running");
  for (const char* agent : {"a", "b"}) store.gone(agent, minutes(1)), hub.says[agent] = Presence::gone;
  run();
  using Counts = std::map<std::string, std::int64_t>;
  EXPECT_EQ(store.forces.by_state, (Counts{{"running", 3}}));
  EXPECT_EQ(store.forces.by_reason, (Counts{{"agent_disconnected", 3}}));
  EXPECT_EQ(store.forces.by_agent, (Counts{{"a", 2}, {"b", 1}}));
  EXPECT_EQ(store.forces.samples, (std::vector<std::string>{"s1", "s2", "s3"}));
}

TEST_F(PassTest, LossesAreJudgedByAgentsWithoutStuckSessionsToo) {
  store.bind.policies = {running_policy()};
  store.add("s", "a", hours(1), "running");
  store.gone("a", minutes(1)), hub.says["a"] = Presence::gone;
  store.lately = {"a", "b"};
  hub.says["b"] = Presence::present;
  run();
  EXPECT_EQ(store.records.at("b").last.presence, Presence::present) << "asked before the brake judges";
}

TEST_F(PassTest, WhoSendsNothingToAnotherAgentKeepsNoPlaceThere) {
  store.bind.pools = true;
  store.bind.policies.push_back(running_policy());
  store.add("s1", "a", minutes(1)), store.add("s2", "a", hours(1), "running");
  store.gone("a", minutes(1)), hub.says = {{"a", Presence::gone}, {"b", Presence::present}};
  store.free = {{"b", 0, 1}};
  run();
  EXPECT_TRUE(store.logged("hand over s2 to b"));
}

TEST_F(PassTest, InferredForcesLeaveAtTheirPace) {
  store.bind.policies = {running_policy()};
  for (int i = 0; i < 30; ++i) store.add("s" + std::to_string(100 + i), "a", hours(1), "running");
  store.gone("a", minutes(1)), hub.says["a"] = Presence::gone;
  store.tokens = 0, store.per_second = 10;
  run();
  EXPECT_EQ(store.closed, 30);
  EXPECT_EQ(waiter.waited, (std::vector<Duration>{seconds(1), seconds(1), seconds(1)}));
}

TEST_F(PassTest, WhatThePaceLeavesIsLeftToTheNextPass) {
  store.bind.policies = {running_policy()};
  for (int i = 0; i < 30; ++i) store.add("s" + std::to_string(100 + i), "a", hours(1), "running");
  store.gone("a", minutes(1)), hub.says["a"] = Presence::gone;
  store.tokens = 0, store.per_second = 2;
  const PassEnd end = run();
  EXPECT_EQ(store.closed, 20) << "ten seconds";
  EXPECT_EQ(end.next_due, store.clock + seconds(1));
}

TEST_F(PassTest, ObserveModeNotesOnceAndSendsNothing) {
  store.gates.mode = Mode::observe;
  store.add("s", "a", minutes(6));
  hub.says["a"] = Presence::present;
  run();
  EXPECT_TRUE(store.logged("would 1"));
  EXPECT_TRUE(hub.sent.empty());
  store.log.clear();
  store.rows[0].episode.last_would = "retry_due retry";
  run();
  EXPECT_FALSE(store.logged("would 1"));
}

TEST_F(PassTest, APausedBindingStillLooksButDoesNothing) {
  store.gates.paused = true;
  store.add("s", "a", minutes(6)), store.add("t", "b", minutes(30));
  store.gone("b", hours(1));
  hub.says["a"] = Presence::present, hub.says["b"] = Presence::gone;
  run();
  EXPECT_EQ(hub.looks, 1);
  EXPECT_EQ(store.closed, 0);
  EXPECT_TRUE(hub.sent.empty());
}

TEST_F(PassTest, AnUnconfirmedCopyAsksNobody) {
  store.gates.identity_confirmed = false;
  store.add("s", "a", minutes(6));
  run();
  EXPECT_EQ(hub.looks, 0);
}

TEST_F(PassTest, SafeModeScansNothing) {
  store.gates.safe_mode = true;
  store.add("s", "a", minutes(6));
  EXPECT_EQ(run().scanned, 0);
  EXPECT_EQ(hub.looks, 0);
}

TEST_F(PassTest, AnAgentIsAskedOnceAPassHoweverManyBatches) {
  store.bind.batch_size = 1;
  for (const char* key : {"s1", "s2", "s3"}) store.add(key, "a", minutes(6));
  hub.says["a"] = Presence::present;
  run();
  EXPECT_EQ(hub.looks, 1);
  EXPECT_EQ(hub.sent.size(), 3u);
}

TEST_F(PassTest, RetriesOfSeveralBatchesGoOutTogether) {
  store.bind.batch_size = 1;
  for (const char* key : {"s1", "s2", "s3"}) store.add(key, "a", minutes(6));
  store.refuse_claims = {"s2"};
  hub.says["a"] = Presence::present;
  run();
  // The second round is for what did not fit into the first; nothing can be claimed there, which ends it.
  EXPECT_EQ(store.log, (std::vector<std::string>{"begin", "stuck 1", "stuck 1", "stuck 1", "claim 2", "send s1", "send s3", "record 2", "claim 0", "end"}));
}

TEST_F(PassTest, RetriesAreClaimedAFewHundredAtATime) {
  for (int i = 0; i < 600; ++i) store.add("s" + std::to_string(1000 + i), "a", minutes(6));
  store.bind.batch_size = 1000;
  hub.says["a"] = Presence::present;
  run();
  std::vector<std::string> steps;
  for (const std::string& line : store.log)
    if (line.starts_with("claim") || line.starts_with("record")) steps.push_back(line);
  EXPECT_EQ(steps, (std::vector<std::string>{"claim 250", "record 250", "claim 250", "record 250", "claim 100", "record 100"}));
  EXPECT_EQ(hub.sent.size(), 600u);
}

TEST_F(PassTest, AStopThatIsOwedGoesOutWhenTheAgentIsBack) {
  Tracked& t = store.add("s", "a", hours(1), "terminated");
  t.episode.owed = Owed::stop;
  run();
  EXPECT_TRUE(hub.sent.empty());
  store.clock += minutes(1), hub.says["a"] = Presence::gone;
  run();
  EXPECT_TRUE(hub.sent.empty());
  store.clock += minutes(1), hub.says["a"] = Presence::present;
  run();
  EXPECT_EQ(hub.sent, std::vector<std::string>{"key-s"});
  EXPECT_EQ(hub.actions, std::vector<std::string>{"stop_session"});
  EXPECT_EQ(hub.reasons, std::vector<std::string>{"late agent: the session is terminated"});
}

TEST_F(PassTest, WhatIsTakenBackIsAskedAboutWhenTheAgentIsBack) {
  hub.the_profile = with_sessions();
  store.add("runs", "a", hours(1), "terminated").episode.owed = Owed::readopt;
  store.add("gone", "a", hours(1), "terminated").episode.owed = Owed::readopt;
  store.add("unclear", "a", hours(1), "terminated").episode.owed = Owed::readopt;
  hub.sessions = {{"runs", SessionAnswer::running}, {"gone", SessionAnswer::gone}};
  run();
  EXPECT_FALSE(store.logged("readopt runs"));
  store.clock += minutes(1), hub.says["a"] = Presence::present;
  run();
  EXPECT_TRUE(store.logged("readopt runs"));
  EXPECT_TRUE(store.logged("late gone gone"));
  EXPECT_FALSE(store.logged("readopt unclear"));
  EXPECT_TRUE(hub.sent.empty());
}

TEST_F(PassTest, ASessionOfAnotherIncarnationIsAskedAbout) {
  Policy running;
  running.state = "running", running.stuck_after.reset(), running.gone_after = seconds(30), running.user_requested = false, running.retry_action = "";
  store.bind.policies = {running};
  hub.the_profile = with_sessions();
  hub.sessions = {{"runs", SessionAnswer::running}, {"gone", SessionAnswer::gone}};
  for (const char* key : {"runs", "gone", "unclear"}) store.add(key, "a", hours(1), "running");
  hub.says["a"] = Presence::present;
  hub.incarnation = "first";
  run();
  EXPECT_EQ(store.rows[0].episode.incarnation, "first");
  EXPECT_EQ(hub.asked, std::vector<std::string>{});
  store.clock += minutes(1);
  run();
  EXPECT_EQ(hub.asked, std::vector<std::string>{});
  store.clock += minutes(1), hub.incarnation = "second";
  run();
  EXPECT_EQ(hub.asked, (std::vector<std::string>{"gone", "runs", "unclear"}));
  EXPECT_TRUE(store.logged("said gone of gone"));
  EXPECT_TRUE(store.logged("said running of runs"));
  EXPECT_EQ(store.closed, 0);
}

TEST_F(PassTest, AContradictionIsNotedOnce) {
  Policy pending;
  pending.state = "pending", pending.awaits = pending.retry_action = "start_session", pending.user_requested = false;
  store.bind.policies = {pending};
  store.bind.commands_table = true;
  Tracked& t = store.add("s", "a", hours(1), "pending");
  t.commands.newest_other = Command{"c", "start_session", "completed", store.clock - hours(1), {}, {}, store.clock - minutes(50), ""};
  hub.says["a"] = Presence::present;
  run();
  EXPECT_TRUE(store.logged("would 1"));
  store.log.clear();
  t.episode.last_would = "start_acknowledged wait";
  run();
  EXPECT_FALSE(store.logged("would 1"));
}

TEST_F(PassTest, AFailureEndsThePassByItself) {
  store.add("s", "a", minutes(30));
  waiter.cancel = true;
  EXPECT_THROW(run(true), std::runtime_error);
  EXPECT_EQ(store.log.back(), "end: cancelled");
}

// ---- judged by the runtime ----

struct RuntimeTest : PassTest {
  RuntimeTest() {
    Policy suspended;
    suspended.state = "suspended", suspended.judged_by = JudgedBy::runtime, suspended.stuck_after.reset();
    suspended.user_requested = false, suspended.retry_action.clear(), suspended.becomes = "gone";
    store.bind.policies = {suspended};
    store.bind.terminal_states = {"gone"};
    hub.the_profile = with_sessions();
  }
  void add(const std::string& key, const std::string& runtime) {
    store.add(key, "a", hours(2), "suspended").session.runtime = runtime;
    store.gone("a", hours(1));
  }
  void pushed(const std::string& runtime, Presence presence, Duration gone = Duration(0)) {
    Evidence& e = store.runtimes[runtime]["kube"];
    e.last.presence = presence, e.last.at = e.last.stated.emplace(store.clock), e.last.source = "kube";
    e.gone_time = gone, e.gone_observations = 5;
  }
};

TEST_F(RuntimeTest, TheHubIsAskedAboutSessionsAndNotAboutAgents) {
  add("s1", "pod-1"), add("s2", "pod-2");
  hub.sessions["s1"] = SessionAnswer::gone, hub.sessions["s2"] = SessionAnswer::suspended;
  run();
  EXPECT_EQ(hub.looks, 0);
  EXPECT_EQ(hub.asked, (std::vector<std::string>{"s1", "s2"}));
  EXPECT_EQ(store.runtimes["pod-1"]["hub"].last.presence, Presence::gone);
  EXPECT_EQ(store.runtimes["pod-2"]["hub"].last.presence, Presence::present);
  for (int pass = 0; pass < 10; ++pass) store.clock += minutes(1), run();
  EXPECT_TRUE(store.logged("force inferred 1"));
  EXPECT_FALSE(store.logged("said gone of s1")) << "one look is no proof";
}

TEST_F(RuntimeTest, WhatIsUnknownIsAskedAboutAgain) {
  add("s1", "pod-1");
  run(true);
  EXPECT_EQ(waiter.waited, std::vector<Duration>{store.bind.limits.observation_spacing});
  EXPECT_EQ(run().next_due, store.clock + store.bind.limits.observation_spacing + Duration(100)) << "the worker comes back instead";
  EXPECT_EQ(store.runtimes["pod-1"]["hub"].last.presence, Presence::unknown);
}

TEST_F(RuntimeTest, WhereNobodyCanBeAskedThePassDoesNotWait) {
  hub.the_profile = standard_like();
  add("s1", "pod-1");
  EXPECT_FALSE(run(true).next_due);
  EXPECT_TRUE(waiter.waited.empty());
}

TEST_F(RuntimeTest, WhatIsPushedIsEnough) {
  add("s1", "pod-1"), add("s2", "pod-2");
  pushed("pod-1", Presence::gone, minutes(10)), pushed("pod-2", Presence::gone, minutes(9));
  Pass(store, nullptr, waiter).run(true);
  EXPECT_TRUE(store.logged("force inferred 1"));
  EXPECT_EQ(store.forces.samples, std::vector<std::string>{"s1"});
}

TEST_F(RuntimeTest, SharedOnesAreNotedAndLeftAlone) {
  add("s1", "pod-1"), add("s2", "pod-1");
  store.shared = {"pod-1"};
  pushed("pod-1", Presence::gone, hours(1));
  Pass(store, nullptr, waiter).run(false);
  EXPECT_TRUE(store.logged("would 2"));
  EXPECT_EQ(store.closed, 0);
}

TEST_F(RuntimeTest, AHubThatIsSilentDoesNotSpeakAgainstWhatWasPushedOfAnAgent) {
  Evidence& e = store.records["a"];
  e.last.presence = Presence::gone, e.last.at = store.clock, e.last.stated = store.clock, e.last.source = "kube";
  store.clock += seconds(30);
  Observer(store, &hub).look({"a"});
  EXPECT_EQ(store.records["a"].last.source, "kube");
  store.clock += minutes(2);
  Observer(store, &hub).look({"a"});
  EXPECT_EQ(store.records["a"].last.presence, Presence::unknown);
}

}  // namespace
}  // namespace reconciler::test
