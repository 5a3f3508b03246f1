#include "postgres/setup_mapping.hpp"

#include <algorithm>

#include "postgres/role.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

std::string named(const std::string& column, const TableLook& table) { return "column \"" + column + "\" of table " + table.qualified; }

std::string names_tried(const std::vector<const char*>& names) {
  std::vector<std::string> quoted;
  for (const char* name : names) quoted.emplace_back(name);
  return comma_list(quoted);
}

std::string column_names(const TableLook& table) {
  std::vector<std::string> names;
  for (const ColumnLook& column : table.columns) names.push_back(column.name);
  return comma_list(names);
}

// The names, or what is wrong with the column that has one of them.
std::string looked_for(const TableLook& table, const WantedColumn& wanted) {
  for (const char* name : wanted.names)
    if (const ColumnLook* column = table.column(name)) return std::string(name) + " is there, but its type " + column->type + " " + misfit(*column, wanted);
  return names_tried(wanted.names);
}

bool contains(const std::vector<std::string>& list, const std::string& value) { return std::find(list.begin(), list.end(), value) != list.end(); }

std::string route_advice(const UniqueKey& key) {
  json route = json::array();
  for (std::size_t i = 1; i < key.columns.size(); ++i) route.push_back(key.columns[i]);
  return "If one of them is unique by itself, name it and the others, for instance {\"key_column\": " + json(key.columns[0]).dump() + ", \"route_columns\": " + route.dump() +
         "}; else add a column that is.";
}

// `columns`: role and name, as reconciler.binding has them. A column that is no more is load_binding()'s to say.
void check_still_fits(const TableLook& table, const std::vector<WantedColumn>& wanted, const json& columns) {
  for (const WantedColumn& role : wanted) {
    const auto name = columns.find(role.role);
    const ColumnLook* column = name == columns.end() ? nullptr : table.column(name->get<std::string>());
    if (!column) continue;
    if (const std::string wrong = misfit(*column, role); !wrong.empty())
      throw UserError("42804", named(column->name, table) + " " + wrong, "Give it a type that fits, or detach_sessions() and attach again.",
                      "Its type is " + column->type + "; it was attached as the column " + role.role + ".");
  }
}

}  // namespace

void check_mapping(int binding_id) {
  const Rows rows = query("SELECT sessions::oid AS sessions, preset, columns::text AS columns, related::text AS related FROM reconciler.binding WHERE binding_id = $1", {Param::integer(binding_id)});
  const std::string preset_name = rows.only().text("preset");
  const Preset& preset = preset_named(preset_name);
  const TableLook sessions = look_at(static_cast<Oid>(rows[0].integer("sessions")));
  check_still_fits(sessions, preset.columns, json::parse(rows[0].text("columns")));
  const json related = json::parse(rows[0].text("related"));
  for (const WantedTable& wanted : preset.related)
    if (const auto found = related.find(wanted.role); found != related.end())
      check_still_fits(look_at(*table_named(found->at("table"), sessions.schema)), wanted.columns, found->at("columns"));
}

void check_attachable(const TableLook& table) {
  if (table.kind != "r" && table.kind != "p")
    throw UserError("42809", table.qualified + " is no table", "Attach the table that holds the sessions: views and foreign tables have no rows of their own that could be compared and set.");
  if (table.temporary) throw UserError("42809", "table " + table.name + " is temporary", "No other process can see it. Attach a permanent table.");
  if (table.schema == "reconciler" || table.schema == "pg_catalog" || table.schema == "information_schema")
    throw UserError("42809", table.qualified + " is a catalog of the system", "Attach the table that holds the sessions.");
  if (hides_rows(table, table.owner))
    throw UserError("55000", "row-level security hides rows of " + table.qualified + " from its owner",
                    "ALTER TABLE " + table.qualified + " NO FORCE ROW LEVEL SECURITY, or ALTER ROLE " + quoted_identifier(table.owner_name) + " BYPASSRLS.",
                    "The reconciler works as the owner, " + table.owner_name + ", who must see every row.");
  if (!may_use_schema(table, table.owner))
    throw UserError("42501", "the owner of " + table.qualified + " may not use its schema",
                    "GRANT USAGE ON SCHEMA " + quoted_identifier(table.schema) + " TO " + quoted_identifier(table.owner_name) + ".");
}

void MappingFinder::note(std::string item, std::string status, std::string detail, std::string hint) {
  findings_.push_back({std::move(item), std::move(status), std::move(detail), std::move(hint)});
}

void MappingFinder::find() {
  find_key();
  find_columns();
  find_signs();
  for (const WantedTable& wanted : preset_.related) find_related(wanted);
}

// The key: one column, NOT NULL, unique by itself or, by the caller's word, together with the route columns.
void MappingFinder::find_key() {
  const std::vector<UniqueKey> keys = unique_keys(sessions_.oid);
  const std::vector<std::string> route = options_.list("route_columns");
  for (const std::string& name : route)
    if (!sessions_.column(name))
      throw UserError("42703", named(name, sessions_) + " does not exist", "Option \"route_columns\" names it. Columns there are: " + column_names(sessions_) + ".");
  if (options_.refused("key_column")) throw UserError("22023", "option \"key_column\" must name a column");

  std::optional<std::string> chosen = options_.text("key_column");
  if (!chosen)
    for (const UniqueKey& key : keys)
      if (key.columns.size() == 1 && key.not_null &&
          (preset_.keys.empty() || std::any_of(preset_.keys.begin(), preset_.keys.end(), [&](const char* name) { return key.columns[0] == name; }))) {
        chosen = key.columns[0];
        break;
      }
  if (!chosen) {
    const auto several = std::find_if(keys.begin(), keys.end(), [](const UniqueKey& key) { return key.columns.size() > 1; });
    if (several != keys.end())
      throw UserError("55000", "the key of table " + sessions_.qualified + " has several columns: " + comma_list(several->columns), route_advice(*several),
                      "A session is named by one column that is unique by itself; the others may be route columns, which every write repeats.");
    if (!keys.empty())
      throw UserError("55000", "table " + sessions_.qualified + " has no key where this preset looks for it", "Name it: {\"key_column\": \"" + keys[0].columns[0] + "\"}.",
                      preset_.keys.empty() ? "The columns of its unique indexes may be null." : "It looks for: " + names_tried(preset_.keys) + ".");
    throw UserError("55000", "table " + sessions_.qualified + " has no key", "Add one: ALTER TABLE " + sessions_.qualified + " ADD PRIMARY KEY (…).",
                    "A session is named by one column that is unique and not null.");
  }

  const ColumnLook* key = sessions_.column(*chosen);
  if (!key) throw UserError("42703", named(*chosen, sessions_) + " does not exist", "Option \"key_column\" names it. Columns there are: " + column_names(sessions_) + ".");
  if (contains(route, *chosen)) throw UserError("22023", "\"" + *chosen + "\" is both key_column and a route column", "Leave it out of \"route_columns\".");
  bool alone = false, with_route = false;
  const UniqueKey* wider = nullptr;
  for (const UniqueKey& unique : keys) {
    if (!contains(unique.columns, *chosen)) continue;
    alone |= unique.columns.size() == 1;
    with_route |= std::all_of(unique.columns.begin(), unique.columns.end(), [&](const std::string& c) { return c == *chosen || contains(route, c); });
    wider = wider ? wider : &unique;
  }
  // Both at once, so that nobody mends the one to be told the other.
  const std::string set_not_null = "ALTER TABLE " + sessions_.qualified + " ALTER COLUMN " + quoted_identifier(*chosen) + " SET NOT NULL";
  if (!alone && !with_route)
    throw UserError("55000", named(*chosen, sessions_) + (key->not_null ? "" : " may be null and") + " is not unique",
                    (key->not_null ? "" : set_not_null + (wider ? ". " : "; ")) +
                        (wider ? "If it is unique by itself, name the other columns of that key in \"route_columns\"." : "CREATE UNIQUE INDEX ON " + sessions_.qualified + " (" + quoted_identifier(*chosen) + ")."),
                    wider ? "It is unique only together with others: " + comma_list(wider->columns) + "." : "No unique index says so: one that is valid, not partial, not deferrable, on the plain column.");
  if (!key->not_null) throw UserError("55000", named(*chosen, sessions_) + " may be null", set_not_null + ".");
  columns_["key"] = *chosen;
  if (!route.empty()) columns_["route"] = route;
  if (!alone) check_unique_by_itself(*key);
  note("key_column", "ok", *chosen + " " + key->type);
  if (!route.empty()) note("route_columns", "ok", comma_list(route) + ": in the WHERE of every write");
}

void MappingFinder::check_unique_by_itself(const ColumnLook& key) {
  const std::string column = quote_identifier(key.name);
  const Rows twice = as_role(sessions_.owner, [&] {
    return query_once("SELECT " + column + "::text AS key, count(*) AS n FROM " + quoted_identifier(sessions_.schema) + "." + quoted_identifier(sessions_.name) + " GROUP BY " + column + " HAVING count(*) > 1 LIMIT 1");
  });
  if (!twice.empty())
    throw UserError("23505", named(key.name, sessions_) + " is not unique by itself", "Choose another column, or add one that names each session.",
                    std::to_string(twice[0].integer("n")) + " rows have the value \"" + twice[0].text("key") + "\".");
}

// By the option, else by the first name that exists and fits; null: none.
const ColumnLook* MappingFinder::choose(const TableLook& table, const WantedColumn& wanted, const std::string& option) {
  if (const auto name = option.empty() ? std::nullopt : options_.text(option)) {
    const ColumnLook* column = table.column(*name);
    if (!column) throw UserError("42703", named(*name, table) + " does not exist", "Option \"" + option + "\" names it. Columns there are: " + column_names(table) + ".");
    const std::string wrong = misfit(*column, wanted);
    if (!wrong.empty())
      throw UserError("42804", named(*name, table) + " " + wrong, wanted.required ? "Name another column in option \"" + option + "\"." : "Name another column in option \"" + option + "\", or null for none.",
                      "Its type is " + column->type + ".");
    return column;
  }
  for (const char* name : wanted.names) {
    const ColumnLook* column = table.column(name);
    if (!column) continue;
    const std::string wrong = misfit(*column, wanted);
    if (wrong.empty()) return column;
    if (wanted.required && !option.empty())
      throw UserError("42804", named(name, table) + " " + wrong, "Name another column: {\"" + option + "\": \"…\"}.", "Its type is " + column->type + ".");
    note(option.empty() ? table.qualified : option, "warn", std::string(name) + " " + column->type + " is left out: it " + wrong);
  }
  return nullptr;
}

// What is written or compared for one role would spoil another's. The age is only read, and may be any time; a key that
// is called as an agent or a runtime is one. So is the version read only, and may be what is written too.
bool MappingFinder::taken(const WantedColumn& wanted, const std::string& option, const ColumnLook& column) {
  const auto only_read = [](const std::string& role) { return role == "entered" || role == "version"; };
  if (only_read(wanted.role)) return false;
  for (const auto& [role, name] : columns_.items()) {
    if (name != json(column.name) || only_read(role)) continue;
    const std::string other = role + "_column";
    if (options_.given(option))
      throw UserError("22023", named(column.name, sessions_) + " can't be both " + other + " and " + option, "Name another column in option \"" + option + (wanted.required ? "\"." : "\", or null for none."));
    if (role == "key") continue;
    note(option, "warn", column.name + " " + column.type + " is left out: it is the " + other);
    return true;
  }
  return false;
}

// An option for something that this preset does not know would be a wish that nobody sees refused.
void MappingFinder::refuse_roles_of_others() {
  const auto knows = [](const auto& wanted, std::string_view role) { return std::any_of(wanted.begin(), wanted.end(), [&](const auto& one) { return one.role == role; }); };
  for (const auto& [option, unused] : options_.all().items()) {
    const std::string_view name = option;
    const bool column = name.ends_with("_column") && name != "key_column" && !knows(preset_.columns, name.substr(0, name.size() - 7));
    const bool table = name.ends_with("_table") && !knows(preset_.related, name.substr(0, name.size() - 6));
    if (column || table)
      throw UserError("22023", std::string("preset \"") + preset_.name + "\" has no use for option \"" + option + "\"", "Leave it out, or attach the table with preset \"standard\".");
  }
}

void MappingFinder::find_columns() {
  refuse_roles_of_others();
  for (const WantedColumn& wanted : preset_.columns) {
    const std::string option = std::string(wanted.role) + "_column";
    if (options_.refused(option)) {
      if (wanted.required) throw UserError("22023", "option \"" + option + "\" must name a column");
      note(option, "info", *wanted.without ? "none, as asked: " + std::string(wanted.without) : "none, as asked");
      continue;
    }
    const ColumnLook* column = choose(sessions_, wanted, option);
    if (column && taken(wanted, option, *column)) column = nullptr;
    if (column) {
      columns_[wanted.role] = column->name;
      note(option, "ok", column->name + " " + column->type);
      continue;
    }
    if (wanted.required)
      throw UserError("55000", "table " + sessions_.qualified + " has no " + wanted.role + " column", "Name it: {\"" + option + "\": \"…\"}. Columns there are: " + column_names(sessions_) + ".",
                      "Looked for: " + names_tried(wanted.names) + ".");
    const std::string looked = wanted.names.empty() ? "none" : (wanted.names.size() == 1 ? "no " : "none of ") + names_tried(wanted.names);
    if (*wanted.without) note(option, wanted.advised ? "missing" : "info", looked + ": " + wanted.without, wanted.advised ? "{\"" + option + "\": \"…\"} names one; columns there are: " + column_names(sessions_) : "");
  }
}

void MappingFinder::find_signs() {
  std::vector<std::string> names = options_.list("sign_of_life_columns");
  if (!options_.given("sign_of_life_columns"))
    for (const char* name : preset_.signs)
      if (sessions_.column(name)) names.emplace_back(name);
  const WantedColumn wanted{.role = "signs", .names = {}, .use = ColumnUse::instant};
  for (const std::string& name : names) {
    const ColumnLook* column = sessions_.column(name);
    if (!column) throw UserError("42703", named(name, sessions_) + " does not exist", "Option \"sign_of_life_columns\" names it. Columns there are: " + column_names(sessions_) + ".");
    if (const std::string wrong = misfit(*column, wanted); !wrong.empty())
      throw UserError("42804", named(name, sessions_) + " " + wrong, "Leave it out of \"sign_of_life_columns\".", "Its type is " + column->type + ".");
  }
  if (names.empty()) return;
  columns_["signs"] = names;
  note("sign_of_life_columns", "ok", comma_list(names) + ": a session is not closed by inference while they are fresh");
}

void MappingFinder::find_related(const WantedTable& wanted) {
  const std::string option = std::string(wanted.role) + "_table";
  const std::optional<TableLook> table = related_table(wanted);
  if (!table) return;
  json columns = json::object();
  if (!map_related(wanted, *table, options_.given(option), columns)) return;
  std::vector<std::string> names;
  for (const auto& [role, name] : columns.items()) names.push_back(name.get<std::string>());
  check_rights(wanted, *table, names);
  if (std::string(wanted.role) == "commands") records_completions_ = table->column("updated_at") != nullptr;
  related_[wanted.role] = {{"table", quoted_identifier(table->schema) + "." + quoted_identifier(table->name)}, {"columns", columns}};
  note(option, "ok", table->qualified + " (" + comma_list(names) + ")");
}

std::optional<TableLook> MappingFinder::related_table(const WantedTable& wanted) {
  const std::string option = std::string(wanted.role) + "_table";
  if (options_.refused(option)) {
    note(option, "info", "none, as asked: " + std::string(wanted.without));
    return std::nullopt;
  }
  const std::optional<std::string> asked = options_.text(option);
  const std::string name = asked.value_or(wanted.name);
  std::optional<Oid> oid = name.empty() ? std::nullopt : table_named(name, sessions_.schema);
  if (oid && *oid == sessions_.oid) {
    if (asked) throw UserError("42809", "table " + sessions_.qualified + " is the sessions table itself", "Option \"" + option + "\" names it. Name another table, or null for none.");
    oid.reset();
  }
  if (oid) {
    TableLook look = look_at(*oid);
    // No views: who looks as a superuser would run their functions as one.
    if (look.kind == "r" || look.kind == "p") return look;
    if (asked) throw UserError("42809", look.qualified + " is no table", "Option \"" + option + "\" names it; a view or foreign table won't do.");
    oid.reset();
  }
  if (asked)
    throw UserError("42P01", "table \"" + *asked + "\" does not exist", "Option \"" + option + "\" names it. Without a schema it is looked for in that of the sessions table, " + sessions_.schema + ".");
  note(option, name.empty() ? "info" : "missing", (name.empty() ? "none named: " : "no table " + sessions_.schema + "." + name + ": ") + std::string(wanted.without));
  return std::nullopt;
}

// False: it lacks columns that are needed, and nobody asked for it by name.
bool MappingFinder::map_related(const WantedTable& wanted, const TableLook& table, bool asked, json& columns) {
  const std::string option = std::string(wanted.role) + "_table";
  std::string lacking, optional_notes;
  for (const WantedColumn& column : wanted.columns) {
    if (const ColumnLook* found = choose(table, column, "")) columns[column.role] = found->name;
    else if (column.required) lacking += (lacking.empty() ? "" : "; ") + std::string(column.role) + " (" + looked_for(table, column) + ")";
    else if (*column.without) note(option, "info", "no " + std::string(column.names[0]) + ": " + column.without);
  }
  if (!lacking.empty()) {
    if (asked) throw UserError("55000", "table " + table.qualified + " lacks columns that are needed of it", "Name another table in option \"" + option + "\", or null for none.", "None fits: " + lacking + ".");
    note(option, "missing", table.qualified + " is not used, it lacks " + lacking + ": " + wanted.without);
    return false;
  }
  if (!wanted.written) return true;
  for (const ColumnLook& column : table.columns) {
    const bool ours = std::any_of(columns.begin(), columns.end(), [&](const json& name) { return name == json(column.name); });
    if (!column.not_null || column.filled || column.generated || ours) continue;
    if (asked) throw UserError("55000", named(column.name, table) + " must be given a value, and the reconciler has none for it", "Give it a default, or name another table in option \"" + option + "\".");
    note(option, "missing", table.qualified + " is not used, nothing is known to write to its column " + column.name + ": " + wanted.without);
    return false;
  }
  return true;
}

// The statements run as the owner of the sessions table.
void MappingFinder::check_rights(const WantedTable& wanted, const TableLook& table, const std::vector<std::string>& columns) {
  const std::string owner = quoted_identifier(sessions_.owner_name);
  const std::string what = wanted.written ? "write" : "read";
  const std::string because = "Statements on it run as " + sessions_.owner_name + ", the owner of " + sessions_.qualified + ".";
  if (!may_use_schema(table, sessions_.owner))
    throw UserError("42501", "the owner of " + sessions_.qualified + " may not " + what + " " + table.qualified, "GRANT USAGE ON SCHEMA " + quoted_identifier(table.schema) + " TO " + owner + ".", because);
  const char* privilege = wanted.written ? "INSERT" : "SELECT";
  if (!columns_without(table, sessions_.owner, privilege, columns).empty())
    throw UserError("42501", "the owner of " + sessions_.qualified + " may not " + what + " " + table.qualified, std::string("GRANT ") + privilege + " ON " + table.qualified + " TO " + owner + ".", because);
  const auto sequences = wanted.written ? sequences_without_usage(table, sessions_.owner) : std::vector<std::string>();
  if (!sequences.empty())
    throw UserError("42501", "the owner of " + sessions_.qualified + " may not write " + table.qualified, "GRANT USAGE ON SEQUENCE " + comma_list(sequences) + " TO " + owner + ".", because);
  if (hides_rows(table, sessions_.owner))
    throw UserError("55000", "row-level security hides rows of " + table.qualified + " from the owner of " + sessions_.qualified,
                    "ALTER ROLE " + owner + " BYPASSRLS, or name no such table: {\"" + wanted.role + "_table\": null}.", because);
}

}  // namespace reconciler
