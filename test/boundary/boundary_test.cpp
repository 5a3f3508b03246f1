// SQL functions that cross the boundary between C++ and the server in every way it can be crossed, with errors raised
// on both sides. Each returns 'ok' or raises what went wrong; test/tap/t/015_boundary.pl calls them.
#include <fcntl.h>
#include <unistd.h>

#include "http/credentials.hpp"
#include "postgres/clock.hpp"
#include "postgres/role.hpp"
#include "postgres/spi.hpp"
#include "postgres/transaction.hpp"
#include "postgres/waiter.hpp"

#include "postgres/sql_entry.hpp"

extern "C" {
PG_MODULE_MAGIC;
}

namespace reconciler {
namespace {

void expect(bool good, const char* what) {
  if (!good) throw std::logic_error(std::string("not so: ") + what);
}
#define EXPECT(condition) expect((condition), #condition)

// An object with memory of its own: an error that jumps over its destructor is a leak, one that runs it twice is
// found by the sanitizer.
struct Witness {
  explicit Witness(int& count) : count(count), memory(64, 'x') { ++count; }
  ~Witness() { --count; }
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;
  int& count;
  std::string memory;
};

// What `body` throws inside a subtransaction, as its SQLSTATE; '' = nothing.
template <class Body>
std::string state_of(Body body) {
  int alive = 0;
  std::string state;
  try {
    Transactions::subtransaction([&] {
      const Witness outer(alive);
      std::vector<std::string> more(3, std::string(100, 'y'));
      body();
    });
  } catch (const PostgresError& e) {
    state = e.sqlstate;
  }
  EXPECT(alive == 0);
  return state;
}

}  // namespace

RECONCILER_SQL_FUNCTION(test_values) {
  const Time t = from_unix_micros(1700000000123456);
  using Texts = std::vector<std::optional<std::string>>;
  const Rows rows = query(
      "SELECT $1::text AS a, $2::int8 AS b, $3::timestamptz AS c, $4::bool AS d, $5::jsonb AS e, $6::interval AS f, $7::float8 AS g,"
      " $8::text[] AS h, $9::int8[] AS i, $10::timestamptz[] = ARRAY[$3, NULL] AS j, $11::bool[] AS k, $12::jsonb[] AS l, $13::oid AS m,"
      " NULL::text AS n, 'nm'::name AS o, 3::int2 AS p, 1.5::numeric AS q, '2020-01-01'::timestamp AS s, 'infinity'::timestamptz AS u,"
      " '-infinity'::timestamptz AS v, '1 mon 1 day 00:00:01'::interval AS w, '{a,NULL,\"b,c\"}'::text[] AS x, 'ü'::varchar(3) AS y,"
      " repeat('long ', 4000) AS z",
      {Param::text("hé"), Param::integer(-5), Param::time(t), Param::boolean(true), Param::jsonb("{\"a\": 1}"), Param::interval(seconds(90)),
       Param::real(2.5), Param::texts(Texts{"x", std::nullopt, "y"}), Param::integers(std::vector<std::int64_t>{1, 2}),
       Param::times({t, std::nullopt}), Param::booleans({true, std::nullopt}), Param::jsonbs({"[1]", std::nullopt}), Param::oid(1259)});
  const Rows::Row r = rows.only();
  EXPECT(r.text("a") == "hé" && r.integer("b") == -5 && r.text("b") == "-5" && r.time("c") == t && r.time(2) == t && r.boolean("d"));
  EXPECT(r.span("f") == seconds(90) && r.real("g") == 2.5);
  EXPECT((r.texts("h") == std::vector<std::string>{"x", "y"}) && r.text("i") == "{1,2}" && r.null("j") == false);
  EXPECT(r.text("k") == "{t,NULL}" && r.text("l") == "{[1],NULL}" && r.integer("m") == 1259);
  EXPECT(r.null("n") && !r.maybe_text("n") && r.text("o") == "nm" && r.integer("p") == 3 && r.text("q") == "1.5");
  EXPECT(r.text("s") == "2020-01-01 00:00:00" && r.time("u") == Time::max() && r.time("v") == Time::min());
  EXPECT(r.span("w") == hours(24 * 31) + seconds(1) && (r.texts("x") == std::vector<std::string>{"a", "b,c"}));
  EXPECT(r.text("y") == "ü" && r.view("z").size() == 20000);

  // A jsonb goes through as it is stored, alone and in an array, long enough to be compressed where it lies in a table too.
  const Jsonb small = r.jsonb("e");
  const Jsonb large = query("SELECT jsonb_build_object('long', repeat('ü', 4000)) AS j").only().jsonb("j");
  const Rows stored = query("SELECT $1::text AS a, ($2->>'long') = repeat('ü', 4000) AS b, ($3::jsonb[])[1] = $2 AND ($3::jsonb[])[2] IS NULL AND ($3::jsonb[])[3] IS NULL AND ($3::jsonb[])[4] = $1 AS c, $4::jsonb IS NULL AS d",
                            {Param::jsonb(small), Param::jsonb(large), Param::jsonbs(std::vector<std::optional<Jsonb>>{large, std::nullopt, Jsonb{}, small}), Param::jsonb(Jsonb{})});
  EXPECT(stored.only().text("a") == "{\"a\": 1}" && stored.only().boolean("b") && stored.only().boolean("c") && stored.only().boolean("d"));
  EXPECT(!query("SELECT NULL::jsonb AS j").only().maybe_jsonb("j"));

  EXPECT(query("SELECT $1 = 'infinity' AND $2 = '-infinity'", {Param::time(Time::max()), Param::time(Time::min())}).only().boolean(0));
  EXPECT(query("SELECT $1 IS NULL AND $2 IS NULL AND $3 IS NULL AND cardinality($4) = 0",
               {Param::text(std::optional<std::string>()), Param::time(std::optional<Time>()), Param::jsonb(std::optional<std::string>()),
                Param::texts(std::vector<std::string>{})}).only().boolean(0));
  EXPECT(query("SELECT 1 WHERE false").empty());
  EXPECT(valid_text(std::string_view("a\xff\0b\xc3", 5)) == "a?b?" && valid_text("éé", 3) == "é");
  EXPECT(quoted_identifier("a \"b") == "\"a \"\"b\"" && quoted_literal("a'b") == "'a''b'");
  return sql_text_datum("ok");
}

// Errors of the server, at each place where one can come up: parsing, planning, binding a parameter, running, and
// after rows were read.
RECONCILER_SQL_FUNCTION(test_server_errors) {
  for (int i = 0; i < 50; ++i) {
    EXPECT(state_of([] { query("SELEC"); }) == "42601");
    EXPECT(state_of([] { query("SELECT * FROM reconciler.no_such_table"); }) == "42P01");
    EXPECT(state_of([] { query("SELECT $1::jsonb", {Param::jsonb("{")}); }) == "22P02");
    EXPECT(state_of([] { query("SELECT $1::text", {Param::text(std::string_view("\xff", 1))}); }) == "22021");
    EXPECT(state_of([] { query("SELECT $1::text", {Param::text(std::string_view("a\0b", 3))}); }) == "22021");
    EXPECT(state_of([] { query("SELECT 1 / $1", {Param::integer(0)}); }) == "22012");
    EXPECT(state_of([] { query("SELECT 1 / (g - 400) FROM generate_series(1, 500) AS g"); }) == "22012");
    EXPECT(state_of([] { query_once("SELECT repeat('xx', 1200000000)"); }) == "54000");
    EXPECT(state_of([] { query("UPDATE pg_class SET relname = relname", {}, Access::read_only); }) == "0A000");
    EXPECT(state_of([] { query("SELECT 1 / $1", {Param::integer(1)}); }).empty());
  }
  return sql_text_datum("ok");
}

// C++ exceptions inside guarded code arrive unchanged, errors inside catch blocks and destructors stay where they are.
RECONCILER_SQL_FUNCTION(test_exceptions) {
  int alive = 0;
  for (int i = 0; i < 50; ++i) {
    bool seen = false;
    try {
      const Witness witness(alive);
      guarded([&] { throw std::runtime_error("from inside"); });
    } catch (const std::runtime_error& e) {
      seen = std::string(e.what()) == "from inside";
    }
    EXPECT(seen && alive == 0);

    std::string inner, outer;
    try {
      Transactions::subtransaction([&] {
        const Witness witness(alive);
        try {
          Transactions::subtransaction([&] {
            const Witness deeper(alive);
            query("SELECT 1 / 0");
          });
        } catch (const PostgresError& e) {
          inner = e.sqlstate;
          query("SELECT 1");  // the outer subtransaction is whole
          query("SELECT 'x'::int");
        }
      });
    } catch (const PostgresError& e) {
      outer = e.sqlstate;
    }
    EXPECT(inner == "22012" && outer == "22P02" && alive == 0);
  }
  return sql_text_datum("ok");
}

// More statements than are kept, while one of them runs and calls back into us.
RECONCILER_SQL_FUNCTION(test_cache) {
  const std::int64_t depth = sql_int(fcinfo, 0);
  for (int i = 0; i < 700; ++i) EXPECT(query("SELECT " + std::to_string(i)).only().integer(0) == i);
  if (depth > 0) EXPECT(query("SELECT test_cache($1::int)", {Param::integer(depth - 1)}).only().text(0) == "ok");
  return sql_text_datum("ok");
}

RECONCILER_SQL_FUNCTION(test_throw) {
  const std::string kind = sql_text(fcinfo, 0);
  const std::vector<std::string> memory(10, std::string(200, 'm'));
  if (kind == "postgres") query("SELECT 1 / 0");
  if (kind == "detail") query("SELECT '{'::jsonb");
  if (kind == "user") throw UserError("55000", "not now", "Try later.", "It is busy.");
  if (kind == "config") throw http::ConfigError("bad address", "Use https.");
  if (kind == "argument") throw std::invalid_argument("bad argument");
  if (kind == "memory") throw std::bad_alloc();
  if (kind == "runtime") throw std::runtime_error("broken");
  if (kind == "other") throw 5;
  if (kind == "long") throw std::runtime_error(std::string(2046, 'e') + "é");
  return sql_text_datum("none");
}

RECONCILER_SQL_FUNCTION(test_table) {
  SqlTable table(fcinfo);
  const std::int64_t rows = sql_int(fcinfo, 0);
  for (std::int64_t i = 0; i < rows; ++i) table.add({std::to_string(i), i == 1 ? SqlCell() : SqlCell("ö" + std::to_string(i))});
  if (rows < 0) table.add({"not a number", "x"});
  return sql_null(fcinfo);
}

// (role, statement): its first cell or SQLSTATE, then who we are afterwards.
RECONCILER_SQL_FUNCTION(test_as_role) {
  const Oid role = sql_oid(fcinfo, 0);
  const std::string statement = sql_text(fcinfo, 1);
  std::string out;
  const std::string state = state_of([&] {
    out = as_role(role, [&] {
      const Rows rows = query_once(statement);
      return rows.empty() ? std::string("-") : rows[0].text(0);
    });
  });
  if (!state.empty()) out = state;
  const Rows after = query_once("SELECT session_user = current_user AND current_setting('search_path') = $1", {Param::text("before")});
  return sql_text_datum(out + (after.only().boolean(0) ? "" : " and not restored"));
}

RECONCILER_SQL_FUNCTION(test_procedure) {
  const std::string what = sql_text(fcinfo, 0);
  Procedure procedure(fcinfo->context, "CALL test_procedure()");
  Transactions transactions(TransactionMode::procedure);
  BackendWaiter waiter;
  const auto rest = [&] { waiter.wait(-1, milliseconds(1)); };  // throws if anything is held
  const auto write = [&] { query("INSERT INTO public.written VALUES ($1)", {Param::text(what)}); };
  rest();
  transactions.run("test", write);
  rest();
  if (what == "errors") {
    for (int i = 0; i < 20; ++i) {
      std::string state;
      try {
        transactions.run("test", [&] {
          write();
          query("SELECT 1 / (g - 400) FROM generate_series(1, 500) AS g");
        });
      } catch (const PostgresError& e) {
        state = e.sqlstate;
      }
      EXPECT(state == "22012");
      rest();
    }
    transactions.run("test", write);
  }
  if (what == "commit fails") {
    std::string state;
    try {
      transactions.run("test", [&] { query("INSERT INTO public.child VALUES (99)"); });
    } catch (const PostgresError& e) {
      state = e.sqlstate;
    }
    EXPECT(state == "23503");
    rest();
    transactions.run("test", write);
  }
  if (what == "exception")
    transactions.run("test", [&]() -> void {
      write();
      throw UserError("55000", "stopped half-way");
    });
  if (what == "holds") transactions.run("test", [&] { write(), rest(); });
  if (what == "reuse") {  // the same number, another descriptor: it must be seen
    int number = -1;
    for (int i = 0; i < 3; ++i) {
      int ends[2];
      EXPECT(pipe2(ends, O_CLOEXEC) == 0);
      if (number >= 0) EXPECT(ends[0] == number);
      number = ends[0];
      EXPECT(::write(ends[1], "x", 1) == 1);
      const Duration start = waiter.uptime();
      waiter.wait(ends[0], minutes(5));
      EXPECT(waiter.uptime() - start < minutes(4));
      close(ends[0]), close(ends[1]);
    }
  }
  return sql_null(fcinfo);
}

}  // namespace reconciler
