// Proof that a session has ended: it comes before everything but a hold, and needs neither policy nor hub.
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
  if (!f.commands || !f.commands->newest_other) return false;
  const Command& other = *f.commands->newest_other;
  const auto begun = earliest(other);
  if (stopped && begun && *begun <= *stopped) return false;
  if (why) *why += cat({"; not the session's newest command: ", describe(other, f.now)});
  return true;
}

// A completion without a time of its own, or with one that lies ahead, counts from our first sight of it.
Time rest_began(const Facts& f, const std::optional<Time>& own) {
  if (own && *own <= f.now) return *own;
  return std::min(f.episode.completion_seen.value_or(f.now), f.now);
}

std::optional<Completion> by_command(const Facts& f, std::string* why) {
  if (!f.commands || !f.commands->newest_stop) {
    if (why) *why = f.commands ? "no stop on record" : "the binding has no command table";
    return {};
  }
  const Command& stop = *f.commands->newest_stop;
  if (why) *why = cat({"newest stop: ", describe(stop, f.now)});
  if (fate_of(stop) != CommandFate::completed) return {};
  if (overtaken(earliest(stop), f, why)) return {};
  return Completion{rest_began(f, stop.completed), cat({"stop command ", in_quotes(stop.id), " completed"})};
}

}  // namespace

std::optional<Completion> completion_of(const Facts& f, std::string* why) {
  auto proof = by_command(f, why);
  if (!f.episode.session_gone) return proof;
  const Time since = rest_began(f, f.episode.session_gone);
  if (why) *why += cat({"; the hub said ", span(elapsed(since, f.now)), " ago that the session has ended"});
  if (overtaken(f.episode.session_gone, f, why)) return proof;
  if (proof && proof->since <= since) return proof;
  return Completion{since, "the hub said that the session has ended"};
}

Answer completion_proven(const Facts& f, std::string* why) {
  const auto proof = completion_of(f, why);
  if (!proof) return {};
  const Duration rest = f.policy ? f.policy->finalize_after : Policy{}.finalize_after;
  const Duration rested = elapsed(proof->since, f.now);
  if (why) *why += cat({"; finalize_after ", span(rest), f.policy ? " (policy)" : " (default)"});

  const std::string becomes = f.policy ? f.policy->becomes : f.closes_as;
  Verdict verdict = close(Action::finalize, f.policy, "user_requested",
                          cat({proof->proof, " ", span(rested), " ago; the session ends as ", becomes}));
  verdict.becomes = becomes;
  if (rested >= rest) return verdict;
  verdict.action = Action::wait;
  verdict.next_action = Action::finalize;
  verdict.due = plus(proof->since, rest);
  verdict.blocked_by = Blocked::finalize_rest;
  verdict.text = cat({proof->proof, " ", span(rested), " ago and rests until ", span(rest), " have passed"});
  return verdict;
}

}  // namespace reconciler::rules
