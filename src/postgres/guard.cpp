// The trigger of guard_terminal on a sessions table. reconciler.guard() judges; this hands it the row before and after,
// and sees to it that a guard that fails stops nobody's statement.
#include "postgres/parameters.hpp"
#include "postgres/role.hpp"
#include "postgres/spi.hpp"
#include "postgres/transaction.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

using Texts = std::vector<std::optional<std::string>>;

const TriggerData& fired(FunctionCallInfo fcinfo) {
  const auto* trigger = CALLED_AS_TRIGGER(fcinfo) ? reinterpret_cast<const TriggerData*>(fcinfo->context) : nullptr;
  if (!trigger || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
      !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) || trigger->tg_trigger->tgnargs != 1)
    throw UserError("39P01", "reconciler.guard_terminal() is the trigger that guard_terminal makes", "Drop this one; writing guard_terminal in reconciler.binding makes that.");
  return *trigger;
}

// By the types' own output functions: a cast that the user made would run with the extension owner's rights.
Texts printed(HeapTuple row, TupleDesc columns) {
  Texts values;
  guarded([&] {
    for (int i = 0; i < columns->natts; ++i) {
      if (TupleDescAttr(columns, i)->attisdropped) continue;
      const char* value = SPI_getvalue(row, columns, i + 1);
      if (value && encodings_differ()) value = pg_server_to_any(value, static_cast<int>(strlen(value)), PG_UTF8);
      values.emplace_back();
      if (value) values.back() = value;
    }
  });
  return values;
}

bool refuses(const TriggerData& trigger) {
  const TupleDesc columns = RelationGetDescr(trigger.tg_relation);
  std::vector<std::string> names;
  std::vector<std::int64_t> types;
  for (int i = 0; i < columns->natts; ++i) {
    const Form_pg_attribute column = TupleDescAttr(columns, i);
    if (column->attisdropped) continue;
    names.emplace_back(NameStr(column->attname));
    types.push_back(guarded([&] { return getBaseType(column->atttypid); }));
  }
  // A restored table may have brought along a trigger that names another table's binding by now.
  const Rows rows = query("SELECT reconciler.guard(b.binding_id, $3, $4::oid[], $5, $6) AS refused FROM reconciler.binding b"
                          " WHERE b.binding_id = $1::text::integer AND (b.sessions = $2 OR b.sessions IN (SELECT relid FROM pg_partition_ancestors($2)))",
                          {Param::text(trigger.tg_trigger->tgargs[0]), Param::oid(RelationGetRelid(trigger.tg_relation)), Param::texts(names), Param::integers(types),
                           Param::texts(printed(trigger.tg_trigtuple, columns)), Param::texts(printed(trigger.tg_newtuple, columns))});
  return !rows.empty() && rows[0].boolean("refused");
}

void say_that_it_failed(const TriggerData& trigger, const std::string& why, const std::string& hint) {
  std::string table;
  guarded([&] { table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(trigger.tg_relation)), RelationGetRelationName(trigger.tg_relation)); });
  warn_client("the guard of table " + table + " failed, so the write passes: " + why, hint);
}

}  // namespace

RECONCILER_SQL_FUNCTION(guard_terminal) {
  const TriggerData& trigger = fired(fcinfo);
  bool refused = false;
  if (!in_owners_block()) try {
      refused = Transactions::subtransaction([&] { return as_extension_owner([&] { return refuses(trigger); }); });
    } catch (const PostgresError& e) {
      if (e.cancelled()) throw;
      say_that_it_failed(trigger, e.message, e.hint);
    } catch (const std::exception& e) {
      say_that_it_failed(trigger, e.what(), {});
    }
  return PointerGetDatum(refused ? nullptr : trigger.tg_newtuple);
}

}  // namespace reconciler
