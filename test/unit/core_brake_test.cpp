#include "core/brake.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "support/core_world.hpp"

using namespace reconciler;
using core_world::noon;
using core_world::tick;

TEST(Window, CountsTheLastTenMinutes) {
  Window w;
  w.add(noon, 5);
  EXPECT_EQ(w.total(noon), 5);
  EXPECT_EQ(w.total(noon + minutes(10) - tick), 5);
  EXPECT_EQ(w.total(noon + minutes(10)), 0);
}

TEST(Window, KeepsMinutesApart) {
  Window w;
  for (int i = 0; i < 12; ++i) w.add(noon + minutes(i), 1);
  EXPECT_EQ(w.total(noon + minutes(11)), 10);
  EXPECT_EQ(w.total(noon + minutes(15)), 6);
  EXPECT_EQ(w.total(noon + minutes(20)), 1);
  EXPECT_EQ(w.total(noon + minutes(21)), 0);
}

TEST(Window, AClockThatWentBackHandsNothingOutTwice) {
  Window w;
  w.add(noon, 20);
  EXPECT_EQ(w.total(noon - hours(5)), 20);
  w.add(noon - hours(5), 1);
  EXPECT_EQ(w.total(noon), 21);
  EXPECT_EQ(w.minute, noon.time_since_epoch() / minutes(1));
}

TEST(Window, AFarJumpEmptiesIt) {
  Window w;
  for (const auto gap : {10, 11, 12, 24 * 60 * 365}) {
    w.add(noon, 7);
    EXPECT_EQ(Window(w).total(noon + minutes(gap)), 0) << gap;
  }
}

TEST(Window, SaturatesInsteadOfOverflowing) {
  Window w;
  w.add(noon, std::numeric_limits<std::int64_t>::max());
  w.add(noon, 5);
  EXPECT_EQ(w.total(noon), std::numeric_limits<std::int32_t>::max());
}

TEST(Window, TimesBeforeTheEpochRoundDown) {
  Window w;
  w.minute = -1000;
  w.add(from_unix_micros(-1), 1);
  EXPECT_EQ(w.minute, -1);
}

TEST(Window, SaysWhenItFrees) {
  Window w;
  w.add(noon + seconds(30), 3);
  w.add(noon + minutes(2), 4);
  const Time now = noon + minutes(3);
  EXPECT_EQ(w.frees_at(now, 3, 10), now);
  EXPECT_EQ(w.frees_at(now, 4, 10), noon + minutes(10));
  EXPECT_EQ(w.frees_at(now, 6, 10), noon + minutes(10));
  EXPECT_EQ(w.frees_at(now, 7, 10), noon + minutes(12));
  EXPECT_EQ(w.frees_at(now, 10, 10), noon + minutes(12));
  EXPECT_EQ(w.frees_at(now, 99, 10), noon + minutes(12)) << "never fits: when it is empty";
  EXPECT_EQ(Window().frees_at(now, 99, 10), now);
  // What it promises holds.
  EXPECT_LE(w.total(noon + minutes(10)) + 6, 10);
  EXPECT_GT(Window(w).total(noon + minutes(12) - tick) + 7, 10);
}

TEST(Brake, TripsAboveTheFloor) {
  BrakeState state;
  EXPECT_FALSE(judge_brake(state, {}, 20, 0, noon).trips);
  const auto judged = judge_brake(state, {}, 21, 0, noon);
  EXPECT_TRUE(judged.trips);
  EXPECT_EQ(judged.budget, 20);
  EXPECT_EQ(judged.used, 0);
  EXPECT_EQ(judged.left, 20);
  EXPECT_FALSE(state.tripped) << "the caller latches it, with its event";
}

TEST(Brake, TheShareOfALargeTableCounts) {
  BrakeState state;
  EXPECT_EQ(judge_brake(state, {}, 21, 1000, noon).budget, 50);
  EXPECT_FALSE(judge_brake(state, {}, 50, 1000, noon).trips);
  EXPECT_TRUE(judge_brake(state, {}, 51, 1000, noon).trips);
  EXPECT_FALSE(judge_brake(state, {}, 50, 1019, noon).trips);
  EXPECT_TRUE(judge_brake(state, {}, 51, 1019, noon).trips) << "5 % of 1019 is 50, rounded down";
  EXPECT_EQ(judge_brake(state, {}, 21, 400, noon).budget, 20);
  EXPECT_EQ(judge_brake(state, {}, 21, 420, noon).budget, 21);
  BrakeLimits limits;
  limits.share = 0.29;
  EXPECT_EQ(judge_brake(state, limits, 21, 100, noon).budget, 29) << "0.29 × 100 is 28.999… in binary";
  EXPECT_EQ(judge_brake(state, {}, 21, -5, noon).budget, 20);
}

TEST(Brake, CountsWhatWasDoneInTenMinutes) {
  BrakeState state;
  spend_inferred(state, 15, noon);
  EXPECT_FALSE(judge_brake(state, {}, 5, 0, noon + minutes(9)).trips);
  EXPECT_TRUE(judge_brake(state, {}, 6, 0, noon + minutes(9)).trips);
  EXPECT_FALSE(judge_brake(state, {}, 6, 1000, noon + minutes(9)).trips) << "a few more in a large fleet";
  EXPECT_FALSE(judge_brake(state, {}, 6, 0, noon + minutes(10)).trips);
}

TEST(Brake, AsksForTheTableOnlyWhenItMatters) {
  BrakeState state;
  EXPECT_FALSE(needs_watched(state, {}, 20, noon));
  EXPECT_TRUE(needs_watched(state, {}, 21, noon));
  spend_inferred(state, 15, noon);
  EXPECT_FALSE(needs_watched(state, {}, 5, noon));
  EXPECT_TRUE(needs_watched(state, {}, 6, noon));
}

TEST(Brake, TrippedLetsOnlyTheAllowanceThrough) {
  BrakeState state;
  state.tripped = noon;
  EXPECT_EQ(judge_brake(state, {}, 1, 0, noon + hours(1)).left, 0);
  EXPECT_FALSE(judge_brake(state, {}, 99, 0, noon + hours(1)).trips) << "it does not trip twice";
  state.allowance = 30;
  EXPECT_EQ(judge_brake(state, {}, 99, 0, noon + hours(1)).left, 30);
}

TEST(Brake, TheAllowanceIsBesideTheBudget) {
  BrakeState state;
  state.allowance = 30;
  EXPECT_FALSE(judge_brake(state, {}, 50, 0, noon).trips);
  EXPECT_TRUE(judge_brake(state, {}, 51, 0, noon).trips);
  spend_inferred(state, 25, noon);
  EXPECT_EQ(state.allowance, 5);
  EXPECT_EQ(state.inferred.total(noon), 0);
  spend_inferred(state, 10, noon);
  EXPECT_EQ(state.allowance, 0);
  EXPECT_EQ(state.inferred.total(noon), 5);
}

TEST(Brake, UsersForcesHaveTheirOwnRate) {
  BrakeState state;
  EXPECT_EQ(user_rate_left(state, {}, 0, noon), 200);
  EXPECT_EQ(user_rate_left(state, {}, 10000, noon), 2500);
  state.user_requested.add(noon, 150);
  EXPECT_EQ(user_rate_left(state, {}, 0, noon), 50);
  EXPECT_EQ(user_rate_left(state, {}, 0, noon + minutes(10)), 200);
  state.user_requested.add(noon + minutes(10), 900);
  EXPECT_EQ(user_rate_left(state, {}, 0, noon + minutes(10)), 0);
  EXPECT_FALSE(judge_brake(state, {}, 20, 0, noon + minutes(10)).trips) << "they are no part of the other budget";
}

TEST(Losses, SmallFleetsSayNothing) {
  EXPECT_EQ(judge_losses(0, 0), Losses::few);
  EXPECT_EQ(judge_losses(1, 1), Losses::few) << "the seed's own case";
  EXPECT_EQ(judge_losses(2, 2), Losses::few);
  EXPECT_EQ(judge_losses(3, 3), Losses::all);
}

TEST(Losses, FiftyFivePercent) {
  EXPECT_EQ(judge_losses(100, 54), Losses::few);
  EXPECT_EQ(judge_losses(100, 55), Losses::most);
  EXPECT_EQ(judge_losses(100, 99), Losses::most);
  EXPECT_EQ(judge_losses(100, 100), Losses::all);
  EXPECT_EQ(judge_losses(3, 1), Losses::few);
  EXPECT_EQ(judge_losses(3, 2), Losses::most);
  EXPECT_EQ(judge_losses(4, 2), Losses::few);
}

TEST(Pace, ASecondsWorthAtATime) {
  Pace pace;
  const BrakeLimits limits;  // 50 a second
  EXPECT_EQ(take_pace(pace, limits, Losses::few, 500, noon).granted, 50) << "full after a long rest";
  Paced next = take_pace(pace, limits, Losses::few, 450, noon);
  EXPECT_EQ(next.granted, 0);
  EXPECT_EQ(next.wait, seconds(1)) << "not one by one, in a transaction each";
  EXPECT_EQ(take_pace(pace, limits, Losses::few, 450, noon + seconds(1) - tick).granted, 0);
  EXPECT_EQ(take_pace(pace, limits, Losses::few, 450, noon + seconds(1)).granted, 50);
  EXPECT_EQ(take_pace(pace, limits, Losses::few, 5, noon + milliseconds(1099)).granted, 0);
  EXPECT_EQ(take_pace(pace, limits, Losses::few, 5, noon + milliseconds(1100)).granted, 5) << "the last few need not wait for a whole second";
}

TEST(Pace, ATenthWhileMostAgentsAreGone) {
  Pace pace;
  const BrakeLimits limits;
  EXPECT_EQ(take_pace(pace, limits, Losses::most, 500, noon).granted, 5);
  EXPECT_EQ(take_pace(pace, limits, Losses::most, 500, noon).wait, seconds(1));
  EXPECT_EQ(take_pace(pace, limits, Losses::most, 1, noon).wait, milliseconds(200));
}

TEST(Pace, AtLeastOneASecond) {
  Pace pace;
  const BrakeLimits limits{.per_second = 3};
  EXPECT_EQ(take_pace(pace, limits, Losses::most, 10, noon).granted, 1);
  EXPECT_EQ(take_pace(pace, limits, Losses::most, 10, noon).wait, seconds(1));
}

TEST(Pace, AClockThatWentBackFillsNothingAndIsFollowed) {
  Pace pace;
  const BrakeLimits limits;
  EXPECT_EQ(take_pace(pace, limits, Losses::few, 50, noon).granted, 50);
  EXPECT_EQ(take_pace(pace, limits, Losses::few, 50, noon - hours(1)).granted, 0);
  EXPECT_EQ(take_pace(pace, limits, Losses::few, 50, noon - hours(1) + seconds(1)).granted, 50);
}

TEST(Grace, HoldsAfterStarts) {
  Grace grace;
  EXPECT_EQ(grace.until(noon), std::nullopt);
  grace.server_started = noon;
  EXPECT_EQ(grace.until(noon), noon + seconds(60));
  EXPECT_EQ(grace.until(noon + seconds(60) - tick), noon + seconds(60));
  EXPECT_EQ(grace.until(noon + seconds(60)), std::nullopt);
  grace.first_pass = noon + seconds(10);
  EXPECT_EQ(grace.until(noon + seconds(60)), noon + seconds(70));
  grace.new_instance = noon;
  EXPECT_EQ(grace.until(noon + seconds(60)), noon + seconds(120));
  grace.promoted = noon;
  EXPECT_EQ(grace.until(noon + seconds(60)), noon + seconds(300));
  EXPECT_EQ(grace.until(noon + seconds(300)), std::nullopt);
}

TEST(Grace, AClockThatWasSetBackDoesNotMakeItAnHour) {
  Grace grace;
  grace.first_pass = noon + hours(1), grace.new_instance = noon + hours(1), grace.promoted = noon + hours(1);
  EXPECT_EQ(grace.until(noon), std::nullopt);
  grace.new_instance = noon;
  EXPECT_EQ(grace.until(noon), noon + seconds(120));
}
