// The application with its users, and operators of the reconciler.
#include <algorithm>

#include "simulation/world.hpp"

namespace reconciler::simulation {

void World::populate() {
  for (int i = 0; i < shape_.agents; ++i) {
    Agent& agent = agents_["agent-" + std::to_string(i)];
    agent.id = "agent-" + std::to_string(i);
    agent.online_since = agent.connected_since = agent.heartbeat = now_;
    agent.approved = !people_.chance(20);
    hub_.connected.insert(agent.id), hub_.known.insert(agent.id);
    db_.agents[agent.id] = {now_, agent.approved};
  }
  populate_pools();
  for (int i = 0; i < shape_.sessions; ++i) {
    static const std::vector<std::string> states{"running", "running", "running", "running", "terminating", "terminating", "pending", "hibernated"};
    create("desk-" + std::to_string(i), people_.pick(states));
  }
  sessions_made_ = shape_.sessions;
}

// Capacities from too little to plenty.
void World::populate_pools() {
  if (!db_.binding.pools) return;
  Random dice(shape_.seed, "registry");
  const int pools = shape_.pools();
  // Agents of pools in one namespace act on one platform, and what runs there outlives them or not.
  std::map<int, bool> outlive;
  for (int i = 0; i < pools; ++i) {
    const int space = db_.namespaces[i] = static_cast<int>(dice.below(static_cast<std::uint64_t>(pools)));
    db_.outlive[i] = outlive.try_emplace(space, dice.chance(600)).first->second;
  }
  const std::int64_t fair = std::max(1, shape_.sessions / shape_.agents);
  for (const auto& [id, agent] : agents_)
    db_.registry[id] = {.pool = static_cast<int>(dice.below(static_cast<std::uint64_t>(pools))), .capacity = dice.between(1, 4 * fair + 4), .draining = {}, .drained = {}};
}

// Operators empty an agent, or use it again.
void World::drains() {
  Database::Member& member = people_.pick(db_.registry).second;
  if (member.draining) member.draining.reset(), member.drained.reset();
  else member.draining = db_.clock;
}

// … or want a session on another one of its pool.
void World::plans_a_move() {
  if (db_.rows.empty()) return;
  const auto& s = people_.pick(db_.rows).second.session;
  const auto member = s.agent ? db_.registry.find(*s.agent) : db_.registry.end();
  if (member == db_.registry.end() || !db_.outlive.at(member->second.pool) || s.state != "running") return;
  const auto& [to, other] = people_.pick(db_.registry);
  if (other.pool == member->second.pool && to != *s.agent) db_.plans[s.key] = {*s.agent, {to, "operator"}};
}

void World::create(const std::string& key, const std::string& state) {
  Row row;
  Session& s = row.session;
  s.key = key, s.state = state;
  Agent& agent = people_.pick(agents_).second;
  if (!people_.chance(40)) s.agent = agent.id;
  if (people_.chance(300)) s.runtime = "runtime-" + std::to_string(people_.below(1000));
  s.created = std::to_string(unix_micros(now_));
  if (!people_.chance(50)) s.entered = db_.clock - (state == "pending" ? Duration(0) : people_.between(Duration(0), hours(1)));
  if (s.agent && state != "pending") agent.runs[key] = {now_, state == "hibernated", false};
  if (const auto member = s.agent ? db_.registry.find(*s.agent) : db_.registry.end(); member != db_.registry.end()) {
    const bool takes_room = db_.binding.takes_room(state);
    member->second.load += takes_room, member->second.foreign += takes_room;
  } else if (db_.binding.pools) db_.session_pools[key] = db_.registry.at(agent.id).pool;
  db_.rows[key] = row, agentless_since_[key] = now_;
  if (s.agent && state == "pending") command(key, "start_session");
  if (s.agent && state == "terminating" && people_.chance(700)) command(key, "stop_session");
}

void World::write_row(const std::string& key, const std::function<void(Row&)>& change) {
  Row& row = db_.rows.at(key);
  const Row before = row;
  change(row);
  if (same_identity(before.session, row.session)) return;
  const bool takes_room = db_.binding.takes_room(row.session.state), took_none = before.session.agent != row.session.agent || !db_.binding.takes_room(before.session.state);
  if (const auto member = row.session.agent && takes_room && took_none ? db_.registry.find(*row.session.agent) : db_.registry.end(); member != db_.registry.end()) ++member->second.foreign;
  tell("the application: " + key + " is " + row.session.state + " of " + row.session.agent.value_or("nobody"));
  if (before.session.agent || before.session.created != row.session.created) agentless_since_[key] = now_;
  if (row.session.entered) row.session.entered = db_.clock;
  invariants_.row_changed(key, db_.binding.terminal(before.session.state) || before.session.agent != row.session.agent);
}

// The application's own command: on record first, then on its way, if its agent is there.
void World::command(const std::string& session, const std::string& action) {
  const auto& agent = db_.rows.at(session).session.agent;
  if (!agent) return;
  const std::string id = "app-" + std::to_string(++commands_made_);
  auto& commands = db_.commands[session];
  if (commands.size() > 20) commands.erase(commands.begin());
  set_time(now_ + Duration(1));  // no two commands are of the same time: which came first would not be known
  commands.push_back({{.id = id, .action = action, .status = "pending", .created = db_.clock, .sent = {}, .acknowledged = {}, .completed = {}, .error = {}}, *agent});
  if (hub_.up && hub_.connected.contains(*agent) && !goes_wrong(Fault::lost, 300)) hand_over(*agent, action, session, id);
}

void World::people_act() {
  user_acts();
  if (shape_.has(Fault::application) && people_.chance(300)) application_meddles();
  if (shape_.has(Fault::operators) && people_.chance(300)) operator_acts();
  if (shape_.has(Fault::operators) && db_.binding.pools && people_.chance(100)) drains();
  if (shape_.has(Fault::operators) && db_.binding.pools && people_.chance(200)) plans_a_move();
}

// Users come and go.
void World::user_acts() {
  if (db_.rows.empty() || people_.chance(100)) {
    // A large table does not grow for ever.
    if (sessions_made_ < 2 * shape_.sessions + 5) create("desk-" + std::to_string(sessions_made_++), "pending");
    return;
  }
  const std::string key = people_.pick(db_.rows).first;
  const std::string state = db_.rows.at(key).session.state;
  const auto goes = [&](const char* to, const char* action) {
    write_row(key, [&](Row& row) { row.session.state = to; });
    command(key, action);
  };
  if (state == "running" && people_.chance(300)) goes("hibernating", "hibernate_session");
  else if (state == "hibernated" && people_.chance(500)) goes("waking", "wake_session");
  else if (state == "running" || state == "hibernated" || state == "pending") goes("terminating", "stop_session");
  else if (people_.chance(300)) write_row(key, [&](Row& row) { row.session.sign = db_.clock; });  // somebody looks at the desktop
}

// Whatever an application does to a row while a pass thinks about it.
void World::application_meddles() {
  if (db_.rows.empty()) return;
  const std::string key = people_.pick(db_.rows).first;
  switch (people_.below(6)) {
    case 0:  // wanted after all
      write_row(key, [](Row& row) { row.session.state = "pending", row.closed.reset(), row.reason.clear(); });
      return command(key, "start_session");
    case 1:  // another agent
      return write_row(key, [&](Row& row) { row.session.agent = people_.pick(agents_).first; });
    case 2:
      db_.rows.erase(key), invariants_.row_changed(key, true);
      return;
    case 3:  // deleted, and made anew under the same key
      create(key, "pending");
      return invariants_.row_changed(key, true);
    case 4:
      return write_row(key, [](Row& row) { row.session.runtime = "another"; });
    default:
      return write_row(key, [&](Row& row) { row.session.sign = db_.clock - people_.between(Duration(0), minutes(5)); });
  }
}

void World::operator_acts() {
  const auto episode = [&](const std::string& key) -> Episode* {
    const auto found = db_.episodes.find(key);
    return found == db_.episodes.end() ? nullptr : &found->second.episode;
  };
  switch (people_.below(8)) {
    case 0: db_.paused = true, db_.paused_everything = people_.chance(300); return;
    case 1: db_.paused = db_.paused_everything = false; return;
    case 2: db_.mode = people_.chance(200) ? Mode::observe : Mode::enforce; return;
    case 3:
      if (db_.brake.state.tripped) {
        const std::int64_t allow = people_.chance(700) ? db_.brake.due : 0;
        allowances_ += allow;
        if (allow > 0) db_.brake.state.allowance = allow;
        else db_.brake.release();
        db_.brake.losses_from = db_.clock;
      }
      return;
    default: break;
  }
  if (db_.rows.empty()) return;
  // Mostly of those that stuck_sessions() shows.
  const std::string key = !db_.episodes.empty() && people_.chance(800) ? people_.pick(db_.episodes).first : people_.pick(db_.rows).first;
  switch (people_.below(3)) {
    case 0: db_.holds[key] = {db_.clock + people_.between(minutes(1), hours(1)), "reason", "operator"}; return;
    case 1: db_.holds.erase(key); return;
    default:
      if (Episode* e = episode(key); e && e->owed == Owed::nothing && !db_.held(key)) {
        e->next_attempt.reset();
        e->retry_requested = std::max({db_.clock, e->last_attempt.value_or(Time::min()) + Duration(1), e->quarantined.value_or(Time::min()) + Duration(1)});
        ++retries_asked_[key];
      }
  }
}

int World::retries_asked(const std::string& key) const {
  const auto found = retries_asked_.find(key);
  return found == retries_asked_.end() ? 0 : found->second;
}

Time World::agentless_since(const std::string& key) const {
  const auto found = agentless_since_.find(key);
  return found == agentless_since_.end() ? now_ : found->second;
}

}  // namespace reconciler::simulation
