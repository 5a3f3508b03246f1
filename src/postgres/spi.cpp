#include "postgres/spi.hpp"

#include <stdexcept>

#include "postgres/boundary.hpp"
#include "postgres/clock.hpp"
#include "postgres/parameters.hpp"
#include "postgres/plan_cached.hpp"
#include "postgres/pg.hpp"
#include "postgres/rows_writer.hpp"

namespace reconciler {

namespace {

// Statements by text and parameter types. Lives as long as the process and is never destructed: exit() must not
// run anything of ours. Bounded, because a changed binding makes new texts.
struct Prepared {
  SPIPlanPtr plan = nullptr;
  std::uint64_t used = 0;
  int running = 0;  // a trigger may come back to us while a statement runs: its plan stays
};
constexpr std::size_t most_prepared = 512;

std::unordered_map<std::string, Prepared>& prepared() {
  static auto* map = new std::unordered_map<std::string, Prepared>;
  return *map;
}

// How a kept statement is planned.
enum class Planned {
  once,  // as the server likes: soon one plan for all values
  each_batch
};

std::string key_of(std::string_view statement, std::span<const Param> params, Planned planned) {
  std::string key(statement);
  key += static_cast<char>(planned);
  for (const Param& p : params) {
    const Oid type = type_of(p);
    key.append(reinterpret_cast<const char*>(&type), sizeof type);
  }
  return key;
}

void forget_least_used() {
  auto oldest = prepared().end();
  for (auto i = prepared().begin(); i != prepared().end(); ++i)
    if (i->second.running == 0 && (oldest == prepared().end() || i->second.used < oldest->second.used)) oldest = i;
  if (oldest == prepared().end()) return;
  const SPIPlanPtr plan = oldest->second.plan;
  prepared().erase(oldest);
  if (plan) guarded([&] { SPI_freeplan(plan); });
}

struct Work {
  const char* statement;
  std::span<const Param> params;
  bool read_only;
  Prepared* slot;  // null: not kept
  Rows* rows;
  Planned planned = Planned::once;
};

void check(int result, const char* what) {
  if (result < 0) elog(ERROR, "%s failed: %s", what, SPI_result_code_string(result));
}

// Inside guarded(): plain locals only.
void execute(const Work& work) {
  check(SPI_connect(), "SPI_connect");
  const int count = static_cast<int>(work.params.size());
  Oid* types = static_cast<Oid*>(palloc(sizeof(Oid) * (count + 1)));
  Datum* values = static_cast<Datum*>(palloc(sizeof(Datum) * (count + 1)));
  char* nulls = static_cast<char*>(palloc(count + 1));
  for (int i = 0; i < count; ++i) {
    const Param& p = work.params[i];
    types[i] = type_of(p);
    nulls[i] = p.null ? 'n' : ' ';
    values[i] = p.null ? static_cast<Datum>(0) : datum_of(p);
  }
  if (!work.slot) {
    const char* text = to_server(work.statement);
    check(SPI_execute_with_args(text, count, types, values, nulls, work.read_only, 0), "SPI_execute_with_args");
  } else {
    if (!work.slot->plan) {
      const int options = work.planned == Planned::each_batch ? CURSOR_OPT_CUSTOM_PLAN : 0;
      SPIPlanPtr plan = SPI_prepare_cursor(to_server(work.statement), count, types, options);
      if (!plan) check(SPI_result, "SPI_prepare_cursor");
      check(SPI_keepplan(plan), "SPI_keepplan");
      work.slot->plan = plan;
    }
    if (work.planned == Planned::each_batch) plan_next_as_cached();
    check(SPI_execute_plan(work.slot->plan, values, nulls, work.read_only, 0), "SPI_execute_plan");
    stop_planning_as_cached();
  }
  RowsWriter(*work.rows).copy(SPI_tuptable, SPI_processed);
  check(SPI_finish(), "SPI_finish");
}

Rows run(std::string_view statement, std::span<const Param> params, Access access, Prepared* slot, Planned planned = Planned::once) {
  Rows rows;
  const std::string text(statement);  // with its NUL
  const Work work{text.c_str(), params, access == Access::read_only, slot, &rows, planned};
  try {
    guarded([&] { execute(work); });
  } catch (...) {
    stop_planning_as_cached();
    throw;
  }
  return rows;
}

Rows run_kept(std::string_view statement, std::span<const Param> params, Access access, Planned planned) {
  static std::uint64_t uses = 0;
  std::string key = key_of(statement, params, planned);
  if (prepared().size() >= most_prepared && !prepared().contains(key)) forget_least_used();
  Prepared& slot = prepared()[std::move(key)];  // stays where it is until it is erased
  slot.used = ++uses;
  ++slot.running;
  try {
    Rows rows = run(statement, params, access, &slot, planned);
    --slot.running;
    return rows;
  } catch (...) {
    --slot.running;
    throw;
  }
}

}  // namespace

Rows query(std::string_view statement, std::span<const Param> params, Access access) {
  return run_kept(statement, params, access, Planned::once);
}

Rows query(std::string_view statement, std::initializer_list<Param> params, Access access) {
  return query(statement, std::span<const Param>(params.begin(), params.size()), access);
}

Rows query_once(std::string_view statement, std::initializer_list<Param> params, Access access) {
  return run(statement, std::span<const Param>(params.begin(), params.size()), access, nullptr);
}

Rows query_batch(std::string_view statement, std::span<const Param> params) {
  return run_kept(statement, params, Access::write, Planned::each_batch);
}

Rows query_batch(std::string_view statement, std::initializer_list<Param> params) {
  return query_batch(statement, std::span<const Param>(params.begin(), params.size()));
}

std::string quoted_identifier(std::string_view name) {
  const std::string text(name);
  std::string quoted;
  guarded([&] { quoted = quote_identifier(text.c_str()); });
  return quoted;
}

std::string quoted_literal(std::string_view value) {
  const std::string text(value);
  std::string quoted;
  guarded([&] {
    char* literal = quote_literal_cstr(text.c_str());
    quoted = literal;
    pfree(literal);
  });
  return quoted;
}

}  // namespace reconciler
