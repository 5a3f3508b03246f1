// The triggers of guard_terminal and guard_suspended on a sessions table. reconciler.guard() and reconciler.suspended_as() judge;
// this hands them the row before and after, and sees to it that a guard that fails stops nobody's statement.
#include "core/json.hpp"
#include "postgres/parameters.hpp"
#include "postgres/role.hpp"
#include "postgres/spi.hpp"
#include "postgres/transaction.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

using Texts = std::vector<std::optional<std::string>>;

const TriggerData& fired(FunctionCallInfo fcinfo, const std::string& guard) {
  const auto* trigger = CALLED_AS_TRIGGER(fcinfo) ? reinterpret_cast<const TriggerData*>(fcinfo->context) : nullptr;
  if (!trigger || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
      !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) || trigger->tg_trigger->tgnargs != 1)
    throw UserError("39P01", "reconciler." + guard + "() is the trigger that " + guard + " makes", "Drop this one; writing " + guard + " in reconciler.binding makes that.");
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

// What a function of schema reconciler says of the write; no row: the table is not, or no more, guarded so.
Rows judged_by(const char* function, const TriggerData& trigger) {
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
  return query(std::string("SELECT reconciler.") + function + "(b.binding_id, $3, $4::oid[], $5, $6)::text AS said FROM reconciler.binding b"
               " WHERE b.binding_id = $1::text::integer AND (b.sessions = $2 OR b.sessions IN (SELECT relid FROM pg_partition_ancestors($2)))",
               {Param::text(trigger.tg_trigger->tgargs[0]), Param::oid(RelationGetRelid(trigger.tg_relation)), Param::texts(names), Param::integers(types),
                Param::texts(printed(trigger.tg_trigtuple, columns)), Param::texts(printed(trigger.tg_newtuple, columns))});
}

bool refuses(const TriggerData& trigger) {
  const Rows rows = judged_by("guard", trigger);
  return !rows.empty() && rows[0].text("said") == "true";
}

// Columns that are written otherwise, by name, each a text or null; empty: none.
nlohmann::json written_instead(const TriggerData& trigger) {
  const Rows rows = judged_by("suspended_as", trigger);
  return nlohmann::json::parse(rows.empty() ? "{}" : rows[0].maybe_text("said").value_or("{}"));
}

// By the types' own input functions, with the rights of who writes: a domain's checks are the user's code.
HeapTuple with(const nlohmann::json& changes, const TriggerData& trigger) {
  const TupleDesc columns = RelationGetDescr(trigger.tg_relation);
  std::vector<std::string> texts;
  std::vector<int> numbers;
  const auto nulls = std::make_unique<bool[]>(changes.size());
  std::vector<Datum> values(changes.size());
  for (int i = 0; i < columns->natts; ++i) {
    const Form_pg_attribute column = TupleDescAttr(columns, i);
    const auto change = column->attisdropped ? changes.end() : changes.find(NameStr(column->attname));
    if (change == changes.end()) continue;
    nulls[numbers.size()] = change->is_null();
    numbers.push_back(i + 1), texts.push_back(change->is_null() ? std::string() : change->get<std::string>());
  }
  return guarded([&] {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (nulls[i]) continue;
      const Form_pg_attribute column = TupleDescAttr(columns, numbers[i] - 1);
      Oid input, parameter;
      getTypeInputInfo(column->atttypid, &input, &parameter);
      char* text = pstrdup(texts[i].c_str());
      if (encodings_differ()) text = pg_any_to_server(text, static_cast<int>(strlen(text)), PG_UTF8);
      values[i] = OidInputFunctionCall(input, text, parameter, column->atttypmod);
    }
    return heap_modify_tuple_by_cols(trigger.tg_newtuple, columns, static_cast<int>(numbers.size()), numbers.data(), values.data(), nulls.get());
  });
}

void say_that_it_failed(const TriggerData& trigger, const std::string& why, const std::string& hint) {
  std::string table;
  guarded([&] { table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(trigger.tg_relation)), RelationGetRelationName(trigger.tg_relation)); });
  warn_client("the guard of table " + table + " failed, so the write passes: " + why, hint);
}

// The judge's answer about a write that is not ours; without one, or where it fails, the write passes.
template <class Judge>
auto asked(const TriggerData& trigger, Judge&& judge) -> std::invoke_result_t<Judge&> {
  if (in_owners_block()) return {};
  try {
    return Transactions::subtransaction(judge);
  } catch (const PostgresError& e) {
    if (e.cancelled()) throw;
    say_that_it_failed(trigger, e.message, e.hint);
  } catch (const std::exception& e) {
    say_that_it_failed(trigger, e.what(), {});
  }
  return {};
}

}  // namespace

RECONCILER_SQL_FUNCTION(guard_terminal) {
  const TriggerData& trigger = fired(fcinfo, "guard_terminal");
  const bool refused = asked(trigger, [&] { return as_extension_owner([&] { return refuses(trigger); }); });
  return PointerGetDatum(refused ? nullptr : trigger.tg_newtuple);
}

RECONCILER_SQL_FUNCTION(guard_suspended) {
  const TriggerData& trigger = fired(fcinfo, "guard_suspended");
  const HeapTuple instead = asked(trigger, [&]() -> HeapTuple {
    const nlohmann::json changes = as_extension_owner([&] { return written_instead(trigger); });
    return changes.empty() ? nullptr : with(changes, trigger);
  });
  return PointerGetDatum(instead ? instead : trigger.tg_newtuple);
}

}  // namespace reconciler
