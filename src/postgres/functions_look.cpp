// stuck_sessions(), reconcile_plan() and session_coverage(): the engine's look at everything, as rows.
#include <algorithm>

#include "core/json.hpp"
#include "core/rules.hpp"
#include "core/text.hpp"
#include "engine/look.hpp"
#include "postgres/cells.hpp"
#include "postgres/clock.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

std::vector<AttachedBinding> wanted_bindings(FunctionCallInfo fcinfo) {
  return bindings_to_show(sql_is_null(fcinfo, 0) ? std::nullopt : std::optional(sql_oid(fcinfo, 0)));
}

struct Shown {
  std::vector<SqlCell> row;
  bool quarantined;
  Time due;
};

Shown stuck_row(const AttachedBinding& b, const Seen& seen) {
  const Tracked& t = seen.tracked;
  const Facts& f = seen.facts;
  const Time since = t.episode.entered;
  const bool now = seen.verdict.action != Action::wait;
  const Action next = now ? seen.verdict.action : seen.verdict.next_action;
  std::optional<Time> due = seen.verdict.due;
  if (now) due = f.now;
  if (seen.gated.until && (!due || *due < *seen.gated.until)) due = seen.gated.until;
  // Held back by something that no time ends: there is no next time to name.
  if (seen.gated.by != Blocked::none && !seen.gated.until) due.reset();
  // Of what judges it.
  const bool by_runtime = rules::judged_by(f, JudgedBy::runtime);
  const Presence presence = by_runtime ? rules::runtime_presence(f) : rules::agent_presence(f);
  const Evidence* evidence = by_runtime ? f.runtime : f.agent;
  return {{b.binding.name, t.session.key, t.session.state, time_cell(since), interval_cell(f.now - since), t.session.agent, std::string(to_string(presence)),
           presence == Presence::gone ? SqlCell(interval_cell(evidence->gone_time)) : SqlCell(), evidence ? SqlCell(interval_cell(f.now - evidence->last.at)) : SqlCell(),
           std::to_string(t.episode.attempts), f.policy && !f.policy->retry_action.empty() ? SqlCell(std::to_string(f.policy->max_attempts)) : SqlCell(),
           time_cell(t.episode.last_attempt), t.episode.last_result.empty() ? SqlCell() : SqlCell(t.episode.last_result), std::string(seen.verdict.rule),
           std::string(to_string(next)), time_cell(due), std::string(to_string(seen.blocked_by())), seen.reason()},
          t.episode.quarantined.has_value(), due.value_or(Time::max())};
}

// {"terminating": {"stuck_after": "2 min", …}}: a what-if of reconcile_plan().
void check_override(const Binding& b, const std::string& text) {
  const auto overrides = nlohmann::json::parse(text, nullptr, false);
  const auto wrong = [](const std::string& what) { return UserError("22023", "invalid policy override: " + what, "Give an object like {\"terminating\": {\"stuck_after\": \"2 min\"}}."); };
  if (!overrides.is_object()) throw wrong("not an object");
  for (const auto& [state, columns] : overrides.items()) {
    if (!b.policy(state)) throw wrong("there is no policy for state \"" + state + "\"");
    if (!columns.is_object()) throw wrong("the value of \"" + state + "\" is not an object");
    for (const auto& [column, value] : columns.items())
      if (column == "binding_id" || column == "state" ||
          query("SELECT 1 FROM pg_attribute WHERE attrelid = 'reconciler.policy'::regclass AND attname = $1 AND attnum > 0", {Param::text(column)}).empty())
        throw wrong("\"" + column + "\" is not a column of reconciler.policy that can be overridden");
  }
}

// What a CHECK of reconciler.policy would refuse, and text that the column's type does not take.
void check_overridden(const Binding& b, const std::string& text) {
  const auto wrong = [](const std::string& what, const std::string& hint) { return UserError("22023", "invalid policy override: " + what, hint); };
  const std::vector<Param> overridden{Param::integer(b.id), Param::jsonb(std::string_view(text))};
  const std::string rows = " FROM (SELECT o.* FROM reconciler.policy p, jsonb_populate_record(p, coalesce($2 -> p.state, '{}')) o WHERE p.binding_id = $1) AS overridden";
  try {
    Transactions::subtransaction([&] { query("SELECT *" + rows, overridden); });
  } catch (const PostgresError& e) {
    if (!std::string_view(e.sqlstate).starts_with("22")) throw;
    throw wrong(e.message, "Give each column a value of its type; see reconciler.policy.");
  }
  for (Rows::Row rule : query("SELECT pg_get_expr(c.conbin, c.conrelid) AS condition, pg_get_constraintdef(c.oid, true) AS definition,"
                              " coalesce(obj_description(c.oid, 'pg_constraint'), (SELECT a.attname || ': ' || col_description(c.conrelid, a.attnum)"
                              " FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = c.conkey[1])) AS advice"
                              " FROM pg_constraint c WHERE c.conrelid = 'reconciler.policy'::regclass AND c.contype = 'c' ORDER BY c.conname"))
    for (Rows::Row broken : query("SELECT state" + rows + " WHERE NOT (" + rule.text("condition") + ") LIMIT 1", overridden))
      throw wrong("state \"" + broken.text("state") + "\" breaks a rule of reconciler.policy: " + rule.text("definition"), rule.text("advice"));
}

// Which rule looks at a state, and what that comes to.
std::pair<std::string, std::string> watch_of(const Binding& b, const std::optional<std::string>& state) {
  if (!state) return {"nothing", "sessions without a state are never written"};
  if (b.terminal(*state)) return {"terminal", "they have ended"};
  const Policy* policy = b.policy(*state);
  if (policy && policy->enabled) return {"policy", policy->stuck_after ? "stuck after " + span(*policy->stuck_after) : "looked at from the first sight"};
  const std::string proof = b.commands_table ? "only a completed stop closes them" : "nothing closes them";
  const std::string id = std::to_string(b.id), name = quoted_literal(*state);
  if (policy) return {"policy_off", proof + "; UPDATE reconciler.policy SET enabled = true WHERE binding_id = " + id + " AND state = " + name + " turns their policy on"};
  return {b.commands_table ? "completion" : "nothing", proof + "; no policy is for this state: INSERT INTO reconciler.policy (binding_id, state, becomes, enabled) VALUES (" + id + ", " + name + ", " +
                                                           quoted_literal(b.terminal_states.front()) + ", false) adds one that is off"};
}

}  // namespace

RECONCILER_SQL_FUNCTION(session_coverage) {
  SqlTable table(fcinfo);
  for (AttachedBinding& attached : wanted_bindings(fcinfo)) {
    PgStore store(std::move(attached), TransactionMode::caller, Rights::caller);
    const Binding& b = store.binding();
    Duration longest = hours(1);
    for (const Policy& policy : b.policies) longest = std::max({longest, policy.gone_after, policy.stuck_after.value_or(Duration(0))});
    const Time now = database_now();
    for (const PgStore::Covered& c : store.coverage(longest)) {
      const auto [by, note] = watch_of(b, c.state);
      const Policy* policy = by == "policy" ? b.policy(*c.state) : nullptr;
      const Duration threshold = policy ? policy->stuck_after.value_or(Duration(0)) : longest;
      // Sessions that are looked at from the first sight have no age at which they would be stuck.
      const bool ageless = by == "terminal" || (policy && !policy->stuck_after);
      table.add({b.name, c.state, std::to_string(c.sessions), c.since ? SqlCell(interval_cell(elapsed(*c.since, now))) : SqlCell(), by,
                 ageless ? SqlCell() : SqlCell(interval_cell(threshold)), ageless ? SqlCell() : SqlCell(std::to_string(c.over)), note});
    }
  }
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(stuck_sessions) {
  SqlTable table(fcinfo);
  std::vector<Shown> shown;
  for (AttachedBinding& b : wanted_bindings(fcinfo)) {
    PgStore store(std::move(b), TransactionMode::caller, Rights::caller);
    look_at_all(store, database_now(), [&](const Seen& seen) {
      if (seen.stuck) shown.push_back(stuck_row(store.attached(), seen));
    });
  }
  std::stable_sort(shown.begin(), shown.end(), [](const Shown& a, const Shown& b) { return a.quarantined != b.quarantined ? a.quarantined : a.due < b.due; });
  for (const Shown& row : shown) table.add(row.row);
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(reconcile_plan) {
  SqlTable table(fcinfo);
  const std::optional<std::string> policy = sql_maybe_text(fcinfo, 1);
  const Time at = sql_maybe_time(fcinfo, 2).value_or(database_now());
  if (at == Time::min() || at == Time::max()) throw UserError("22023", "at must be a finite time", "Give a time like now() + interval '1 hour'.");
  for (AttachedBinding& b : wanted_bindings(fcinfo)) {
    if (policy) {
      check_override(b.binding, *policy);
      b = as_extension_owner([&] {
        check_overridden(b.binding, *policy);
        return load_binding(b.binding.id, *policy);
      });
    }
    PgStore store(std::move(b), TransactionMode::caller, Rights::caller);
    store.freeze(at);
    look_at_all(store, at, [&](const Seen& seen) {
      const Verdict& v = seen.verdict;
      if (v.action == Action::wait) return;
      table.add({store.binding().name, seen.tracked.session.key, seen.tracked.session.state, std::string(to_string(v.action)), v.becomes.empty() ? SqlCell() : SqlCell(v.becomes),
                 std::string(v.rule), time_cell(seen.gated.until.value_or(at)), std::string(to_string(seen.blocked_by())), v.reason.empty() ? SqlCell() : SqlCell(v.reason), seen.reason()});
    });
  }
  return sql_null(fcinfo);
}

}  // namespace reconciler
