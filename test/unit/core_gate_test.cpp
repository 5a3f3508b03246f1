#include "core/gate.hpp"

#include <gtest/gtest.h>

#include "support/core_world.hpp"

using namespace reconciler;
using namespace core_world;

namespace {

Verdict verdict(Action action) {
  Verdict v;
  v.action = action;
  return v;
}

constexpr Action every_action[] = {Action::retry, Action::finalize, Action::force, Action::reassign, Action::respawn, Action::quarantine};

Gates open_gates() {
  Gates gates;
  gates.mode = Mode::enforce;
  return gates;
}

const Episode untroubled;

Blocked by(Action action, const Gates& gates, const std::optional<Policy>& policy = terminating()) {
  return gate(verdict(action), policy ? &*policy : nullptr, untroubled, gates, noon).by;
}

}  // namespace

TEST(Mode, NamesGoBothWays) {
  for (const Mode mode : {Mode::observe, Mode::enforce, Mode::off, Mode::broken}) EXPECT_EQ(mode_from(to_string(mode)), mode);
  EXPECT_FALSE(mode_from("Enforce"));
  EXPECT_FALSE(mode_from(""));
}

TEST(Gate, OpenLetsEverythingThrough) {
  for (const Action action : every_action) EXPECT_EQ(by(action, open_gates()), Blocked::none) << to_string(action);
}

TEST(Gate, WaitingIsNeverHeld) {
  Gates gates;
  gates.mode = Mode::off;
  gates.version_fits = gates.identity_confirmed = false;
  gates.safe_mode = gates.paused_everything = gates.brake_tripped = true;
  gates.grace_until = noon + hours(1);
  EXPECT_EQ(by(Action::wait, gates), Blocked::none);
}

TEST(Gate, TheFirstThatHoldsIsNamed) {
  Gates gates = open_gates();
  gates.brake_tripped = true;
  const std::optional<Policy> policy = running();
  EXPECT_EQ(by(Action::force, gates, policy), Blocked::brake);
  gates.grace_until = noon + tick;
  EXPECT_EQ(by(Action::force, gates, policy), Blocked::start_grace);
  gates.paused = true;
  EXPECT_EQ(by(Action::force, gates, policy), Blocked::pause);
  gates.mode = Mode::observe;
  EXPECT_EQ(by(Action::force, gates, policy), Blocked::observe_mode);
  gates.identity_confirmed = false;
  EXPECT_EQ(by(Action::force, gates, policy), Blocked::identity);
  gates.safe_mode = true;
  EXPECT_EQ(by(Action::force, gates, policy), Blocked::safe_mode);
  gates.version_fits = false;
  EXPECT_EQ(by(Action::force, gates, policy), Blocked::version);
}

TEST(Gate, OnlyEnforceActs) {
  for (const Mode mode : {Mode::observe, Mode::off, Mode::broken}) {
    Gates gates = open_gates();
    gates.mode = mode;
    for (const Action action : every_action) EXPECT_EQ(by(action, gates), Blocked::observe_mode) << to_string(mode);
  }
}

TEST(Gate, APauseLetsProvenCompletionsThrough) {
  Gates gates = open_gates();
  gates.paused = true;
  for (const Action action : every_action)
    EXPECT_EQ(by(action, gates), action == Action::finalize ? Blocked::none : Blocked::pause) << to_string(action);
  gates.paused_everything = true;
  EXPECT_EQ(by(Action::finalize, gates), Blocked::pause);
  gates.paused = false;
  for (const Action action : every_action) EXPECT_EQ(by(action, gates), Blocked::pause) << to_string(action);
}

TEST(Gate, ABrokenTableSaysWhatBroke) {
  Gates gates = open_gates();
  gates.mode = Mode::broken, gates.mode_reason = "permission denied for table sessions";
  const Gated gated = gate(verdict(Action::force), nullptr, untroubled, gates, noon);
  EXPECT_EQ(gated.by, Blocked::observe_mode);
  EXPECT_EQ(gated.text, "the table is left alone because it is broken: permission denied for table sessions");
}

TEST(Gate, ARowThatCouldNotBeWrittenRestsForAnHour) {
  Episode episode;
  episode.write_failed = episode.handover_failed = noon - minutes(20), episode.write_error = "not this one";
  for (const Action action : every_action) {
    const Gated gated = gate(verdict(action), nullptr, episode, open_gates(), noon);
    const bool writes = action == Action::finalize || action == Action::force || action == Action::reassign;
    EXPECT_EQ(gated.by, writes ? Blocked::quarantine : Blocked::none) << to_string(action);
    if (!writes) continue;
    EXPECT_EQ(gated.until, noon + minutes(40));
    EXPECT_EQ(gated.text, "its row could not be written 00:20:00 ago: not this one");
  }
  episode.write_failed.reset();
  EXPECT_EQ(gate(verdict(Action::finalize), nullptr, episode, open_gates(), noon).by, Blocked::none) << "that another agent can't get it keeps no end from being written";
  episode.write_failed = episode.handover_failed;
  episode.retry_requested = noon - minutes(1);
  EXPECT_EQ(gate(verdict(Action::force), nullptr, episode, open_gates(), noon).by, Blocked::none) << "an operator mended it";
  episode.retry_requested.reset();
  EXPECT_EQ(gate(verdict(Action::force), nullptr, episode, open_gates(), noon + minutes(40)).by, Blocked::none);
}

// A hub that has just started knows few agents: they are not to take over from all others.
TEST(Gate, GraceHoldsForcesAndReassignments) {
  Gates gates = open_gates();
  gates.grace_until = noon + tick;
  for (const Action action : every_action)
    EXPECT_EQ(by(action, gates), action == Action::force || action == Action::reassign ? Blocked::start_grace : Blocked::none) << to_string(action);
  EXPECT_EQ(gate(verdict(Action::force), nullptr, untroubled, gates, noon).until, noon + tick);
  gates.grace_until = noon;
  EXPECT_EQ(by(Action::force, gates), Blocked::none);
}

TEST(Gate, TheBrakeHoldsInferredForcesOnly) {
  Gates gates = open_gates();
  gates.brake_tripped = true;
  EXPECT_EQ(by(Action::force, gates, terminating()), Blocked::none) << "a user asked for it";
  EXPECT_EQ(by(Action::force, gates, running()), Blocked::brake);
  EXPECT_EQ(by(Action::force, gates, std::nullopt), Blocked::brake);
  for (const Action action : every_action) {
    const Blocked expected = action == Action::force ? Blocked::brake : Blocked::none;
    EXPECT_EQ(by(action, gates, running()), expected) << to_string(action);
  }
  gates.allowance = 1;
  EXPECT_EQ(by(Action::force, gates, running()), Blocked::none);
}
