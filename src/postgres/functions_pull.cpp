// For agents, or hubs, that can't be called: next_commands(), report_command().
#include <algorithm>

#include "core/json.hpp"
#include "core/pulled.hpp"
#include "postgres/cells.hpp"
#include "postgres/clock.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

std::string required_id(FunctionCallInfo fcinfo, const char* what, const char* hint) {
  std::string id = sql_text(fcinfo, 0);
  if (id.find_first_not_of(" \t\n") == std::string::npos) throw UserError("22023", std::string(what) + " is required", hint);
  return id;
}

void note_heartbeat(const std::string& agent, Time at) {
  // Of an agent that asks all the time once a second is enough. One that lies ahead was written before the clock was set
  // back. Nobody waits for it: who holds the row is soon done, or is another process of this agent.
  const Rows rows = query("WITH due AS (SELECT agent_id FROM reconciler.agent WHERE agent_id = $1"
                          "   AND (NOT connected OR (heartbeat BETWEEN $2 - interval '1 second' AND $2) IS NOT TRUE) FOR NO KEY UPDATE SKIP LOCKED),"
                          " beat AS (UPDATE reconciler.agent a SET heartbeat = $2, last_seen = $2, connected = true FROM due WHERE a.agent_id = due.agent_id)"
                          " SELECT 1 FROM reconciler.agent WHERE agent_id = $1",
                          {Param::text(agent), Param::time(at)});
  if (rows.empty())
    throw UserError("P0002", "agent \"" + agent + "\" is in no pool", "register_agent() puts it into one.", "Ids are compared with case.");
}

// An open command with what it was queued for. Its row is locked.
struct Open {
  std::string id, session;
  int binding = 0;
  QueuedCommand queued;
  bool owed = false, held = false, awaited = false;
  explicit Open(Rows::Row row)
      : id(row.text("command_id")), session(row.text("session_id")), binding(static_cast<int>(row.integer("binding_id"))),
        queued{row.text("agent_id"), row.text("session_state"), row.maybe_text("session_agent"), row.maybe_text("platform_resource_id"), row.maybe_text("session_created")},
        owed(row.boolean("owed")), held(row.boolean("held")), awaited(row.boolean("awaited")) {}
};
// A stop that is owed has no episode any more once it is on its way.
constexpr const char* open_columns =
    "c.*, EXISTS (SELECT FROM reconciler.hold h WHERE h.binding_id = c.binding_id AND h.session_id = c.session_id AND h.until > $2) AS held,"
    " c.owed OR EXISTS (SELECT FROM reconciler.episode e WHERE e.binding_id = c.binding_id AND e.session_id = c.session_id AND c.command_id IN (e.command_id, e.hub_command_id)) AS awaited";

// '' = it stands. The row is the application's, and may have changed since a pass has seen it last.
std::string why_not(const Open& command, PgStore& store) {
  if (const std::string overtaken = overtaken_by(command.queued, store.look(command.session)); !overtaken.empty()) return overtaken;
  return command.awaited ? "" : "the session is another matter by now";
}

PgStore store_of(int binding) {
  return PgStore(as_extension_owner([&] { return load_binding(binding); }), TransactionMode::caller);
}

// An event of the session, or of none where the command is not known, with its NOTIFY.
void note_event(const char* kind, const char* rule, const std::optional<Open>& command, const std::string& reason, const nlohmann::json& evidence) {
  const std::optional<std::int64_t> binding = command ? std::optional<std::int64_t>(command->binding) : std::nullopt;
  const std::string actor = acting_role();
  as_extension_owner([&] {
    query("WITH written AS (INSERT INTO reconciler.event (at, schema_name, table_name, session_id, kind, from_state, reason, rule, actor, evidence)"
          "   SELECT $1, b.schema_name, b.table_name, $3, $4, $5, $6, $7, $8, $9 FROM (SELECT $2::int AS id) AS t LEFT JOIN reconciler.binding b ON b.binding_id = t.id RETURNING id, schema_name, table_name)"
          " SELECT pg_notify('session_reconciler', json_build_object('table', schema_name || '.' || table_name, 'pass_id', NULL, 'first', id, 'last', id)::text) FROM written",
          {Param::time(database_now()), Param::integer(binding), Param::text(command ? std::optional(command->session) : std::nullopt), Param::text(kind),
           Param::text(command ? std::optional(command->queued.state) : std::nullopt), Param::text(valid_text(reason, 500)), Param::text(rule), Param::text(actor),
           Param::jsonb(evidence.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))});
  });
}

void withdraw(const Open& command, const std::string& why, Time at) {
  as_extension_owner([&] {
    query("UPDATE reconciler.command SET state = 'withdrawn', detail = $2, finished_at = $3 WHERE command_id = $1", {Param::text(command.id), Param::text(why), Param::time(at)});
  });
}

// Those that stand, oldest first: at most `most`. A table that can't be read keeps its commands, the others go on.
std::vector<std::string> stand(const std::string& agent, std::int64_t most, Time at) {
  std::vector<std::string> standing;
  std::vector<std::int64_t> unreadable;
  const auto those_that_stand = [&](const std::vector<Open>& commands, PgStore store) {
    std::vector<std::string> ids;
    for (const Open& command : commands) {
      const std::string why = command.held ? "the session is held" : why_not(command, store);
      if (why.empty()) {
        ids.push_back(command.id);
      } else {
        withdraw(command, why, at);
        note_event("skipped", "next_commands", command, why, {{"command_id", command.id}, {"agent_id", agent}});
      }
    }
    return ids;
  };
  for (bool more = true; more && static_cast<std::int64_t>(standing.size()) < most;) {
    std::map<int, std::vector<Open>> open;
    more = false;
    for (Rows::Row row : as_extension_owner([&] {
           return query("SELECT " + std::string(open_columns) + " FROM reconciler.command c JOIN reconciler.binding b USING (binding_id)"
                        // Far ahead means that the clock was set back since.
                        " WHERE c.agent_id = $1 AND c.finished_at IS NULL AND CASE c.state WHEN 'queued' THEN c.not_before ELSE c.leased_until END NOT BETWEEN $2 + interval '1 microsecond' AND $2 + interval '1 day'"
                        "   AND b.mode = 'enforce' AND b.paused_at IS NULL AND reconciler.armed_here(b.binding_id) AND c.binding_id <> ALL ($4) AND c.command_id <> ALL ($5)"
                        " ORDER BY c.created, c.command_id LIMIT $3 FOR UPDATE OF c SKIP LOCKED",
                        {Param::text(agent), Param::time(at), Param::integer(most - static_cast<std::int64_t>(standing.size())), Param::integers(unreadable), Param::texts(standing)});
         }))
      open[static_cast<int>(row.integer("binding_id"))].emplace_back(row), more = true;
    for (const auto& [binding, commands] : open) try {
        const std::vector<std::string> ids = Transactions::subtransaction([&] { return those_that_stand(commands, store_of(binding)); });
        standing.insert(standing.end(), ids.begin(), ids.end());
      } catch (const PostgresError& e) {
        if (e.cancelled()) throw;
        unreadable.push_back(binding);
        warn_client("commands of an attached table are not handed out: " + e.message, e.hint);
      } catch (const UserError& e) {
        unreadable.push_back(binding);
        warn_client(std::string("commands of an attached table are not handed out: ") + e.what(), e.hint);
      }
  }
  return standing;
}

// An agent that got nothing, where that is because nothing is handed out.
void say_what_holds() {
  const Rows rows = as_extension_owner([] {
    return query("SELECT format('%I.%I', b.schema_name, b.table_name) AS name, b.mode, b.paused_at IS NOT NULL AS paused FROM reconciler.binding b JOIN reconciler.hub h ON h.name = b.hub"
                 " JOIN reconciler.hub_profile p ON p.name = h.profile AND p.definition @> '{\"pull\": true}'"
                 " WHERE b.mode <> 'enforce' OR b.paused_at IS NOT NULL OR NOT reconciler.armed_here(b.binding_id) ORDER BY b.binding_id");
  });
  for (Rows::Row row : rows) {
    const std::string name = row.text("name"), mode = row.text("mode"), none = "no command of " + name + " is handed out: ";
    if (mode != "enforce") notice(none + "it is in mode " + mode, "set_mode('enforce', 'reason', " + quoted_literal(name) + ") changes that.");
    else if (row.boolean("paused")) notice(none + "it is paused", "unpause_reconciler('reason', " + quoted_literal(name) + ") ends that.");
    else notice(none + "this database is a copy whose identity is not confirmed", "If it is to act: confirm_identity('reason').");
  }
}

// Whether that was said before of a command that is in no table.
bool said_before(const std::string& command, const std::string& outcome, Time at) {
  return as_extension_owner([&] {
    return !query("SELECT FROM reconciler.event WHERE at > $3::timestamptz - interval '1 hour' AND kind = 'late_report' AND session_id IS NULL AND evidence @> jsonb_build_object('command_id', $1::text, 'outcome', $2::text) LIMIT 1",
                  {Param::text(command), Param::text(outcome), Param::time(at)})
                .empty();
  });
}

}  // namespace

RECONCILER_SQL_FUNCTION(next_commands) {
  SqlTable table(fcinfo);
  const std::string agent = required_id(fcinfo, "an agent_id", "It is what the sessions table's agent column holds.");
  const std::int64_t most = sql_maybe_int(fcinfo, 1).value_or(10);
  if (most < 1 || most > 1000) throw UserError("22023", "max must be from 1 to 1000, not " + std::to_string(most));
  const Time at = database_now();
  as_extension_owner([&] { note_heartbeat(agent, at); });
  const std::vector<std::string> standing = stand(agent, most, at);
  if (standing.empty()) {
    say_what_holds();
    return sql_null(fcinfo);
  }
  const Rows leased = as_extension_owner([&] {
    return query("WITH leased AS (UPDATE reconciler.command AS c SET state = 'leased', leased_count = c.leased_count + 1, reported = NULL,"
                 "   leased_until = $2 + coalesce((SELECT p.command_timeout FROM reconciler.policy p WHERE p.binding_id = c.binding_id AND p.state = c.session_state), interval '5 min') / 5"
                 "   WHERE c.command_id = ANY ($1) RETURNING c.*)"
                 " SELECT l.command_id, l.session_id, format('%I.%I', b.schema_name, b.table_name) AS table_name, l.action, coalesce(l.platform_resource_id, p.resource_id) AS resource, l.attempt, l.reason, l.payload::text AS payload, l.leased_until"
                 " FROM leased l JOIN reconciler.binding b USING (binding_id) LEFT JOIN reconciler.session_pool p ON p.binding_id = l.binding_id AND p.session_id = l.session_id ORDER BY l.created, l.command_id",
                 {Param::texts(standing), Param::time(at)});
  });
  for (Rows::Row row : leased)
    table.add({row.text("command_id"), row.text("session_id"), row.text("table_name"), row.text("action"), row.maybe_text("resource"), row.text("attempt"), row.text("reason"), row.maybe_text("payload"), time_cell(row.time("leased_until"))});
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(report_command) {
  const std::string id = required_id(fcinfo, "a command_id", "It is what next_commands() returned.");
  const std::string outcome = sql_text(fcinfo, 1), detail = valid_text(sql_maybe_text(fcinfo, 2).value_or(""), 500);
  if (outcome != "accepted" && outcome != "completed" && outcome != "failed")
    throw UserError("22023", "there is no outcome \"" + outcome + "\"", "Valid outcomes are accepted, completed and failed.");
  const Time at = database_now();
  std::optional<Open> command;
  std::string state, reported, why;
  as_extension_owner([&] {
    const Rows rows = query("SELECT " + std::string(open_columns) + " FROM reconciler.command c WHERE c.command_id = $1 FOR UPDATE OF c", {Param::text(id), Param::time(at)});
    if (rows.empty()) return;
    command.emplace(rows[0]);
    state = rows[0].text("state"), reported = rows[0].maybe_text("reported").value_or(""), why = rows[0].text("detail");
  });
  ReportWorth worth = command ? worth_of_report(state, reported, outcome) : ReportWorth::late;
  if (worth == ReportWorth::repeated || (!command && said_before(id, outcome, at))) return sql_text_datum("already recorded");
  if (!command) why = "the command is not known";
  else if (state == "completed" || state == "failed") why = "it was reported as " + state;
  if (worth == ReportWorth::news) {
    PgStore store = store_of(command->binding);
    why = why_not(*command, store);
    if (!why.empty()) withdraw(*command, why, at), worth = ReportWorth::late;
  }
  if (command)
    as_extension_owner([&] {
      query("UPDATE reconciler.command AS c SET reported = $2, state = CASE WHEN $5 THEN $2 ELSE c.state END, detail = CASE WHEN $5 THEN $3 ELSE c.detail END, finished_at = CASE WHEN $5 AND $2 <> 'accepted' THEN $4 ELSE c.finished_at END,"
            // It says that it works on it: it has the time that a pass gives it.
            " leased_until = CASE WHEN $5 AND $2 = 'accepted' THEN $4 + coalesce((SELECT p.command_timeout FROM reconciler.policy p WHERE p.binding_id = c.binding_id AND p.state = c.session_state), interval '5 min') ELSE c.leased_until END"
            " WHERE c.command_id = $1",
            {Param::text(id), Param::text(outcome), Param::text(detail), Param::time(at), Param::boolean(worth == ReportWorth::news)});
    });
  if (worth == ReportWorth::late) {
    note_event("late_report", "report_command", command, why, {{"command_id", id}, {"agent_id", command ? command->queued.sent_to : ""}, {"outcome", outcome}, {"detail", detail}});
    return sql_text_datum("late");
  }
  if (outcome != "accepted") shared::wake_worker_at_commit();
  return sql_text_datum("recorded");
}

}  // namespace reconciler
