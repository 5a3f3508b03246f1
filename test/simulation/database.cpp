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

// By time of creation, those without one last; then by id.
const Command* Database::newest(const std::string& session, bool stop) const {
  const auto found = commands.find(session);
  if (found == commands.end()) return nullptr;
  const Command* newest = nullptr;
  for (const Command& c : found->second)
    if ((c.action == "stop_session") == stop && (!newest || newest->created < c.created)) newest = &c;
  return newest;
}

CommandHistory Database::history(const std::string& session) const {
  CommandHistory history;
  if (!binding.commands_table) return history;
  if (const Command* stop = newest(session, true)) history.newest_stop = *stop;
  if (const Command* other = newest(session, false)) history.newest_other = *other;
  return history;
}

}  // namespace reconciler::simulation
