// Plans for statements over a batch of keys, whose rows were read a moment ago: costed as for tables in memory.
#pragma once

namespace reconciler {

// The next statement that is planned is costed so; those after it (of a user's trigger, say) as ever. For one
// SPI_execute_plan() of a plan made with CURSOR_OPT_CUSTOM_PLAN.
void plan_next_as_cached();
// After that call, also when it failed before anything was planned. Harmless at any time.
void stop_planning_as_cached();

}  // namespace reconciler
