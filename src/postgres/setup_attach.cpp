// attach_sessions(): looks at a table, refuses or writes a binding, and reports.
//
//   options → preset → check the table → find key, columns, related tables → find policies → write → report
//
// Everything that can be refused is refused before the first row is written, and it is one transaction anyway.

#include "core/json.hpp"
#include "core/text.hpp"
#include "postgres/binding_store.hpp"
#include "postgres/clock.hpp"
#include "postgres/events.hpp"
#include "postgres/repairs.hpp"
#include "postgres/role.hpp"
#include "postgres/server.hpp"
#include "postgres/setup_change.hpp"
#include "postgres/setup_findings.hpp"
#include "postgres/setup_mapping.hpp"
#include "postgres/setup_policies.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

// Every option of attach_sessions(): docs/reference lists the same.
constexpr OptionSpec attach_options[] = {
    {"key_column", OptionKind::text, "the single-column primary key, else a unique index on one NOT NULL column", "the column that names a session"},
    {"state_column", OptionKind::text, "state, status", "the column with the session's state: text, varchar or an enum"},
    {"agent_column", OptionKind::name, "assigned_agent_id, agent_id", "the column that names the session's agent"},
    {"runtime_column", OptionKind::name, "platform_resource_id, runtime_id, sandbox_id", "the column that names the runtime"},
    {"created_column", OptionKind::name, "created_at", "the column with the time of creation, part of a session's identity"},
    {"entered_column", OptionKind::name, "state_changed_at, state_entered_at, updated_at", "the column from which the time in a state counts"},
    {"updated_column", OptionKind::name, "updated_at", "the column that gets the time of a change"},
    {"reason_column", OptionKind::name, "termination_reason", "the column that gets the reason of a closing"},
    {"closed_column", OptionKind::name, "terminated_at", "the column that gets the time of a closing"},
    {"pool_column", OptionKind::name, "agent_pool", "the column that names the session's agent pool"},
    {"platform_column", OptionKind::name, "platform", "the column with the platform of that pool"},
    {"region_column", OptionKind::name, "region", "the column with the region of that pool"},
    {"backend_column", OptionKind::name, "backend", "the column that names the backend where the session's runtime is"},
    {"version_column", OptionKind::name, "updated_at with the preset centaur, else none", "a column that every write of the row changes: a close compares it"},
    {"route_columns", OptionKind::list, "none", "partition or distribution columns, repeated in the WHERE of every write"},
    {"sign_of_life_columns", OptionKind::list, "none", "columns with times at which a session was seen alive"},
    {"agents_table", OptionKind::name, "agents, in the schema of the sessions", "the table of agents, with their heartbeats"},
    {"commands_table", OptionKind::name, "agent_commands, in the schema of the sessions", "the table of the application's own commands"},
    {"audit_table", OptionKind::name, "audit_log with the preset streamspace, else none", "the application's audit table, which gets a row per change"},
    {"connections_table", OptionKind::name, "none", "a table of connections to sessions, or of leases: their times are signs of life"},
    {"executions_table", OptionKind::name, "agent_execution_requests with the preset centaur, else none", "a table of what sessions are asked to do: one that was just asked may be getting another runtime"},
    {"hub", OptionKind::name, "the only one there is", "the hub of set_hub() to ask"},
    {"mode", OptionKind::text, "observe", "observe or enforce"},
    {"time_zone", OptionKind::text, "UTC", "the zone of columns of type timestamp without time zone"},
    {"terminal_states", OptionKind::list, "of the preset", "the states in which a session has ended"},
    {"batch_size", OptionKind::integer, "500", "rows to a transaction"},
    {"observation_spacing", OptionKind::interval, "10 s", "least distance of two looks that count as two"},
    {"hub_grace", OptionKind::interval, "120 s", "gone time starts over after the hub was unknown for longer"},
    {"heartbeat_fresh", OptionKind::interval, "90 s", "a heartbeat unchanged for longer is not fresh"},
    {"start_grace", OptionKind::interval, "60 s", "no force before the server's start and the first pass are that old"},
    {"instance_grace", OptionKind::interval, "120 s", "no force before a new hub instance is known that long"},
    {"promotion_grace", OptionKind::interval, "300 s", "no force before a promotion is that old"},
    {"sign_fresh_for", OptionKind::interval, "120 s", "a sign of life is heard that long"},
    {"sign_ceiling", OptionKind::interval, "30 min", "signs of life are heard no more once the end is known or inferred for so long"},
    {"replacement_grace", OptionKind::interval, "120 s", "nothing is inferred of a session whose runtime is known for less"},
    {"guard_terminal", OptionKind::boolean, "false", "a trigger on the table keeps sessions closed that we closed"},
    {"guard_suspended", OptionKind::boolean, "false", "a trigger on the table ends sessions that are suspended where nothing can pause"},
    {"pools", OptionKind::boolean, "false", "passes keep the registry of agents that the agents table and the hub's list name"},
    {"backend", OptionKind::name, "none: any that is declared", "the backend where runtimes are of which no column says it"},
    {"disconnect_cleanup", OptionKind::boolean, "false", "turns the policies of running and hibernated on: an agent that stays away ends its sessions"},
    {"policies", OptionKind::object, "of the preset", "per state an object that overrides columns of reconciler.policy, or null for no policy"},
};

// Admin level is the right to execute this function; the table must be the caller's besides.
void check_caller(const TableLook& table) {
  if (!query("SELECT pg_has_role($1::oid, 'USAGE') AS owns", {Param::oid(table.owner)}).only().boolean("owns"))
    throw UserError("42501", "must be owner of table " + table.qualified, "Its owner is " + table.owner_name + "; a superuser may attach any table.");
}

void check_free(const TableLook& table) {
  const Rows rows = as_extension_owner([&] {
    return query("SELECT sessions = $1::regclass AS same, format('%I.%I', schema_name, table_name) AS name FROM reconciler.binding"
                 " WHERE sessions = $1::regclass OR (schema_name = $2 AND table_name = $3 AND NOT EXISTS (SELECT FROM pg_class WHERE oid = sessions)) ORDER BY 1 DESC",
                 {Param::oid(table.oid), Param::text(table.schema), Param::text(table.name)});
  });
  if (rows.empty()) return;
  const std::string name = rows[0].text("name");
  if (rows[0].boolean("same"))
    throw UserError("42710", "table " + table.qualified + " is attached already",
                    "Change it with set_mode(), or UPDATE reconciler.policy or reconciler.binding; or detach_sessions('" + name + "') first, which forgets attempts and evidence.");
  throw UserError("42710", "a table of the name " + name + " is attached that does not exist any more", "SELECT detach_sessions('" + name + "'), then attach this one.");
}

std::string mode_of(const Options& options) {
  const std::string mode = options.text("mode").value_or("observe");
  if (mode != "observe" && mode != "enforce") throw UserError("22023", "option \"mode\" must be observe or enforce, not \"" + mode + "\"", "Later set_mode() changes it.");
  return mode;
}

std::string zone_of(const Options& options) {
  const std::string zone = options.text("time_zone").value_or("UTC");
  try {
    Transactions::subtransaction([&] { query("SELECT timestamptz 'epoch' AT TIME ZONE $1", {Param::text(zone)}); });
  } catch (const PostgresError& e) {
    if (e.cancelled()) throw;
    throw UserError("22023", "time zone \"" + zone + "\" is not known", "Names are in the view pg_timezone_names, for instance Europe/Berlin.", "The option \"time_zone\" names it.");
  }
  return zone;
}

// The hub asked for; else the only one there is.
std::optional<std::string> hub_of(const TableLook& table, const Options& options, Findings& findings) {
  if (options.refused("hub")) {
    findings.push_back({"hub", "info", "none, as asked: agents are unknown but for pushed evidence", ""});
    return std::nullopt;
  }
  const Rows hubs = as_extension_owner([&] { return query("SELECT name, base_urls, profile FROM reconciler.hub ORDER BY name"); });
  const auto asked = options.text("hub");
  for (Rows::Row hub : hubs)
    if (asked ? *asked == hub.view("name") : hubs.size() == 1) {
      findings.push_back({"hub", "ok", hub.text("name") + " (" + hub.text("profile") + ")" + (hub.texts("base_urls").empty() ? ": agents fetch their commands" : " at " + comma_list(hub.texts("base_urls"))), "CALL probe_hub(" + quoted_literal(hub.text("name")) + ") asks it."});
      return hub.text("name");
    }
  if (asked) throw UserError("42704", "there is no hub \"" + *asked + "\"", "SELECT set_hub(" + quoted_literal(*asked) + ", 'https://…') first, or leave the option out and link it later.");
  if (hubs.empty()) {
    findings.push_back({"hub", "missing", "none: no agent is asked, none counts as gone, and nothing is retried", "SELECT set_hub('name', 'https://…');"});
    return std::nullopt;
  }
  std::vector<std::string> names;
  for (Rows::Row hub : hubs) names.push_back(hub.text("name"));
  const std::string sessions = quoted_literal(table.qualified);
  findings.push_back({"hub", "missing", "several are known and none was named: " + comma_list(names),
                      "UPDATE reconciler.binding SET hub = " + quoted_literal(names[0]) + " WHERE sessions = " + sessions + "::regclass; or, for another, SELECT set_hub('name', 'https://…', 'standard', " +
                          quoted_literal("{\"sessions\": " + json(table.qualified).dump() + "}") + ");"});
  return std::nullopt;
}

// One row of reconciler.binding and its policies.
int write_binding(const TableLook& table, const Preset& preset, const Options& options, const MappingFinder& mapping, const PolicyFinder& policies,
                  const std::optional<std::string>& hub, const std::string& mode, const std::string& zone) {
  const Server here = this_server();
  const std::string columns = mapping.columns().dump(), related = mapping.related().dump();
  int id = 0;
  const OwnChange quiet;
  as_extension_owner([&] {
    // One attaches at a time: whoever comes second finds the first one's row.
    query("LOCK TABLE reconciler.binding IN SHARE ROW EXCLUSIVE MODE");
    check_free(table);
    explaining_checks("an option", [&] {
      id = static_cast<int>(query("INSERT INTO reconciler.binding (sessions, schema_name, table_name, preset, hub, mode, mode_reason, columns, related, leftover, terminal_states,"
                                  " time_zone, armed_system, armed_database, armed_name)"
                                  " VALUES ($1::regclass, $2, $3, $4, $5, $6, 'as attached', $7, $8, $9, $10, $11, $12::numeric, $13, $14) RETURNING binding_id",
                                  {Param::oid(table.oid), Param::text(table.schema), Param::text(table.name), Param::text(preset.name), Param::text(hub), Param::text(mode),
                                   Param::jsonb(std::string_view(columns)), Param::jsonb(std::string_view(related)), Param::jsonb(std::string_view(preset.leftover)),
                                   Param::texts(policies.terminal_states()), Param::text(zone), Param::text(here.system), Param::oid(here.database), Param::text(here.database_name)})
                                .only().integer("binding_id"));
    });
    for (const OptionSpec& spec : attach_options) {
      const bool number = spec.kind == OptionKind::integer;
      if ((!number && spec.kind != OptionKind::interval) || !options.given(spec.name)) continue;
      const std::string value = number ? std::to_string(*options.integer(spec.name)) : *options.text(spec.name);
      explaining_checks(std::string("option \"") + spec.name + "\"", [&] {
        query_once(std::string("UPDATE reconciler.binding SET ") + spec.name + " = $2::" + (number ? "bigint" : "interval") + " WHERE binding_id = $1::integer", {Param::integer(id), Param::text(value)});
      });
    }
    if (preset.advisory_lock) query("UPDATE reconciler.binding SET advisory_lock = $2 WHERE binding_id = $1", {Param::integer(id), Param::text(preset.advisory_lock)});
    if (options.flag("guard_terminal")) query("UPDATE reconciler.binding SET guard_terminal = true WHERE binding_id = $1", {Param::integer(id)});
    if (const auto backend = options.text("backend")) query("UPDATE reconciler.binding SET backend = $2 WHERE binding_id = $1", {Param::integer(id), Param::text(*backend)});
    if (options.flag("guard_suspended")) query("UPDATE reconciler.binding SET guard_suspended = true WHERE binding_id = $1", {Param::integer(id)});
    if (options.flag("pools")) query("UPDATE reconciler.binding SET pools = true WHERE binding_id = $1", {Param::integer(id)});
    policies.insert(id);
  });
  return id;
}

void write_event(const AttachedBinding& b, const Options& options, const MappingFinder& mapping, const std::string& mode) {
  const std::string actor = acting_role();
  as_extension_owner([&] {
    json evidence = {{"preset", b.preset}, {"mode", mode}, {"columns", mapping.columns()}, {"related", mapping.related()}, {"options", options.all()}, {"terminal_states", b.binding.terminal_states}};
    if (b.binding.hub) evidence["hub"] = *b.binding.hub;
    evidence["policies"] = json::parse(query("SELECT coalesce(json_agg(to_jsonb(p) - 'binding_id' ORDER BY state), '[]')::text AS policies FROM reconciler.policy p WHERE binding_id = $1", {Param::integer(b.binding.id)}).only().text("policies"));
    write_events(b, std::nullopt, database_now(), actor,
                 {{.session = {}, .kind = "attached", .from_state = {}, .to_state = {}, .reason = {}, .rule = {}, .evidence = evidence.dump(), .before = {}, .after = {}}});
  });
}

std::string what_else(const Mapping& mapping, const std::string& state) {
  const auto found = mapping.repairs.find(state);
  if (found == mapping.repairs.end()) return "";
  std::string text = found->second.sets.empty() ? "" : "; sets " + describe(found->second.sets);
  for (const Step& step : found->second.steps) text += "; with it rows of " + describe(step);
  return text;
}

void say_policies(Findings& findings, const AttachedBinding& b) {
  for (const Policy& p : b.binding.policies) {
    const std::string stuck = p.stuck_after ? "stuck after " + span(*p.stuck_after) + ", " : "";
    const std::string spent = p.when_spent == WhenSpent::close_unconfirmed ? "; tries spent: closed unconfirmed" : p.retry_action.empty() ? "" : "; tries spent: quarantine";
    findings.push_back({"policy " + p.state, p.enabled ? "ok" : "info",
                        stuck + (p.retry_action.empty() ? "" : "agent there: " + p.retry_action + ", ") + (p.completed_becomes.empty() ? "" : p.awaits + " completed: " + p.completed_becomes + ", ") +
                            (p.judged_by == JudgedBy::row ? "judged by its row alone" : p.infers ? (p.judged_by == JudgedBy::runtime ? "runtime gone for " : "agent gone for ") + span(p.gone_after) + ": " + p.becomes + " (" + p.reason + ")" : p.judged_by == JudgedBy::runtime ? "runtime gone: only shown" : "agent gone: only shown") + spent +
                            what_else(b.mapping, p.state) + (p.enabled ? "" : "; off: such sessions are only shown"),
                        ""});
  }
}

std::string counted(const std::string& statement, Oid table) {
  std::string counts;
  for (Rows::Row row : query_once(statement, {Param::oid(table)})) counts += (counts.empty() ? "" : ", ") + row.text("action") + " " + row.text("n");
  return counts;
}

// States that nobody thought of: sessions would stay in them unnoticed.
void say_states(Findings& findings, const TableLook& table, const Options& options) {
  std::string states, first;
  for (Rows::Row row : query_once("SELECT state, sessions FROM " + extension_schema() + ".session_coverage($1::regclass) WHERE state IS NOT NULL AND watched_by IN ('completion', 'nothing')", {Param::oid(table.oid)})) {
    if (options.object("policies").contains(row.text("state"))) continue;  // null: none, as asked
    if (first.empty()) first = row.text("state");
    states += (states.empty() ? "" : ", ") + row.text("state") + " (" + row.text("sessions") + ")";
  }
  if (!states.empty())
    findings.push_back({"states", "warn", "sessions are in states that no policy knows: " + states,
                        "Detach, and attach again with {\"policies\": {" + json(first).dump(-1, ' ', false, json::error_handler_t::replace) + ": {…}}}, or with their names in \"terminal_states\"; see session_coverage()"});
}

// What a pass would do now, by the pass's own code, and what comes next once agents have been asked.
void say_plan(Findings& findings, const TableLook& table, const Options& options) {
  const std::string schema = extension_schema();
  try {
    Transactions::subtransaction([&] {
      say_states(findings, table, options);
      const std::string now = counted("SELECT action, count(*) AS n FROM " + schema + ".reconcile_plan($1::regclass) GROUP BY action ORDER BY action", table.oid);
      const std::string next = counted("SELECT next_action AS action, count(*) AS n FROM " + schema + ".stuck_sessions($1::regclass) GROUP BY next_action ORDER BY next_action", table.oid);
      findings.push_back({"next pass", "info", (now.empty() ? "would do nothing yet" : "would do: " + now) + (next.empty() ? "; nothing is stuck" : "; stuck sessions by next action: " + next), ""});
    });
  } catch (const PostgresError& e) {
    if (e.cancelled()) throw;
    findings.push_back({"next pass", "warn", "can't be foreseen: " + e.message, e.hint});
  }
}

void say_mode(Findings& findings, const TableLook& table, const std::string& mode) {
  const std::string other = mode == "observe" ? "enforce" : "observe";
  findings.push_back({"mode", "info", mode == "observe" ? "observe: verdicts and would_ events; no command is sent and no row of yours is written" : "enforce: commands are sent and rows are written",
                      "SELECT set_mode('" + other + "', 'reason', " + quoted_literal(table.qualified) + ");"});
}

void print(FunctionCallInfo fcinfo, const Findings& findings) {
  SqlTable out(fcinfo);
  for (const Finding& f : findings) {
    const std::string text = f.hint.empty() ? f.detail : f.detail + (f.detail.ends_with('.') ? " " : ". ") + f.hint;
    out.add({f.item, f.status == "fail" ? "warn" : f.status, text});
  }
}

void append(Findings& to, const Findings& more) { to.insert(to.end(), more.begin(), more.end()); }

}  // namespace

RECONCILER_SQL_FUNCTION(attach_sessions) {
  sql_required(fcinfo, 0);
  require_fitting_version();
  const Options options(sql_maybe_text(fcinfo, 2).value_or("{}"), attach_options, "attach_sessions()");
  const std::string preset_name = sql_text(fcinfo, 1);
  const Preset& preset = preset_named(preset_name);
  const TableLook table = look_at(sql_oid(fcinfo, 0));
  check_caller(table);
  check_attachable(table);
  check_free(table);  // before everything else that could be wrong; again when writing
  const std::string mode = mode_of(options), zone = zone_of(options);

  MappingFinder mapping(table, preset, options);
  mapping.find();
  PolicyFinder policies(table, mapping.columns().at("state"), preset, options, mapping.records_completions());
  policies.find();
  Findings findings = mapping.findings();
  append(findings, policies.findings());
  const std::optional<std::string> hub = hub_of(table, options, findings);

  const int id = write_binding(table, preset, options, mapping, policies, hub, mode, zone);
  const AttachedBinding binding = as_extension_owner([&] { return load_binding(id); });
  write_event(binding, options, mapping, mode);

  say_policies(findings, binding);
  append(findings, table_findings(binding, table));
  say_plan(findings, table, options);
  say_mode(findings, table, mode);
  print(fcinfo, findings);
  shared::request_worker_at_commit();
  return sql_null(fcinfo);
}

}  // namespace reconciler
