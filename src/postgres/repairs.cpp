#include "postgres/repairs.hpp"

#include <algorithm>
#include <set>

#include "postgres/mapped_table.hpp"
#include "postgres/setup_detect.hpp"
#include "postgres/setup_options.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

const char* const example_of_sets = "For instance {\"agent_thread_id\": null, \"seen_at\": {\"now\": true}, \"tries\": \"0\"}.";
const char* const example_of_steps =
    "For instance [{\"table\": \"public.assignments\", \"match\": {\"session_id\": \"key\"}, \"where\": {\"state\": [\"active\"]}, \"set\": {\"state\": \"released\"}}].";

// Of one policy, for messages.
class Reader {
 public:
  explicit Reader(const std::string& state) : of_(" of the policy of state \"" + state + "\"") {}

  std::vector<Assignment> assignments(const MappedTable& table, const json& set, const std::string& what, const char* example) const {
    if (!set.is_object()) throw wrong(what + of_ + " must be an object", example);
    std::vector<Assignment> out;
    for (const auto& [name, value] : set.items()) out.push_back(assignment(table, name, value, what, example));
    return out;
  }

  Step step(const json& said) const {
    if (!said.is_object() || !said.contains("table") || !said.contains("match") || !said.contains("set"))
      throw wrong("a step" + of_ + " must be an object with table, match and set", example_of_steps);
    for (const auto& [name, value] : said.items())
      if (name != "table" && name != "match" && name != "where" && name != "set")
        throw wrong("a step" + of_ + " has no member \"" + name + "\"", "Its members: table, match, where, set.");
    if (!said["table"].is_string()) throw wrong("table in a step" + of_ + " must be a string", example_of_steps);
    const MappedTable table(said);
    Step step;
    step.qualified = table.qualified(), step.id = id_of(table);
    match(step, table, said["match"]);
    where(step, table, said.value("where", json::object()));
    step.set = assignments(table, said["set"], "set in a step", example_of_steps);
    if (step.set.empty()) throw wrong("a step" + of_ + " sets nothing", example_of_steps);
    for (const Assignment& a : step.set)
      if (a.column.name == step.session.name || (step.runtime && a.column.name == step.runtime->name) || is_one_of(a.column, step.id))
        throw wrong("a step" + of_ + " would set \"" + a.column.name + "\", by which its rows are found again", "Leave it out.");
    return step;
  }

  UserError wrong(const std::string& message, const std::string& hint) const { return UserError("22023", message, hint); }
  const std::string& of() const { return of_; }

  static bool is_one_of(const Column& column, const std::vector<Column>& columns) {
    return std::any_of(columns.begin(), columns.end(), [&](const Column& c) { return c.name == column.name; });
  }

 private:
  Assignment assignment(const MappedTable& table, const std::string& name, const json& value, const std::string& what, const char* example) const {
    Assignment out{table.named(name), {}, value == json{{"now", true}}};
    if (out.now && !out.column.timestamp && !out.column.timestamptz)
      throw wrong("\"" + name + "\" in " + what + of_ + " is no timestamp, and can't be now", "Give it null or a string.");
    if (value.is_string()) out.text = value.get<std::string>();
    else if (!out.now && !value.is_null()) throw wrong("\"" + name + "\" in " + what + of_ + " must be null, a string or {\"now\": true}", example);
    return out;
  }

  // What an undo finds the row by.
  std::vector<Column> id_of(const MappedTable& table) const {
    for (const UniqueKey& key : unique_keys(table.relation())) {
      if (!key.not_null) continue;
      std::vector<Column> columns;
      for (const std::string& name : key.columns) columns.push_back(table.named(name));
      return columns;
    }
    throw wrong("table " + table.qualified() + " in a step" + of_ + " has no key", "Add a primary key: an undo has to find the row again.");
  }

  void match(Step& step, const MappedTable& table, const json& said) const {
    bool keyed = false;
    if (!said.is_object()) throw wrong("match in a step" + of_ + " must be an object", example_of_steps);
    for (const auto& [name, what] : said.items()) {
      if (what == "key") step.session = table.named(name), keyed = true;
      else if (what == "runtime") step.runtime = table.named(name);
      else throw wrong("match of \"" + name + "\" in a step" + of_ + " must be key or runtime", example_of_steps);
    }
    if (!keyed) throw wrong("no column in match of a step" + of_ + " holds the session's key", "Rows of other sessions would be written. " + std::string(example_of_steps));
  }

  void where(Step& step, const MappedTable& table, const json& said) const {
    if (!said.is_object()) throw wrong("where in a step" + of_ + " must be an object", example_of_steps);
    for (const auto& [name, values] : said.items()) {
      if (!values.is_array() || values.empty() || !std::all_of(values.begin(), values.end(), [](const json& v) { return v.is_string(); }))
        throw wrong("where of \"" + name + "\" in a step" + of_ + " must be a list of strings", example_of_steps);
      step.where.emplace_back(table.named(name), values.get<std::vector<std::string>>());
    }
  }

  std::string of_;
};

// What is compared with what was scanned, or written by itself.
void refuse_mapped(const SessionsTable& table, const std::vector<Assignment>& sets, const Reader& reader) {
  std::vector<Column> mapped{table.key, table.state};
  for (const auto& column : {table.agent, table.created, table.updated, table.reason, table.closed})
    if (column) mapped.push_back(*column);
  mapped.insert(mapped.end(), table.route.begin(), table.route.end());
  for (const Assignment& a : sets)
    if (Reader::is_one_of(a.column, mapped))
      throw reader.wrong("\"" + a.column.name + "\" in sets" + reader.of() + " is a mapped column", "Leave it out: what is to be written to it a close knows by itself.");
}

// By the type's own input function, whatever casts to it somebody has made.
void check_reads(const std::string& value, const Column& column, const std::string& what) {
  try {
    Transactions::subtransaction([&] { query_once("SELECT num_nulls(r.v) FROM json_to_record(json_build_object('v', $1::text)) AS r(v " + column.type + ")", {Param::text(value)}); });
  } catch (const PostgresError& e) {
    if (e.cancelled()) throw;
    throw UserError("22023", what + " is no valid " + column.type + ": \"" + value + "\"", "Give it as the column prints it.", e.message + ".");
  }
}

// By what the catalog and the type say.
void check_assignment(Oid relation, const Assignment& a) {
  const Rows rows = query("SELECT a.attnotnull AS not_null, a.attgenerated <> '' AS generated, a.attrelid::regclass::text AS name, t.typcategory IN ('A', 'C') OR t.oid = 'json'::regtype AS odd"
                          " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = $1 AND a.attname = $2",
                          {Param::oid(relation), Param::text(a.column.name)});
  const std::string column = "column \"" + a.column.name + "\" of table " + rows.only().text("name");
  if (rows[0].boolean("generated")) throw UserError("22023", column + " is generated and can't be written", "Leave it out of the policy.");
  if (rows[0].boolean("odd")) throw UserError("22023", column + " can't be put back by an undo", "Leave it out of the policy.", "Its type is " + a.column.type + ".");
  if (rows[0].boolean("not_null") && !a.text && !a.now) throw UserError("22023", column + " may not be null", "Give it a value in the policy, or leave it out.");
  if (a.text) check_reads(*a.text, a.column, "the value for " + column);
}

}  // namespace

Repair read_repair(const SessionsTable& sessions, const std::string& state, const json& sets, const json& steps) {
  const Reader reader(state);
  Repair repair;
  if (!sets.empty() || !sets.is_object()) repair.sets = reader.assignments(MappedTable(sessions.relation), sets, "sets", example_of_sets);
  refuse_mapped(sessions, repair.sets, reader);
  if (!steps.is_array()) throw reader.wrong("steps" + reader.of() + " must be a list of objects", example_of_steps);
  for (const json& step : steps) repair.steps.push_back(reader.step(step));
  for (const Step& step : repair.steps)
    if (step.runtime && !sessions.runtime) throw reader.wrong("a step" + reader.of() + " matches a runtime, and no column of the sessions is mapped as one", "Match the key alone.");
  return repair;
}

void check_repairs(const Mapping& mapping) {
  for (const auto& [state, repair] : mapping.repairs) {
    for (const Assignment& a : repair.sets) check_assignment(mapping.sessions.relation, a);
    for (const Step& step : repair.steps) {
      const Oid table = *table_named(step.qualified, "");
      for (const Assignment& a : step.set) check_assignment(table, a);
      for (const auto& [column, values] : step.where)
        for (const std::string& value : values) check_reads(value, column, "a value of where for column \"" + column.name + "\" of table " + step.qualified);
    }
  }
}

std::string describe(const std::vector<Assignment>& set) {
  std::vector<std::string> parts;
  for (const Assignment& a : set) parts.push_back(a.column.name + (a.now ? " now" : a.text ? " " + quote_literal(*a.text) : " NULL"));
  return comma_list(parts);
}

std::string describe(const Step& step) { return step.qualified + ": " + describe(step.set); }

}  // namespace reconciler
