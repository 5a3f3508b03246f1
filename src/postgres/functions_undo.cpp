// undo_event() and undo_pass(): a session and what was changed with it are put back, all of it or nothing.

#include "core/json.hpp"
#include "postgres/acting.hpp"
#include "postgres/audit.hpp"
#include "postgres/cells.hpp"
#include "postgres/clock.hpp"
#include "postgres/pool_agents.hpp"
#include "postgres/put_back.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

struct Undoable {
  std::int64_t id = 0;
  std::string schema, table, session, kind;
  Jsonb before, after;
  std::string to_state, from_state;
  std::string before_text, after_text, related;  // as JSON
};

std::vector<Undoable> closings(const char* where, std::int64_t id) {
  std::vector<Undoable> events;
  as_extension_owner([&] {
    for (Rows::Row row : query(std::string("SELECT id, schema_name, table_name, session_id, kind, before, after, from_state, to_state, before::text AS before_text, after::text AS after_text, (evidence->'related')::text AS related"
                                               " FROM reconciler.event WHERE ") + where +
                                   " ORDER BY id DESC",
                               {Param::integer(id)}))
      events.push_back({row.integer("id"), row.maybe_text("schema_name").value_or(""), row.maybe_text("table_name").value_or(""), row.maybe_text("session_id").value_or(""),
                        row.text("kind"), row.maybe_jsonb("before").value_or(Jsonb{}), row.maybe_jsonb("after").value_or(Jsonb{}), row.maybe_text("to_state").value_or(""),
                        row.maybe_text("from_state").value_or(""), row.maybe_text("before_text").value_or("{}"), row.maybe_text("after_text").value_or("{}"), row.maybe_text("related").value_or("[]")});
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

Outcome undo(const Undoable& e, Duration hold_for) {
  const bool orphan = e.session.empty() && e.related != "[]";  // rows whose session is no more
  if ((e.kind != "finalize" && e.kind != "force" && e.kind != "respawn" && e.kind != "reassign") || (e.before.empty() && !orphan))
    return {"not_undoable", e.kind == "resource_reported" ? "what was reported is not put back: report it again" : "an event of kind " + e.kind + " wrote no session's row"};
  const std::string actor = acting_role();
  AttachedBinding b;
  bool done_before = false;
  const bool is_attached = as_extension_owner([&] {
    const Rows rows = query("SELECT binding_id FROM reconciler.binding WHERE schema_name = $1 AND table_name = $2", {Param::text(e.schema), Param::text(e.table)});
    if (rows.empty()) return false;
    b = load_binding(static_cast<int>(rows[0].integer(0)));
    done_before = !query(std::string("SELECT 1 FROM reconciler.event WHERE kind = 'undo' AND session_id ") + (orphan ? "IS NULL AND $1 = ''" : "= $1") + " AND (evidence->>'event_id')::bigint = $2 LIMIT 1",
                         {Param::text(e.session), Param::integer(e.id)}).empty();
    return true;
  });
  if (!is_attached) return {"missing", "table " + e.schema + "." + e.table + " is not attached any more"};
  refuse_copy(b);
  if (done_before) return {"already_undone", "this event was undone before"};
  const std::string why = "undo of event " + std::to_string(e.id);
  const Time now = database_now();
  std::optional<Jsonb> after;
  try {
    after = Transactions::subtransaction([&] {
      return as_role(b.mapping.sessions.owner, [&]() -> std::optional<Jsonb> {
        put_back_related(e.related);
        if (orphan) return std::nullopt;
        Jsonb written = put_back_session(b.mapping, e.before_text, e.after_text);
        write_audit(b.mapping, {{e.session, "undo", "operator", why, 0, e.after, written}}, now);
        return written;
      });
    });
  } catch (const ChangedSince& changed) {
    return {"changed", changed.what + " is not what event " + std::to_string(e.id) + " left, or is no more: nothing was written; to bring it back: hold_session(), write it, release_session()"};
  } catch (const PostgresError& error) {
    if (error.is("22P02")) return {"not_undoable", "a value of the event is none of the table any more: " + error.message};  // a label that was renamed
    if (!std::string_view(error.sqlstate).starts_with("23")) throw;
    return {"changed", "what has come since stands in its way: " + error.message};
  } catch (const UserError& error) {
    return {"not_undoable", error.what()};  // a column or table that is no more
  }
  if (!orphan) move_load_back(b, e);
  as_extension_owner([&] {
    query("DELETE FROM reconciler.episode WHERE binding_id = $1 AND session_id = $2", {Param::integer(b.binding.id), Param::text(e.session)});
    if (hold_for.count() > 0 && !orphan)
      query("INSERT INTO reconciler.hold AS h (binding_id, session_id, until, reason, actor) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (binding_id, session_id) DO UPDATE SET until = greatest(h.until, excluded.until), reason = excluded.reason, actor = excluded.actor",
            {Param::integer(b.binding.id), Param::text(e.session), Param::time(now + hold_for), Param::text(why), Param::text(actor)});
    const std::string evidence = nlohmann::json{{"event_id", e.id}, {"held_for_seconds", hold_for.count() / 1000000}}.dump();
    write_events(b, std::nullopt, now, actor,
                 {{.session = orphan ? std::nullopt : std::optional(e.session), .kind = "undo", .from_state = e.to_state, .to_state = e.from_state, .reason = why, .rule = "operator",
                   .evidence = evidence, .before = e.after, .after = after}});
  });
  if (orphan) return {"undone", "the rows are as they were; their session is no more"};
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

RECONCILER_SQL_FUNCTION(undo_event) {
  SqlTable table(fcinfo);
  const std::int64_t id = sql_int(fcinfo, 0);
  const Duration hold = hold_of(fcinfo, 1);
  const auto events = closings("id = $1", id);
  if (events.empty()) table.add({std::to_string(id), "missing", "there is no such event"});
  for (const Undoable& e : events) {
    const Outcome outcome = undo(e, hold);
    table.add({std::to_string(e.id), outcome.first, outcome.second});
  }
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(undo_pass) {
  SqlTable table(fcinfo);
  const Duration hold = hold_of(fcinfo, 1);
  const std::int64_t pass = sql_int(fcinfo, 0);
  const auto events = closings("pass_id = $1 AND kind IN ('finalize', 'force', 'respawn', 'reassign')", pass);
  if (events.empty()) notice("no event says that pass " + std::to_string(pass) + " closed a session", "The number is pass_id in reconciler.event.");
  for (const Undoable& e : events) {
    const Outcome outcome = undo(e, hold);
    table.add({std::to_string(e.id), outcome.first, outcome.second});
  }
  return sql_null(fcinfo);
}

}  // namespace reconciler
