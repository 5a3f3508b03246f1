#include "engine/facts.hpp"

#include "core/json.hpp"

namespace reconciler {
namespace {

double in_seconds(Duration d) { return static_cast<double>(d.count()) / 1e6; }

nlohmann::json record_json(const Evidence& record, const Facts& facts) {
  return nlohmann::json{{"presence", to_string(current(record, facts.now, facts.limits))},
          {"source", record.last.source},
          {"age_seconds", in_seconds(facts.now - record.last.at)},
          {"gone_seconds", in_seconds(record.gone_time)},
          {"gone_observations", record.gone_observations},
          {"detail", record.last.detail}};
}

nlohmann::json agent_json(const Evidence& agent, const Facts& facts) {
  nlohmann::json out = record_json(agent, facts);
  if (!agent.last.instance.empty()) out["hub_instance"] = agent.last.instance;
  if (!agent.last.incarnation.empty()) out["incarnation"] = agent.last.incarnation;
  if (agent.suspect_since) out["suspect_seconds"] = in_seconds(facts.now - *agent.suspect_since), out["ignored_commands"] = agent.ignored;
  return out;
}

nlohmann::json command_json(const Command& command) {
  nlohmann::json out{{"command_id", command.id}, {"action", command.action}, {"status", command.status}};
  if (command.completed) out["completed_unix"] = in_seconds(command.completed->time_since_epoch());
  if (!command.error.empty()) out["error"] = command.error;
  return out;
}

}  // namespace

Facts facts_of(const Binding& binding, const Observer& observer, const Tracked& tracked, bool hub_set, Time now, const PoolFacts* pool) {
  return Facts{.session = tracked.session,
               .episode = tracked.episode,
               .policy = binding.policy(tracked.session.state),
               .terminal = binding.terminal(tracked.session.state),
               .closes_as = binding.closes_as(),
               .agent_mapped = binding.agent_mapped,
               .hub_set = hub_set,
               .pulled = binding.pulled,
               .agent = observer.of(tracked.session.agent),
               .runtime = observer.runtime_of(tracked.session),
               .runtime_shared = observer.shares_runtime(tracked.session),
               .commands = binding.commands_table ? &tracked.commands : nullptr,
               .hold = tracked.hold ? &*tracked.hold : nullptr,
               .pool = pool,
               .planned = tracked.planned ? &*tracked.planned : nullptr,
               .limits = binding.limits,
               .now = now};
}

std::string evidence_json(const Facts& facts, const Verdict& verdict) {
  nlohmann::json out{{"text", verdict.text},
                     {"in_state_seconds", in_seconds(facts.now - facts.episode.entered)},
                     {"attempts", facts.episode.attempts}};
  if (facts.session.agent) out["agent_id"] = *facts.session.agent;
  if (facts.agent) out["agent"] = agent_json(*facts.agent, facts);
  if (facts.session.runtime) out["runtime_id"] = *facts.session.runtime;
  if (facts.runtime) out["runtime"] = record_json(*facts.runtime, facts);
  if (facts.policy) {
    if (facts.policy->stuck_after) out["stuck_after_seconds"] = in_seconds(*facts.policy->stuck_after);
    out["gone_after_seconds"] = in_seconds(facts.policy->gone_after);
  }
  if (facts.pool) out["pool"] = facts.pool->name;
  if (!verdict.to_agent.empty()) out["to_agent"] = verdict.to_agent;
  if (facts.commands && facts.commands->newest_stop) out["newest_stop"] = command_json(*facts.commands->newest_stop);
  // Foreign text may not be UTF-8; an event must not fail for it.
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string command_for(const Binding& binding, const Tracked& tracked) {
  if (tracked.goes_to && !tracked.goes_to->verdict.sends.empty()) return tracked.goes_to->verdict.sends;
  const Policy* policy = binding.policy(tracked.session.state);
  return tracked.episode.owed == Owed::stop || !policy ? "stop_session" : policy->retry_action;
}

bool hands_over(const Tracked& tracked) { return tracked.goes_to && tracked.episode.owed == Owed::nothing; }

const std::string& agent_for(const Tracked& tracked) { return tracked.goes_to ? tracked.goes_to->agent : *tracked.session.agent; }

std::string would_mark(const Verdict& verdict) {
  return std::string(verdict.rule) + " " + to_string(verdict.action);
}

}  // namespace reconciler
