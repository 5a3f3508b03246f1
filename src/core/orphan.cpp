// Sessions whose agent is not there: the only rules that close by inference from the agent's absence.
#include <algorithm>

#include "core/rules.hpp"

namespace reconciler::rules {

bool has_agent(const Facts& f) { return f.agent_mapped && f.session.agent && !f.session.agent->empty(); }

std::string agent_name(const Facts& f) {
  return has_agent(f) ? cat({"agent ", in_quotes(*f.session.agent)}) : std::string("no agent");
}

Presence agent_presence(const Facts& f) {
  if (!has_agent(f)) return Presence::none;
  return f.agent ? current(*f.agent, f.now, f.limits) : Presence::unknown;
}

bool came_back_as_another(const Facts& f) {
  return agent_presence(f) == Presence::present && !f.episode.incarnation.empty() && !f.agent->last.incarnation.empty() &&
         f.episode.incarnation != f.agent->last.incarnation;
}

std::string describe_evidence(const Facts& f) {
  if (!has_agent(f)) return f.agent_mapped ? "the session names no agent" : "the binding maps no agent column";
  return f.agent ? describe_record(agent_name(f), *f.agent, f) : cat({agent_name(f), ": never asked about"});
}

std::string describe_record(const std::string& who, const Evidence& record, const Facts& f) {
  std::string text = cat({who, ": ", to_string(record.last.presence), record.last.provisional ? " (provisional)" : "",
                          " by ", record.last.source.empty() ? "?" : record.last.source});
  if (!record.last.instance.empty()) text += cat({", hub instance ", in_quotes(record.last.instance)});
  if (!record.last.incarnation.empty()) text += cat({", incarnation ", in_quotes(record.last.incarnation)});
  text += cat({", ", span(elapsed(record.last.at, f.now)), " ago"});
  if (current(record, f.now, f.limits) != record.last.presence)
    text += cat({", older than ", record.max_age ? span(*record.max_age) : cat({"two intervals of ", span(f.limits.interval)}), ": worth unknown"});
  if (record.gone_observations > 0)
    text += cat({"; gone for ", span(record.gone_time), " over ", std::to_string(record.gone_observations), " looks"});
  if (!record.last.detail.empty()) text += cat({"; ", record.last.detail});
  if (record.suspect_since)
    text += cat({"; suspect since ", instant(*record.suspect_since), ": it accepted ", std::to_string(record.ignored), " commands and ended none of them"});
  return text;
}

std::string gone_so_far(const std::string& who, const Evidence& record, const Facts& f) {
  return cat({who, " has been gone for ", span(record.gone_time), " of ", span(f.policy->gone_after), " (",
              std::to_string(record.gone_observations), record.gone_observations == 1 ? " look)" : " looks)"});
}

bool gone_long_enough(const Evidence& record, const Facts& f) {
  return record.gone_time >= f.policy->gone_after && record.gone_observations >= 2;
}

std::string how_long(const Facts& f) {
  return cat({f.policy->infers ? "; closed after " : "; infers off (policy); else closed after ", span(f.policy->gone_after),
              " (policy gone_after) and 2 looks"});
}

Verdict gone_not_yet(const std::string& who, const Evidence& record, const Facts& f) {
  // Gone time stands as of the last look: a look at `due` finds exactly enough.
  std::optional<Time> due = plus(record.last.at, std::max(f.policy->gone_after - record.gone_time, Duration(0)));
  const bool second_wanted = record.gone_observations < 2;
  if (second_wanted)
    due = std::max(*due, plus(record.last_gone_counted.value_or(record.last.at), f.limits.observation_spacing));
  // Overdue: we look now. What is pushed comes when it comes, and wakes us.
  if (*due <= f.now) due = record.last.stated ? std::nullopt : std::optional(f.now);
  return wait(Action::force, due, second_wanted ? Blocked::second_observation : Blocked::none,
              cat({gone_so_far(who, record, f), second_wanted ? "; a second look has to confirm it" : ""}));
}

namespace {

void explain_gone(const Facts& f, std::string* why) {
  if (why) *why = cat({describe_evidence(f), how_long(f)});
}

}  // namespace

Answer no_agent(const Facts& f, std::string* why) {
  if (!f.agent_mapped || has_agent(f)) {
    if (why) *why = f.agent_mapped ? agent_name(f) : "the binding maps no agent column";
    return {};
  }
  // Our own sight counts, not the column: a foreign timestamp can make us wait, never force.
  const Duration seen = elapsed(f.episode.first_seen, f.now);
  const Duration limit = f.policy->gone_after;
  if (why) *why = cat({"the session names no agent; first seen ", span(seen), " ago, gone_after ", span(limit), " (policy), no_agent ",
                       f.policy->no_agent == NoAgent::close ? "close" : "show", " (policy)"});
  if (f.policy->no_agent == NoAgent::show)
    return wait(Action::wait, {}, Blocked::no_agent, "no agent is recorded for the session; it is shown, never closed");
  if (seen >= limit)
    return inferred(f, seen, close(Action::force, f.policy, "no_agent",
                                   cat({"no agent is recorded for the session, for ", span(seen), " of ", span(limit)})));
  return wait(Action::force, plus(f.now, limit - seen), Blocked::no_agent,
              cat({"no agent is recorded for the session, for ", span(seen), " of ", span(limit), " so far"}));
}

Answer agent_gone(const Facts& f, std::string* why) {
  explain_gone(f, why);
  if (agent_presence(f) != Presence::gone) return {};
  if (!f.policy->infers)
    return wait(Action::wait, {}, Blocked::none, cat({gone_so_far(agent_name(f), *f.agent, f), "; such sessions end by proof only: it is shown, never closed"}));
  if (!gone_long_enough(*f.agent, f)) return {};
  Verdict verdict = close(Action::force, f.policy, f.policy->reason, gone_so_far(agent_name(f), *f.agent, f));
  verdict.owes = owed_by(f);
  return inferred(f, f.agent->gone_time, std::move(verdict));
}

Answer agent_gone_waiting(const Facts& f, std::string* why) {
  explain_gone(f, why);
  // Only where agent_gone has not matched: asked for a trace, it must not claim that more has to pass.
  if (agent_presence(f) != Presence::gone || !f.policy->infers || gone_long_enough(*f.agent, f)) return {};
  return gone_not_yet(agent_name(f), *f.agent, f);
}

}  // namespace reconciler::rules
