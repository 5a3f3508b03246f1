// SQL as values. Statements are prepared once per process and found again by their text; results are copied out
// before the call returns, so nothing of the server's memory is left behind.
//
//   Rows rows = query("SELECT id, seen_at FROM reconciler.x WHERE id = any($1) AND n > $2",
//                     {Param::texts(ids), Param::integer(5)});
//   for (Rows::Row row : rows) use(row.text("id"), row.maybe_time("seen_at"));
//
// All throw PostgresError. Always inside a transaction (Transactions::run, or a SQL function).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/time.hpp"
#include "postgres/oid.hpp"

namespace reconciler {

// A jsonb as the server stores it, from one statement's result into the parameters of another: never printed nor parsed. An empty one is NULL.
struct Jsonb {
  std::string stored;
  bool empty() const { return stored.empty(); }
};

// A parameter. It refers to the caller's data and must not outlive it: build it in the call. Text is UTF-8 and is
// converted to the database's encoding; text that is not valid is an error 22021 (see valid_text).
class Param {
 public:
  static Param text(std::string_view);
  static Param text(const std::optional<std::string>&);
  static Param text(const std::string& s) { return text(std::string_view(s)); }
  static Param text(const char* s) { return text(std::string_view(s)); }
  static Param jsonb(const Jsonb&);
  static Param jsonb(std::string_view);
  static Param jsonb(const std::optional<std::string>&);
  static Param jsonb(const std::string& s) { return jsonb(std::string_view(s)); }
  static Param jsonb(const char* s) { return jsonb(std::string_view(s)); }
  static Param integer(std::int64_t);                       // int8
  static Param integer(const std::optional<std::int64_t>&);
  static Param real(double);                                // float8
  static Param boolean(bool);
  static Param boolean(const std::optional<bool>&);
  static Param time(Time);                                  // timestamptz; Time::min/max are -infinity/infinity
  static Param time(const std::optional<Time>&);
  static Param interval(Duration);
  static Param interval(const std::optional<Duration>&);
  template <class Rep, class Period>
  static Param interval(std::chrono::duration<Rep, Period> d) { return interval(Duration(d)); }
  static Param oid(Oid);                                    // oid; regclass by a cast in the statement

  static Param texts(const std::vector<std::string>&);      // text[]
  static Param texts(const std::vector<std::optional<std::string>>&);
  static Param jsonbs(const std::vector<std::optional<std::string>>&);  // jsonb[]
  static Param jsonbs(const std::vector<std::optional<Jsonb>>&);
  static Param integers(const std::vector<std::int64_t>&);  // int8[]
  static Param integers(const std::vector<std::optional<std::int64_t>>&);
  static Param times(const std::vector<std::optional<Time>>&);  // timestamptz[]
  static Param booleans(const std::vector<std::optional<bool>>&);  // bool[]

  // For spi.cpp.
  enum class Kind : std::uint8_t { text, jsonb, stored_jsonb, integer, real, boolean, time, interval, oid };
  Kind kind = Kind::text;
  bool null = false, array = false, optional_elements = false;
  std::string_view view;
  std::int64_t number = 0;
  double floating = 0;
  const void* elements = nullptr;
};

class Rows {
 public:
  // A column by number from 0 (fast) or by name.
  struct Column {
    Column(int number) : number(number) {}
    Column(const char* name) : name(name) {}
    int number = -1;
    const char* name = nullptr;
  };

  // Cells: int2/4/8, oid and bool are integers; timestamptz a time; interval a span (a month is 30 days); float4/8
  // a real; text[] (also varchar[], name[]) a list; jsonb a Jsonb; everything else, numeric and timestamp too, text as
  // the type prints it, in UTF-8. Asking for another kind, or for a NULL without maybe_, is std::logic_error.
  class Row {
   public:
    bool null(Column) const;
    std::string_view view(Column) const;  // valid as long as the Rows
    std::string text(Column) const;       // integers too, in decimal
    std::optional<std::string> maybe_text(Column) const;
    std::int64_t integer(Column) const;
    std::optional<std::int64_t> maybe_integer(Column) const;
    bool boolean(Column) const;
    std::optional<bool> maybe_boolean(Column) const;
    double real(Column) const;
    std::optional<double> maybe_real(Column) const;
    Time time(Column) const;
    std::optional<Time> maybe_time(Column) const;
    Duration span(Column) const;
    std::optional<Duration> maybe_span(Column) const;
    std::vector<std::string> texts(Column) const;  // NULL elements are left out
    Jsonb jsonb(Column) const;
    std::optional<Jsonb> maybe_jsonb(Column) const;

   private:
    friend class Rows;
    Row(const Rows* rows, std::size_t index) : rows_(rows), index_(index) {}
    const Rows* rows_;
    std::size_t index_;
  };

  class Iterator {
   public:
    Iterator(const Rows* rows, std::size_t index) : rows_(rows), index_(index) {}
    Row operator*() const { return (*rows_)[index_]; }
    Iterator& operator++() { ++index_; return *this; }
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }
   private:
    const Rows* rows_;
    std::size_t index_;
  };

  std::size_t size() const { return rows_; }
  bool empty() const { return rows_ == 0; }
  std::uint64_t affected() const { return affected_; }  // rows the statement processed, returned or not
  Row operator[](std::size_t i) const { return Row(this, i); }
  Row only() const;  // exactly one row, else std::logic_error
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, rows_}; }
  const std::vector<std::string>& columns() const { return columns_; }

 private:
  friend class RowsWriter;
  enum class Kind : std::uint8_t { null, text, integer, real, time, span, list, jsonb };
  struct Cell {  // text, list, jsonb: offset and length in text_; others: number
    Kind kind = Kind::null;
    std::uint32_t length = 0;
    std::int64_t number = 0;
  };
  const Cell& cell(std::size_t row, Column) const;
  const Cell& typed(std::size_t row, Column, Kind, const char* wanted) const;

  std::vector<std::string> columns_;
  std::vector<Cell> cells_;
  std::string text_;
  std::size_t rows_ = 0;
  std::uint64_t affected_ = 0;
  mutable int after_last_ = 0;  // columns are mostly read by name in their order: where to look first
};

enum class Access {
  write,      // each statement sees what was committed before it (READ COMMITTED)
  read_only   // the caller's snapshot: for functions that answer one question with several statements
};

// Prepared once. For statements that come again: their text must not contain values.
Rows query(std::string_view statement, std::initializer_list<Param> = {}, Access = Access::write);
Rows query(std::string_view statement, std::span<const Param>, Access = Access::write);
// Not kept: DDL and the like, or texts that hardly come again.
Rows query_once(std::string_view statement, std::initializer_list<Param> = {}, Access = Access::write);
// Over a batch of keys: parsed once, planned for each batch with its number of keys, as for tables in memory. On tables
// of ours the statement joins "(SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t": the planner
// would else take "binding_id = $1" for a condition that few rows meet, as long as the statistics are young.
Rows query_batch(std::string_view statement, std::initializer_list<Param>);
Rows query_batch(std::string_view statement, std::span<const Param>);

// Bytes from outside made storable: what is no valid UTF-8 becomes '?', NUL is dropped, length is capped on a
// character's boundary.
std::string valid_text(std::string_view, std::size_t max_bytes = 8192);
// quote_identifier() and quote_literal_cstr() of the server.
std::string quoted_identifier(std::string_view);
std::string quoted_literal(std::string_view);

}  // namespace reconciler
