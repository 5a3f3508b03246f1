// What the worker does when it is due: a pass over every binding, each for itself.
#include <algorithm>
#include <exception>

#include "postgres/clock.hpp"
#include "postgres/run_pass.hpp"
#include "postgres/settings.hpp"
#include "postgres/worker.hpp"

namespace reconciler {

Duration Failures::note(const std::string& what, const std::exception& e) {
  if (last_error_ != e.what()) report(LogLevel::warning, what, e);
  last_error_ = e.what();
  Duration pause = shortest;
  for (int i = 0; i < count_ && pause < settings::interval(); ++i) pause *= 2;
  ++count_;
  return std::max<Duration>(shortest, std::min<Duration>(pause, settings::interval()));
}

void Failures::end(const std::string& what) {
  if (count_ > 0) report(LogLevel::log, what + " works again; tries that failed: " + std::to_string(count_));
  count_ = 0;
  last_error_.clear();
}

Duration DuePasses::run(bool asked) {
  Duration sleep = settings::interval();
  const std::vector<int> ids = bindings_to_run(TransactionMode::worker, std::nullopt);
  std::erase_if(failing_, [&](const auto& one) { return std::find(ids.begin(), ids.end(), one.first) == ids.end(); });
  for (int id : ids) {
    if (const auto found = failing_.find(id); found != failing_.end()) {
      Failing& failing = found->second;
      if (asked) failing.next_try = std::min(failing.next_try, failing.failed + Failures::shortest);
      if (const Duration left = failing.next_try - waiter_.uptime(); left > Duration(0)) {
        sleep = std::min(sleep, left);
        continue;
      }
    }
    sleep = std::min(sleep, run_one(id));
  }
  return sleep;
}

Duration DuePasses::run_one(int id) {
  try {
    if (const Duration rest = rest_of(id, TransactionMode::worker); rest > Duration(0)) return rest;
    const PassReport report = run_pass(id, TransactionMode::worker, waiter_, false);
    if (const auto found = failing_.find(id); found != failing_.end()) {
      found->second.failures.end("session_reconciler: table " + report.table);
      failing_.erase(found);
    }
    if (!report.end.next_due) return settings::interval();
    // What was overdue already when the pass began waits for something else (a lock, a budget): not in a tight loop.
    // What fell due meanwhile waits for nothing.
    if (*report.end.next_due <= report.began) return seconds(1);
    return std::max<Duration>(Duration(0), *report.end.next_due - database_now());
  } catch (const ExtensionMissing&) {
    throw;
  } catch (const std::exception& e) {
    Failing& failing = failing_[id];
    failing.failed = waiter_.uptime();
    const Duration pause = failing.failures.note("session_reconciler: table " + binding_name(id, TransactionMode::worker), e);
    failing.next_try = failing.failed + pause;
    return pause;
  }
}

}  // namespace reconciler
