// What the worker does when it is due: a pass over every binding, each for itself.
#include <exception>

#include "postgres/clock.hpp"
#include "postgres/run_pass.hpp"
#include "postgres/settings.hpp"
#include "postgres/worker.hpp"

namespace reconciler {

Duration run_due_passes(Waiter& waiter) {
  Duration sleep = settings::interval();
  std::exception_ptr failure;
  for (int id : bindings_to_run(TransactionMode::worker, std::nullopt)) {
    try {
      const PassReport report = run_pass(id, TransactionMode::worker, waiter, false);
      if (!report.end.next_due) continue;
      // What is overdue waits for something else (a lock, a budget): not in a tight loop.
      const Duration until = *report.end.next_due - database_now();
      sleep = std::min(sleep, until > Duration(0) ? until : Duration(seconds(1)));
    } catch (const ExtensionMissing&) {
      throw;
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
  return sleep;
}

}  // namespace reconciler
