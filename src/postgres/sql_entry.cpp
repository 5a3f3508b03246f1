#include <cstdint>

#include "http/credentials.hpp"
#include "postgres/sql_entry.hpp"

#include "postgres/clock.hpp"
#include "postgres/parameters.hpp"
#include "postgres/spi.hpp"

namespace reconciler {

namespace {

// What is left of an exception when its C++ frames are gone. Plain memory on the stack of sql_entry: an ereport from
// inside a catch block would jump over the end of the exception, and palloc there may be such an ereport.
struct Report {
  int code = 0;
  char message[2048] = "", detail[8192] = "", hint[2048] = "", context[8192] = "";
};

template <std::size_t size>
void copy(char (&to)[size], std::string_view from) {
  std::size_t length = std::min(size - 1, from.size());
  if (length < from.size())  // cut between characters
    length = static_cast<std::size_t>(pg_encoding_mbcliplen(GetDatabaseEncoding(), from.data(), static_cast<int>(from.size()),
                                                            static_cast<int>(length)));
  memcpy(to, from.data(), length);
  to[length] = '\0';
}

int code_of(const std::string& sqlstate) {
  return sqlstate.size() == 5 ? MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4])
                              : ERRCODE_INTERNAL_ERROR;
}

void describe_current_exception(Report& report) noexcept {
  try {
    throw;
  } catch (const PostgresError& e) {
    report.code = e.code;
    copy(report.message, e.message);
    copy(report.detail, e.detail);
    copy(report.hint, e.hint);
    copy(report.context, e.context);
  } catch (const UserError& e) {
    report.code = code_of(e.sqlstate);
    copy(report.message, e.what());
    copy(report.detail, e.detail);
    copy(report.hint, e.hint);
  } catch (const http::ConfigError& e) {
    report.code = ERRCODE_INVALID_PARAMETER_VALUE;
    copy(report.message, e.what());
    copy(report.hint, e.hint);
  } catch (const std::invalid_argument& e) {
    report.code = ERRCODE_INVALID_PARAMETER_VALUE;
    copy(report.message, e.what());
  } catch (const std::bad_alloc&) {
    report.code = ERRCODE_OUT_OF_MEMORY;
    copy(report.message, "out of memory");
  } catch (const std::exception& e) {
    report.code = ERRCODE_INTERNAL_ERROR;
    copy(report.message, e.what());
  } catch (...) {
    report.code = ERRCODE_INTERNAL_ERROR;
    copy(report.message, "unknown error");
  }
}

// Of its own, so that the buffers and every C++ object of the body are in a frame that has returned or is plain.
[[gnu::noinline]] bool run_body(FunctionCallInfo fcinfo, SqlBody body, Datum* result, Report* report) noexcept {
  try {
    *result = body(fcinfo);
    return true;
  } catch (...) {
    describe_current_exception(*report);
    return false;
  }
}

[[noreturn]] void raise(const Report& report) {
  ereport(ERROR, (errcode(report.code), errmsg_internal("%s", report.message),
                  report.detail[0] ? errdetail_internal("%s", report.detail) : 0,
                  report.hint[0] ? errhint("%s", report.hint) : 0,
                  report.context[0] ? errcontext_msg("%s", report.context) : 0));
  pg_unreachable();
}

std::string name_of(FunctionCallInfo fcinfo, int arg) {
  const Rows rows = query("SELECT proargnames[$2] AS name FROM pg_proc WHERE oid = $1", {Param::oid(fcinfo->flinfo->fn_oid), Param::integer(arg + 1)});
  return rows.only().maybe_text("name").value_or("argument " + std::to_string(arg + 1));
}

Oid argument_type(FunctionCallInfo fcinfo, int arg) {
  Oid type = InvalidOid;
  guarded([&] { type = getBaseType(get_fn_expr_argtype(fcinfo->flinfo, arg)); });
  return type;
}

}  // namespace

Datum sql_entry(FunctionCallInfo fcinfo, SqlBody body) {
  Datum result = static_cast<Datum>(0);
  Report report;
  if (!run_body(fcinfo, body, &result, &report)) raise(report);
  return result;
}

void sql_required(FunctionCallInfo fcinfo, int arg) {
  if (sql_is_null(fcinfo, arg)) throw UserError("22004", name_of(fcinfo, arg) + " must not be null");
}

bool sql_is_null(FunctionCallInfo fcinfo, int arg) { return arg >= fcinfo->nargs || PG_ARGISNULL(arg); }

std::optional<std::string> sql_maybe_text(FunctionCallInfo fcinfo, int arg) {
  if (sql_is_null(fcinfo, arg)) return std::nullopt;
  const Oid type = argument_type(fcinfo, arg);
  std::string value;
  guarded([&] {
    const char* printed;
    if (type == TEXTOID || type == VARCHAROID || type == InvalidOid) {
      printed = text_to_cstring(DatumGetTextPP(PG_GETARG_DATUM(arg)));
    } else {
      Oid output;
      bool is_varlena;
      getTypeOutputInfo(type, &output, &is_varlena);
      printed = OidOutputFunctionCall(output, PG_GETARG_DATUM(arg));
    }
    if (encodings_differ()) printed = pg_server_to_any(printed, static_cast<int>(strlen(printed)), PG_UTF8);
    value = printed;
  });
  return value;
}

std::string sql_text(FunctionCallInfo fcinfo, int arg) {
  sql_required(fcinfo, arg);
  return *sql_maybe_text(fcinfo, arg);
}

Oid sql_oid(FunctionCallInfo fcinfo, int arg) { return sql_is_null(fcinfo, arg) ? InvalidOid : PG_GETARG_OID(arg); }

std::optional<std::int64_t> sql_maybe_int(FunctionCallInfo fcinfo, int arg) {
  if (sql_is_null(fcinfo, arg)) return std::nullopt;
  switch (argument_type(fcinfo, arg)) {
    case INT2OID: return PG_GETARG_INT16(arg);
    case INT4OID: return PG_GETARG_INT32(arg);
    default: return PG_GETARG_INT64(arg);
  }
}

std::int64_t sql_int(FunctionCallInfo fcinfo, int arg) {
  sql_required(fcinfo, arg);
  return *sql_maybe_int(fcinfo, arg);
}

bool sql_bool(FunctionCallInfo fcinfo, int arg, bool if_null) {
  return sql_is_null(fcinfo, arg) ? if_null : PG_GETARG_BOOL(arg);
}

std::optional<Time> sql_maybe_time(FunctionCallInfo fcinfo, int arg) {
  if (sql_is_null(fcinfo, arg)) return std::nullopt;
  return time_from_timestamptz(PG_GETARG_TIMESTAMPTZ(arg));
}

std::optional<Duration> sql_maybe_interval(FunctionCallInfo fcinfo, int arg) {
  if (sql_is_null(fcinfo, arg)) return std::nullopt;
  const Interval* i = PG_GETARG_INTERVAL_P(arg);
  std::int64_t micros;
  if (__builtin_mul_overflow(static_cast<std::int64_t>(i->month) * DAYS_PER_MONTH + i->day, static_cast<std::int64_t>(USECS_PER_DAY), &micros) ||
      __builtin_add_overflow(micros, static_cast<std::int64_t>(i->time), &micros))
    throw UserError("22008", "interval out of range");
  return Duration(micros);
}

Datum sql_text_datum(const std::string& value) {
  return guarded([&] { return PointerGetDatum(cstring_to_text(to_server(value.c_str()))); });
}

Datum sql_null(FunctionCallInfo fcinfo) {
  fcinfo->isnull = true;
  return static_cast<Datum>(0);
}

SqlTable::SqlTable(FunctionCallInfo fcinfo) : result_info_(fcinfo->resultinfo), inputs_(nullptr) {
  guarded([&] {
    compat::begin_materialized_result(fcinfo);
    auto* info = static_cast<ReturnSetInfo*>(result_info_);
    inputs_ = TupleDescGetAttInMetadata(info->setDesc);
  });
}

int SqlTable::columns() const { return static_cast<ReturnSetInfo*>(result_info_)->setDesc->natts; }

void SqlTable::add(const std::vector<SqlCell>& row) {
  if (static_cast<int>(row.size()) != columns())
    throw std::logic_error("a row of " + std::to_string(row.size()) + " cells for " + std::to_string(columns()) + " columns");
  auto* info = static_cast<ReturnSetInfo*>(result_info_);
  guarded([&] {
    MemoryContext row_context =
        AllocSetContextCreate(CurrentMemoryContext, "session_reconciler result row", ALLOCSET_SMALL_SIZES);
    MemoryContext outer = MemoryContextSwitchTo(row_context);
    char** cells = static_cast<char**>(palloc0(sizeof(char*) * (row.size() + 1)));
    for (std::size_t i = 0; i < row.size(); ++i)
      if (row[i]) cells[i] = const_cast<char*>(to_server(row[i]->c_str()));
    tuplestore_puttuple(info->setResult, BuildTupleFromCStrings(static_cast<AttInMetadata*>(inputs_), cells));
    MemoryContextSwitchTo(outer);
    MemoryContextDelete(row_context);
  });
}

}  // namespace reconciler
