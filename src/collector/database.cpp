#include "collector/database.hpp"

#include <vector>

#include "core/text.hpp"

namespace reconciler {
namespace {

std::string trimmed(std::string message) {
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.pop_back();
  return one_line(std::move(message), 500);
}

std::string field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text ? text : "";
}

DatabaseRows checked(PGconn* connection, PGresult* result) {
  DatabaseRows rows(result);
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return rows;
  const std::string primary = field(result, PG_DIAG_MESSAGE_PRIMARY), hint = field(result, PG_DIAG_MESSAGE_HINT);
  const std::string all = primary.empty() ? PQerrorMessage(connection) : cat({primary, hint.empty() ? "" : " HINT: ", hint});
  throw DatabaseError(field(result, PG_DIAG_SQLSTATE), trimmed(all));
}

}  // namespace

int DatabaseRows::number(const char* column) const {
  const int found = PQfnumber(result_.get(), column);
  if (found < 0) throw DatabaseError("", cat({"the database's answer has no column ", column}));
  return found;
}

Database::Database(const std::string& dsn) : connection_(nullptr, &PQfinish) {
  const char* const names[] = {"fallback_application_name", "dbname", "client_encoding", nullptr};
  const char* const values[] = {"session-reconciler-gc", dsn.empty() ? nullptr : dsn.c_str(), "UTF8", nullptr};  // as JSON is
  connection_.reset(PQconnectdbParams(names, values, 1));
  if (PQstatus(connection_.get()) != CONNECTION_OK) throw DatabaseError("", trimmed(connection_ ? PQerrorMessage(connection_.get()) : "out of memory"));
  const DatabaseRows extension(checked(connection_.get(), PQexec(connection_.get(),
      "SELECT pg_catalog.quote_ident(n.nspname) AS schema FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace"
      " WHERE e.extname OPERATOR(pg_catalog.=) 'session_reconciler'")));
  if (extension.size() == 0) throw DatabaseError("", cat({"database ", in_quotes(PQdb(connection_.get())), " does not have the extension session_reconciler"}));
  schema_ = extension.text(0, "schema");
}

DatabaseRows Database::run(std::string statement, std::initializer_list<std::optional<std::string>> parameters) {
  const std::size_t open = statement.find('{'), close = statement.find('}');
  statement.replace(open, close - open + 1, cat({schema_, ".", statement.substr(open + 1, close - open - 1)}));
  std::vector<const char*> values;
  for (const auto& parameter : parameters) values.push_back(parameter ? parameter->c_str() : nullptr);
  return checked(connection_.get(), PQexecParams(connection_.get(), statement.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0));
}

}  // namespace reconciler
