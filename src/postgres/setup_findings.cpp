#include "postgres/setup_findings.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "postgres/repairs.hpp"
#include "postgres/role.hpp"
#include "postgres/setup_options.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"

namespace reconciler {
namespace {

const char* const kOperator = "The reconciler's statements on this table run with its owner's rights.";

std::string shown(const std::string& name) { return quoted_identifier(name); }

void say_owner(Findings& out, const TableLook& table) {
  if (table.owner_superuser)
    out.push_back({"owner", "warn", table.owner_name + " is a superuser: triggers and functions of this table would run with a superuser's rights in every pass",
                   "ALTER TABLE " + table.qualified + " OWNER TO the role of the application."});
  else
    out.push_back({"owner", "ok", table.owner_name + ". " + kOperator, ""});
}

void say_row_security(Findings& out, const TableLook& table) {
  if (hides_rows(table, table.owner))
    out.push_back({"row security", "fail", "it hides rows from the owner, " + table.owner_name, "ALTER TABLE " + table.qualified + " NO FORCE ROW LEVEL SECURITY, or ALTER ROLE " + shown(table.owner_name) + " BYPASSRLS."});
  else if (table.row_security)
    out.push_back({"row security", "ok", "on; the owner, as whom the reconciler works, sees every row", ""});
  else
    out.push_back({"row security", "ok", "off", ""});
}

// Two rows of one key name no session. Only the catalog is asked: passes leave out such sessions as they meet them.
void say_key(Findings& out, const AttachedBinding& b, const TableLook& table) {
  const std::string key = b.mapping.sessions.key.name;
  const char* const advice = "Each must stand in one row only: the application has to see to that, and sessions that two rows name are left alone.";
  std::vector<std::string> wider;
  for (const UniqueKey& unique : unique_keys(table.oid)) {
    if (unique.columns == std::vector{key}) {
      if (const std::vector<std::string> children = inheriting(table); children.empty()) out.push_back({"key", "ok", key + " is unique", ""});
      else out.push_back({"key", "warn", key + " is unique in " + table.qualified + " itself, not together with the tables that inherit from it: " + comma_list(children), advice});
      return;
    }
    if (wider.empty() && std::find(unique.columns.begin(), unique.columns.end(), key) != unique.columns.end()) wider = unique.columns;
  }
  if (wider.empty())
    out.push_back({"key", "fail", "no unique index on " + key + " is left", "CREATE UNIQUE INDEX ON " + table.qualified + " (" + shown(key) + ");"});
  else
    out.push_back({"key", "warn", key + " is unique only together with others: " + comma_list(wider), advice});
}

std::vector<std::string> names_of(std::initializer_list<const std::optional<Column>*> columns) {
  std::vector<std::string> names;
  for (const auto* column : columns)
    if (*column) names.push_back((*column)->name);
  return names;
}

// One related table, as its columns are read or written by the owner of the sessions table.
void say_related(Findings& out, const TableLook& sessions, const std::string& qualified, const char* privilege, std::vector<std::string> columns) {
  const auto oid = table_named(qualified, sessions.schema);
  if (!oid) {
    out.push_back({"rights", "fail", "table " + qualified + " does not exist", "Restore it, or detach_sessions() and attach again."});
    return;
  }
  const TableLook table = look_at(*oid);
  std::erase_if(columns, [&](const std::string& name) { return !table.column(name); });
  const bool may = may_use_schema(table, sessions.owner) && columns_without(table, sessions.owner, privilege, columns).empty();
  if (!may)
    out.push_back({"rights", "fail", sessions.owner_name + " lacks " + privilege + " on " + table.qualified, std::string("GRANT ") + privilege + " ON " + table.qualified + " TO " + shown(sessions.owner_name) + "."});
  else if (hides_rows(table, sessions.owner))
    out.push_back({"rights", "fail", "row-level security hides rows of " + table.qualified + " from " + sessions.owner_name, "ALTER ROLE " + shown(sessions.owner_name) + " BYPASSRLS."});
}

void say_step(Findings& out, const TableLook& sessions, const Step& step) {
  std::vector<std::string> read = {step.session.name}, written;
  if (step.runtime) read.push_back(step.runtime->name);
  for (const Column& column : step.id) read.push_back(column.name);
  for (const auto& [column, values] : step.where) read.push_back(column.name);
  for (const Assignment& a : step.set) read.push_back(a.column.name), written.push_back(a.column.name);
  say_related(out, sessions, step.qualified, "SELECT", read);
  say_related(out, sessions, step.qualified, "UPDATE", written);
}

void say_rights(Findings& out, const AttachedBinding& b, const TableLook& table) {
  const std::size_t before = out.size();
  const SessionsTable& s = b.mapping.sessions;
  std::vector<std::string> read = {s.key.name, s.state.name}, written = {s.state.name};
  for (const std::string& name : names_of({&s.agent, &s.runtime, &s.created, &s.entered, &s.updated, &s.reason, &s.closed, &s.pool, &s.platform, &s.region})) read.push_back(name);
  for (const auto* columns : {&s.signs, &s.route})
    for (const Column& column : *columns) read.push_back(column.name);
  for (const std::string& name : names_of({&s.updated, &s.reason, &s.closed, &s.pool, &s.platform, &s.region})) written.push_back(name);
  for (const auto& [state, repair] : b.mapping.repairs)
    for (const Assignment& a : repair.sets) read.push_back(a.column.name), written.push_back(a.column.name);
  if (s.version) read.push_back(s.version->name);
  if (!may_use_schema(table, table.owner)) out.push_back({"rights", "fail", table.owner_name + " may not use schema " + table.schema, "GRANT USAGE ON SCHEMA " + shown(table.schema) + " TO " + shown(table.owner_name) + "."});
  for (const auto& [privilege, columns] : {std::pair{"SELECT", read}, std::pair{"UPDATE", written}})
    if (!columns_without(table, table.owner, privilege, columns).empty())
      out.push_back({"rights", "fail", "the owner, " + table.owner_name + ", lacks " + privilege + " on its own table", std::string("GRANT ") + privilege + " ON " + table.qualified + " TO " + shown(table.owner_name) + "."});
  if (const auto& a = b.mapping.agents) {
    std::vector<std::string> columns = names_of({&a->heartbeat, &a->approval, &a->metadata});
    columns.push_back(a->id.name);
    say_related(out, table, a->qualified, "SELECT", columns);
  }
  if (const auto& c = b.mapping.commands) {
    std::vector<std::string> columns = names_of({&c->agent, &c->created, &c->sent, &c->acknowledged, &c->completed, &c->error});
    for (const Column* column : {&c->id, &c->session, &c->action, &c->status}) columns.push_back(column->name);
    say_related(out, table, c->qualified, "SELECT", columns);
  }
  if (const auto& a = b.mapping.audit)
    say_related(out, table, a->qualified, "INSERT", names_of({&a->actor, &a->action, &a->resource_type, &a->resource_id, &a->changes, &a->at, &a->address}));
  if (const auto& c = b.mapping.connections) say_related(out, table, c->qualified, "SELECT", {c->session.name, c->seen.name});
  if (const auto& e = b.mapping.executions) {
    std::vector<std::string> columns = names_of({&e->claimed});
    for (const Column* column : {&e->session, &e->created}) columns.push_back(column->name);
    say_related(out, table, e->qualified, "SELECT", columns);
  }
  std::set<std::string> said;  // states that end alike have the same steps
  for (const auto& [state, repair] : b.mapping.repairs)
    for (const Step& step : repair.steps)
      if (said.insert(describe(step)).second) say_step(out, table, step);
  if (out.size() == before) out.push_back({"rights", "ok", table.owner_name + " may read and write what the mapping needs", ""});
}

void say_triggers(Findings& out, const TableLook& table) {
  const std::vector<std::string> triggers = user_triggers(table.oid);
  out.push_back({"triggers", triggers.empty() ? "ok" : "info", triggers.empty() ? "none" : comma_list(triggers) + ": they fire on the reconciler's changes too", ""});
}

// Labels of the state column's type may have been renamed since. The … of a hint is the new name.
void say_labels(Findings& out, const AttachedBinding& b, const TableLook& table) {
  const std::string& column = b.mapping.sessions.state.name;
  const std::vector<std::string> labels = enum_labels(table.oid, column);
  std::map<std::string, std::set<std::string>> lacking;  // label, and what names it
  const auto named = [&](const std::string& label, const char* by) {
    if (!labels.empty() && !label.empty() && std::find(labels.begin(), labels.end(), label) == labels.end()) lacking[label].insert(by);
  };
  for (const std::string& state : b.binding.terminal_states) named(state, "terminal_states");
  for (const Policy& p : b.binding.policies) {
    named(p.state, "state");
    if (p.enabled) named(p.becomes, "becomes"), named(p.completed_becomes, "completed_becomes");
  }
  const std::string whose = " WHERE binding_id = " + std::to_string(b.binding.id), terminal = "UPDATE reconciler.binding SET terminal_states = ";
  for (auto& [label, names] : lacking) {
    const std::string old = quoted_literal(label), listed = comma_list({names.begin(), names.end()});
    const bool ends = names.erase("terminal_states") > 0;
    std::string advice = ends ? " " + terminal + "array_append(terminal_states, '…')" + whose + ";" : "";
    for (const std::string& name : names) advice += " UPDATE reconciler.policy SET " + name + " = '…'" + whose + " AND " + name + " = " + old + ";";
    if (ends) advice += " " + terminal + "array_remove(terminal_states, " + old + ")" + whose + ";";
    out.push_back({"labels", "fail", "type " + table.column(column)->labelled + " has no label \"" + label + "\", which the configuration names (" + listed + "): no session is found in that state, and none can be closed so",
                   "If it was renamed, with its new name:" + advice});
  }
}

// What became of the trigger that guard_terminal made.
void say_guard(Findings& out, const AttachedBinding& b, const TableLook& table) {
  if (!b.guard_terminal) return;
  const SessionsTable& s = b.mapping.sessions;
  // The table first, then its partitions: each has a copy that can be disabled by itself.
  const Rows rows = query("SELECT t.tgname AS trigger, CASE t.tgenabled WHEN 'D' THEN 'is disabled' WHEN 'R' THEN 'fires for replicated rows only (ENABLE REPLICA)' END AS silent, t.tgrelid = $1 AS whole, format('%I.%I', n.nspname, c.relname) AS name"
                          " FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
                          " WHERE (t.tgrelid = $1 OR t.tgrelid IN (SELECT relid FROM pg_partition_tree($1))) AND " + is_guard() + " AND " + names_binding("$2::text") + " ORDER BY whole DESC, name",
                          {Param::oid(table.oid), Param::text(std::to_string(b.binding.id))});
  const std::string trigger = rows.empty() ? "session_reconciler_guard" : rows[0].text("trigger");
  std::string wrong = rows.empty() ? ", is missing" : "";
  for (Rows::Row row : rows)
    if (wrong.empty() && !row.null("silent")) wrong = ", " + row.text("silent") + (row.boolean("whole") ? "" : " on " + row.text("name"));
  if (!wrong.empty()) {
    out.push_back({"guard", "fail", "guard_terminal is on, and its trigger, " + trigger + wrong,
                   "UPDATE reconciler.binding SET guard_terminal = true WHERE binding_id = " + std::to_string(b.binding.id) + " makes it anew."});
    return;
  }
  const bool armed = as_extension_owner([&] { return query("SELECT reconciler.armed_here($1::int) AS armed", {Param::integer(b.binding.id)}).only().boolean("armed"); });
  std::vector<std::string> passing;
  for (const Policy& p : b.binding.policies)
    if (p.user_requested || p.awaits == "start_session") passing.push_back(p.state);
  const std::vector<std::string> identity = names_of({&s.created, &s.agent}), children = inheriting(table);
  out.push_back({"guard", children.empty() ? "ok" : "warn",
                 "trigger " + trigger + ": an UPDATE that moves a session which the reconciler closed from " + comma_list(b.binding.terminal_states) + " to another state changes 0 rows; its agent gets a stop." +
                     (passing.empty() ? " No policy says that a state is a start or a user's request: none passes" : " A write of " + comma_list(passing) + " passes") +
                     (identity.empty() ? "" : ", and one that changes " + comma_list(identity)) +
                     (!armed ? ". In this copy none is refused" : b.mode == Mode::enforce ? "" : ". In this mode none is refused: a late write is a would_guard event") +
                     (children.empty() ? "" : ". Rows of tables that inherit from it are not guarded: " + comma_list(children)),
                 ""});
}

void say_time_zone(Findings& out, const AttachedBinding& b) {
  std::set<std::string> naive;
  const auto add = [&](const std::string& table, std::initializer_list<const std::optional<Column>*> columns) {
    for (const auto* column : columns)
      if (*column && (*column)->timestamp) naive.insert(table + (*column)->name);
  };
  const SessionsTable& s = b.mapping.sessions;
  add("", {&s.created, &s.entered, &s.updated, &s.closed});
  for (const Column& sign : s.signs)
    if (sign.timestamp) naive.insert(sign.name);
  if (const auto& a = b.mapping.agents) add("agents.", {&a->heartbeat});
  if (const auto& c = b.mapping.commands) add("commands.", {&c->created, &c->sent, &c->acknowledged, &c->completed});
  if (const auto& c = b.mapping.connections; c && c->seen.timestamp) naive.insert("connections." + c->seen.name);
  if (const auto& e = b.mapping.executions; e && e->created.timestamp) naive.insert("executions." + e->created.name);
  if (naive.empty()) {
    out.push_back({"time zone", "ok", "every mapped time has its own", ""});
    return;
  }
  const bool assumed = b.mapping.time_zone == "UTC" && b.preset != "streamspace";
  out.push_back({"time zone", assumed ? "warn" : "ok",
                 comma_list({naive.begin(), naive.end()}) + (naive.size() == 1 ? " is a timestamp" : " are timestamps") + " without time zone, read as " + b.mapping.time_zone,
                 assumed ? "If the application writes another zone: UPDATE reconciler.binding SET time_zone = '…' WHERE binding_id = " + std::to_string(b.binding.id) + "." : ""});
}

// `what`: columns and predicate.
std::string create_index(const TableLook& table, const std::string& what) {
  const std::string rest = " ON " + table.qualified + " " + what + ";";
  return table.partitioned ? "CREATE INDEX" + rest + " It locks writes of each partition while it is built; to avoid that, create it ON ONLY the table, CONCURRENTLY on each partition, and attach those."
                           : "CREATE INDEX CONCURRENTLY" + rest;
}

void say_indexes(Findings& out, const AttachedBinding& b, const TableLook& table) {
  const SessionsTable& s = b.mapping.sessions;
  for (const Policy& policy : b.binding.policies) {
    if (!policy.enabled) continue;
    if (const auto index = index_for_state(table.oid, s.state.name, policy.state)) {
      out.push_back({"index " + policy.state, "ok", *index, ""});
      continue;
    }
    const std::string columns = (s.entered ? shown(s.entered->name) + ", " : "") + shown(s.key.name);
    out.push_back({"index " + policy.state, "missing", "no index finds the sessions in this state: each pass reads the whole table",
                   create_index(table, "(" + columns + ") WHERE " + shown(s.state.name) + compared_as(s.state) + " = " + quoted_literal(policy.state))});
  }
}

// Loads are counted by agent, and sessions are given away by it.
void say_agent_index(Findings& out, const AttachedBinding& b, const TableLook& table) {
  if (!b.binding.pools) return;
  const std::string& agent = b.mapping.sessions.agent->name;
  if (const auto index = index_led_by(table.oid, agent))
    out.push_back({"index agents", "ok", *index, ""});
  else
    out.push_back({"index agents", "missing", "no index finds the sessions of an agent: the whole table is read for each count of what agents have, and before a pool is called full",
                   create_index(table, "(" + shown(agent) + ")")});
}

// Each pass looks at the stops of the last day.
void say_command_index(Findings& out, const AttachedBinding& b, const TableLook& table) {
  const auto& c = b.mapping.commands;
  const auto oid = c && c->created ? table_named(c->qualified, table.schema) : std::nullopt;
  if (!oid) return;
  const TableLook commands = look_at(*oid);
  if (const auto index = index_for_latest(*oid, c->action.name, "stop_session", c->created->name))
    out.push_back({"index commands", "ok", *index, ""});
  else
    out.push_back({"index commands", "missing", "no index finds the latest stops: each pass reads all of " + commands.qualified,
                   create_index(commands, "(" + shown(c->created->name) + ") WHERE " + shown(c->action.name) + " = 'stop_session'")});
}

// Each pass looks for the rows of another table that each session which it scans has there, the newest of them.
void say_index(Findings& out, const TableLook& sessions, const std::string& what, const std::string& qualified, const Column& session, const Column& newest) {
  const auto oid = table_named(qualified, sessions.schema);
  if (!oid) return;
  const TableLook table = look_at(*oid);
  if (const auto index = index_led_by(*oid, session.name))
    out.push_back({"index " + what, "ok", *index, ""});
  else
    out.push_back({"index " + what, "missing", "no index finds the " + what + " of a session: all of " + table.qualified + " is read for each session that a pass looks at",
                   create_index(table, "(" + shown(session.name) + ", " + shown(newest.name) + ")")});
}

// StreamSpace's own code and the columns that it expects.
void say_streamspace(Findings& out, const AttachedBinding& b, const TableLook& table) {
  if (b.preset != "streamspace") return;
  const auto commands = b.mapping.commands ? table_named(b.mapping.commands->qualified, table.schema) : std::nullopt;
  if (commands) {
    const TableLook look = look_at(*commands);
    if (look.column("updated_at"))
      out.push_back({"commands", "ok", look.qualified + " has updated_at: the API's status updates succeed, and completed stops are seen", ""});
    else
      out.push_back({"commands", "missing",
                     look.qualified + " has no column updated_at: every status update of the API on it fails with 42703, so no command is ever seen to complete, and a stop that was accepted"
                                      " again and again has to do (close_unconfirmed)",
                     "ALTER TABLE " + look.qualified + " ADD COLUMN updated_at timestamp DEFAULT CURRENT_TIMESTAMP; With it the API also begins to record sent, ack, completed and failed. Then: UPDATE reconciler.policy SET"
                     " when_spent = 'quarantine' WHERE state = 'terminating'; UPDATE reconciler.policy SET retry_action = 'start_session' WHERE awaits = 'start_session';"});
  }
  std::vector<std::string> arming;
  for (const char* name : {"termination_reason", "terminated_at"})
    if (table.column(name)) arming.emplace_back(name);
  if (arming.empty())
    out.push_back({"foreign writers", "ok", "without termination_reason and terminated_at the API's own reconciler can't write: reason and time are in reconciler.event", ""});
  else
    out.push_back({"foreign writers", "warn",
                   comma_list(arming) + (arming.size() == 1 ? " arms" : " arm") + " the API's own reconciler: after 10 min it closes sessions whose agent is connected to another replica, writes no audit, and sends a stop every"
                                                                                  " minute as long as the agent is there",
                   "Columns that nothing else needs can go: ALTER TABLE " + table.qualified + " DROP COLUMN …; then detach_sessions() and attach again."});
}

}  // namespace

Findings table_findings(const AttachedBinding& b, const TableLook& table) {
  Findings out;
  say_key(out, b, table);
  say_owner(out, table);
  say_row_security(out, table);
  say_rights(out, b, table);
  say_triggers(out, table);
  say_labels(out, b, table);
  say_guard(out, b, table);
  say_time_zone(out, b);
  say_indexes(out, b, table);
  say_agent_index(out, b, table);
  say_command_index(out, b, table);
  if (const auto& c = b.mapping.connections) say_index(out, table, "connections", c->qualified, c->session, c->seen);
  if (const auto& e = b.mapping.executions) say_index(out, table, "executions", e->qualified, e->session, e->created);
  say_streamspace(out, b, table);
  return out;
}

std::string extension_schema() {
  return query("SELECT quote_ident(n.nspname) AS name FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'session_reconciler'").only().text("name");
}

}  // namespace reconciler
