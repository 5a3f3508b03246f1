// The budget of forces: one locked row that every pass and CALL spends from.
#include <algorithm>
#include <array>

#include "core/json.hpp"
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
  query("UPDATE reconciler.brake SET tripped = NULL, tripped_due = 0, tripped_why = '', tripped_by_losses = false, allowance = 0 WHERE binding_id = $1", {Param::integer(binding)});
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
    allowance_left_ = state.allowance -= granted;
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
  else if (state.tripped) allowance_left_ = state.allowance += unused;
  else if (!by_allowance_) state.inferred.add(at, -unused);
  save_brake(b_.binding.id, state);
}

// Agents that were seen present within half an hour.
constexpr Duration lately = minutes(30);

std::vector<std::string> PgStore::lately_present() {
  return transactions_.run("listing agents", [&] {
    return ours([&] {
      std::vector<std::string> ids;
      const Rows rows = query("SELECT agent_id FROM reconciler.agent_evidence WHERE binding_id = $1 AND last_present > $2 ORDER BY last_present DESC LIMIT 1000",
                              {Param::integer(b_.binding.id), Param::time(now() - lately)});
      for (Rows::Row row : rows) ids.push_back(row.text("agent_id"));
      return ids;
    });
  });
}

namespace {

struct Fleet {
  std::int64_t seen = 0, gone = 0;
  std::string text() const { return std::to_string(gone) + " of the " + std::to_string(seen) + " agents seen present within 30 minutes are gone"; }
};

Fleet fleet_of(int binding, Time at) {
  const Rows rows = query("SELECT count(*) AS seen, count(*) FILTER (WHERE e.presence = 'gone') AS gone FROM reconciler.brake k JOIN reconciler.agent_evidence e USING (binding_id)"
                          " WHERE k.binding_id = $1 AND e.last_present > greatest($2, k.losses_from)",
                          {Param::integer(binding), Param::time(at - lately)});
  return {rows.only().integer("seen"), rows.only().integer("gone")};
}

using Counts = std::map<std::string, std::int64_t>;

// The largest first: "a-1" 12, "a-2" 5 and 8 more
std::vector<std::pair<std::string, std::int64_t>> largest(const Counts& counts) {
  std::vector<std::pair<std::string, std::int64_t>> all(counts.begin(), counts.end());
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  if (all.size() > 20) all.resize(20);
  return all;
}

json counts_json(const Counts& counts) {
  json out = json::object();
  for (const auto& [what, n] : largest(counts)) out[what] = n;
  return out;
}

std::string counts_text(const Counts& counts) {
  std::string out;
  const auto shown = largest(counts);
  for (const auto& [what, n] : shown) out += (out.empty() ? "" : ", ") + what + " " + std::to_string(n);
  return counts.size() > shown.size() ? out + " and " + std::to_string(counts.size() - shown.size()) + " more" : out;
}

std::string list_text(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + text;
  return out;
}

}  // namespace

std::optional<Losses> PgStore::may_force(const PassStart& pass, const ForcesDue& due) {
  const bool share_counts = transactions_.run("reading the budget", [&] {
    return ours([&] { BrakeState state = lock_brake(b_.binding.id); return needs_watched(state, b_.binding.brake, due.count, now()); });
  });
  const std::int64_t count = share_counts ? watched() : 0;  // outside of a transaction that locks the budget
  return transactions_.run("judging the brake", [&] {
    return ours([&]() -> std::optional<Losses> {
      const Time at = now();
      BrakeState state = lock_brake(b_.binding.id);
      by_allowance_ = state.tripped && state.allowance > 0 && due.count > 0;
      // A pass that began before the reset has counted nothing: the next one can tell.
      if (state.tripped && state.allowance > 0 && due.count == 0 && pass.gates.allowance > 0) release_brake(b_.binding.id);
      if (state.tripped && state.allowance == 0) release_when_one_is_back(pass, at, *state.tripped);
      if (state.tripped) return by_allowance_ ? std::optional(Losses::few) : std::nullopt;

      const Fleet fleet = fleet_of(b_.binding.id, at);
      const Losses losses = judge_losses(fleet.seen, fleet.gone);
      query("UPDATE reconciler.brake SET slowed = $2 WHERE binding_id = $1 AND slowed <> $2",
            {Param::integer(b_.binding.id), Param::text(losses == Losses::most ? fleet.text() : std::string())});
      if (losses == Losses::all) {
        trip(pass, at, due, {true, "all " + std::to_string(fleet.seen) + " agents seen present within 30 minutes are gone, and " + std::to_string(due.count) + " forces due; it ends by itself when one of them is back",
                             json{{"agents_seen", fleet.seen}, {"agents_gone", fleet.gone}}.dump()});
        return {};
      }
      const BrakeJudgement judged = judge_brake(state, b_.binding.brake, due.count, count, at);
      if (judged.trips) {
        trip(pass, at, due, {false, std::to_string(due.count) + " forces due, " + std::to_string(judged.left) + " left of " + std::to_string(judged.budget) + " per 10 minutes",
                             json{{"budget", judged.budget}, {"used", judged.used}, {"watched", count}}.dump()});
        return {};
      }
      return judged.left > 0 ? std::optional(losses) : std::nullopt;
    });
  });
}

// With its event and one line in the log: what is held back, by what, and how to go on. In the transaction that locks
// the budget.
void PgStore::trip(const PassStart& pass, Time at, const ForcesDue& due, const Trip& trip) {
  query("UPDATE reconciler.brake SET tripped = $2, tripped_due = $3, tripped_why = $4, tripped_by_losses = $5, slowed = '', allowance = 0 WHERE binding_id = $1",
        {Param::integer(b_.binding.id), Param::time(at), Param::integer(due.count), Param::text(trip.why), Param::boolean(trip.by_losses)});
  const std::string table = quoted_literal(b_.binding.name);
  const std::string go_on = "SELECT reset_brake('reason', sessions => " + table + ") lets these through, each judged again; with 0 as its second argument it releases the brake, which trips again if as many are still due; hold_session() keeps single ones";
  json evidence{{"due", due.count}, {"by_state", counts_json(due.by_state)}, {"by_reason", counts_json(due.by_reason)}, {"by_agent", counts_json(due.by_agent)},
                {"agents", due.by_agent.size()}, {"samples", due.samples}, {"next", go_on}};
  evidence.update(json::parse(trip.numbers_json));
  write_events(b_, pass.pass_id, at, actor_, {{.session = {}, .kind = "brake_tripped", .from_state = {}, .to_state = {}, .reason = trip.why, .rule = {},
                                               .evidence = evidence.dump(-1, ' ', false, json::error_handler_t::replace), .before = {}, .after = {}}});
  report(LogLevel::warning, "session_reconciler: brake of " + b_.binding.name + " tripped: " + trip.why,
         "Nothing is closed by inference until " + std::string(trip.by_losses ? "one of the agents is back, or it is reset. " : "it is reset. ") +
             "By state: " + counts_text(due.by_state) + "; by reason: " + counts_text(due.by_reason) + "; by agent: " + counts_text(due.by_agent) +
             "; among them: " + list_text(due.samples) + ".",
         "Look at SELECT * FROM reconcile_plan(" + table + "). " + go_on + ".");
}

// A stop for the loss of every agent ends when one of them, or another one, is there.
void PgStore::release_when_one_is_back(const PassStart& pass, Time at, Time tripped) {
  const Rows back = query("SELECT e.agent_id FROM reconciler.brake k JOIN reconciler.agent_evidence e USING (binding_id) WHERE k.binding_id = $1 AND k.tripped_by_losses"
                          " AND e.presence = 'present' AND NOT e.provisional AND e.last_present > $2 ORDER BY e.last_present DESC LIMIT 1",
                          {Param::integer(b_.binding.id), Param::time(tripped)});
  if (back.empty()) return;
  release_brake(b_.binding.id);
  const std::string why = "agent \"" + back[0].text("agent_id") + "\" is present";
  const json evidence{{"tripped_at", unix_micros(tripped) / 1000000}, {"agent_id", back[0].text("agent_id")}};
  write_events(b_, pass.pass_id, at, actor_, {{.session = {}, .kind = "brake_reset", .from_state = {}, .to_state = {}, .reason = why, .rule = {},
                                               .evidence = evidence.dump(-1, ' ', false, json::error_handler_t::replace), .before = {}, .after = {}}});
  report(LogLevel::log, "session_reconciler: brake of " + b_.binding.name + " released: " + why, "", "");
}

Paced PgStore::take_pace(Losses losses, std::int64_t wanted) {
  return transactions_.run("pacing", [&] {
    return ours([&] {
      const Rows rows = query("SELECT pace_tokens, pace_filled FROM reconciler.brake WHERE binding_id = $1 FOR UPDATE", {Param::integer(b_.binding.id)});
      Pace pace{rows.only().real("pace_tokens"), rows.only().maybe_time("pace_filled").value_or(Time{})};
      const Paced paced = reconciler::take_pace(pace, b_.binding.brake, losses, wanted, now());
      if (paced.granted > 0)
        query("UPDATE reconciler.brake SET pace_tokens = $2, pace_filled = $3 WHERE binding_id = $1",
              {Param::integer(b_.binding.id), Param::real(pace.tokens), Param::time(pace.filled)});
      return paced;
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
