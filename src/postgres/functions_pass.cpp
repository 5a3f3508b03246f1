// CALL reconcile(), CALL probe_hub(), CALL stop_worker().
#include "postgres/clock.hpp"
#include "postgres/hub_factory.hpp"
#include "postgres/pull_hub.hpp"
#include "postgres/run_pass.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/waiter.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {

RECONCILER_SQL_FUNCTION(reconcile) {
  const std::optional<Oid> sessions = sql_is_null(fcinfo, 0) ? std::nullopt : std::optional(sql_oid(fcinfo, 0));
  guarded([] { PreventCommandDuringRecovery("CALL reconcile()"); });
  Procedure procedure(fcinfo->context, "CALL reconcile()");
  BackendWaiter waiter;
  std::exception_ptr failure;
  const std::vector<int> ids = bindings_to_run(TransactionMode::procedure, sessions);
  if (ids.empty()) notice("no sessions table is attached", "Attach one with attach_sessions().");
  for (int id : ids) {
    try {
      const PassReport report = run_pass(id, TransactionMode::procedure, waiter, true);
      if (!report.ran)
        notice("table " + report.table + " was not reconciled: " + report.why_not, "See reconciler_status().");
      else if (report.paused)
        notice("reconciliation of " + report.table + " is paused", "Resume it with unpause_reconciler().");
    } catch (const PostgresError& e) {
      if (e.cancelled()) throw;
      // One binding's failure must not keep the others from their pass.
      if (!failure) failure = std::current_exception();
    } catch (const std::exception&) {
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(probe_hub) {
  const std::string name = sql_text(fcinfo, 0);
  Procedure procedure(fcinfo->context, "CALL probe_hub()");
  BackendWaiter waiter;
  Transactions transactions(TransactionMode::procedure);
  const auto connected = connect_hub(name, {}, transactions, waiter);
  if (!connected->http()) {
    notice("hub \"" + name + "\" is this database: " + transactions.run("looking who fetches", [] { return who_fetches().text; }));
    return sql_null(fcinfo);
  }
  const std::vector<HttpHub::Probe> probes = connected->http()->probe();
  transactions.run("recording a probe", [&] {
    as_extension_owner([&] {
      for (const HttpHub::Probe& p : probes)
        query("INSERT INTO reconciler.hub_address AS a (hub, address, last_answer, probed_at, probe_ok, probe_detail, probe_took, clock_off)"
              " VALUES ($1, $2, CASE WHEN $4 THEN $3 END, $3, $4, $5, $6, $7) ON CONFLICT (hub, address) DO UPDATE SET"
              " last_answer = coalesce(excluded.last_answer, a.last_answer), probed_at = excluded.probed_at, probe_ok = excluded.probe_ok,"
              " probe_detail = excluded.probe_detail, probe_took = excluded.probe_took, clock_off = excluded.clock_off",
              {Param::text(name), Param::text(p.address), Param::time(database_now()), Param::boolean(p.ok), Param::text(valid_text(p.detail, 500)),
               Param::interval(p.took), Param::interval(p.clock_offset)});
    });
  });
  for (const HttpHub::Probe& p : probes) {
    const std::string took = std::to_string(p.took.count() / 1000) + " ms";
    if (p.ok)
      notice("hub \"" + name + "\" answered at " + p.address + " in " + took + (p.detail.empty() ? "" : ": " + p.detail));
    else
      warn_client("hub \"" + name + "\" did not answer properly at " + p.address + ": " + p.detail, "See preflight() for what that means.");
  }
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(stop_worker) {
  Procedure procedure(fcinfo->context, "CALL stop_worker()");
  switch (shared::stop_worker(MyDatabaseId, seconds(10))) {
    case shared::Stopped::not_preloaded:
      notice("there is no worker: session_reconciler is not in shared_preload_libraries");
      break;
    case shared::Stopped::none_ran: notice("no worker ran in this database; none starts until the server starts, or attach_sessions() or set_mode() asks for one"); break;
    case shared::Stopped::stopped: notice("the worker of this database has stopped; it starts again with the server, or when attach_sessions() or set_mode() asks for it"); break;
    case shared::Stopped::timed_out: throw UserError("55006", "the worker has not stopped within 10 seconds", "Look at its state in pg_stat_activity and call stop_worker() again.");
  }
  return sql_null(fcinfo);
}

}  // namespace reconciler
