#include "postgres/worker.hpp"

#include "postgres/boundary.hpp"
#include "postgres/role.hpp"
#include "postgres/settings.hpp"
#include "postgres/shmem.hpp"
#include "postgres/slots.hpp"
#include "postgres/spi.hpp"
#include "postgres/transaction.hpp"
#include "postgres/waiter.hpp"
#include "postgres/pg.hpp"

namespace reconciler {

namespace {

// What the worker finds each time before it does anything.
enum class Found {
  nothing,  // no extension or no attached table
  misfit,   // library and extension are of different versions
  work
};

class Worker {
 public:
  // Returns when there is nothing to do in this database.
  void run() {
    const MemoryContext home = CurrentMemoryContext;
    for (bool asked = false;;) {
      MemoryContextSwitchTo(home);
      MemoryContextReset(home);
      shared::note_look();
      Duration pause{};
      try {
        switch (look()) {
          case Found::nothing:
            if (shared::leave_for_good()) return;
            continue;
          case Found::misfit:
            shared::serving();
            pause = settings::interval();
            break;
          case Found::work:
            shared::serving();
            pause = passes_.run(asked);
            pause = std::clamp(std::min(pause, collections_.run()), Duration(0), settings::interval());
            failures_.end("session_reconciler");
        }
      } catch (const ExtensionMissing&) {
        if (shared::leave_for_good()) return;
        continue;
      } catch (const std::exception& e) {
        shared::serving();  // something is here, even if it is broken: the launcher may look elsewhere
        pause = note_failure(e);
      }
      asked = sleep(pause);
    }
  }

 private:
  Found look() {
    return transactions_.run("looking for attached tables", [this] {
      const std::string extension = extension_version();
      const std::string advice = version_advice(extension, library_version());
      if (!advice.empty()) {
        warn_of_misfit(extension, advice);
        return Found::misfit;
      }
      warned_of_.clear();
      const bool attached = as_extension_owner(
          [] { return query("SELECT EXISTS (SELECT FROM reconciler.binding)").only().boolean(0); });
      return attached ? Found::work : Found::nothing;
    });
  }

  void warn_of_misfit(const std::string& extension, const std::string& advice) {
    if (warned_of_ == extension) return;
    warned_of_ = extension;
    report(LogLevel::warning,
           "session_reconciler is idle: the library is of version " + std::string(library_version()) +
               ", the extension in this database of version " + extension,
           {}, advice);
  }

  Duration note_failure(const std::exception& e) {
    if (IsTransactionState()) guarded([] { AbortCurrentTransaction(); });
    return failures_.note("session_reconciler", e);
  }

  // Until it is time, or somebody asks, or the settings changed. A latch set for another reason (an invalidation
  // message, a barrier) is no reason to look at tables. After a failure nobody can hurry us at first. Returns whether
  // somebody did.
  bool sleep(Duration pause) {
    guarded([] { compat::flush_stat(); });
    const Duration start = waiter_.uptime();
    const Duration deaf_until = start + (failures_.count() > 0 ? std::min<Duration>(pause, Failures::shortest) : Duration(0));
    const int reloads = waiter_.reloads();
    for (Duration now = start; now < start + pause; now = waiter_.uptime()) {
      if (now >= deaf_until && (shared::woken() || waiter_.reloads() != reloads)) return true;
      try {
        waiter_.wait(-1, (now < deaf_until ? deaf_until : start + pause) - now);
      } catch (const std::exception& e) {  // pg_cancel_backend: there is nothing to cancel in a sleep
        report(LogLevel::log, "session_reconciler", e);
      }
    }
    return false;
  }

  Transactions transactions_{TransactionMode::worker};
  BackendWaiter waiter_;
  DuePasses passes_{waiter_};
  DueCollections collections_{waiter_};
  Failures failures_;
  std::string warned_of_;
};

// What the settings of a database or role must not change under a worker.
void pin_settings() {
  SetConfigOption("application_name", "session_reconciler worker", PGC_USERSET, PGC_S_OVERRIDE);
  SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_OVERRIDE);
  SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET, PGC_S_OVERRIDE);
  compat::disable_transaction_timeout();
  CurrentMemoryContext = AllocSetContextCreate(TopMemoryContext, "session_reconciler worker", ALLOCSET_DEFAULT_SIZES);
}

}  // namespace

}  // namespace reconciler

extern "C" {
PGDLLEXPORT void reconciler_worker_main(Datum database);
}

// Plain C++ objects of the loop live on this stack or below and are never unwound: SIGTERM ends in exit() inside the
// wait, which joins no resolver thread and runs no destructor of ours.
void reconciler_worker_main(Datum database) {
  using namespace reconciler;
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);  // not bgworker_die, which exits inside the signal handler
  BackgroundWorkerUnblockSignals();
  if (!shared::available() || !shared::enter_worker(DatumGetObjectId(database))) proc_exit(0);
  BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
  ProcessConfigFile(PGC_SIGHUP);  // a SIGHUP before our handler stood was lost
  pin_settings();
  bool done = false;
  try {
    Worker().run();
    done = true;
  } catch (const std::exception& e) {
    report(LogLevel::warning, "session_reconciler worker ends", e);
  }
  proc_exit(done ? 0 : 1);  // 0: nothing to do in this database; the launcher starts it again when there is
}
