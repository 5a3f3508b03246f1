// detach_sessions(): by table, or by the name as attached, which also works when the table has vanished. An unknown
// literal is text to the parser, so the text form finds live tables too.
#include "postgres/setup_detach.hpp"

#include "core/json.hpp"
#include "postgres/binding_store.hpp"
#include "postgres/clock.hpp"
#include "postgres/events.hpp"
#include "postgres/role.hpp"
#include "postgres/setup_change.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

std::string attached_names() {
  return query("SELECT coalesce(string_agg(format('%I.%I', schema_name, table_name), ', ' ORDER BY binding_id), 'none') AS names FROM reconciler.binding").only().text("names");
}

// Schema (or '') and name, folded as the parser folds them.
std::pair<std::string, std::string> parsed(const std::string& name) {
  try {
    const std::vector<std::string> parts =
        Transactions::subtransaction([&] { return query("SELECT parse_ident($1) AS parts", {Param::text(name)}).only().texts("parts"); });
    if (parts.size() == 1) return {"", parts[0]};
    if (parts.size() == 2) return {parts[0], parts[1]};
  } catch (const PostgresError& e) {
    if (e.cancelled()) throw;
  }
  throw UserError("42602", "\"" + name + "\" is no name of a table", "Write schema.table, or the table's name alone; quote a part that has upper case letters or signs.");
}

// A vanished table has no owner to ask: any admin may forget it.
void check_owner(int id) {
  const Rows rows = as_extension_owner([&] {
    return query("SELECT c.relowner, format('%I.%I', b.schema_name, b.table_name) AS name FROM reconciler.binding b JOIN pg_class c ON c.oid = b.sessions WHERE b.binding_id = $1", {Param::integer(id)});
  });
  if (rows.empty()) return;
  if (!query("SELECT pg_has_role($1::oid, 'USAGE') AS owns", {Param::oid(static_cast<Oid>(rows[0].integer("relowner")))}).only().boolean("owns"))
    throw UserError("42501", "must be owner of table " + rows[0].text("name"), "A superuser may detach any table.");
}

// Passes lock their records first and the binding, by its foreign keys, second: deleting it beside them the other
// way round would deadlock. Each of their short transactions has AccessShareLock on the extension; this waits for them to end.
void keep_passes_out() {
  guarded([] { LockDatabaseObject(ExtensionRelationId, get_extension_oid("session_reconciler", false), 0, AccessExclusiveLock); });
}

Datum detach(int id) {
  require_fitting_version();
  check_owner(id);
  const std::string actor = acting_role();
  keep_passes_out();
  const OwnChange quiet;
  as_extension_owner([&] {
    // First: a transaction of the application that is being guarded has the table and wants the binding.
    query("SELECT reconciler.set_guard(b, false), reconciler.set_suspend_guard(b, false) FROM reconciler.binding b WHERE binding_id = $1", {Param::integer(id)});
    const Rows rows = query("SELECT schema_name, table_name, (to_jsonb(b) || jsonb_build_object('policies', (SELECT coalesce(jsonb_agg(to_jsonb(p) - 'binding_id' ORDER BY state), '[]')"
                            " FROM reconciler.policy p WHERE p.binding_id = b.binding_id)))::text AS configuration FROM reconciler.binding b WHERE binding_id = $1 FOR UPDATE",
                            {Param::integer(id)});
    if (rows.empty()) throw UserError("42704", "the table was detached meanwhile");
    AttachedBinding name;
    name.schema = rows[0].text("schema_name"), name.table = rows[0].text("table_name");
    write_events(name, std::nullopt, database_now(), actor,
                 {{.session = {}, .kind = "detached", .from_state = {}, .to_state = {}, .reason = {}, .rule = {}, .evidence = rows[0].text("configuration"), .before = {}, .after = {}}});
    query("DELETE FROM reconciler.binding WHERE binding_id = $1", {Param::integer(id)});
  });
  shared::wake_worker_at_commit();
  return sql_text_datum("detached");
}

}  // namespace

// Tables that now have the name come before those that had it when they were attached.
int binding_named(const std::string& name) {
  const auto [schema, table] = parsed(name);
  return as_extension_owner([&, &schema = schema, &table = table] {
    const Rows rows = query("SELECT b.binding_id FROM reconciler.binding b LEFT JOIN pg_class c ON c.oid = b.sessions LEFT JOIN pg_namespace n ON n.oid = c.relnamespace,"
                            " LATERAL (SELECT c.relname = $2 AND ($1 IN ('', n.nspname)) AS now, b.table_name = $2 AND ($1 IN ('', b.schema_name)) AS once) AS has"
                            " WHERE has.now OR has.once ORDER BY has.now IS TRUE DESC, b.binding_id",
                            {Param::text(schema), Param::text(table)});
    if (rows.empty()) throw UserError("42704", "table \"" + name + "\" is not attached", {}, "Attached: " + attached_names() + ".");
    if (rows.size() > 1 && schema.empty()) throw UserError("42725", "several attached tables have the name \"" + name + "\"", "Write schema.table.", "Attached: " + attached_names() + ".");
    return static_cast<int>(rows[0].integer("binding_id"));
  });
}

RECONCILER_SQL_FUNCTION(detach_sessions) {
  sql_required(fcinfo, 0);
  const Oid sessions = sql_oid(fcinfo, 0);
  return detach(as_extension_owner([&] { return one_binding(sessions); }));
}

RECONCILER_SQL_FUNCTION(detach_sessions_by_name) {
  return detach(binding_named(sql_text(fcinfo, 0)));
}

}  // namespace reconciler
