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
