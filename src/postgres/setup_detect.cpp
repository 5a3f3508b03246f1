#include "postgres/setup_detect.hpp"

#include <map>

#include "postgres/spi.hpp"
#include "postgres/statements.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

ColumnLook::Kind kind_from(std::string_view word) {
  static const std::map<std::string_view, ColumnLook::Kind> kinds = {
      {"text", ColumnLook::Kind::text},           {"enum", ColumnLook::Kind::enumeration}, {"timestamp", ColumnLook::Kind::timestamp},
      {"timestamptz", ColumnLook::Kind::timestamptz}, {"document", ColumnLook::Kind::document}};
  const auto found = kinds.find(word);
  return found == kinds.end() ? ColumnLook::Kind::other : found->second;
}

std::vector<ColumnLook> columns_of(Oid oid) {
  std::vector<ColumnLook> columns;
  for (Rows::Row row : query(
           "SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, format_type(b.oid, NULL) AS labelled, a.attnotnull, a.attgenerated <> '' AS generated,"
           " a.atthasdef OR a.attidentity <> '' AS filled,"
           " CASE WHEN b.oid = 'varchar'::regtype AND m.typmod > 4 THEN m.typmod - 4 END AS length,"
           " CASE WHEN b.oid IN ('text'::regtype, 'varchar'::regtype) THEN 'text' WHEN b.typtype = 'e' THEN 'enum'"
           "   WHEN b.oid = 'timestamp'::regtype THEN 'timestamp' WHEN b.oid = 'timestamptz'::regtype THEN 'timestamptz'"
           "   WHEN b.oid IN ('json'::regtype, 'jsonb'::regtype) THEN 'document' ELSE 'other' END AS kind"
           " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
           " JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END,"
           " LATERAL (SELECT CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END) AS m(typmod)"
           " WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
           {Param::oid(oid)})) {
    ColumnLook column;
    column.name = row.text("attname"), column.type = row.text("type"), column.labelled = row.text("labelled"), column.kind = kind_from(row.view("kind"));
    column.not_null = row.boolean("attnotnull"), column.generated = row.boolean("generated"), column.filled = row.boolean("filled");
    if (const auto length = row.maybe_integer("length")) column.length = static_cast<int>(*length);
    columns.push_back(std::move(column));
  }
  return columns;
}

}  // namespace

const ColumnLook* TableLook::column(const std::string& wanted) const {
  for (const ColumnLook& column : columns)
    if (column.name == wanted) return &column;
  return nullptr;
}

TableLook look_at(Oid oid) {
  const Rows rows = query(
      "SELECT n.nspname, c.relname, format('%I.%I', n.nspname, c.relname) AS qualified, c.relkind::text AS kind, c.relowner,"
      " c.relpersistence = 't' AS temporary, c.relkind = 'p' AS partitioned, c.relrowsecurity, c.relforcerowsecurity,"
      " r.rolname, r.rolsuper, r.rolbypassrls FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
      " JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = $1",
      {Param::oid(oid)});
  if (rows.empty()) throw UserError("42P01", "there is no table with OID " + std::to_string(oid));
  const Rows::Row row = rows[0];
  TableLook look;
  look.oid = oid, look.owner = static_cast<Oid>(row.integer("relowner"));
  look.schema = row.text("nspname"), look.name = row.text("relname"), look.qualified = row.text("qualified"), look.kind = row.text("kind");
  look.owner_name = row.text("rolname");
  look.temporary = row.boolean("temporary"), look.partitioned = row.boolean("partitioned");
  look.row_security = row.boolean("relrowsecurity"), look.forced = row.boolean("relforcerowsecurity");
  look.owner_superuser = row.boolean("rolsuper"), look.owner_bypasses = row.boolean("rolbypassrls");
  look.columns = columns_of(oid);
  return look;
}

std::optional<Oid> table_named(const std::string& name, const std::string& schema) {
  Rows rows;
  try {
    rows = Transactions::subtransaction([&] {
      return query("SELECT CASE cardinality(p) WHEN 1 THEN to_regclass(format('%I.%I', $2, p[1])) ELSE to_regclass($1) END::oid AS oid FROM parse_ident($1) AS p",
                   {Param::text(name), Param::text(schema)});
    });
  } catch (const PostgresError& e) {
    if (e.cancelled()) throw;
    throw UserError("42602", "\"" + name + "\" is no name of a table", "Write schema.table; quote a part that has upper case letters or signs.");
  }
  if (rows[0].null("oid")) return std::nullopt;
  return static_cast<Oid>(rows[0].integer("oid"));
}

std::vector<UniqueKey> unique_keys(Oid oid) {
  std::vector<UniqueKey> keys;
  for (Rows::Row row : query(
           "SELECT i.indisprimary, k.columns, k.not_null FROM pg_index i, LATERAL (SELECT array_agg(a.attname ORDER BY u.n) AS columns, bool_and(a.attnotnull) AS not_null"
           " FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u(attnum, n) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum"
           " WHERE u.n <= i.indnkeyatts) AS k"
           " WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL"
           " ORDER BY i.indisprimary DESC, cardinality(k.columns), i.indexrelid",
           {Param::oid(oid)}))
    keys.push_back({row.texts("columns"), row.boolean("indisprimary"), row.boolean("not_null")});
  return keys;
}

std::vector<std::string> inheriting(const TableLook& table) {
  std::vector<std::string> names;
  if (table.partitioned) return names;
  for (Rows::Row row : query("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1 ORDER BY 1", {Param::oid(table.oid)})) names.push_back(row.text("name"));
  return names;
}

std::vector<std::string> enum_labels(Oid relation, const std::string& column) {
  std::vector<std::string> labels;
  for (Rows::Row row : query("SELECT e.enumlabel FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
                             " JOIN pg_enum e ON e.enumtypid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END"
                             " WHERE a.attrelid = $1 AND a.attname = $2 ORDER BY e.enumsortorder",
                             {Param::oid(relation), Param::text(column)}))
    labels.push_back(row.text("enumlabel"));
  return labels;
}

std::string is_guard() {
  return "t.tgfoid IN (SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE (n.nspname, p.proname) = ('reconciler', 'guard_terminal'))";
}

std::string names_binding(const std::string& id) { return "encode(t.tgargs, 'escape') = " + id + " || E'\\\\000'"; }

std::vector<std::string> user_triggers(Oid oid) {
  std::vector<std::string> names;
  for (Rows::Row row : query("SELECT t.tgname FROM pg_trigger t WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND NOT (" + is_guard() + " OR t.tgfoid = 'reconciler.guard_suspended()'::regprocedure) ORDER BY t.tgname", {Param::oid(oid)}))
    names.push_back(row.text("tgname"));
  return names;
}

namespace {

// $2 is the column that a partial index may be partial on, $3 the literal that it must have; $4 the column to lead with.
std::optional<std::string> index_where(Oid table, const char* condition, const std::string& column, const std::string& value, const std::string& leading) {
  const Rows rows = query(
      "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_attribute s ON s.attrelid = i.indrelid AND s.attname = $2"
      " JOIN pg_attribute l ON l.attrelid = i.indrelid AND l.attname = $4,"
      // A partial one: on that column alone, and it has this value.
      " LATERAL (SELECT i.indpred IS NOT NULL AND position($3 IN pg_get_expr(i.indpred, i.indrelid)) > 0 AND pg_get_expr(i.indpred, i.indrelid) !~ '<>|\\mNOT\\M'"
      "   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid"
      "     AND d.refobjsubid NOT IN (SELECT unnest(i.indkey::int2[])) AND d.refobjsubid <> s.attnum) AS partial) AS p"
      " WHERE i.indrelid = $1 AND i.indisvalid AND " + std::string(condition) + " ORDER BY i.indpred IS NULL, c.relname LIMIT 1",
      {Param::oid(table), Param::text(column), Param::text(quote_literal(value)), Param::text(leading)});
  if (rows.empty()) return std::nullopt;
  return rows[0].text("relname");
}

}  // namespace

std::optional<std::string> index_for_state(Oid table, const std::string& state_column, const std::string& state) {
  return index_where(table, "(p.partial OR (i.indpred IS NULL AND (i.indkey::int2[])[0] = l.attnum))", state_column, state, state_column);
}

std::optional<std::string> index_led_by(Oid table, const std::string& column) {
  return index_where(table, "(i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', l.attname)) AND (i.indkey::int2[])[0] = l.attnum", column, "", column);
}

std::optional<std::string> index_for_latest(Oid table, const std::string& action_column, const std::string& action, const std::string& time_column) {
  return index_where(table, "(p.partial OR i.indpred IS NULL) AND (i.indkey::int2[])[CASE WHEN (i.indkey::int2[])[0] = s.attnum THEN 1 ELSE 0 END] = l.attnum",
                     action_column, action, time_column);
}

bool hides_rows(const TableLook& table, Oid role) {
  if (!table.row_security) return false;
  return query("SELECT NOT (rolsuper OR rolbypassrls OR (pg_has_role(oid, $2::oid, 'USAGE') AND NOT $3)) AS hidden FROM pg_roles WHERE oid = $1",
               {Param::oid(role), Param::oid(table.owner), Param::boolean(table.forced)})
      .only()
      .boolean("hidden");
}

std::vector<std::string> columns_without(const TableLook& table, Oid role, const char* privilege, const std::vector<std::string>& columns) {
  std::vector<std::string> missing;
  for (Rows::Row row : query("SELECT name FROM unnest($3) AS name WHERE NOT has_column_privilege($1::oid, $2::oid, name, $4)",
                             {Param::oid(role), Param::oid(table.oid), Param::texts(columns), Param::text(privilege)}))
    missing.push_back(row.text("name"));
  return missing;
}

bool may_use_schema(const TableLook& table, Oid role) {
  return query("SELECT has_schema_privilege($1::oid, $2, 'USAGE') AS may", {Param::oid(role), Param::text(table.schema)}).only().boolean("may");
}

std::vector<std::string> sequences_without_usage(const TableLook& table, Oid role) {
  std::vector<std::string> names;
  for (Rows::Row row : query("SELECT s.oid::regclass::text AS name FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'"
                             " JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attidentity = ''"
                             " WHERE d.classid = 'pg_class'::regclass AND d.refobjid = $1 AND d.deptype = 'a' AND CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege($2::oid, s.oid, 'USAGE') END",
                             {Param::oid(table.oid), Param::oid(role)}))
    names.push_back(row.text("name"));
  return names;
}

std::string misfit(const ColumnLook& column, const WantedColumn& wanted) {
  using Kind = ColumnLook::Kind;
  const bool instant = column.kind == Kind::timestamp || column.kind == Kind::timestamptz;
  if (wanted.written && column.generated) return "is generated and can't be written";
  switch (wanted.use) {
    case ColumnUse::any: return "";
    case ColumnUse::compared: return column.kind == Kind::document ? "is a document, by which nothing is found" : "";
    case ColumnUse::names: return column.kind == Kind::document ? "is a document, by which nothing is found" : instant ? "is a time, which names nothing" : "";
    case ColumnUse::label: return column.kind == Kind::text || column.kind == Kind::enumeration ? "" : "is neither text, varchar nor an enum";
    case ColumnUse::words: return column.kind == Kind::text ? "" : "is neither text nor varchar";
    case ColumnUse::instant: return instant ? "" : "is no timestamp";
    case ColumnUse::document: return column.kind == Kind::document ? "" : "is neither json nor jsonb";
  }
  return "";
}

}  // namespace reconciler
