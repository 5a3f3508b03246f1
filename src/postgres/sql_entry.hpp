// The door from SQL into C++: one per SQL-callable function. Includes the server's headers, so only .cpp files
// include this, after all others.
//
//   namespace reconciler {                     // inside: outside, Param is a node type of the server
//   RECONCILER_SQL_FUNCTION(reset_brake) {      // C name: reconciler_sql_reset_brake, as src/exports.map wants it
//     auto reason = sql_text(fcinfo, 0);        // C++ from here on: throw as you like
//     ...
//     return BoolGetDatum(true);
//   }
//
// Exceptions become ereport(ERROR) after every C++ frame is gone:
//   PostgresError          as it was (SQLSTATE, message, detail, hint, context)
//   UserError              its SQLSTATE, message, detail, hint
//   http::ConfigError      22023 with its hint
//   std::invalid_argument  22023
//   std::bad_alloc         53200
//   anything else          XX000
// Return values are built in guarded(), as sql_text_datum() and SqlTable do.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/time.hpp"
#include "postgres/boundary.hpp"
#include "postgres/user_error.hpp"
#include "postgres/pg.hpp"

namespace reconciler {

using SqlBody = Datum (*)(FunctionCallInfo);
Datum sql_entry(FunctionCallInfo fcinfo, SqlBody body);

// Arguments, by position from 0. A NULL throws UserError 22004, which names the argument, unless the optional form is used.
void sql_required(FunctionCallInfo, int arg);
bool sql_is_null(FunctionCallInfo, int arg);
std::string sql_text(FunctionCallInfo, int arg);            // text, varchar, name as text; jsonb as its text
std::optional<std::string> sql_maybe_text(FunctionCallInfo, int arg);
Oid sql_oid(FunctionCallInfo, int arg);                     // InvalidOid for NULL
std::int64_t sql_int(FunctionCallInfo, int arg);            // int4 or int8 argument
std::optional<std::int64_t> sql_maybe_int(FunctionCallInfo, int arg);
bool sql_bool(FunctionCallInfo, int arg, bool if_null = false);
std::optional<Time> sql_maybe_time(FunctionCallInfo, int arg);  // timestamptz
std::optional<Duration> sql_maybe_interval(FunctionCallInfo, int arg);
Datum sql_text_datum(const std::string&);                   // for RETURNS text
Datum sql_null(FunctionCallInfo);

// RETURNS TABLE / SETOF: fills a tuplestore. Cells are text in the type's input syntax, or null; the column types
// come from the function's declaration.
using SqlCell = std::optional<std::string>;
class SqlTable {
 public:
  explicit SqlTable(FunctionCallInfo);       // InitMaterializedSRF
  int columns() const;
  void add(const std::vector<SqlCell>& row); // one cell a column
 private:
  void* result_info_;
  void* inputs_;
};

}  // namespace reconciler

#define RECONCILER_SQL_FUNCTION(name)                                                        \
  static Datum reconciler_body_##name(FunctionCallInfo fcinfo);                              \
  extern "C" {                                                                               \
  PGDLLEXPORT Datum reconciler_sql_##name(PG_FUNCTION_ARGS);                                 \
  PG_FUNCTION_INFO_V1(reconciler_sql_##name);                                                \
  Datum reconciler_sql_##name(PG_FUNCTION_ARGS) {                                            \
    return reconciler::sql_entry(fcinfo, reconciler_body_##name);                            \
  }                                                                                          \
  }                                                                                          \
  static Datum reconciler_body_##name([[maybe_unused]] FunctionCallInfo fcinfo)
