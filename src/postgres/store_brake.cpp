// The budget of forces: one locked row that every pass and CALL spends from.
#include <array>

#include <nlohmann/json.hpp>

#include "postgres/store.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

Window read_window(const std::string& counts_json, std::int64_t minute) {
  Window w;
  w.minute = minute;
  const json counts = json::parse(counts_json);
  for (std::size_t i = 0; i < w.used.size() && i < counts.size(); ++i) w.used[i] = counts[i].get<std::int32_t>();
  return w;
}

std::string array_literal(const Window& w) {
  std::string out = "{";
  for (std::size_t i = 0; i < w.used.size(); ++i) out += (i ? "," : "") + std::to_string(w.used[i]);
  return out + "}";
}

BrakeState lock_brake(int binding) {
  query("INSERT INTO reconciler.brake (binding_id) VALUES ($1) ON CONFLICT DO NOTHING", {Param::integer(binding)});
  const Rows rows = query("SELECT minute, array_to_json(inferred)::text AS inferred, user_minute, array_to_json(user_requested)::text AS user_requested, tripped, allowance"
                          " FROM reconciler.brake WHERE binding_id = $1 FOR UPDATE",
                          {Param::integer(binding)});
  const Rows::Row row = rows.only();
  BrakeState state;
  state.inferred = read_window(row.text("inferred"), row.integer("minute"));
  state.user_requested = read_window(row.text("user_requested"), row.integer("user_minute"));
  state.tripped = row.maybe_time("tripped");
  state.allowance = row.integer("allowance");
  return state;
}

void save_brake(int binding, const BrakeState& state) {
  query("UPDATE reconciler.brake SET minute = $2, inferred = $3::text::int[], user_minute = $4, user_requested = $5::text::int[], allowance = $6 WHERE binding_id = $1",
        {Param::integer(binding), Param::integer(state.inferred.minute), Param::text(array_literal(state.inferred)), Param::integer(state.user_requested.minute),
         Param::text(array_literal(state.user_requested)), Param::integer(state.allowance)});
}

// What reset_brake() let through is done, or is due no more: the normal budget holds again.
void release_brake(int binding) {
  query("UPDATE reconciler.brake SET tripped = NULL, tripped_due = 0, tripped_why = '', allowance = 0 WHERE binding_id = $1", {Param::integer(binding)});
}

}  // namespace

// How many of `wanted` the budget lets through now; the brake's row stays locked until the transaction ends.
std::int64_t PgStore::spend(std::int64_t wanted, Budget budget, Time at, std::optional<Time>& frees) {
  if (budget == Budget::none) return wanted;
  BrakeState state = lock_brake(b_.binding.id);
  std::int64_t granted = 0;
  if (budget == Budget::user_requested) {
    // The table is counted only when the floor does not suffice.
    const bool enough = state.user_requested.total(at) + wanted <= b_.binding.brake.user_floor;
    const std::int64_t count = enough ? 0 : watched_.value_or(0);
    granted = std::min(wanted, user_rate_left(state, b_.binding.brake, count, at));
    const auto limit = std::max<std::int64_t>(b_.binding.brake.user_floor, static_cast<std::int64_t>(b_.binding.brake.user_share * static_cast<double>(count)));
    if (granted < wanted) frees = state.user_requested.frees_at(at, 1, limit);
    state.user_requested.add(at, granted);
  } else if (state.tripped || by_allowance_) {
    // Reset by an operator: the allowance and nothing beside it, also when another pass has just used up its last.
    granted = std::min(wanted, state.allowance);
    state.allowance -= granted;
    if (granted > 0 && state.allowance == 0) release_brake(b_.binding.id);
  } else {
    // Another pass may have spent since may_force() judged.
    granted = std::min(wanted, judge_brake(state, b_.binding.brake, wanted, watched_.value_or(0), at).left);
    state.inferred.add(at, granted);
  }
  save_brake(b_.binding.id, state);
  return granted;
}

// In the transaction of spend(): a row that had changed was not closed, and a skip costs nothing.
void PgStore::give_back(std::int64_t unused, Budget budget, Time at) {
  if (unused <= 0 || budget == Budget::none) return;
  BrakeState state = lock_brake(b_.binding.id);
  if (budget == Budget::user_requested) state.user_requested.add(at, -unused);
  else if (state.tripped) state.allowance += unused;
  else if (!by_allowance_) state.inferred.add(at, -unused);
  save_brake(b_.binding.id, state);
}

bool PgStore::may_force(const PassStart& pass, std::int64_t due, const std::string& samples_json) {
  const bool share_counts = transactions_.run("reading the budget", [&] {
    return ours([&] { BrakeState state = lock_brake(b_.binding.id); return needs_watched(state, b_.binding.brake, due, now()); });
  });
  const std::int64_t count = share_counts ? watched() : 0;  // outside of a transaction that locks the budget
  return transactions_.run("judging the brake", [&] {
    return ours([&] {
      const Time at = now();
      BrakeState state = lock_brake(b_.binding.id);
      by_allowance_ = state.tripped && state.allowance > 0 && due > 0;
      if (state.tripped && state.allowance > 0 && due == 0) release_brake(b_.binding.id);
      if (state.tripped) return by_allowance_;
      const BrakeJudgement judged = judge_brake(state, b_.binding.brake, due, count, at);
      if (!judged.trips) return judged.left > 0;
      const std::string why = std::to_string(due) + " forces due, " + std::to_string(judged.left) + " left of " + std::to_string(judged.budget) + " per 10 minutes";
      query("UPDATE reconciler.brake SET tripped = $2, tripped_due = $3, tripped_why = $4, allowance = 0 WHERE binding_id = $1",
            {Param::integer(b_.binding.id), Param::time(at), Param::integer(due), Param::text(why)});
      const json evidence{{"due", due}, {"budget", judged.budget}, {"used", judged.used}, {"watched", count}, {"samples", json::parse(samples_json)},
                          {"next", "SELECT reset_brake('reason') lets exactly these through; hold_session() keeps single ones"}};
      write_events(b_, pass.pass_id, at, actor_, {{.session = {}, .kind = "brake_tripped", .from_state = {}, .to_state = {}, .reason = why, .rule = {}, .evidence = evidence.dump(-1, ' ', false, json::error_handler_t::replace), .before = {}, .after = {}}});
      report(LogLevel::warning, "session_reconciler: brake of " + b_.binding.name + " tripped: " + why, "Nothing is closed by inference until it is reset.",
             "Look at reconcile_plan(); then SELECT reset_brake('reason').");
      return false;
    });
  });
}

// Counted outside of the transaction that locks the budget, and only when the floor does not suffice.
void PgStore::count_for_users_rate(std::int64_t wanted) {
  const std::int64_t used = transactions_.run("reading the budget", [&] {
    return ours([&] { return lock_brake(b_.binding.id).user_requested.total(now()); });
  });
  if (used + wanted > b_.binding.brake.user_floor) watched();
}

}  // namespace reconciler
