#include "core/json.hpp"
#include "simulation/invariants.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "engine/facts.hpp"
#include "engine/look.hpp"
#include "simulation/world.hpp"

namespace reconciler::simulation {
namespace {

constexpr Duration slack = minutes(1);  // requests, the steps of a pass, the minutes of a window

}  // namespace

void Invariants::violated(const char* invariant, const std::string& text) {
  if (!violation_) violation_ = Violation{invariant, text, world_.now()};
}

// At most one open command in an episode, and the same key until its outcome is known.
void Invariants::claimed(const Tracked& tracked, const Claim& claim) {
  const Database& db = world_.db();
  const Session& s = tracked.session;
  if (db.held(s.key)) violated("held", cat({s.key, " is held, and a command is sent"}));
  if (!db.allowed(false)) violated("paused", cat({"a command for ", s.key, " is sent while paused or observing"}));
  if (command_for(db.binding, tracked) == start_session) starts_[s.key] = world_.now(), settled_.erase(s.key);
  Open& open = open_[s.key];
  if (open.first_seen != tracked.episode.first_seen) open = Open{tracked.episode.first_seen, {}, {}, {}, {}};
  const std::string& target = agent_for(tracked);
  if (open.target != target) open.key.reset(), open.accepted.reset();  // another agent is another command
  open.target = target;
  if (open.key && *open.key != claim.command_id)
    violated("one_command", cat({s.key, " gets key ", claim.command_id, " although what became of ", *open.key, " is not known"}));
  const auto agent = db.evidence.find(target);
  const std::string incarnation = agent == db.evidence.end() ? "" : agent->second.evidence.last.incarnation;
  const Policy* policy = db.binding.policy(s.state);
  if (open.accepted && policy && !world_.stepped() && open.incarnation == incarnation && db.clock - *open.accepted < policy->command_timeout)
    violated("one_command", cat({s.key, " gets ", claim.command_id, " ", span(db.clock - *open.accepted), " after the one before was accepted"}));
  open.key = claim.command_id, open.accepted.reset(), open.incarnation = incarnation;
}

void Invariants::recorded(const Attempt& attempt, const Episode& after, bool known) {
  const Session& s = attempt.tracked->session;
  Open& open = open_[s.key];
  if (known && open.key == attempt.command_id) open.key.reset();
  open.accepted = after.accepted_at;
  const Policy* policy = world_.db().binding.policy(s.state);
  const int most = (policy ? *policy : Policy{}).max_attempts + most_siblings * world_.db().binding.pools + world_.retries_asked(s.key);
  if (after.attempts > most) violated("cap", cat({s.key, ": ", std::to_string(after.attempts), " attempts of ", std::to_string(most)}));
}

void Invariants::failed(const std::string& session) { open_[session].accepted.reset(); }

void Invariants::closed(const Closing& closing, const Change& change, Budget budget, bool by_operator, Owed owes) {
  const Database& db = world_.db();
  changes_.push_back(change);
  const std::string& key = change.session;
  check_rest(closing, change);
  if (owes != Owed::nothing) owing_[key] = world_.now();
  else owing_.erase(key);
  if (by_operator) return;
  if (db.held(key)) violated("held", cat({key, " is held, and was closed"}));
  if (!db.allowed(budget == Budget::none)) violated("paused", cat({key, " was closed while paused or observing"}));
  if (closing.verdict.action == Action::finalize) return owes == Owed::nothing ? check_proof(closing) : void();
  check_alive(closing);
  check_budget(budget);
}

// What was closed still was what the verdict rested on.
void Invariants::check_rest(const Closing& closing, const Change& change) {
  const Session& judged = closing.tracked->session;
  if (!same_identity(change.before.session, judged))
    violated("rests", cat({judged.key, " was judged as ", judged.state, " and closed as ", change.before.session.state}));
}

// The event of a closing says why.
void Invariants::check_evidence(const Event& event) {
  const auto evidence = nlohmann::json::parse(event.evidence, nullptr, false);
  if (!evidence.is_object() || !evidence.contains("text") || !evidence.contains("in_state_seconds"))
    return violated("evidence", cat({event.session, " was closed on ", event.evidence}));
  if (event.rule != "agent_gone") return;
  if (!evidence.contains("agent") || evidence["agent"]["presence"] != "gone" || evidence["agent"]["gone_observations"] < 2 ||
      evidence["agent"]["gone_seconds"] < evidence["gone_after_seconds"])
    violated("evidence", cat({event.session, " was forced on ", event.evidence}));
}

// Since when its hub could know that it is there: while that is down it lets nobody in.
Time Invariants::there_since(const Agent& agent) const {
  const bool was_let_in = agent.connected_since >= *agent.online_since;
  return was_let_in ? *agent.online_since : std::max(*agent.online_since, world_.hub().up_since);
}

// Nothing is inferred of an agent that was there: now for longer than it takes to connect, be seen and be closed, or, in the time for which it
// was said to be gone, for so long that no chain of looks spans it.
void Invariants::check_alive(const Closing& closing) {
  const Session& s = closing.tracked->session;
  const Binding& binding = world_.db().binding;
  const Policy* policy = binding.policy(s.state);
  if (closing.verdict.rule == "no_agent") {
    if (!world_.stepped() && world_.now() - world_.agentless_since(s.key) < policy->gone_after - slack)
      violated("alive", cat({s.key, " is without an agent for ", span(world_.now() - world_.agentless_since(s.key)), " only"}));
    return;
  }
  const Agent* agent = closing.verdict.rule == "agent_gone" ? world_.agent(*s.agent) : nullptr;
  // A clock that was set may make gone time of any length, and a hub that lies is what the brake is for.
  if (!agent || world_.stepped() || world_.now() - agent->lied_about < policy->gone_after + minutes(10)) return;
  const EvidenceLimits& limits = binding.limits;
  const Duration judged = slack + seconds(30) + (policy->user_requested ? Duration(0) : seconds(binding.batch_size));
  if (agent->online_since && world_.now() - there_since(*agent) > judged)
    violated("alive", cat({s.key, " was forced, its ", agent->id, " is there for ", span(world_.now() - there_since(*agent))}));
  const Duration chain = 2 * limits.interval + 2 * limits.hub_grace + limits.heartbeat_fresh + slack;
  for (const auto& [from, to] : agent->online_before)
    if (to - std::max(from, world_.now() - policy->gone_after) > chain)
      violated("alive", cat({s.key, " was forced, its ", agent->id, " was there for ", span(to - from), " until ", span(world_.now() - to), " ago"}));
}

// What was proven to have ended does not run, unless its agent is to get another stop.
void Invariants::check_proof(const Closing& closing) {
  const Session& s = closing.tracked->session;
  if (world_.stepped() || !world_.db().binding.terminal(closing.verdict.becomes) || closing.verdict.reason == "error" || !s.agent) return;
  const Agent* agent = world_.agent(*s.agent);
  const auto runs = agent->runs.find(s.key);
  if (runs == agent->runs.end() || !agent->online() || agent->silent || world_.now() - runs->second.since < slack || forgotten(s.key, runs->second)) return;
  violated("proof", cat({s.key, " was finalized (", closing.verdict.text, ") and runs on ", agent->id, " for ", span(world_.now() - runs->second.since)}));
}

// Of forces in any ten minutes.
void Invariants::check_budget(Budget budget) {
  const Database& db = world_.db();
  const auto watched = std::count_if(db.rows.begin(), db.rows.end(), [&](const auto& entry) { return db.binding.policy(entry.second.session.state) != nullptr; });
  most_watched_ = std::max<std::int64_t>(most_watched_, watched + 1);
  const BrakeLimits& limits = db.binding.brake;
  const bool inferred = budget == Budget::inferred;
  auto& forces = inferred ? inferred_ : asked_;
  forces.push_back(db.clock);
  const auto minute = [](Time at) { return std::chrono::floor<minutes>(at); };
  while (!forces.empty() && minute(forces.front()) <= minute(db.clock) - minutes(10)) forces.pop_front();
  const auto share = [&](double of) { return static_cast<std::int64_t>(of * static_cast<double>(most_watched_)) + 1; };
  const std::int64_t most = inferred ? std::max(limits.floor, share(limits.share)) + world_.allowances() : std::max(limits.user_floor, share(limits.user_share));
  if (!world_.stepped() && static_cast<std::int64_t>(forces.size()) > most)
    violated("budget", cat({std::to_string(forces.size()), inferred ? " inferred forces of " : " forces asked for of ", std::to_string(most), " in ten minutes"}));
}

// What was committed after `then` is no more: what is known of it neither. Starts that were sent are on their way all the same.
void Invariants::go_back_to(const Invariants& then) {
  for (const auto& [key, at] : starts_)
    if (const auto known = then.starts_.find(key); known == then.starts_.end() || known->second != at) lost_starts_.insert(key);
  open_ = then.open_, events_seen_ = then.events_seen_, inferred_ = then.inferred_, asked_ = then.asked_, owing_ = then.owing_, settled_ = then.settled_;
}

// The database does not know that it was started.
bool Invariants::forgotten(const std::string& session, const Running& running) const {
  return (running.ours && lost_starts_.contains(session)) || world_.lost_commits_at(running.since);
}

void Invariants::put_back(const Change& change) { changes_.push_back(change); }
void Invariants::settled(const std::string& session) { owing_.erase(session), settled_.insert(session); }
void Invariants::row_changed(const std::string& session, bool forgets) {
  owing_.erase(session);
  if (forgets) settled_.insert(session);
}

// Every change has exactly one event, and every event of a change its change.
void Invariants::step_done() {
  const auto& events = world_.db().events;
  for (; events_seen_ < events.size(); ++events_seen_) {
    const Event& event = events[events_seen_];
    world_.tell(cat({"  event ", event.kind, " ", event.session, " ", event.from_state, " -> ", event.to_state, " ", event.reason, " ", event.rule, " ", event.evidence}));
    if (!event.after) continue;
    if (event.kind != "late_report") check_evidence(event);
    const auto made = std::find_if(changes_.begin(), changes_.end(), [&](const Change& c) {
      return c.session == event.session && same_image(c.before, *event.before) && same_image(c.after, *event.after);
    });
    if (made == changes_.end()) violated("one_event", cat({"an event ", event.kind, " of ", event.session, " without its change"}));
    else changes_.erase(made);
  }
  if (!changes_.empty()) violated("one_event", cat({changes_.front().session, " was changed without an event"}));
}

// An agent that is there for long has got the stop that it missed, and nothing that we started outlives its session.
void Invariants::check_debts() {
  const Database& db = world_.db();
  for (const auto& [id, agent] : world_.agents()) {
    if (!agent.online_since || world_.now() - *agent.online_since < minutes(50) || agent.silent || !agent.approved) continue;
    for (const auto& [key, running] : agent.runs) {
      const auto row = db.rows.find(key);
      if (row == db.rows.end() || row->second.session.agent != id) continue;
      const auto episode = db.episodes.find(key);
      if (episode != db.episodes.end() && episode->second.episode.attempts >= Policy{}.max_attempts) continue;  // it was refused
      const auto owing = owing_.find(key);
      if (owing != owing_.end() && world_.now() - owing->second < hours(20))
        violated("debt", cat({key, " was closed ", span(world_.now() - owing->second), " ago and still runs on ", id, ", which is there"}));
      if (running.ours && !settled_.contains(key) && !forgotten(key, running) && db.binding.terminal(row->second.session.state) && world_.now() - running.since < hours(20))
        violated("debt", cat({key, " is ", row->second.session.state, " and runs on ", id, ", where we started it ", span(world_.now() - running.since), " ago"}));
    }
  }
}

// A completed stop closes, in whatever state, and whatever else is the matter with the session.
void Invariants::check_proven() {
  const Database& db = world_.db();
  for (const auto& [key, row] : db.rows) {
    const CommandHistory known = db.history(row.session);
    const auto& stop = known.newest_stop;
    const auto overtakes = [&](const std::optional<Command>& by) { return by && by->created > stop->created; };
    if (world_.stepped() || db.binding.terminal(row.session.state) || !stop || !stop->completed || overtakes(known.newest_other) || overtakes(known.newest_elsewhere)) continue;
    if (db.clock - *stop->completed > minutes(10))
      violated("proven", cat({key, " is ", row.session.state, ", its stop was completed ", span(db.clock - *stop->completed), " ago"}));
  }
}

// A session gets another agent if it still was what was judged, its own is not there, and the other has room.
void Invariants::reassigned(const Handover& move, const Change& change) {
  const Database& db = world_.db();
  const Session& s = move.tracked->session;
  const std::string& to = move.verdict.to_agent;
  changes_.push_back(change);
  world_.looked_after_by(s.key, to);
  open_[s.key].target = to;
  if (db.held(s.key)) violated("held", cat({s.key, " is held, and was given to ", to}));
  if (!db.allowed(false)) violated("paused", cat({s.key, " was given to ", to, " while paused or observing"}));
  if (!same_identity(change.before.session, s)) violated("owner", cat({s.key, " was judged as ", s.agent.value_or("nobody"), "'s and taken from ", change.before.session.agent.value_or("nobody")}));
  const Agent* own = s.agent ? world_.agent(*s.agent) : nullptr;
  const Duration seen = slack + seconds(30) + 2 * db.binding.limits.interval;
  const Time since = own && own->online_since ? there_since(*own) : world_.now();
  if (move.verdict.reason == "agent_unavailable" && !world_.stepped() && world_.now() - since > seen && world_.now() - own->lied_about > minutes(20))
    violated("owner", cat({s.key, " was taken from ", own->id, " (", move.verdict.rule, "), which is there for ", span(world_.now() - since)}));
  const auto& member = db.registry.at(to);
  if (const std::int64_t has = db.loads()[to]; db.binding.takes_room(s.state) && has > member.capacity + member.foreign)
    violated("room", cat({to, " has room for ", std::to_string(member.capacity), ", and ", std::to_string(has), " sessions with ", s.key}));
}

// What lives on without its agent has another one, where one is there and has room.
void Invariants::check_starving() {
  const Database& db = world_.db();
  const auto loads = db.loads();
  if (!db.binding.pools || world_.stepped()) return;
  for (const auto& [key, row] : db.rows) {
    const auto& s = row.session;
    const Agent* own = s.agent ? world_.agent(*s.agent) : nullptr;
    const Policy* policy = db.binding.policy(s.state);
    const bool by_command = policy && (!policy->retry_action.empty() || !policy->awaits.empty());
    if (!own || own->online() || by_command || db.binding.terminal(s.state) || own->online_before.back().second > world_.calm_from()) continue;
    const int pool = db.registry.at(own->id).pool;
    if (!db.outlive.at(pool)) continue;
    for (const auto& [id, member] : db.registry) {
      const Agent* other = world_.agent(id);
      const auto load = loads.find(id);
      const bool suspect = db.evidence.contains(id) && db.evidence.at(id).evidence.suspect_since;
      if (db.siblings(member.pool, pool) && other->online() && other->approved && !member.draining && !suspect && (load == loads.end() || load->second < member.capacity))
        return violated("starves", cat({key, " is ", s.state, " of ", own->id, ", which is gone, and ", id, " has room"}));
    }
  }
}

void Invariants::calm_is_over() {
  check_debts();
  check_proven();
  check_starving();
  Conductor nobody;
  SimStore store(world_.db(), nobody, *this, world_.shape().plant);
  look_at_all(store, store.now(), [&](const Seen& seen) {
    const Verdict& v = seen.verdict;
    const Policy* policy = seen.facts.policy;
    if (!seen.stuck || !policy || !policy->enabled || seen.facts.episode.quarantined) return;
    if (seen.facts.episode.entered > world_.calm_from() - minutes(1) && world_.stepped()) return;
    // Shown, and left to people: the rule says so by waiting for nothing.
    const Agent* agent = seen.tracked.session.agent ? world_.agent(*seen.tracked.session.agent) : nullptr;
    const bool may_stay_unknown = world_.hub().heartbeats && agent && !agent->approved;
    const bool shown = v.action == Action::wait && !v.due && (v.rule != "agent_unknown" || may_stay_unknown);
    if (!shown) violated("converges", cat({seen.tracked.session.key, " is still ", seen.tracked.session.state, " (", v.rule, ": ", seen.reason(), "; blocked by ", to_string(seen.blocked_by()), ")"}));
  });
}

}  // namespace reconciler::simulation
