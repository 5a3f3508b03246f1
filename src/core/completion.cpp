// Proof that a session has ended, or is where it was going: it comes before everything but a hold, and that it has
// ended needs neither policy nor hub.
#include <algorithm>

#include "core/rules.hpp"

namespace reconciler::rules {

CommandFate fate_of(const Command& command) {
  const bool failed = command.status == "failed";
  // The dispatcher writes `failed` too, when the agent is not connected: nothing was executed then, and a
  // completion time beside it is only the time at which somebody gave up.
  if (failed && !command.sent && !command.acknowledged) return CommandFate::undelivered;
  // An error text tells a failure that was stamped with its time from a completion.
  if (failed && !command.error.empty()) return CommandFate::failed;
  // `sent` may be written late, over `completed` (StreamSpace's dispatcher does): the time stays true.
  if (command.completed || command.status == "completed") return CommandFate::completed;
  return failed ? CommandFate::failed : CommandFate::open;
}

std::string describe(const Command& command, Time now) {
  std::string text = cat({"command ", in_quotes(command.id), " ", command.action, ", status ", in_quotes(command.status)});
  const auto add = [&](std::string_view what, const std::optional<Time>& at) {
    if (at) text += cat({", ", what, " ", span(elapsed(*at, now)), " ago"});
  };
  add("created", command.created);
  add("sent", command.sent);
  add("acknowledged", command.acknowledged);
  add("completed", command.completed);
  if (!command.error.empty()) text += cat({", error ", in_quotes(command.error)});
  return text;
}

namespace {

std::optional<Time> earliest(const Command& command) {
  for (const auto& at : {command.created, command.sent, command.acknowledged, command.completed})
    if (at) return at;
  return {};
}

// The session's newest command decides: a start, wake, resume or hibernate that came after the stop, even one
// that was never delivered, says that somebody wants the session. Where the order cannot be told, nothing is proven.
bool overtaken(std::optional<Time> stopped, const Facts& f, std::string* why) {
  if (!f.commands) return false;
  for (const auto* other : {&f.commands->newest_other, &f.commands->newest_elsewhere}) {
    const auto begun = *other ? earliest(**other) : std::nullopt;
    if (!*other || (stopped && begun && *begun <= *stopped)) continue;
    if (why) *why += cat({"; not the session's newest command: ", describe(**other, f.now), other == &f.commands->newest_elsewhere ? ", for another agent" : ""});
    return true;
  }
  return false;
}

// A completion without a time of its own, or with one that lies ahead, counts from our first sight of it.
Time rest_began(const Facts& f, const std::optional<Time>& own) {
  if (own && *own <= f.now) return *own;
  return std::min(f.episode.completion_seen.value_or(f.now), f.now);
}

// A session that was stopped on its way to running has ended as any other; it has not failed.
std::string ending(const Facts& f) { return f.policy && f.policy->awaits != start_session ? f.policy->becomes : f.closes_as; }

std::optional<Completion> by_stop(const Facts& f, std::string* why) {
  if (!f.commands || !f.commands->newest_stop) {
    if (why) *why = f.commands ? "no stop on record for its agent" : "the binding has no command table";
    return {};
  }
  const Command& stop = *f.commands->newest_stop;
  if (why) *why = cat({"newest stop: ", describe(stop, f.now)});
  if (fate_of(stop) != CommandFate::completed) return {};
  if (overtaken(earliest(stop), f, why)) return {};
  return Completion{rest_began(f, stop.completed), cat({"stop command ", in_quotes(stop.id), " completed"}), ending(f), "user_requested"};
}

std::optional<Completion> by_hub(const Facts& f, std::string* why) {
  if (!f.episode.session_gone) return {};
  const Time since = rest_began(f, f.episode.session_gone);
  if (why) *why += cat({"; the hub said ", span(elapsed(since, f.now)), " ago that the session has ended"});
  if (overtaken(f.episode.session_gone, f, why)) return {};
  const bool asked = !f.policy || f.policy->user_requested;
  return Completion{since, "the hub said that the session has ended", f.policy ? f.policy->becomes : f.closes_as, asked ? "user_requested" : "runtime_gone"};
}

// The command that the state awaits, if it has been executed: waking ends by either word that hubs have for it.
const Command* awaited(const Policy* policy, const CommandHistory& commands) {
  if (!policy || policy->awaits.empty() || !commands.newest_other) return nullptr;
  const Command& other = *commands.newest_other;
  const bool resumes = policy->awaits == "wake_session" && other.action == "resume_session";
  if (other.action != policy->awaits && !resumes) return nullptr;
  const CommandFate fate = fate_of(other);
  const bool settles = fate == CommandFate::completed ? !policy->completed_becomes.empty()
                                                      : fate == CommandFate::failed && policy->awaits == start_session;
  return settles ? &other : nullptr;
}

std::optional<Completion> by_awaited(const Facts& f, std::string* why) {
  if (!f.policy || f.policy->awaits.empty()) return {};
  if (why) *why += cat({"; awaits ", f.policy->awaits, " (policy)"});
  if (f.episode.start_failed && f.policy->awaits == start_session)
    return Completion{rest_began(f, f.episode.start_failed), cat({"the start that was sent again ", f.episode.last_result}), f.policy->becomes, "error", owed_by(f)};
  const Command* command = f.commands ? awaited(f.policy, *f.commands) : nullptr;
  if (why && f.commands && f.commands->newest_other) *why += cat({", newest: ", describe(*f.commands->newest_other, f.now)});
  if (!command) return {};
  // A stop that came after, or whose order cannot be told, says that nobody wants it any more.
  const auto& stop = f.commands->newest_stop;
  const auto begun = earliest(*command), stopped = stop ? earliest(*stop) : std::nullopt;
  if (stop && (!begun || !stopped || *stopped >= *begun)) {
    if (why) *why += cat({"; not the session's newest command: ", describe(*stop, f.now)});
    return {};
  }
  const std::string name = cat({command->action, " command ", in_quotes(command->id)});
  if (fate_of(*command) == CommandFate::completed)
    return Completion{.since = rest_began(f, command->completed), .proof = cat({name, " completed"}), .becomes = f.policy->completed_becomes,
                      .reason = "user_requested", .ends = false};
  return Completion{rest_began(f, command->completed), cat({name, " failed: ", command->error.empty() ? "no reason given" : command->error}),
                    f.policy->becomes, "error", owed_by(f)};
}

}  // namespace

bool rests_from_sight(const Policy* policy, const CommandHistory& commands, Time now) {
  const auto timeless = [&](const Command* command) {
    return command && (command->completed ? *command->completed > now : command->status == "completed" || command->status == "failed");
  };
  const auto& stop = commands.newest_stop;
  return timeless(awaited(policy, commands)) || (stop && fate_of(*stop) == CommandFate::completed && timeless(&*stop));
}

std::optional<Completion> completion_of(const Facts& f, std::string* why) {
  auto stop = by_stop(f, why);
  auto hub = by_hub(f, why);
  if (stop && hub) return stop->since <= hub->since ? stop : hub;
  if (stop || hub) return stop ? stop : hub;
  return by_awaited(f, why);
}

Answer completion_proven(const Facts& f, std::string* why) {
  const auto proof = completion_of(f, why);
  if (!proof) return {};
  const Duration rest = f.policy ? f.policy->finalize_after : Policy{}.finalize_after;
  const Duration rested = elapsed(proof->since, f.now);
  if (why) *why += cat({"; finalize_after ", span(rest), f.policy ? " (policy)" : " (default)"});

  if (rested < rest)
    return wait(Action::finalize, plus(proof->since, rest), Blocked::finalize_rest,
                cat({proof->proof, " ", span(rested), " ago and rests until ", span(rest), " have passed"}));
  // Whoever came after the end speaks against it; what was there before it does not.
  if (proof->ends && shows_life(f, rested) && *f.session.sign > proof->since)
    return wait(Action::finalize, quiet_at(f, rested), Blocked::contradiction,
                cat({proof->proof, " ", span(rested), " ago, but the session showed a sign of life after that, ", span(elapsed(*f.session.sign, f.now)), " ago"}));
  Verdict verdict = close(Action::finalize, f.policy, proof->reason, cat({proof->proof, " ", span(rested), " ago; the session becomes ", proof->becomes}));
  verdict.becomes = proof->becomes, verdict.owes = proof->owes;
  if (const auto quiet = quiet_since(f, rested); quiet && proof->ends) verdict.quiet_since = std::max(*quiet, proof->since);
  return verdict;
}

}  // namespace reconciler::rules
