// Sessions whose agent may still do the work: open commands, unknown agents, spent and due tries.
#include <gtest/gtest.h>

#include <functional>

#include "core/backoff.hpp"
#include "support/core_world.hpp"

using namespace core_world;

// ---- command open ----

TEST(Retry, ALeaseIsSomebodySending) {
  World w;
  w.episode.lease_until = noon + seconds(20);
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "command_open");
  EXPECT_EQ(v.next_action, Action::retry);
  EXPECT_EQ(v.due, noon + seconds(20));
  w.episode.lease_until = noon;
  EXPECT_EQ(w.verdict().rule, "retry_due");
  w.episode.lease_until = noon + hours(1);
  EXPECT_EQ(w.verdict().rule, "command_open");
  w.episode.lease_until = noon + hours(1) + tick;
  EXPECT_EQ(w.verdict().rule, "retry_due") << "written by a clock that was wrong";
}

TEST(Retry, AnAcceptedTryIsOpenForItsTimeout) {
  World w;
  w.episode.accepted_at = ago(minutes(5) - tick);
  EXPECT_EQ(w.verdict().rule, "command_open");
  EXPECT_EQ(w.verdict().due, noon + tick);
  w.episode.accepted_at = ago(minutes(5));
  EXPECT_EQ(w.verdict().rule, "retry_due");
  w.episode.accepted_at = noon + hours(3);
  EXPECT_EQ(w.verdict().due, noon + minutes(5)) << "the future counts as now";
}

TEST(Retry, TheApplicationsOwnCommandIsOpenSinceItLastMoved) {
  using Move = std::function<void(Command&, Time)>;
  for (const Move& move : {Move([](Command& c, Time t) { c.created = t; }), Move([](Command& c, Time t) { c.sent = t; }),
                           Move([](Command& c, Time t) { c.acknowledged = t; })}) {
    World w;
    Command& stop = w.stop("sent");
    move(stop, ago(minutes(5) - tick));
    EXPECT_EQ(w.verdict().rule, "command_open");
    EXPECT_EQ(w.verdict().due, noon + tick);
    move(stop, ago(minutes(5)));
    EXPECT_EQ(w.verdict().rule, "retry_due");
    move(stop, noon + hours(7));
    EXPECT_EQ(w.verdict().due, noon + minutes(5));
  }
}

TEST(Retry, AFailedOrTimelessCommandIsNotOpen) {
  World w;
  Command& stop = w.stop("failed");
  stop.created = ago(seconds(1));
  EXPECT_EQ(w.verdict().rule, "retry_due") << "undelivered";
  stop.sent = ago(seconds(1));
  EXPECT_EQ(w.verdict().rule, "retry_due") << "executed and failed";
  w.stop("pending").created.reset();
  EXPECT_EQ(w.verdict().rule, "retry_due");
}

TEST(Retry, OnlyACommandOfTheKindThatWeSendIsOpen) {
  World w;
  w.other("start_session", ago(seconds(1)));
  EXPECT_EQ(w.verdict().rule, "retry_due");
  w.policy->retry_action = "start_session";
  EXPECT_EQ(w.verdict().rule, "command_open");
  w.other("wake_session", ago(seconds(1)));
  w.stop("pending").created = ago(seconds(1));
  EXPECT_EQ(w.verdict().rule, "retry_due");
}

TEST(Retry, OpenAndBackoffEndWithTheLater) {
  World w;
  w.episode.accepted_at = ago(minutes(4));
  w.episode.next_attempt = noon + minutes(3);
  EXPECT_EQ(w.verdict().due, noon + minutes(3));
  w.episode.next_attempt = noon + seconds(30);
  EXPECT_EQ(w.verdict().due, noon + minutes(1));
  w.episode.next_attempt = noon + hours(24);
  EXPECT_EQ(w.verdict().due, noon + minutes(1)) << "further ahead than any backoff counts as due";
  w.episode.lease_until = noon + minutes(2);
  EXPECT_EQ(w.verdict().due, noon + minutes(2));
}

TEST(Retry, NobodysWishOvertakesAnOpenCommand) {
  World w;
  w.episode.accepted_at = ago(minutes(4));
  w.episode.retry_requested = ago(seconds(1));
  EXPECT_EQ(w.verdict().rule, "command_open");
}

TEST(Retry, AnOpenCommandSaysWhatFollows) {
  World w;
  w.episode.accepted_at = ago(minutes(1));
  w.episode.attempts = 8;
  EXPECT_EQ(w.verdict().rule, "command_open");
  EXPECT_EQ(w.verdict().next_action, Action::quarantine);
  w.policy->when_spent = WhenSpent::close_unconfirmed;
  w.episode.accepted = 3;
  w.episode.first_accepted = ago(minutes(16));
  EXPECT_EQ(w.verdict().next_action, Action::force);
}

TEST(Retry, StatesWithoutACommandHaveNoneOpen) {
  World w;
  w.policy = running();
  w.episode.accepted_at = w.episode.lease_until = noon + seconds(5);
  EXPECT_EQ(w.verdict().rule, "alive");
}

// ---- agent unknown ----

TEST(Retry, UnknownWaits) {
  World w;
  w.unknown();
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "agent_unknown");
  EXPECT_EQ(v.blocked_by, Blocked::hub_unknown);
  EXPECT_EQ(v.next_action, Action::retry);
  w.evidence->last.unauthorized = true;
  EXPECT_EQ(w.verdict().blocked_by, Blocked::hub_auth);
  w.evidence.reset();
  EXPECT_EQ(w.verdict().blocked_by, Blocked::hub_unknown);
  w.unknown();
  w.episode.retry_requested = ago(seconds(1));
  EXPECT_EQ(w.verdict().rule, "agent_unknown") << "an operator's wish does not tell where the agent is";
}

TEST(Retry, UnknownKeepsGoneTimeOutOfIt) {
  World w;
  w.gone(hours(1), 9);
  w.evidence->last.presence = Presence::unknown;
  EXPECT_EQ(w.verdict().rule, "agent_unknown");
}

TEST(Retry, OldPresenceIsUnknown) {
  World w;
  w.saw(Presence::present, seconds(120));
  EXPECT_EQ(w.verdict().rule, "retry_due");
  w.saw(Presence::present, seconds(120) + tick);
  EXPECT_EQ(w.verdict().rule, "agent_unknown");
  EXPECT_TRUE(w.verdict().text.find("too long ago") != std::string::npos) << w.verdict().text;
}

TEST(Retry, APresentAgentIsPresentWhateverTheCredential) {
  World w;
  w.evidence->last.unauthorized = true;
  EXPECT_EQ(w.verdict().rule, "retry_due");
  w.evidence->last.provisional = true;
  EXPECT_EQ(w.verdict().action, Action::retry);
}

// ---- tries spent ----

TEST(Retry, TheCapEndsInQuarantine) {
  World w;
  w.episode.attempts = 7;
  EXPECT_EQ(w.verdict().action, Action::retry);
  w.episode.attempts = 8;
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "tries_spent");
  EXPECT_EQ(v.action, Action::quarantine);
  EXPECT_EQ(v.reason, "timeout");
}

TEST(Retry, UnreachableForTwoHoursEndsInQuarantine) {
  World w;
  w.episode.unreachable_since = ago(hours(2) - tick);
  EXPECT_EQ(w.verdict().action, Action::retry);
  w.episode.unreachable_since = ago(hours(2));
  EXPECT_EQ(w.verdict().action, Action::quarantine);
  EXPECT_EQ(w.verdict().reason, "agent_unavailable");
}

TEST(Retry, AQuarantineLooksEveryHour) {
  World w;
  w.episode.attempts = 8;
  w.episode.quarantined = ago(minutes(70));
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "tries_spent");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.blocked_by, Blocked::quarantine);
  EXPECT_EQ(v.due, noon + minutes(50));
  w.episode.quarantined = ago(hours(2));
  EXPECT_EQ(w.verdict().due, noon + hours(1));
  w.episode.quarantined = noon;
  EXPECT_EQ(w.verdict().due, noon + hours(1));
  w.episode.attempts = 0;
  EXPECT_EQ(w.verdict().blocked_by, Blocked::quarantine) << "whatever put it there";
}

TEST(Retry, AnOperatorsRetryPassesTheCapAndTheQuarantine) {
  World w;
  w.episode.attempts = 8;
  w.episode.retry_requested = ago(seconds(1));
  EXPECT_EQ(w.verdict().action, Action::retry);
  w.episode.quarantined = ago(seconds(2));
  EXPECT_EQ(w.verdict().action, Action::retry);
  w.episode.quarantined = ago(seconds(1));
  EXPECT_EQ(w.verdict().blocked_by, Blocked::quarantine) << "the quarantine is the newer word";
  w.episode.quarantined.reset();
  w.episode.last_attempt = ago(seconds(1));
  EXPECT_EQ(w.verdict().action, Action::quarantine) << "the request was served";
}

namespace {

World unconfirmed(int accepted, Duration since) {
  World w;
  w.policy->when_spent = WhenSpent::close_unconfirmed;
  w.episode.attempts = w.episode.accepted = accepted;
  w.episode.first_accepted = ago(since);
  return w;
}

}  // namespace

TEST(Retry, UnconfirmedStopsCloseWhatAUserAskedFor) {
  EXPECT_EQ(unconfirmed(2, hours(1)).verdict().action, Action::retry);
  const Verdict v = unconfirmed(3, minutes(15)).verdict();
  EXPECT_EQ(v.rule, "tries_spent");
  EXPECT_EQ(v.action, Action::force);
  EXPECT_EQ(v.reason, "stop_unconfirmed");
  EXPECT_EQ(v.becomes, "terminated");
}

TEST(Retry, UnconfirmedStopsWaitForTheirTime) {
  World w = unconfirmed(3, minutes(15) - tick);
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "tries_spent");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.next_action, Action::force);
  EXPECT_EQ(v.due, noon + tick);
  w.episode.first_accepted.reset();
  EXPECT_EQ(w.verdict().due, noon + minutes(15));
}

TEST(Retry, UnconfirmedStopsCloseOutOfQuarantineToo) {
  World w = unconfirmed(3, minutes(15));
  w.episode.quarantined = ago(minutes(1));
  EXPECT_EQ(w.verdict().action, Action::force);
}

TEST(Retry, UnconfirmedStopsNeverCloseWhatNobodyAskedFor) {
  World w = unconfirmed(3, minutes(15));
  w.policy->user_requested = false;
  EXPECT_EQ(w.verdict().action, Action::quarantine);
  EXPECT_EQ(w.verdict().reason, "timeout");
  w.episode.quarantined = ago(minutes(1));
  EXPECT_EQ(w.verdict().blocked_by, Blocked::quarantine);
  w = unconfirmed(3, minutes(14));
  w.policy->user_requested = false;
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Retry, UnconfirmedNeedsItsPolicy) {
  World w = unconfirmed(3, hours(5));
  w.policy->when_spent = WhenSpent::quarantine;
  EXPECT_EQ(w.verdict().action, Action::retry);
  // The cap without enough accepted stops is a quarantine under close_unconfirmed too.
  w = unconfirmed(2, hours(5));
  w.episode.attempts = 8;
  EXPECT_EQ(w.verdict().action, Action::quarantine);
}

TEST(Retry, StatesWithoutACommandAreNeverSpent) {
  World w;
  w.policy = running();
  w.policy->max_attempts = 0;
  w.episode.unreachable_since = ago(hours(9));
  EXPECT_EQ(w.verdict().rule, "alive");
  w.episode.quarantined = ago(minutes(1));
  EXPECT_EQ(w.verdict().blocked_by, Blocked::quarantine) << "a row that can't be written";
}

// ---- retry due, alive ----

TEST(Retry, RetriesWhenDue) {
  World w;
  w.episode.next_attempt = noon + tick;
  Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "retry_due");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.next_action, Action::retry);
  EXPECT_EQ(v.due, noon + tick);
  w.episode.next_attempt = noon;
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Retry, ADueTimeBeyondAnyBackoffCountsAsDue) {
  World w;
  const Duration longest = longest_backoff(*w.policy);
  w.episode.next_attempt = noon + longest;
  EXPECT_EQ(w.verdict().action, Action::wait);
  w.episode.next_attempt = noon + longest + tick;
  EXPECT_EQ(w.verdict().action, Action::retry);
  w.episode.next_attempt = Time::max();
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Retry, AnOperatorsRetryIsDueAtOnce) {
  World w;
  w.episode.next_attempt = noon + minutes(9);
  w.episode.retry_requested = noon;
  EXPECT_EQ(w.verdict().action, Action::retry);
}

TEST(Retry, WithoutAHubItSaysSo) {
  World w;
  w.hub_set = false;
  const Verdict v = w.verdict();
  EXPECT_EQ(v.rule, "retry_due");
  EXPECT_EQ(v.action, Action::wait);
  EXPECT_EQ(v.blocked_by, Blocked::hub_unknown);
  EXPECT_TRUE(v.text.find("set_hub") != std::string::npos) << v.text;
}

TEST(Retry, AliveWhereNothingIsSent) {
  World w;
  w.policy = running();
  EXPECT_EQ(w.verdict().rule, "alive");
  EXPECT_EQ(w.verdict().action, Action::wait);
  EXPECT_FALSE(w.verdict().due);
}
