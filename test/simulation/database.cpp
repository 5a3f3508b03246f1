#include "simulation/database.hpp"

namespace reconciler::simulation {

bool same_identity(const Session& a, const Session& b) {
  return a.key == b.key && a.state == b.state && a.agent == b.agent && a.runtime == b.runtime && a.created == b.created;
}

bool same_image(const Row& a, const Row& b) {
  return same_identity(a.session, b.session) && a.reason == b.reason && a.closed == b.closed && a.session.entered == b.session.entered;
}

void Brake::release() { state.tripped.reset(), state.allowance = 0, by_losses = false, due = 0; }

Gates Database::gates() const {
  Gates g;
  g.mode = mode, g.paused = paused, g.paused_everything = paused_everything;
  Grace grace{.server_started = server_started, .first_pass = clock, .new_instance = {}, .promoted = promoted,
              .start = start_grace, .instance = instance_grace, .promotion = promotion_grace};
  if (first_pass && first_pass_of == server_started) grace.first_pass = *first_pass;
  for (const auto& [id, instance] : instances)
    if (!grace.new_instance || instance.since > *grace.new_instance) grace.new_instance = instance.since;
  g.grace_until = grace.until(clock);
  g.brake_tripped = brake.state.tripped.has_value(), g.allowance = brake.state.allowance, g.brake_slowed = brake.slowed;
  return g;
}

bool Database::held(const std::string& key) const {
  const auto found = holds.find(key);
  return found != holds.end() && found->second.until > clock;
}

std::optional<int> Database::pool_of(const Session& session) const {
  if (const auto own = session_pools.find(session.key); !session.agent && own != session_pools.end()) return own->second;
  const auto member = session.agent ? registry.find(*session.agent) : registry.end();
  return member == registry.end() ? std::nullopt : std::optional(member->second.pool);
}

std::map<std::string, std::int64_t> Database::loads() const {
  std::map<std::string, std::int64_t> counted;
  for (const auto& [key, row] : rows)
    if (row.session.agent && binding.takes_room(row.session.state)) ++counted[*row.session.agent];
  return counted;
}

// Also what is on its way to another agent.
void Database::recount() {
  std::map<std::string, std::int64_t> counted = loads();
  for (const auto& [key, kept] : episodes) {
    const Episode& e = kept.episode;
    if (e.sent_to && e.lease_until && *e.lease_until > clock && e.owed == Owed::nothing && binding.takes_room(kept.of.state)) ++counted[*e.sent_to];
  }
  for (auto& [id, member] : registry) member.load = counted[id], member.foreign = 0;
}

// The newest by time of creation.
CommandHistory Database::history(const Session& session) const {
  CommandHistory history;
  const auto found = commands.find(session.key);
  if (!binding.commands_table || found == commands.end()) return history;
  for (const CommandRow& c : found->second) {
    const bool stop = c.action == "stop_session", own = !session.agent || *session.agent == c.agent;
    if (stop && !own) continue;
    auto& newest = stop ? history.newest_stop : own ? history.newest_other : history.newest_elsewhere;
    if (!newest || newest->created < c.created) newest = c;
  }
  return history;
}

}  // namespace reconciler::simulation
