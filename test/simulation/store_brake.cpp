// The budget of forces: one row that every pass and CALL spends from, locked while it does.
#include <algorithm>

#include "simulation/store.hpp"

namespace reconciler::simulation {

std::int64_t SimStore::spend(std::int64_t wanted, Budget budget, std::optional<Time>& frees) {
  if (budget == Budget::none) return wanted;
  const Time at = db_.clock;
  BrakeState& state = db_.brake.state;
  const BrakeLimits& limits = db_.binding.brake;
  std::int64_t granted = 0;
  if (budget == Budget::user_requested) {
    const bool enough = state.user_requested.total(at) + wanted <= limits.user_floor;
    const std::int64_t count = enough ? 0 : watched_.value_or(0);
    granted = std::min(wanted, user_rate_left(state, limits, count, at));
    const auto limit = std::max<std::int64_t>(limits.user_floor, static_cast<std::int64_t>(limits.user_share * static_cast<double>(count)));
    if (granted < wanted) frees = state.user_requested.frees_at(at, 1, limit);
    if (plant_ != Plant::unreserved) state.user_requested.add(at, granted);
  } else if (state.tripped || by_allowance_) {
    granted = std::min(wanted, state.allowance);
    state.allowance -= granted;
    if (granted > 0 && state.allowance == 0) db_.brake.release();
  } else {
    granted = std::min(wanted, judge_brake(state, limits, wanted, watched_.value_or(0), at).left);
    if (plant_ != Plant::unreserved) state.inferred.add(at, granted);
  }
  return granted;
}

void SimStore::give_back(std::int64_t unused, Budget budget) {
  if (unused <= 0 || budget == Budget::none) return;
  BrakeState& state = db_.brake.state;
  if (budget == Budget::user_requested) state.user_requested.add(db_.clock, -unused);
  else if (state.tripped) state.allowance += unused;
  else if (!by_allowance_) state.inferred.add(db_.clock, -unused);
}

constexpr Duration lately = minutes(30);

std::vector<std::string> SimStore::lately_present() {
  return step("list agents lately present", [&] {
    std::vector<std::string> ids;
    for (const auto& [id, record] : db_.evidence)
      if (record.evidence.last_present && *record.evidence.last_present > db_.clock - lately) ids.push_back(id);
    return ids;
  });
}

std::optional<Losses> SimStore::may_force(const PassStart& pass, const ForcesDue& due) {
  const bool share_counts = step("read budget", [&] { return needs_watched(db_.brake.state, db_.binding.brake, due.count, db_.clock); });
  const std::int64_t count = share_counts ? watched() : 0;
  return step("judge brake", [&]() -> std::optional<Losses> {
    Brake& brake = db_.brake;
    BrakeState& state = brake.state;
    by_allowance_ = state.tripped && state.allowance > 0 && due.count > 0;
    if (state.tripped && state.allowance > 0 && due.count == 0 && pass.gates.allowance > 0) brake.release();
    else if (state.tripped && state.allowance == 0) release_when_one_is_back(pass);
    if (state.tripped) return by_allowance_ ? std::optional(Losses::few) : std::nullopt;

    std::int64_t seen = 0, gone = 0;
    const Time since = brake.losses_from ? std::max(*brake.losses_from, db_.clock - lately) : db_.clock - lately;
    for (const auto& [id, record] : db_.evidence)
      if (record.evidence.last_present && *record.evidence.last_present > since) ++seen, gone += record.evidence.last.presence == Presence::gone;
    const Losses losses = judge_losses(seen, gone);
    brake.slowed = losses == Losses::most;
    const BrakeJudgement judged = judge_brake(state, db_.binding.brake, due.count, count, db_.clock);
    if (losses == Losses::all || judged.trips) {
      trip(pass, due, losses == Losses::all);
      return {};
    }
    return judged.left > 0 ? std::optional(losses) : std::nullopt;
  });
}

void SimStore::trip(const PassStart& pass, const ForcesDue& due, bool by_losses) {
  Brake& brake = db_.brake;
  brake.state.tripped = db_.clock, brake.state.allowance = 0, brake.by_losses = by_losses, brake.slowed = false, brake.due = due.count;
  write(pass, {.kind = "brake_tripped", .reason = by_losses ? "losses" : "budget"});
}

// A stop for the loss of every agent ends when one of them, or another one, is there.
void SimStore::release_when_one_is_back(const PassStart& pass) {
  if (!db_.brake.by_losses) return;
  for (const auto& [id, record] : db_.evidence) {
    const Evidence& e = record.evidence;
    if (e.last.presence != Presence::present || e.last.provisional || !e.last_present || *e.last_present <= *db_.brake.state.tripped) continue;
    db_.brake.release();
    return write(pass, {.kind = "brake_reset", .reason = "agent is present"});
  }
}

Paced SimStore::take_pace(Losses losses, std::int64_t wanted) {
  return step("pace", [&] { return reconciler::take_pace(db_.brake.pace, db_.binding.brake, losses, wanted, db_.clock); });
}

}  // namespace reconciler::simulation
