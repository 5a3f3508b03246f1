// Acting functions that write a user's table: in the caller's transaction, as the table's owner, with an event.

#include "core/json.hpp"
#include "core/text.hpp"
#include "postgres/acting.hpp"
#include "postgres/audit.hpp"
#include "postgres/clock.hpp"
#include "postgres/cells.hpp"
#include "postgres/pool_agents.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

std::string reason_of(FunctionCallInfo fcinfo, int arg) {
  const std::string reason = sql_text(fcinfo, arg);
  if (reason.find_first_not_of(" \t\n") == std::string::npos)
    throw UserError("22023", "a reason is required", "Say in a few words why; it is kept in reconciler.event.");
  return reason;
}

AttachedBinding attached(FunctionCallInfo fcinfo, int arg) {
  return binding_of(sql_is_null(fcinfo, arg) ? std::nullopt : std::optional(sql_oid(fcinfo, arg)));
}

Tracked existing(PgStore& store, const std::string& key) {
  if (auto found = store.find(key)) return *found;
  throw unknown_session(store.attached(), key);
}

// One event, as the acting role.
void note(const AttachedBinding& b, const std::string& key, const char* kind, const std::string& from, const std::string& to, const std::string& reason,
          std::optional<Jsonb> before = {}, std::optional<Jsonb> after = {}, std::optional<std::string> evidence = {}) {
  const std::string actor = acting_role();
  as_extension_owner([&] {
    write_events(b, std::nullopt, database_now(), actor,
                 {{.session = key, .kind = kind, .from_state = from, .to_state = to, .reason = reason, .rule = "operator", .evidence = std::move(evidence),
                   .before = std::move(before), .after = std::move(after)}});
  });
}

struct Undoable {
  std::int64_t id = 0;
  std::string schema, table, session, kind;
  Jsonb before, after;
  std::string to_state, from_state;
};

std::vector<Undoable> closings(const char* where, std::int64_t id) {
  std::vector<Undoable> events;
  as_extension_owner([&] {
    for (Rows::Row row : query(std::string("SELECT id, schema_name, table_name, session_id, kind, before, after, from_state, to_state FROM reconciler.event WHERE ") + where +
                                   " ORDER BY id DESC",
                               {Param::integer(id)}))
      events.push_back({row.integer("id"), row.maybe_text("schema_name").value_or(""), row.maybe_text("table_name").value_or(""), row.maybe_text("session_id").value_or(""),
                        row.text("kind"), row.maybe_jsonb("before").value_or(Jsonb{}), row.maybe_jsonb("after").value_or(Jsonb{}), row.maybe_text("to_state").value_or(""),
                        row.maybe_text("from_state").value_or("")});
  });
  return events;
}

using Outcome = std::pair<std::string, std::string>;

// The agent that has the session again has one more than it was counted with, one that it is taken from has one less.
void move_load_back(const AttachedBinding& b, const Undoable& e) {
  if (!b.mapping.sessions.agent || !b.binding.takes_room(e.from_state)) return;
  const Rows agents = query("SELECT $1::jsonb ->> $3 AS has_it, $2::jsonb ->> $3 AS had_it", {Param::jsonb(e.before), Param::jsonb(e.after), Param::text(b.mapping.sessions.agent->name)});
  if (const auto agent = agents[0].maybe_text("has_it")) take_back(*agent);
  if (const auto agent = agents[0].maybe_text("had_it"); agent && b.binding.takes_room(e.to_state)) release(*agent);
}

Outcome put_back(const Undoable& e, Duration hold_for) {
  if ((e.kind != "finalize" && e.kind != "force" && e.kind != "reassign") || e.before.empty())
    return {"not_undoable", e.kind == "resource_reported" ? "what was reported is not put back: report it again" : "an event of kind " + e.kind + " wrote no session's row"};
  const std::string actor = acting_role();
  AttachedBinding b;
  bool done_before = false;
  const bool is_attached = as_extension_owner([&] {
    const Rows rows = query("SELECT binding_id FROM reconciler.binding WHERE schema_name = $1 AND table_name = $2", {Param::text(e.schema), Param::text(e.table)});
    if (rows.empty()) return false;
    b = load_binding(static_cast<int>(rows[0].integer(0)));
    done_before = !query("SELECT 1 FROM reconciler.event WHERE kind = 'undo' AND session_id = $1 AND (evidence->>'event_id')::bigint = $2 LIMIT 1",
                         {Param::text(e.session), Param::integer(e.id)}).empty();
    return true;
  });
  if (!is_attached) return {"missing", "table " + e.schema + "." + e.table + " is not attached any more"};
  refuse_copy(b);
  if (done_before) return {"already_undone", "this event was undone before"};
  const Statements statements(b.mapping);
  const std::string why = "undo of event " + std::to_string(e.id);
  const Time now = database_now();
  Rows rows;
  try {
    rows = Transactions::subtransaction([&] {
      return as_role(b.mapping.sessions.owner, [&] {
        Rows put_back = query(statements.undo(), {Param::text(e.session), Param::jsonb(e.before), Param::jsonb(e.after)});
        if (put_back.size() == 1) write_audit(b.mapping, {{e.session, "undo", "operator", why, 0, e.after, put_back[0].jsonb("after")}}, now);
        return put_back;
      });
    });
  } catch (const PostgresError& error) {
    if (!error.is("22P02")) throw;
    return {"not_undoable", "a value of the event is none of the table any more: " + error.message};  // a label that was renamed
  }
  if (rows.empty())
    return {"changed", "session \"" + e.session + "\" is not what event " + std::to_string(e.id) + " left, or is no more: nothing was written; to bring it back: hold_session(), write it, release_session()"};
  if (rows.size() > 1) throw UserError("21000", why + " would write two rows");
  move_load_back(b, e);
  as_extension_owner([&] {
    query("DELETE FROM reconciler.episode WHERE binding_id = $1 AND session_id = $2", {Param::integer(b.binding.id), Param::text(e.session)});
    if (hold_for.count() > 0)
      query("INSERT INTO reconciler.hold AS h (binding_id, session_id, until, reason, actor) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (binding_id, session_id) DO UPDATE SET until = greatest(h.until, excluded.until), reason = excluded.reason, actor = excluded.actor",
            {Param::integer(b.binding.id), Param::text(e.session), Param::time(now + hold_for), Param::text(why), Param::text(actor)});
    const std::string evidence = nlohmann::json{{"event_id", e.id}, {"held_for_seconds", hold_for.count() / 1000000}}.dump();
    write_events(b, std::nullopt, now, actor,
                 {{.session = e.session, .kind = "undo", .from_state = e.to_state, .to_state = e.from_state, .reason = why, .rule = "operator",
                   .evidence = evidence, .before = e.after, .after = rows[0].jsonb("after")}});
  });
  if (e.kind == "reassign") return {"undone", "session \"" + e.session + "\" has the agent again that it had, held until " + time_cell(now + hold_for)};
  return {"undone", "session \"" + e.session + "\" is " + e.from_state + " again, held until " + time_cell(now + hold_for)};
}

Duration hold_of(FunctionCallInfo fcinfo, int arg) {
  const Duration hold = sql_maybe_interval(fcinfo, arg).value_or(hours(1));
  if (hold.count() < 0) throw UserError("22023", "hold_for must not be negative");
  if (hold > hours(24 * 365 * 1000)) throw UserError("22023", "hold_for is too long", "hold_session() with 'infinity' holds until release_session().");
  return hold;
}

}  // namespace

RECONCILER_SQL_FUNCTION(request_termination) {
  const std::string reason = reason_of(fcinfo, 1);
  PgStore store(attached(fcinfo, 2), TransactionMode::caller);
  refuse_copy(store.attached());
  const AttachedBinding& b = store.attached();
  const Tracked tracked = existing(store, sql_text(fcinfo, 0));
  const std::string& key = tracked.session.key;  // as the column prints it, not as it was typed
  const Policy* ending = b.binding.ending();
  if (!ending)
    throw UserError("55000", "no policy of " + b.binding.name + " is for sessions that users asked to end", "Set user_requested on one in reconciler.policy.");
  const std::string& wanted = ending->state;
  refuse_terminal(store.binding(), tracked.session);
  if (tracked.session.state == wanted)
    throw UserError("55000", "session \"" + key + "\" is " + wanted + " already", "retry_session() sends another stop; force_terminate_session() closes it.");
  const Statements statements(b.mapping);
  const Time now = database_now();
  const Rows rows = as_role(b.mapping.sessions.owner, [&] {
    Rows written = query(statements.set_state(), {Param::text(key), Param::text(tracked.session.state), Param::text(wanted), Param::time(now)});
    if (written.size() == 1) write_audit(b.mapping, {{key, "request_termination", "operator", reason, 0, written[0].jsonb("before"), written[0].jsonb("after")}}, now);
    return written;
  });
  if (rows.size() != 1) throw UserError("40001", "session \"" + key + "\" changed meanwhile", "Look at it again, then repeat.");
  // Its age counts from here whatever the application's column says: nothing was asked of an agent before. An episode of another
  // state is over as it is, and may have to hand on a start.
  as_extension_owner([&] { query("DELETE FROM reconciler.episode WHERE binding_id = $1 AND session_id = $2 AND state = $3", {Param::integer(b.binding.id), Param::text(key), Param::text(wanted)}); });
  note(b, key, "retry", tracked.session.state, wanted, reason, rows[0].jsonb("before"), rows[0].jsonb("after"));
  if (auto again = store.find(key))
    as_extension_owner([&] {
      query("UPDATE reconciler.episode SET retry_requested = $3 WHERE binding_id = $1 AND session_id = $2", {Param::integer(b.binding.id), Param::text(key), Param::time(now)});
    });
  if (tracked.hold) notice("the stop waits for the end of the hold", "Held by " + tracked.hold->actor + " " + until(tracked.hold->until) + ": " + tracked.hold->reason + ". release_session() ends it.");
  shared::wake_worker_at_commit();
  return sql_text_datum("requested");
}

RECONCILER_SQL_FUNCTION(force_terminate_session) {
  const std::string reason = reason_of(fcinfo, 1);
  PgStore store(attached(fcinfo, 2), TransactionMode::caller);
  refuse_copy(store.attached());
  const Tracked tracked = existing(store, sql_text(fcinfo, 0));
  const std::string& key = tracked.session.key;
  refuse_terminal(store.binding(), tracked.session);
  if (tracked.hold) throw held(key, *tracked.hold);
  const Policy* policy = store.binding().policy(tracked.session.state);
  store.act_as(acting_role());
  Closing closing{&tracked, {}, nlohmann::json{{"operator_reason", reason}, {"text", "closed by an operator"}}.dump()};
  closing.verdict.rule = "operator", closing.verdict.action = Action::force;
  closing.verdict.becomes = policy ? policy->becomes : store.binding().closes_as();
  closing.verdict.reason = "user_requested";
  const Store::Finished done = store.finish(PassStart{}, {closing}, Budget::none);
  if (done.closed != 1) throw UserError("40001", "session \"" + key + "\" changed meanwhile", "Look at it again, then repeat.");
  shared::wake_worker_at_commit();
  return sql_text_datum(closing.verdict.becomes);
}

RECONCILER_SQL_FUNCTION(undo_event) {
  SqlTable table(fcinfo);
  const std::int64_t id = sql_int(fcinfo, 0);
  const Duration hold = hold_of(fcinfo, 1);
  const auto events = closings("id = $1", id);
  if (events.empty()) table.add({std::to_string(id), "missing", "there is no such event"});
  for (const Undoable& e : events) {
    const Outcome outcome = put_back(e, hold);
    table.add({std::to_string(e.id), outcome.first, outcome.second});
  }
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(undo_pass) {
  SqlTable table(fcinfo);
  const Duration hold = hold_of(fcinfo, 1);
  const std::int64_t pass = sql_int(fcinfo, 0);
  const auto events = closings("pass_id = $1 AND kind IN ('finalize', 'force', 'reassign')", pass);
  if (events.empty()) notice("no event says that pass " + std::to_string(pass) + " closed a session", "The number is pass_id in reconciler.event.");
  for (const Undoable& e : events) {
    const Outcome outcome = put_back(e, hold);
    table.add({std::to_string(e.id), outcome.first, outcome.second});
  }
  return sql_null(fcinfo);
}

}  // namespace reconciler
