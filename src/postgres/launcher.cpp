// Starts a worker where one has something to do, and again when it died. Connects to no database: it reads the list
// of databases from the shared catalogs. It never polls: it sleeps until its latch is set or a start is due.
#include <set>

#include "postgres/boundary.hpp"
#include "postgres/settings.hpp"
#include "postgres/slots.hpp"
#include "postgres/shmem.hpp"
#include "postgres/waiter.hpp"
#include "postgres/worker.hpp"
#include "postgres/pg.hpp"

namespace reconciler {

namespace {

// Workers that have not yet found out whether their database concerns us. Few at a time: a server with hundreds of
// databases must not have all its worker slots taken at start.
constexpr int most_looking = 2;
constexpr std::int64_t longest_start = 30 * USECS_PER_SEC;  // of a worker that a former launcher registered

struct Database {
  std::string name;
  bool connectable = false;  // and no template: a worker there would block CREATE DATABASE
};
using Databases = std::map<Oid, Database>;

Databases read_databases() {
  Databases all;
  const MemoryContext context = CurrentMemoryContext;
  try {
    guarded([&] {
      SetCurrentStatementStartTimestamp();
      StartTransactionCommand();
      (void)GetTransactionSnapshot();
      Relation relation = table_open(DatabaseRelationId, AccessShareLock);
      TableScanDesc scan = table_beginscan_catalog(relation, 0, nullptr);
      while (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection)) {
        const auto* form = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
        Database& database = all[form->oid];
        database.name = NameStr(form->datname);
        database.connectable = form->datallowconn && !form->datistemplate && !compat::database_is_invalid(form);
      }
      table_endscan(scan);
      table_close(relation, AccessShareLock);
      CommitTransactionCommand();
      MemoryContextSwitchTo(context);
    });
  } catch (...) {
    guarded([] { AbortCurrentTransaction(); });
    MemoryContextSwitchTo(context);
    throw;
  }
  return all;
}

class Launcher {
 public:
  [[noreturn]] void run() {
    for (;;) {
      MemoryContextReset(CurrentMemoryContext);
      Duration pause = hours(1);
      try {
        pause = step();
      } catch (const std::exception& e) {
        report(LogLevel::warning, "session_reconciler launcher", e);
        pause = seconds(5);
      }
      try {
        waiter_.wait(-1, pause);
      } catch (const std::exception& e) {  // pg_cancel_backend
        report(LogLevel::log, "session_reconciler launcher", e);
      }
    }
  }

 private:
  // Does what is due; returns how long nothing will be.
  Duration step() {
    const std::vector<std::string> listed = settings::databases();
    if (!listed_ || *listed_ != listed) follow_setting(listed);
    forget_finished_handles();

    std::vector<shared::Slot> slots = shared::snapshot();
    int looking = 0;
    for (const shared::Slot& slot : slots)
      looking += slot.state == shared::SlotState::starting || (out_of_workers_ && slot.state == shared::SlotState::wanted);
    bool out_of_slots = false;
    for (auto next = to_look_.begin(); next != to_look_.end() && looking < most_looking;) {
      if (!shared::want(*next, false)) {
        out_of_slots = true;
        break;
      }
      next = to_look_.erase(next);
      ++looking;
    }
    slots = shared::snapshot();
    const TimestampTz now = GetCurrentTimestamp();
    start_due(slots, now);
    note_health(out_of_slots);
    return until_next(now);
  }

  bool allowed(const std::string& name) const {
    return listed_->empty() || std::find(listed_->begin(), listed_->end(), name) != listed_->end();
  }

  // At start, and after a reload that changed the list.
  void follow_setting(const std::vector<std::string>& listed) {
    const Databases all = read_databases();
    listed_ = listed;
    for (const std::string& name : listed) {
      const bool exists = std::any_of(all.begin(), all.end(), [&](const auto& d) { return d.second.name == name; });
      if (!exists)
        report(LogLevel::warning, "session_reconciler.databases names a database that does not exist: \"" + name + "\"");
    }
    to_look_.clear();
    for (const auto& [oid, database] : all)
      if (database.connectable && allowed(database.name)) to_look_.insert(oid);
    for (const shared::Slot& slot : shared::snapshot()) {
      const auto found = all.find(slot.database);
      if (found == all.end() || !allowed(found->second.name)) shared::dismiss(slot.database);
      else to_look_.erase(slot.database);
    }
  }

  void forget_finished_handles() {
    for (auto i = handles_.begin(); i != handles_.end();) {
      pid_t pid;
      bool ended = false;
      guarded([&] { ended = GetBackgroundWorkerPid(i->second, &pid) == BGWH_STOPPED; });
      if (!ended) {
        ++i;
        continue;
      }
      shared::start_failed(i->first);  // only if it never came as far as to take its slot
      pfree(i->second);
      i = handles_.erase(i);
    }
  }

  void start_due(const std::vector<shared::Slot>& slots, TimestampTz now) {
    Databases all;
    for (const shared::Slot& slot : slots) {
      if (slot.state == shared::SlotState::starting && slot.pid == 0 && !handles_.contains(slot.database) &&
          now - slot.started_at > longest_start)
        shared::start_failed(slot.database);
      if (slot.state != shared::SlotState::wanted && slot.state != shared::SlotState::stopped) continue;
      if (slot.state == shared::SlotState::wanted && slot.due_at > now) continue;
      if (all.empty()) all = read_databases();
      const auto found = all.find(slot.database);
      if (found == all.end() || !found->second.connectable) {
        shared::forget(slot.database);
      } else if (slot.state == shared::SlotState::wanted) {
        if (allowed(found->second.name)) start(slot.database, found->second.name);
        else refuse(slot.database, found->second.name);
      }
    }
  }

  void refuse(Oid database, const std::string& name) {
    shared::forget(database);
    if (refused_.insert(database).second)
      report(LogLevel::log, "session_reconciler starts no worker in database \"" + name +
                                "\": session_reconciler.databases does not name it");
  }

  void start(Oid database, const std::string& name) {
    if (!shared::begin_start(database)) return;
    BackgroundWorker worker{};
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = BGW_NEVER_RESTART;  // this launcher does it, with a growing pause
    worker.bgw_notify_pid = MyProcPid;
    worker.bgw_main_arg = ObjectIdGetDatum(database);
    std::snprintf(worker.bgw_library_name, sizeof worker.bgw_library_name, "session_reconciler");
    std::snprintf(worker.bgw_function_name, sizeof worker.bgw_function_name, "reconciler_worker_main");
    std::snprintf(worker.bgw_type, sizeof worker.bgw_type, "session_reconciler worker");
    std::snprintf(worker.bgw_name, sizeof worker.bgw_name, "session_reconciler worker for %s", name.c_str());
    BackgroundWorkerHandle* handle = nullptr;
    bool registered = false;
    guarded([&] {
      MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
      registered = RegisterDynamicBackgroundWorker(&worker, &handle);
      MemoryContextSwitchTo(outer);
    });
    if (registered) handles_[database] = handle;
    else shared::start_failed(database);
    out_of_workers_ = !registered;
  }

  // Says so when it begins, not each time.
  void note_health(bool out_of_slots) {
    shared::set_health(out_of_slots, out_of_workers_);
    if (out_of_slots && !said_slots_)
      report(LogLevel::log, "session_reconciler serves no more than " + std::to_string(shared::slot_count) + " databases", {},
             "Name the databases that need it in session_reconciler.databases.");
    if (out_of_workers_ && !said_workers_)
      report(LogLevel::log, "session_reconciler could not start a worker: the server has no free background worker slot", {},
             "Raise max_worker_processes: one for the launcher and one for each database with an attached table.");
    said_slots_ = out_of_slots;
    said_workers_ = out_of_workers_;
  }

  Duration until_next(TimestampTz now) const {
    std::int64_t next = now + USECS_PER_DAY;
    for (const shared::Slot& slot : shared::snapshot()) {
      if (slot.state == shared::SlotState::wanted) next = std::min(next, slot.due_at);
      // Registered by a former launcher: nobody wakes us.
      if (slot.state == shared::SlotState::starting && slot.pid == 0 && !handles_.contains(slot.database))
        next = std::min(next, slot.started_at + longest_start);
    }
    // Due and not started: a stopped worker was asked for again while it still ends.
    return std::max(Duration(next - now), Duration(seconds(1)));
  }

  BackendWaiter waiter_;
  std::optional<std::vector<std::string>> listed_;  // the setting as last followed
  std::set<Oid> to_look_, refused_;
  std::map<Oid, BackgroundWorkerHandle*> handles_;
  bool out_of_workers_ = false, said_slots_ = false, said_workers_ = false;
};

}  // namespace

void register_launcher() {
  BackgroundWorker launcher{};
  launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;  // not on a standby; by itself after promotion
  launcher.bgw_restart_time = 5;
  std::snprintf(launcher.bgw_library_name, sizeof launcher.bgw_library_name, "session_reconciler");
  std::snprintf(launcher.bgw_function_name, sizeof launcher.bgw_function_name, "reconciler_launcher_main");
  std::snprintf(launcher.bgw_name, sizeof launcher.bgw_name, "session_reconciler launcher");
  std::snprintf(launcher.bgw_type, sizeof launcher.bgw_type, "session_reconciler launcher");
  RegisterBackgroundWorker(&launcher);
}

}  // namespace reconciler

extern "C" {
PGDLLEXPORT void reconciler_launcher_main(Datum);
}

void reconciler_launcher_main(Datum) {
  using namespace reconciler;
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
  if (!shared::available()) {
    report(LogLevel::warning, "session_reconciler launcher: no shared memory of this library's version; restart the server");
    proc_exit(1);
  }
  shared::enter_launcher();
  CurrentMemoryContext = AllocSetContextCreate(TopMemoryContext, "session_reconciler launcher", ALLOCSET_DEFAULT_SIZES);
  ProcessConfigFile(PGC_SIGHUP);  // a SIGHUP before our handler stood was lost
  try {
    Launcher().run();
  } catch (const std::exception& e) {
    report(LogLevel::warning, "session_reconciler launcher ends", e);
  }
  proc_exit(1);  // 0 would keep it away until the server's next start
}
