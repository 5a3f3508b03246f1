#include "core/evidence.hpp"

#include <gtest/gtest.h>

#include "support/core_world.hpp"

using namespace reconciler;
using core_world::noon;
using core_world::tick;

namespace {

const EvidenceLimits limits;  // 60 s passes, 10 s spacing, 120 s hub grace, 90 s heartbeat

Observation look(Presence presence, Time at) {
  Observation seen;
  seen.presence = presence;
  seen.at = at;
  seen.source = "hub";
  return seen;
}

// A story of looks, told in seconds after noon.
struct Agent {
  std::optional<Evidence> record;
  EvidenceLimits with = limits;

  Agent& saw(const Observation& seen) {
    record = accumulate(record, seen, with);
    return *this;
  }
  Agent& at(double second, Presence presence) { return saw(look(presence, noon + Duration(static_cast<std::int64_t>(second * 1e6)))); }
  Agent& gone(double second) { return at(second, Presence::gone); }
  Agent& present(double second) { return at(second, Presence::present); }
  Agent& unknown(double second) { return at(second, Presence::unknown); }
  double gone_for() const { return static_cast<double>(record->gone_time.count()) / 1e6; }
  int looks() const { return record->gone_observations; }
};

}  // namespace

TEST(Presence, NamesGoBothWays) {
  for (const Presence p : {Presence::present, Presence::gone, Presence::unknown, Presence::none})
    EXPECT_EQ(presence_from(to_string(p)), p);
  EXPECT_FALSE(presence_from("dead"));
}

TEST(Accumulate, TheFirstGoneIsOneLookAndNoTime) {
  Agent a;
  a.gone(0);
  EXPECT_EQ(a.gone_for(), 0);
  EXPECT_EQ(a.looks(), 1);
  EXPECT_EQ(a.record->last.presence, Presence::gone);
}

TEST(Accumulate, GoneAddsTheDistanceOfLooks) {
  Agent a;
  a.gone(0).gone(60).gone(125);
  EXPECT_EQ(a.gone_for(), 125);
  EXPECT_EQ(a.looks(), 3);
}

TEST(Accumulate, DistancesAboveThreeIntervalsAddNothing) {
  EXPECT_EQ(Agent().gone(0).gone(180).gone_for(), 180);
  const Agent far = Agent().gone(0).gone(60).gone(240.000001);
  EXPECT_EQ(far.gone_for(), 60);
  EXPECT_EQ(far.looks(), 3);
}

TEST(Accumulate, AGapOfTheHorizonStartsOver) {
  // 2 × interval + hub_grace = 240 s
  const Agent within = Agent().gone(0).gone(60).gone(300);
  EXPECT_EQ(within.gone_for(), 60);
  EXPECT_EQ(within.looks(), 3);
  const Agent beyond = Agent().gone(0).gone(60).gone(300.000001);
  EXPECT_EQ(beyond.gone_for(), 0);
  EXPECT_EQ(beyond.looks(), 1);
}

TEST(Accumulate, AStartOverAlsoHoldsWhereThreeIntervalsAreLonger) {
  Agent a;
  a.with.interval = seconds(600);  // horizon 1320 s, three intervals 1800 s
  a.gone(0).gone(600).gone(600 + 1321);
  EXPECT_EQ(a.gone_for(), 0);
  EXPECT_EQ(a.looks(), 1);
}

TEST(Accumulate, PresentSetsZero) {
  Agent a;
  a.gone(0).gone(60).present(90);
  EXPECT_EQ(a.gone_for(), 0);
  EXPECT_EQ(a.looks(), 0);
  EXPECT_EQ(a.record->last_present, noon + seconds(90));
  a.gone(100);
  EXPECT_EQ(a.gone_for(), 0);
  EXPECT_EQ(a.looks(), 1);
}

TEST(Accumulate, AProvisionalPresentLiesBetweenButResetsNothing) {
  Agent a;
  a.gone(0).gone(60);
  Observation seen = look(Presence::present, noon + seconds(90));
  seen.provisional = true;
  a.saw(seen);
  EXPECT_EQ(a.gone_for(), 60);
  EXPECT_EQ(a.looks(), 2);
  EXPECT_FALSE(a.record->last_present);
  a.gone(120);
  EXPECT_EQ(a.gone_for(), 60) << "another verdict lay between";
  EXPECT_EQ(a.looks(), 3);
  a.gone(150);
  EXPECT_EQ(a.gone_for(), 90);
}

TEST(Accumulate, AShortUnknownAddsNothingAndKeepsWhatWas) {
  Agent a;
  a.gone(0).gone(60).unknown(90);
  EXPECT_EQ(a.gone_for(), 60);
  EXPECT_EQ(a.record->unknown_since, noon + seconds(90));
  a.unknown(150);
  EXPECT_EQ(a.record->unknown_since, noon + seconds(90)) << "since the first of them";
  a.gone(210);
  EXPECT_EQ(a.gone_for(), 60) << "120 s, not longer than hub_grace";
  EXPECT_EQ(a.looks(), 3);
  EXPECT_FALSE(a.record->unknown_since);
  a.gone(220);
  EXPECT_EQ(a.gone_for(), 70);
}

TEST(Accumulate, ALongUnknownStartsOver) {
  Agent a;
  a.gone(0).gone(60).unknown(90).unknown(150).gone(210.000001);
  EXPECT_EQ(a.gone_for(), 0);
  EXPECT_EQ(a.looks(), 1);
}

TEST(Accumulate, GoneTimeIsForgottenWhileStillUnknown) {
  Agent a;
  a.gone(0).gone(60).unknown(90).unknown(150).unknown(210);
  EXPECT_EQ(a.gone_for(), 60);
  a.unknown(210.000001);
  EXPECT_EQ(a.gone_for(), 0);
  EXPECT_EQ(a.looks(), 0);
}

TEST(Accumulate, ANewInstanceStartsOver) {
  for (const Presence presence : {Presence::gone, Presence::unknown}) {
    Agent a;
    a.gone(0).gone(60);
    Observation seen = look(presence, noon + seconds(120));
    seen.new_instance = true;
    a.saw(seen);
    EXPECT_EQ(a.gone_for(), 0);
    EXPECT_EQ(a.looks(), presence == Presence::gone ? 1 : 0);
  }
}

TEST(Accumulate, AnotherIncarnationStartsOver) {
  Agent a;
  const auto incarnation = [](double second, const char* name) {
    Observation seen = look(Presence::gone, noon + Duration(static_cast<std::int64_t>(second * 1e6)));
    seen.incarnation = name;
    return seen;
  };
  a.saw(incarnation(0, "i1")).saw(incarnation(60, "i1"));
  EXPECT_EQ(a.gone_for(), 60);
  a.saw(incarnation(120, ""));
  EXPECT_EQ(a.gone_for(), 120) << "a hub that names none is no other incarnation";
  EXPECT_EQ(a.record->last.incarnation, "i1");
  a.saw(incarnation(180, "i2"));
  EXPECT_EQ(a.gone_for(), 0);
  EXPECT_EQ(a.looks(), 1);
}

TEST(Accumulate, LooksTooCloseAreOneObservation) {
  Agent a;
  a.gone(0).gone(9.999999);
  EXPECT_EQ(a.looks(), 1);
  EXPECT_DOUBLE_EQ(a.gone_for(), 9.999999) << "the time counts all the same";
  a.gone(10);
  EXPECT_EQ(a.looks(), 2);
  a.gone(15).gone(19.9);
  EXPECT_EQ(a.looks(), 2) << "spaced from the last one counted";
  a.gone(20);
  EXPECT_EQ(a.looks(), 3);
}

TEST(Accumulate, ManyLooksAtOnceAddNoTime) {
  Agent a;
  for (int i = 0; i < 1000; ++i) a.gone(i * 0.001);
  EXPECT_LT(a.gone_for(), 1);
  EXPECT_EQ(a.looks(), 1);
}

TEST(Accumulate, WhatIsNotNewerIsIgnored) {
  Agent a;
  a.gone(0).gone(60);
  a.present(60);
  EXPECT_EQ(a.gone_for(), 60) << "the same instant";
  a.present(30).unknown(-100);
  EXPECT_EQ(a.gone_for(), 60);
  EXPECT_EQ(a.record->last.at, noon + seconds(60));
}

TEST(Accumulate, AClockThatWasSetBackStartsANewRecord) {
  Agent a;
  a.gone(0).gone(60).gone(120);
  a.gone(120 - 240);
  EXPECT_EQ(a.gone_for(), 120) << "at the horizon it is still late news";
  a.gone(120 - 240.000001);
  EXPECT_EQ(a.gone_for(), 0);
  EXPECT_EQ(a.looks(), 1);
  EXPECT_EQ(a.record->last.at, noon + Duration(static_cast<std::int64_t>((120 - 240.000001) * 1e6)));
}

TEST(Accumulate, AnEventDoesNotForgetTheHeartbeat) {
  Agent a;
  Observation beat = look(Presence::present, noon);
  beat.heartbeat = noon - seconds(3);
  beat.heartbeat_seen = noon;
  beat.heartbeat_changed = true;
  a.saw(beat);
  a.gone(10);
  EXPECT_EQ(a.record->last.heartbeat, noon - seconds(3));
  EXPECT_EQ(a.record->last.heartbeat_seen, noon);
  EXPECT_TRUE(a.record->last.heartbeat_changed);
}

TEST(Accumulate, TheSeedsTenMinutes) {
  Agent a;
  a.present(0);
  for (int s = 60; s <= 660; s += 60) a.gone(s);
  EXPECT_EQ(a.gone_for(), 600);
  EXPECT_EQ(a.looks(), 11);
}

TEST(Current, IsUnknownAfterTwoIntervals) {
  Evidence record;
  record.last = look(Presence::gone, noon);
  EXPECT_EQ(current(record, noon, limits), Presence::gone);
  EXPECT_EQ(current(record, noon + seconds(120), limits), Presence::gone);
  EXPECT_EQ(current(record, noon + seconds(120) + tick, limits), Presence::unknown);
  EXPECT_EQ(current(record, noon - seconds(120), limits), Presence::gone);
  EXPECT_EQ(current(record, noon - seconds(120) - tick, limits), Presence::unknown) << "from a clock that went back";
  record.last.presence = Presence::present;
  EXPECT_EQ(current(record, noon, limits), Presence::present);
  EXPECT_EQ(current(record, Time::max(), limits), Presence::unknown);
}

// ---- heartbeats ----

namespace {

using Hub = HeartbeatLook::Hub;

struct Beating {
  std::optional<Evidence> record;
  Observation last;

  // One look `second` seconds after noon; the heartbeat's value is that many seconds after noon too.
  Beating& look(double second, std::optional<double> heartbeat, Hub hub = Hub::proper, bool approved = true) {
    HeartbeatLook l;
    l.row_readable = true;
    l.approved = approved;
    l.hub = hub;
    if (heartbeat) l.heartbeat = noon + Duration(static_cast<std::int64_t>(*heartbeat * 1e6));
    return take(l, second);
  }
  Beating& take(const HeartbeatLook& l, double second) {
    const Time now = noon + Duration(static_cast<std::int64_t>(second * 1e6));
    last = judge_heartbeat(record, l, now, limits);
    record = accumulate(record, last, limits);
    return *this;
  }
};

}  // namespace

TEST(Heartbeat, TheFirstValueIsProvisionalAtBest) {
  EXPECT_EQ(Beating().look(0, -90).last.presence, Presence::present);
  EXPECT_TRUE(Beating().look(0, -90).last.provisional);
  EXPECT_EQ(Beating().look(0, -90.000001).last.presence, Presence::unknown);
  EXPECT_FALSE(Beating().look(0, -90.000001).last.provisional);
  EXPECT_EQ(Beating().look(0, +3600).last.presence, Presence::present) << "the future counts as now";
  EXPECT_TRUE(Beating().look(0, +3600).last.provisional);
  EXPECT_EQ(Beating().look(0, std::nullopt).last.presence, Presence::unknown);
}

TEST(Heartbeat, AChangeByOurOwnLooksIsPresence) {
  Beating b;
  b.look(0, -30).look(60, 55);
  EXPECT_EQ(b.last.presence, Presence::present);
  EXPECT_FALSE(b.last.provisional);
  EXPECT_TRUE(b.last.heartbeat_changed);
  EXPECT_EQ(b.last.heartbeat_seen, noon + seconds(60));
}

TEST(Heartbeat, AnOldValueThatChangesIsPresenceToo) {
  // Its own time is foreign: a clock that is wrong must not kill.
  Beating b;
  b.look(0, -7200).look(60, -7140);
  EXPECT_EQ(b.last.presence, Presence::present);
}

TEST(Heartbeat, AValueThatWentBackIsAChange) {
  EXPECT_EQ(Beating().look(0, -30).look(60, -3600).last.presence, Presence::present);
}

TEST(Heartbeat, AnOlderValueIsNoNewsWhereTheHubDidNotAnswer) {
  // The hub's answer is the newer of the two: while it is down only the column is seen, and no agent has moved.
  for (const Hub hub : {Hub::unknown, Hub::unauthorized, Hub::other_hub})
    for (const std::optional<double> column : {std::optional(-60.0), std::optional<double>()}) {
      Beating b;
      b.look(0, -30).look(60, column, hub);
      EXPECT_FALSE(b.last.heartbeat_changed);
      EXPECT_EQ(b.record->last.heartbeat, noon - seconds(30));
      b.look(120, -30);
      EXPECT_EQ(b.last.presence, Presence::gone) << "unchanged for 120 s";
    }
  EXPECT_EQ(Beating().look(0, -30).look(60, 55, Hub::unknown).last.presence, Presence::present) << "a newer one is news";
}

TEST(Heartbeat, UnchangedWithoutAProperAnswerAddsNoGoneTimeAndNoLook) {
  for (const Hub hub : {Hub::unknown, Hub::unauthorized, Hub::other_hub}) {
    Beating b;
    b.look(0, -30).look(90, -30).look(150, -30);
    ASSERT_EQ(b.record->gone_time, seconds(60));
    ASSERT_EQ(b.record->gone_observations, 2);
    b.look(210, -30, hub);
    EXPECT_EQ(b.last.presence, Presence::unknown);
    EXPECT_EQ(b.record->gone_time, seconds(60));
    EXPECT_EQ(b.record->gone_observations, 2);
    b.look(270, -30);
    EXPECT_EQ(b.record->gone_time, seconds(60)) << "nor does the time since it, when the hub is back";
    EXPECT_EQ(b.record->gone_observations, 3);
  }
}

TEST(Heartbeat, StaysPresentUntilNinetySecondsWithoutAChange) {
  Beating b;
  b.look(0, -30).look(60, 55).look(149.999999, 55);
  EXPECT_EQ(b.last.presence, Presence::present);
  EXPECT_EQ(b.last.heartbeat_seen, noon + seconds(60));
  b.look(150, 55);
  EXPECT_EQ(b.last.presence, Presence::gone);
  EXPECT_EQ(b.record->gone_observations, 1);
}

TEST(Heartbeat, TheSameFirstValueIsJudgedByItsAge) {
  EXPECT_TRUE(Beating().look(0, -30).look(60, -30).last.provisional);
  EXPECT_EQ(Beating().look(0, -30).look(60, -30).last.presence, Presence::present);
  EXPECT_EQ(Beating().look(0, -30).look(61, -30).last.presence, Presence::unknown);
  EXPECT_EQ(Beating().look(0, -30).look(89.9, -30).last.presence, Presence::unknown);
  EXPECT_EQ(Beating().look(0, -30).look(90, -30).last.presence, Presence::gone);
}

TEST(Heartbeat, AForeignTimestampNeverForces) {
  // An hour old at first sight: our own looks decide, not its age.
  EXPECT_EQ(Beating().look(0, -3600).last.presence, Presence::unknown);
  EXPECT_EQ(Beating().look(0, -3600).look(60, -3600).last.presence, Presence::unknown);
  EXPECT_EQ(Beating().look(0, -3600).look(90, -3600).last.presence, Presence::gone);
}

TEST(Heartbeat, GoneNeedsAProperAnswerOfTheHub) {
  for (const Hub hub : {Hub::unknown, Hub::unauthorized, Hub::other_hub})
    EXPECT_EQ(Beating().look(0, -30).look(300, -30, hub).last.presence, Presence::unknown);
  EXPECT_EQ(Beating().look(0, -30).look(300, -30, Hub::proper).last.presence, Presence::gone);
}

TEST(Heartbeat, AFreshOneNeedsNoHub) {
  for (const Hub hub : {Hub::unknown, Hub::unauthorized}) {
    EXPECT_EQ(Beating().look(0, -30).look(60, 55, hub).last.presence, Presence::present);
    EXPECT_TRUE(Beating().look(0, -30, hub).last.provisional);
  }
  EXPECT_TRUE(Beating().look(0, -30, Hub::unauthorized).last.unauthorized);
  EXPECT_FALSE(Beating().look(0, -30, Hub::unknown).last.unauthorized);
}

TEST(Heartbeat, AnotherHubProvesNothing) {
  Beating b;
  b.look(0, -30).look(60, 55, Hub::other_hub);
  EXPECT_EQ(b.last.presence, Presence::unknown);
  EXPECT_NE(b.last.detail.find("another hub"), std::string::npos);
  EXPECT_TRUE(b.last.heartbeat_changed) << "the value is the table's and stays known";
}

TEST(Heartbeat, UnapprovedIsNeverPresent) {
  Beating b;
  b.look(0, -5, Hub::proper, false);
  EXPECT_EQ(b.last.presence, Presence::unknown);
  b.look(30, 25, Hub::proper, false);
  EXPECT_EQ(b.last.presence, Presence::unknown);
  b.look(119, 25, Hub::proper, false);
  EXPECT_EQ(b.last.presence, Presence::unknown);
  b.look(120, 25, Hub::proper, false);
  EXPECT_EQ(b.last.presence, Presence::gone);
  b.look(130, 25, Hub::unknown, false);
  EXPECT_EQ(b.last.presence, Presence::unknown);
}

TEST(Heartbeat, NullIsAValue) {
  Beating b;
  b.look(0, std::nullopt).look(60, std::nullopt);
  EXPECT_EQ(b.last.presence, Presence::unknown);
  EXPECT_EQ(b.last.heartbeat_seen, noon);
  b.look(90, std::nullopt);
  EXPECT_EQ(b.last.presence, Presence::gone);
  b.look(100, 99);
  EXPECT_EQ(b.last.presence, Presence::present);
  EXPECT_TRUE(b.last.heartbeat_changed);
}

TEST(Heartbeat, AnUnreadableRowProvesNothingAndForgetsNothing) {
  Beating b;
  b.look(0, -30).look(60, 55);
  HeartbeatLook none;
  none.hub = Hub::proper;
  b.take(none, 70);
  EXPECT_EQ(b.last.presence, Presence::unknown);
  EXPECT_EQ(b.last.heartbeat, noon + seconds(55));
  b.look(120, 55);
  EXPECT_EQ(b.last.presence, Presence::present);
  EXPECT_EQ(b.last.heartbeat_seen, noon + seconds(60));
}

TEST(Heartbeat, AClockThatWentBackKeepsNobodyAlive) {
  Beating b;
  b.look(3600, 3590).look(3660, 3650);
  // Back by an hour: what was seen "in the future" counts from now.
  b.look(0, 3650);
  EXPECT_EQ(b.last.heartbeat_seen, noon);
  b.look(90, 3650);
  EXPECT_EQ(b.last.presence, Presence::gone);
}

TEST(Heartbeat, TheWholeStoryOfAnAgentThatDies) {
  Beating b;
  for (int s = 0; s <= 300; s += 60) b.look(s, s - 10);
  EXPECT_EQ(b.last.presence, Presence::present);
  for (int s = 360; s <= 1020; s += 60) b.look(s, 290);
  // Last change seen at 300 s, gone from the look at 420 s on.
  EXPECT_EQ(b.record->gone_time, seconds(600));
  EXPECT_EQ(b.record->gone_observations, 11);
  b.look(1030, 1025);
  EXPECT_EQ(b.record->gone_time, seconds(0));
}

TEST(Heartbeat, SaysWhatItSawInWords) {
  EXPECT_NE(Beating().look(0, -30).last.detail.find("not yet seen to change"), std::string::npos);
  EXPECT_NE(Beating().look(0, -30).look(60, 55).last.detail.find("changed"), std::string::npos);
  EXPECT_NE(Beating().look(0, -30).look(95, -30).last.detail.find("unchanged for 00:01:35"), std::string::npos);
  EXPECT_NE(Beating().look(0, -30, Hub::unauthorized).last.detail.find("refused our credential"), std::string::npos);
  EXPECT_NE(Beating().look(0, -30, Hub::proper, false).last.detail.find("not approved"), std::string::npos);
  EXPECT_EQ(Beating().look(0, -30).last.source, "heartbeat");
}
