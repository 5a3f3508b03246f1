// One connection to the control plane's database, by libpq.
#pragma once

#include <libpq-fe.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

namespace reconciler {

// SQLSTATE ('' where there was no answer) and what the server says, on one line.
struct DatabaseError : std::runtime_error {
  std::string sqlstate;
  DatabaseError(std::string sqlstate, const std::string& message) : std::runtime_error(message), sqlstate(std::move(sqlstate)) {}
};

class DatabaseRows {
 public:
  explicit DatabaseRows(PGresult* result) : result_(result, &PQclear) {}
  int size() const { return PQntuples(result_.get()); }
  bool null(int row, const char* column) const { return PQgetisnull(result_.get(), row, number(column)); }
  std::string text(int row, const char* column) const { return PQgetvalue(result_.get(), row, number(column)); }

 private:
  int number(const char* column) const;
  std::unique_ptr<PGresult, void (*)(PGresult*)> result_;
};

class Database {
 public:
  explicit Database(const std::string& dsn);  // throws DatabaseError

  // A function of the extension, by its name in the extension's schema: run("SELECT * FROM {gc_end}($1)", {…}). Each is a
  // transaction of its own. An empty parameter is NULL. Throws DatabaseError.
  DatabaseRows run(std::string statement, std::initializer_list<std::optional<std::string>> parameters);

 private:
  std::unique_ptr<PGconn, void (*)(PGconn*)> connection_;
  std::string schema_;  // quoted
};

}  // namespace reconciler
