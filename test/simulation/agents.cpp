// Agents, their hub, and what happens to either.
#include <algorithm>

#include "core/text.hpp"
#include "simulation/world.hpp"

namespace reconciler::simulation {

struct World::Replica {
  Time at;
  Database db;
  Invariants invariants;
  std::map<std::string, Time> agentless_since;
};

void World::set_online(Agent& agent, bool alive, bool cut) {
  beat();
  const bool was = agent.online();
  agent.alive = alive, agent.cut = cut;
  if (was == agent.online()) return;
  tell(agent.name() + (was ? " leaves" : " is back"));
  if (was) {
    agent.online_before.emplace_back(*agent.online_since, now_);
    if (agent.online_before.size() > 30) agent.online_before.pop_front();
    agent.online_since.reset();
    hub_.connected.erase(agent.id);
  } else {
    agent.online_since = now_;
    connect_soon(agent.id);
  }
}

void World::connect_soon(const std::string& id, Duration longest) {
  after(trouble_.between(milliseconds(100), longest), [this, id] {
    if (!agents_.at(id).online() || hub_.connected.contains(id)) return;
    if (!hub_.up) return connect_soon(id);
    hub_.connected.insert(id), hub_.known.insert(id), agents_.at(id).connected_since = now_, tell(id + " connects");
    // What the hub still has for it: whatever it did not hear the end of, done or not, but nothing that a newer one overtook.
    std::map<std::string, const std::pair<const std::string, Accepted>*> newest;
    for (const auto& entry : hub_.commands)
      if (auto& one = newest[entry.second.session]; entry.second.agent == id && (!one || one->second.number < entry.second.number)) one = &entry;
    for (const auto& [session, command] : newest)
      if (command && command->second.progress == CommandProgress::open) hand_over(id, command->second.action, session, command->first);
  });
}

// Every connected agent's heartbeat is written by the hub, twice a minute.
void World::beat() {
  for (auto& [id, agent] : agents_) {
    if (agent.online() && hub_.up && now_ - agent.heartbeat >= seconds(30)) agent.heartbeat = now_;
    if (const auto row = db_.agents.find(id); row != db_.agents.end()) row->second.heartbeat = agent.heartbeat;
  }
}

void World::hand_over(const std::string& agent, const std::string& action, const std::string& session, const std::string& command) {
  const int incarnation = agents_.at(agent).incarnation;
  Time& free = agents_.at(agent).handed_over;
  free = std::max(free, now_ + network_.between(milliseconds(50), seconds(3)));
  at(free, [=, this] { execute(agent, incarnation, action, session, command); });
}

void World::execute(const std::string& id, int incarnation, const std::string& action, const std::string& session, const std::string& command) {
  Agent& agent = agents_.at(id);
  tell(cat({id, " gets ", command, " ", action, " ", session}));
  if (!agent.online() || agent.incarnation != incarnation || agent.silent) return;
  if (Command* row = on_record(session, command)) {
    if (!row->sent) row->sent = db_.clock;
    row->status = "sent";
    if (!goes_wrong(Fault::lost, 100)) row->acknowledged = db_.clock;
  }
  bool good = true;
  Agent* const runs_at = who_runs(id, session);
  if (action == "stop_session") { if (runs_at) runs_at->runs.erase(session); }
  else if (action == "hibernate_session") { if (const auto runs = agent.runs.find(session); runs != agent.runs.end()) runs->second.suspended = true; }
  else if (runs_at && runs_at != &agent) good = false;  // it exists already, where another of the pool made it
  else if (stormy() && network_.chance(50)) good = false;
  else agent.runs.insert_or_assign(session, Running{now_, false, !command.starts_with("app-")});
  const auto says = [=, this] { report(action, session, command, good); };
  after(goes_wrong(Fault::late, 50) ? network_.between(seconds(5), minutes(2)) : network_.between(milliseconds(50), seconds(5)), says);
  if (goes_wrong(Fault::doubled, 50)) after(network_.between(milliseconds(50), minutes(1)), says);
}

// The agent's word goes to the hub, and from there to the application: either may be lost.
void World::report(const std::string& action, const std::string& session, const std::string& command, bool good) {
  if (goes_wrong(Fault::lost, 200)) return;
  if (const auto known = hub_.commands.find(command); known != hub_.commands.end())
    known->second.progress = good ? CommandProgress::completed : CommandProgress::failed;
  if (Command* row = on_record(session, command)) {
    row->status = good ? "completed" : "failed";
    if (!goes_wrong(Fault::lost, 200)) row->completed = db_.clock;
    if (!good) row->error = "out of disk";
  }
  if (goes_wrong(Fault::lost, 300) || !good) return;
  const auto row = db_.rows.find(session);
  if (row == db_.rows.end()) return;
  const std::string& state = row->second.session.state;
  const auto becomes = [&](const char* from, const char* to) {
    if (state == from) write_row(session, [&](Row& r) { r.session.state = to; });
  };
  if (action == "stop_session") becomes("terminating", "terminated");
  else if (action == "hibernate_session") becomes("hibernating", "hibernated");
  else if (action == "wake_session") becomes("waking", "running");
  else becomes("pending", "running");
}

Command* World::on_record(const std::string& session, const std::string& command) {
  const auto found = db_.commands.find(session);
  if (found == db_.commands.end()) return nullptr;
  for (Command& c : found->second)
    if (c.id == command) return &c;
  return nullptr;
}

// A request has arrived.
Delivery World::receive(const CommandRequest& request) {
  Delivery d;
  d.outcome = Delivery::Outcome::answered;
  const auto says = [&](CommandMeaning meaning) { return d.meaning = meaning, d; };
  if (hub_.refuses) return says(network_.chance(500) ? CommandMeaning::unauthorized : CommandMeaning::busy);
  if (goes_wrong(Fault::hub_refuses, 50)) return says(CommandMeaning::rejected);
  if (!hub_.heartbeats && hub_.commands.contains(request.command_id)) {
    d.hub_command_id = request.command_id;
    return says(CommandMeaning::accepted);
  }
  if (!hub_.known.contains(request.agent)) return says(CommandMeaning::unknown_agent);
  if (!hub_.connected.contains(request.agent) && !hub_.ghosts.contains(request.agent)) return says(CommandMeaning::not_connected);
  if (hub_.tells_gone && request.action == "stop_session" && is_gone(agents_.at(request.agent), request.session)) return says(CommandMeaning::session_gone);
  d.hub_command_id = hub_.heartbeats ? "hub-" + std::to_string(++commands_made_) : request.command_id;
  hub_.commands[d.hub_command_id] = {request.agent, request.action, request.session, ++commands_made_};
  if (hub_.heartbeats)
    db_.commands[request.session].push_back({{.id = d.hub_command_id, .action = request.action, .status = "pending", .created = db_.clock, .sent = {}, .acknowledged = {}, .completed = {}, .error = {}}, request.agent});
  hand_over(request.agent, request.action, request.session, d.hub_command_id);
  return says(CommandMeaning::accepted);
}

// Agents of one pool, or of siblings, act on one platform: what one of them runs all of them see and can stop.
bool World::together(const std::string& agent, const std::string& other) const {
  if (agent == other) return true;
  const auto one = db_.registry.find(agent), two = db_.registry.find(other);
  return one != db_.registry.end() && two != db_.registry.end() && db_.siblings(one->second.pool, two->second.pool);
}

Agent* World::who_runs(const std::string& agent, const std::string& session) {
  Agent& own = agents_.at(agent);
  if (own.runs.contains(session) || !db_.binding.pools) return own.runs.contains(session) ? &own : nullptr;
  for (auto& [id, other] : agents_)
    if (other.runs.contains(session) && together(agent, id)) return &other;
  return nullptr;
}

void World::looked_after_by(const std::string& session, const std::string& agent) {
  Agent* const from = who_runs(agent, session);
  if (!from || from->id == agent) return;
  agents_.at(agent).runs.insert(from->runs.extract(session));
}

// The hub does not say so while it has a command for it whose end it has not heard of.
bool World::is_gone(const Agent& agent, const std::string& session) const {
  return !const_cast<World*>(this)->who_runs(agent.id, session) && std::none_of(hub_.commands.begin(), hub_.commands.end(), [&](const auto& entry) {
    return entry.second.session == session && together(entry.second.agent, agent.id) && entry.second.progress == CommandProgress::open;
  });
}

Profile::CommandState World::progress_of(const std::string& command) const {
  const auto found = hub_.commands.find(command);
  if (found == hub_.commands.end()) return {CommandProgress::unclear, {}};
  return {found->second.progress, found->second.progress == CommandProgress::failed ? "out of disk" : ""};
}

SessionAnswer World::status_of(const std::string& session) {
  const auto row = db_.rows.find(session);
  Agent* agent = row == db_.rows.end() || !row->second.session.agent ? nullptr : this->agent(*row->second.session.agent);
  if (!agent || !hub_.connected.contains(agent->id)) return SessionAnswer::unclear;
  const Agent* const runs_at = who_runs(agent->id, session);
  if (!runs_at) return is_gone(*agent, session) ? SessionAnswer::gone : SessionAnswer::unclear;
  return runs_at->runs.at(session).suspended ? SessionAnswer::suspended : SessionAnswer::running;
}

void World::agent_suffers() {
  Agent& agent = trouble_.pick(agents_).second;
  const std::string id = agent.id;
  const auto comes_back = [this, id](Duration later, bool as_another) {
    after(later, [this, id, as_another] {
      Agent& back = agents_.at(id);
      if (as_another) {
        ++back.incarnation;
        const auto member = db_.registry.find(id);
        if (trouble_.chance(500) && !(member != db_.registry.end() && db_.outlive.at(member->second.pool))) back.runs.clear();
      }
      set_online(back, true, false);
    });
  };
  if (!agent.online()) return;
  if (shape_.has(Fault::death) && trouble_.chance(250)) {
    set_online(agent, false, false);
    if (trouble_.chance(700)) comes_back(trouble_.between(minutes(1), hours(1)), trouble_.chance(300));
  } else if (shape_.has(Fault::swap) && trouble_.chance(250)) {
    set_online(agent, false, false);
    comes_back(trouble_.between(seconds(1), minutes(3)), true);
  } else if (shape_.has(Fault::blink) && trouble_.chance(400)) {
    set_online(agent, true, true);
    comes_back(trouble_.between(seconds(1), minutes(4)), false);
  } else if (shape_.has(Fault::silence) && trouble_.chance(100)) {
    agent.silent = !agent.silent;
  }
}

void World::hub_restarts() {
  if (!stormy()) return;
  ++hub_.instance, tell("the hub restarts");
  hub_.connected.clear();
  if (trouble_.chance(300)) hub_.known.clear();
  if (trouble_.chance(500)) hub_.commands.clear();
  for (const auto& [id, agent] : agents_) connect_soon(id, seconds(100));
}

void World::hub_suffers() {
  const auto ends = [this](Duration later, auto what) { after(later, [this, what] { what(hub_); }); };
  if (shape_.has(Fault::hub_down) && trouble_.chance(200)) {
    beat();
    hub_.up = false, tell("the hub is down");
    ends(trouble_.between(seconds(5), minutes(15)), [this](Hub& h) { h.up = true, h.up_since = now_; });
  }
  if (shape_.has(Fault::hub_slow) && trouble_.chance(200)) {
    hub_.slow = true;
    ends(trouble_.between(seconds(30), minutes(10)), [](Hub& h) { h.slow = false; });
  }
  if (shape_.has(Fault::hub_refuses) && trouble_.chance(200)) {
    hub_.refuses = true;
    ends(trouble_.between(seconds(30), minutes(10)), [](Hub& h) { h.refuses = false; });
  }
  if (shape_.has(Fault::hub_restart) && trouble_.chance(200)) {
    // Once, or again and again before all of its agents are back.
    const auto times = trouble_.chance(300) ? trouble_.between(4, 12) : 1;
    Duration later{0};
    for (std::int64_t i = 0; i < times; ++i, later += trouble_.between(seconds(30), seconds(90))) after(later, [this] { hub_restarts(); });
  }
  if (shape_.has(Fault::hub_lies) && trouble_.chance(200)) {
    const int share = static_cast<int>(trouble_.between(50, 950));
    for (const auto& [id, agent] : agents_)
      if (trouble_.chance(share)) (hub_.connected.contains(id) ? hub_.lied : hub_.ghosts).insert(id);
    ends(trouble_.between(minutes(1), minutes(20)), [](Hub& h) { h.lied.clear(), h.ghosts.clear(); });
  }
}

void World::server_suffers() {
  if (shape_.has(Fault::clock) && trouble_.chance(100)) {
    stepped_ = true;
    offset_ += trouble_.between(-minutes(20), minutes(20));
    set_time(now_);
  }
  if (shape_.has(Fault::failover) && trouble_.chance(30)) {
    if (!shape_.has(Fault::lost_tail) || trouble_.chance(300)) return fail_over(nullptr);
    // From here on nothing reaches the replica.
    const auto replica = std::make_shared<Replica>(Replica{now_, db_, invariants_, agentless_since_});
    after(trouble_.between(milliseconds(20), seconds(20)), [this, replica] { fail_over(replica.get()); });
  } else if (shape_.has(Fault::restart) && trouble_.chance(50)) {
    server_restarts();
  }
}

void World::server_restarts() {
  end_all_passes();
  set_time(now_ + trouble_.between(seconds(1), minutes(2)));
  db_.server_started = db_.clock;
  worker_due_ = now_ + seconds(1);
}

// What a replica has: all that was committed, or, where one is given, only that.
void World::fail_over(const Replica* replica) {
  if (!stormy()) return;  // operators have let go: what a replica knows of them is from before
  end_all_passes();
  const int timeline = db_.timeline + 1;
  if (replica) {
    tell("failover: what was committed in the last " + span(now_ - replica->at) + " is lost");
    const std::int64_t last_command = db_.last_command;  // keys are random: none comes twice
    db_ = replica->db, db_.last_command = last_command;
    agentless_since_ = replica->agentless_since;
    invariants_.go_back_to(replica->invariants);
    lost_.emplace_back(replica->at, now_);
  }
  db_.timeline = timeline;
  server_restarts();
}

// A start that was sent then may arrive a little later.
bool World::lost_commits_at(Time at) const {
  return std::any_of(lost_.begin(), lost_.end(), [&](const auto& span) { return at >= span.first && at <= span.second + minutes(1); });
}

}  // namespace reconciler::simulation
