#include "postgres/table_columns.hpp"

#include "postgres/boundary.hpp"
#include "postgres/parameters.hpp"
#include "postgres/pg.hpp"

namespace reconciler {
namespace {

const char* ours(const char* of_server) {
  return GetDatabaseEncoding() == PG_SQL_ASCII ? of_server : pg_server_to_any(of_server, static_cast<int>(strlen(of_server)), PG_UTF8);
}

Oid relation_named(const char* name) {
  LOCAL_FCINFO(call, 1);
  InitFunctionCallInfoData(*call, nullptr, 1, InvalidOid, nullptr, nullptr);
  call->args[0].value = CStringGetTextDatum(name);
  call->args[0].isnull = false;
  const Datum relation = to_regclass(call);
  return call->isnull ? InvalidOid : DatumGetObjectId(relation);
}

// By the type below a domain: its checks are for what is written, and are functions of its owner.
void add(TableColumns& to, const FormData_pg_attribute& attribute) {
  const Oid type = getBaseType(attribute.atttypid);
  const char* printed = ours(format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN));
  const char* name = ours(NameStr(attribute.attname));
  Column& column = to.columns[name];
  column.name = name;
  column.type = printed;
  column.timestamp = type == TIMESTAMPOID;
  column.timestamptz = type == TIMESTAMPTZOID;
  column.enum_domain = type != attribute.atttypid && get_typtype(type) == TYPTYPE_ENUM;
}

void read(TableColumns& to, Oid relation) {
  const HeapTuple table = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
  if (!HeapTupleIsValid(table)) return;
  const FormData_pg_class& form = *reinterpret_cast<Form_pg_class>(GETSTRUCT(table));
  const char* schema = get_namespace_name(form.relnamespace);
  to.schema = ours(schema ? schema : "");
  to.name = ours(NameStr(form.relname));
  for (AttrNumber number = 1; number <= form.relnatts; ++number) {
    const HeapTuple column = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relation), Int16GetDatum(number));
    if (!HeapTupleIsValid(column)) continue;
    const FormData_pg_attribute& attribute = *reinterpret_cast<Form_pg_attribute>(GETSTRUCT(column));
    if (!attribute.attisdropped) add(to, attribute);
    ReleaseSysCache(column);
  }
  ReleaseSysCache(table);
}

}  // namespace

TableColumns columns_of(Oid relation) {
  TableColumns found;
  guarded([&] { read(found, relation); });
  return found;
}

TableColumns columns_of(const std::string& name) {
  TableColumns found;
  guarded([&] {
    const Oid relation = relation_named(to_server(name.c_str()));
    if (OidIsValid(relation)) read(found, relation);
  });
  return found;
}

}  // namespace reconciler
