#include "postgres/plan_cached.hpp"

#include "postgres/pg.hpp"

namespace reconciler {

namespace {

// With the costs of a disk the planner prefers walking a table of some ten thousand rows to five hundred descents of
// its index; measured, the walk takes five times as long, and more with every row that the table grows. The page
// costs are changed for the time of this one planning only: set as settings they would also be in force for whatever
// the triggers of a user's table run. No plan over a few hundred rows is worth compiling either.
struct Costs {
  double sequential, random;
  bool jit;
};

Costs as_cached() {
  const Costs saved{seq_page_cost, random_page_cost, jit_enabled};
  seq_page_cost = random_page_cost = 0.01;
  jit_enabled = false;
  return saved;
}

void restore(const Costs& saved) {
  seq_page_cost = saved.sequential;
  random_page_cost = saved.random;
  jit_enabled = saved.jit;
}

planner_hook_type outer_hook = nullptr;
bool waiting = false;  // ours is the hook, and nothing has been planned yet

PlannedStmt* plan_as_cached(Query* parse, const char* text, int options, ParamListInfo parameters) {
  planner_hook = outer_hook;
  waiting = false;
  const Costs saved = as_cached();
  PlannedStmt* volatile plan = nullptr;
  PG_TRY();
  {
    plan = outer_hook ? outer_hook(parse, text, options, parameters) : standard_planner(parse, text, options, parameters);
  }
  PG_FINALLY();
  {
    restore(saved);
  }
  PG_END_TRY();
  return plan;
}

}  // namespace

void plan_next_as_cached() {
  if (waiting) return;
  outer_hook = planner_hook;
  planner_hook = plan_as_cached;
  waiting = true;
}

void stop_planning_as_cached() {
  if (!waiting) return;
  planner_hook = outer_hook;
  waiting = false;
}

}  // namespace reconciler
