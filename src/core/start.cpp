// Sessions on their way to running: what the agent has acknowledged is not sent again, and has its time.
#include "core/rules.hpp"

namespace reconciler::rules {

const Command* newest_start(const Facts& f) {
  if (!f.commands || !f.commands->newest_other || f.commands->newest_other->action != start_session) return nullptr;
  const Command& start = *f.commands->newest_other;
  const auto& stop = f.commands->newest_stop;
  // Where the order cannot be told, the stop came after: nothing is started again for a session somebody ended.
  return !stop || (start.created && stop->created && *stop->created < *start.created) ? &start : nullptr;
}

std::optional<Time> acknowledged(const Command& command) {
  if (command.acknowledged) return command.acknowledged;
  if (command.completed) return command.completed;
  const bool said = command.status == "ack" || command.status == "acknowledged" || command.status == "completed";
  if (!said) return {};
  return command.sent ? command.sent : command.created;
}

// One of ours that the hub accepted is with it, and may be with the agent: sent again, it would be another start. Where
// its row is in the command table, the row tells.
std::optional<Time> start_taken_over(const Facts& f) {
  const Command* start = newest_start(f);
  if (const auto at = start ? acknowledged(*start) : std::nullopt) return at;
  const bool on_record = start && f.episode.hub_command_id == start->id;
  return on_record || came_back_as_another(f) ? std::nullopt : f.episode.accepted_at;
}

bool start_timed_out(const Facts& f) {
  if (f.policy->awaits != start_session || agent_presence(f) != Presence::present) return false;
  const Command* start = newest_start(f);
  const auto at = start_taken_over(f);
  return at && !(start && fate_of(*start) == CommandFate::completed) && elapsed(*at, f.now) >= f.policy->acknowledged_timeout;
}

Answer start_acknowledged(const Facts& f, std::string* why) {
  if (f.policy->awaits != start_session) {
    if (why) *why = "the state awaits no start";
    return {};
  }
  const Command* start = newest_start(f);
  const bool by_agent = start && acknowledged(*start);
  const auto at = start_taken_over(f);
  const Duration limit = f.policy->acknowledged_timeout;
  if (why)
    *why = cat({start ? "newest start: " : "no start is the session's newest command", start ? describe(*start, f.now) : "",
                start && !by_agent ? ", not acknowledged" : "", at && !by_agent ? (f.pulled ? "; ours was queued" : "; the hub accepted ours") : "", "; acknowledged_timeout ", span(limit), " (policy)"});
  if (f.episode.session_running && agent_presence(f) == Presence::present)
    return wait(Action::wait, {}, Blocked::contradiction,
                cat({"the hub says that the session runs, but it is still ", f.session.state, "; it is shown"}));
  // An agent that is gone or unknown is the other rules' matter.
  if (!at || agent_presence(f) != Presence::present) return {};
  const Duration age = elapsed(*at, f.now);
  const std::string text = cat({by_agent ? agent_name(f) + " acknowledged the start" : sent(f, "start"), " ", span(age), " ago, of the ", span(limit), " that it has"});
  if (start && fate_of(*start) == CommandFate::completed)
    return wait(Action::wait, {}, Blocked::contradiction,
                cat({agent_name(f), " says that it completed the start, but the session is still ", f.session.state, "; it is shown"}));
  if (age < limit) return wait(Action::force, plus(f.now, limit - age), Blocked::none, text);
  Verdict verdict = close(Action::force, f.policy, "timeout", cat({text, " and the session is still ", f.session.state}));
  verdict.owes = Owed::stop;
  return inferred(f, age - limit, std::move(verdict));
}

}  // namespace reconciler::rules
