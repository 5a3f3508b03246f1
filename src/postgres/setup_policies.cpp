#include "postgres/setup_policies.hpp"

#include <algorithm>
#include <map>

#include "postgres/role.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

bool contains(const std::vector<std::string>& list, const std::string& value) { return std::find(list.begin(), list.end(), value) != list.end(); }

std::string option_of(const std::string& state, const std::string& column) { return "option \"policies." + state + "." + column + "\""; }

struct PolicyColumn {
  std::string type;
  bool nullable = false;
};

// What a policy may say: the columns of reconciler.policy but its key.
std::map<std::string, PolicyColumn> policy_columns() {
  std::map<std::string, PolicyColumn> columns;
  for (Rows::Row row : query("SELECT attname, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable FROM pg_attribute"
                             " WHERE attrelid = 'reconciler.policy'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('binding_id', 'state')"))
    columns[row.text("attname")] = {row.text("type"), row.boolean("nullable")};
  return columns;
}

void check_value(const std::string& state, const std::string& name, const PolicyColumn& column, const json& value) {
  const std::string what = option_of(state, name);
  if (value.is_null()) {
    if (!column.nullable) throw UserError("22023", what + " must not be null", "Leave it out for what the preset says.");
    return;
  }
  if (column.type == "jsonb") return;  // sets and steps say themselves what is wrong with them
  const bool fits = column.type == "boolean" ? value.is_boolean() : column.type == "integer" ? value.is_number_integer() : value.is_string();
  const char* example = column.type == "boolean" ? "true" : column.type == "integer" ? "8" : column.type == "interval" ? "\"10 min\"" : "\"terminated\"";
  if (!fits) throw UserError("22023", what + " must be of type " + column.type, "For instance " + std::string(example) + ".");
  if (value.is_string()) checked_value(value.get<std::string>(), column.type.c_str(), what, example);
}

}  // namespace

PolicyFinder::PolicyFinder(const TableLook& sessions, const std::string& state_column, const Preset& preset, const Options& options, bool records_completions)
    : sessions_(sessions), state_(*sessions.column(state_column)), preset_(preset), options_(options), records_completions_(records_completions) {
  if (state_.kind == ColumnLook::Kind::enumeration) labels_ = enum_labels(sessions.oid, state_column);
}

bool PolicyFinder::has_label(const std::string& state) const { return state_.kind != ColumnLook::Kind::enumeration || contains(labels_, state); }

void PolicyFinder::find() {
  start_from_preset(records_completions_);
  override_by_options();
  find_terminal_states();
  std::vector<Row> kept;
  for (const Row& row : rows_) {
    if (!watchable(row)) continue;
    check_thresholds(row);
    try {
      check_written(row, "becomes");
      check_written(row, "completed_becomes");
      check_ends(row);
    } catch (const UserError& e) {
      // A state that the preset knows may end otherwise here. What was asked for is refused instead.
      if (row.asked || !(row.columns.contains("awaits") || row.columns.contains("judged_by"))) throw;
      findings_.push_back({"policy " + row.state, "missing", std::string("left out: ") + e.what(), e.hint});
      continue;
    }
    kept.push_back(row);
  }
  rows_ = std::move(kept);
  if (terminal_.empty())
    throw UserError("22023", "no state is known in which a session of " + sessions_.qualified + " has ended", "Name them in option \"terminal_states\".", "Labels of type " + state_.labelled + ": " + comma_list(labels_) + ".");
}

void PolicyFinder::start_from_preset(bool records_completions) {
  const bool backends = as_extension_owner([] { return !query("SELECT FROM reconciler.backend LIMIT 1").empty(); });
  for (const auto& [state, columns] : preset_.policies) {
    Row row{state, json::parse(columns), false};
    // Where no command is ever seen to complete, a stop that was accepted again and again has to do.
    if (preset_.streamspace && !records_completions && row.columns["user_requested"] == json(true)) row.columns["when_spent"] = "close_unconfirmed";
    // Where no command is ever seen to be acknowledged, none is known not to be.
    if (preset_.streamspace && !records_completions && row.columns["retry_action"] == json("start_session")) row.columns["retry_action"] = nullptr;
    fit_repair(row.columns);
    if (options_.flag("disconnect_cleanup") && row.columns["reason"] == "agent_disconnected") row.columns["enabled"] = true;
    if (row.columns.value("judged_by", "agent") == "runtime" && backends) row.columns["enabled"] = true;
    rows_.push_back(std::move(row));
  }
}

void PolicyFinder::override_by_options() {
  for (const auto& [state, changes] : options_.object("policies").items()) {
    if (changes.is_null()) {
      std::erase_if(rows_, [&](const Row& row) { return row.state == state; });
      findings_.push_back({"policy " + state, "info", "none, as asked: the state is not looked at", ""});
      continue;
    }
    override_one(state, changes);
  }
}

void PolicyFinder::override_one(const std::string& state, const json& changes) {
  if (!changes.is_object())
    throw UserError("22023", "option \"policies." + state + "\" must be an object", "For instance {\"policies\": {\"" + state + "\": {\"gone_after\": \"10 min\"}}}; null leaves the state alone.");
  const auto columns = policy_columns();
  auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.state == state; });
  if (row == rows_.end()) row = rows_.insert(rows_.end(), Row{state, json::parse(policy_base()), true});
  row->asked = true;
  for (const auto& [name, value] : changes.items()) {
    const auto column = columns.find(name);
    if (column == columns.end()) {
      std::vector<std::string> names;
      for (const auto& [known, type] : columns) names.push_back(known);
      throw UserError("22023", "a policy has no column \"" + name + "\"", "Columns of reconciler.policy: " + comma_list(names) + ".", "The option \"policies." + state + "\" names it.");
    }
    check_value(state, name, column->second, value);
    row->columns[name] = value;
    if (name == "steps") qualify(row->columns[name]);
  }
}

// What this platform's version of the table does not have is not written.
void PolicyFinder::fit_repair(json& columns) {
  json kept = json::object(), steps = json::array();
  const json sets = columns.value("sets", json::object());
  for (const auto& [name, value] : sets.items()) {
    if (sessions_.column(name)) kept[name] = value;
    else note_once("sets", "no column " + name + ": it is not written when a session ends");
  }
  for (json step : columns.value("steps", json::array())) {
    const std::string name = step["table"];
    const auto oid = table_named(name, sessions_.schema);
    std::string lacking = oid ? "" : "no table " + sessions_.schema + "." + name;
    if (oid) {
      const TableLook table = look_at(*oid);
      for (const char* part : {"match", "where", "set"})
        for (const auto& [column, value] : step.at(part).items())
          if (!table.column(column)) lacking = "no column " + column + " in " + table.qualified;
    }
    if (lacking.empty()) steps.push_back(step);
    else note_once("steps", lacking + ": its rows are not written when a session ends");
  }
  qualify(steps);
  if (columns.contains("sets")) columns["sets"] = kept;
  if (columns.contains("steps")) columns["steps"] = steps;
}

// Names of tables count in the schema of the sessions, as options do; the policy has them in full.
void PolicyFinder::qualify(json& steps) const {
  if (!steps.is_array()) return;
  for (json& step : steps) {
    if (!step.is_object() || !step.contains("table") || !step["table"].is_string()) continue;
    if (const auto oid = table_named(step["table"], sessions_.schema)) {
      const TableLook table = look_at(*oid);
      step["table"] = quoted_identifier(table.schema) + "." + quoted_identifier(table.name);
    }
  }
}

// States that end alike lack the same.
void PolicyFinder::note_once(const std::string& item, const std::string& detail) {
  if (std::none_of(findings_.begin(), findings_.end(), [&](const Finding& f) { return f.item == item && f.detail == detail; })) findings_.push_back({item, "missing", detail, ""});
}

void PolicyFinder::find_terminal_states() {
  if (options_.given("terminal_states")) {
    terminal_ = options_.list("terminal_states");
    if (terminal_.empty()) throw UserError("22023", "option \"terminal_states\" must name at least one state");
    for (const std::string& state : terminal_)
      if (!has_label(state)) throw UserError("22023", "\"" + state + "\" is no label of type " + state_.labelled, "Its labels: " + comma_list(labels_) + ".", "The option \"terminal_states\" names it.");
  } else {
    for (const char* state : preset_.terminal_states)
      if (has_label(state)) terminal_.emplace_back(state);
    // What an option lets a policy write ends a session too, unless it is a watched state itself.
    const auto watched = [&](const std::string& state) { return std::any_of(rows_.begin(), rows_.end(), [&](const Row& row) { return row.state == state; }); };
    for (const Row& row : rows_)
      if (const std::string becomes = row.columns.at("becomes"); row.asked && has_label(becomes) && !watched(becomes) && !contains(terminal_, becomes)) terminal_.push_back(becomes);
  }
  findings_.push_back({"terminal_states", "ok", comma_list(terminal_), ""});
}

// False: no such label, so that no row can be in that state.
bool PolicyFinder::watchable(const Row& row) {
  if (has_label(row.state)) {
    if (contains(terminal_, row.state))
      throw UserError("22023", "state \"" + row.state + "\" is terminal and can't have a policy", "Leave it out of \"terminal_states\", or out of \"policies\".");
    if (row.columns.at("becomes") == json(row.state))
      throw UserError("22023", "the policy of state \"" + row.state + "\" would write that state again", "Give " + option_of(row.state, "becomes") + " the state in which such a session has ended.");
    return true;
  }
  if (row.asked) throw UserError("22023", "\"" + row.state + "\" is no label of type " + state_.labelled, "Its labels: " + comma_list(labels_) + ".", "The option \"policies\" names it.");
  findings_.push_back({"policy " + row.state, "missing", "left out: type " + state_.labelled + " has no label \"" + row.state + "\"",
                       row.columns.value("enabled", true) ? "If it has another name here: {\"policies\": {\"…\": {…}}}." : ""});
  return false;
}

void PolicyFinder::check_thresholds(const Row& row) const {
  const json& stuck = row.columns.at("stuck_after");
  if (stuck.is_null()) return;
  const Rows rows = query("SELECT $1::interval < $2::interval AS early, $1::interval::text AS gone, $2::interval::text AS stuck",
                          {Param::text(row.columns.at("gone_after").get<std::string>()), Param::text(stuck.get<std::string>())});
  if (rows[0].boolean("early"))
    throw UserError("22023", "a session in state \"" + row.state + "\" would be closed before it is stuck", "Make gone_after at least as long as stuck_after.",
                    "gone_after is " + rows[0].text("gone") + ", stuck_after is " + rows[0].text("stuck") + ".");
}

// A session that is closed into a state that is not the end would be picked up again.
void PolicyFinder::check_ends(const Row& row) const {
  const std::string becomes = row.columns.at("becomes");
  if (row.columns.value("enabled", true) && !contains(terminal_, becomes))
    throw UserError("22023", "the policy of state \"" + row.state + "\" would write \"" + becomes + "\", in which no session has ended",
                    "Add it in option \"terminal_states\", or give " + option_of(row.state, "becomes") + " one of them.", "Terminal states: " + comma_list(terminal_) + ".");
}

// That a row could be written as the policy says.
void PolicyFinder::check_written(const Row& row, const char* column) const {
  if (!row.columns.contains(column) || row.columns[column].is_null()) return;
  const std::string state = row.columns[column];
  const std::string what = "\"" + state + "\", which the policy of state \"" + row.state + "\" writes, ";
  const std::string other = "name another: {\"policies\": {\"" + row.state + "\": {\"" + column + "\": \"…\"}}}.";
  if (!has_label(state))
    throw UserError("22023", what + "is no label of type " + state_.labelled, "ALTER TYPE " + state_.labelled + " ADD VALUE " + quote_literal(state) + ", or " + other,
                    "Its labels: " + comma_list(labels_) + ".");
  if (state_.length && state.size() > static_cast<std::size_t>(*state_.length))
    throw UserError("22023", what + "is too long for column \"" + state_.name + "\"", "Widen the column, or name another state.", "Its type is " + state_.type + ".");
  if (const auto by = refused(state)) throw UserError("22023", what + "is refused by " + *by, "Let it be allowed, or " + other);
  if (column == std::string("completed_becomes") && contains(terminal_, state))
    throw UserError("22023", what + "is terminal", "completed_becomes is where a session goes on; becomes is where it ends.");
}

// What refuses a value of the state can be asked beforehand where it looks at nothing else: the type, and CHECK
// constraints on the one column. With the rights of the table's owner, whose code it is.
std::optional<std::string> PolicyFinder::refused(const std::string& state) const {
  std::vector<std::pair<std::string, std::string>> questions = {{quote_identifier(state_.name) + " IS NOT NULL", "type " + state_.type}};
  for (Rows::Row check : query("SELECT c.conname, pg_get_expr(c.conbin, c.conrelid) AS expression FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attname = $2"
                               " WHERE c.conrelid = $1 AND c.contype = 'c' AND c.conkey = ARRAY[a.attnum] ORDER BY c.conname",
                               {Param::oid(sessions_.oid), Param::text(state_.name)}))
    questions.emplace_back(check.text("expression"), "constraint \"" + check.text("conname") + "\" of table " + sessions_.qualified);
  for (const auto& [expression, what] : questions) {
    const std::string statement = "SELECT (" + expression + ") IS NOT FALSE AS fits FROM (SELECT $1::" + state_.type + ") AS t(" + quote_identifier(state_.name) + ")";
    try {
      const bool fits = Transactions::subtransaction([&] { return as_role(sessions_.owner, [&] { return query_once(statement, {Param::text(state)}).only().boolean("fits"); }); });
      if (!fits) return what;
    } catch (const PostgresError& e) {
      if (e.cancelled()) throw;
      return what;
    }
  }
  return std::nullopt;
}

void PolicyFinder::insert(int binding_id) const {
  for (const Row& row : rows_) {
    std::string columns, values;
    for (const auto& [name, value] : row.columns.items()) columns += ", " + quote_identifier(name), values += ", p." + quote_identifier(name);
    const std::string statement = "INSERT INTO reconciler.policy (binding_id, state" + columns + ") SELECT $1::integer, $2" + values + " FROM jsonb_populate_record(NULL::reconciler.policy, $3) AS p";
    const std::string object = row.columns.dump();
    explaining_checks("the policy of state \"" + row.state + "\"",
                      [&] { query_once(statement, {Param::integer(binding_id), Param::text(row.state), Param::jsonb(std::string_view(object))}); });
  }
}

}  // namespace reconciler
