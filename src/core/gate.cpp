#include "core/gate.hpp"

#include "core/text.hpp"

namespace reconciler {

const char* to_string(Mode mode) {
  switch (mode) {
    case Mode::observe: return "observe";
    case Mode::enforce: return "enforce";
    case Mode::off: return "off";
    case Mode::broken: return "broken";
  }
  return "broken";
}

std::optional<Mode> mode_from(const std::string& text) {
  for (const Mode mode : {Mode::observe, Mode::enforce, Mode::off, Mode::broken})
    if (text == to_string(mode)) return mode;
  return {};
}

Gated gate(const Verdict& verdict, const Policy* policy, const Episode& episode, const Gates& gates, Time now) {
  // Doing nothing needs no permission.
  if (verdict.action == Action::wait) return {};

  // The binding as a whole; what an operator has to repair first comes first.
  if (!gates.version_fits) return {Blocked::version, {}, {}};
  if (gates.safe_mode) return {Blocked::safe_mode, {}, {}};
  if (!gates.identity_confirmed) return {Blocked::identity, {}, {}};
  if (gates.mode == Mode::broken) return {Blocked::observe_mode, {}, cat({"the table is left alone because it is broken: ", gates.mode_reason})};
  if (gates.mode != Mode::enforce) return {Blocked::observe_mode, {}, {}};

  // A proven completion is a fact, not a decision: an ordinary pause lets it through.
  if (gates.paused_everything || (gates.paused && verdict.action != Action::finalize)) return {Blocked::pause, {}, {}};

  // A row that could not be written is not tried with every pass: it would spoil its batch each time.
  const auto& failed = verdict.action == Action::reassign ? episode.handover_failed : closes(verdict) ? episode.write_failed : std::nullopt;
  if (failed && !episode.retry_requested && now < *failed + hours(1))
    return {Blocked::quarantine, *failed + hours(1), cat({"its row could not be written ", span(elapsed(*failed, now)), " ago: ", episode.write_error})};

  // A hub that has just started knows few agents: they are neither lost, nor are those that it knows to take over from all others.
  const bool infers = verdict.action == Action::force || verdict.action == Action::reassign;
  if (infers && gates.grace_until && *gates.grace_until > now) return {Blocked::start_grace, gates.grace_until, {}};
  if (verdict.action != Action::force) return {};
  // What a user asked for has its own rate and is no part of the latch.
  const bool users_wish = policy && policy->user_requested;
  if (gates.brake_tripped && !users_wish && gates.allowance <= 0) return {Blocked::brake, {}, {}};
  return {};
}

}  // namespace reconciler
