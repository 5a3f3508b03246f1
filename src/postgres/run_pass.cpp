#include "postgres/run_pass.hpp"

#include "postgres/clock.hpp"
#include "postgres/hub_factory.hpp"
#include "postgres/settings.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

// Class 42 is "syntax error or access rule violation": an object or a right has gone.
bool structural(const std::string& sqlstate) { return sqlstate.starts_with("42") || sqlstate == "55000"; }

void mark_broken(int id, Transactions& transactions, const std::string& why) {
  transactions.run("marking a binding broken", [&] {
    as_extension_owner([&] {
      const Rows rows = query("UPDATE reconciler.binding SET mode = 'broken', mode_reason = $2 WHERE binding_id = $1 AND mode <> 'broken'"
                              " RETURNING schema_name, table_name",
                              {Param::integer(id), Param::text(why)});
      if (rows.empty()) return;
      AttachedBinding name;
      name.schema = rows[0].text("schema_name"), name.table = rows[0].text("table_name");
      write_events(name, std::nullopt, database_now(), "session_reconciler",
                   {{.session = {}, .kind = "error", .from_state = {}, .to_state = {}, .reason = why, .rule = {}, .evidence = {}, .before = {}, .after = {}}});
      report(LogLevel::warning, "session_reconciler: binding of " + name.schema + "." + name.table + " is broken: " + why,
             "It is left alone; other bindings go on.", "Mend it, then SELECT set_mode('enforce', 'reason', 'table').");
    });
  });
}

// Of a pass that has not begun, and so can't say so at its end.
void leave_error(int id, Transactions& transactions, const std::string& why) {
  transactions.run("recording an error", [&] {
    as_extension_owner([&] {
      query("INSERT INTO reconciler.binding_state (binding_id, last_error) VALUES ($1, $2) ON CONFLICT (binding_id) DO UPDATE SET last_error = excluded.last_error",
            {Param::integer(id), Param::text(valid_text(why, 1000))});
    });
  });
}

// With the switch of outbound connections off there is none, but one that is this database: what is known is pushed.
std::unique_ptr<ConnectedHub> hub_for(const AttachedBinding& attached, Transactions& transactions, Waiter& waiter) {
  if (!attached.binding.hub) return nullptr;
  try {
    auto hub = connect_hub(*attached.binding.hub, attached.binding, transactions, waiter);
    if (!settings::outbound() && !hub->hub().profile().pulls()) return nullptr;
    return hub;
  } catch (const http::ConfigError& e) {
    // A bad credentials file makes the hub unknown, not the pass fail: completions still close sessions.
    report(LogLevel::warning, std::string("session_reconciler: hub ") + *attached.binding.hub + ": " + e.what(), {}, e.hint);
    return nullptr;
  } catch (const UserError& e) {
    leave_error(attached.binding.id, transactions, e.what());
    throw;
  }
}

}  // namespace

std::vector<int> bindings_to_run(TransactionMode mode, std::optional<Oid> sessions) {
  return Transactions(mode).run("reading bindings", [&] { return as_extension_owner([&] { return binding_ids(sessions); }); });
}

std::string binding_name(int id, TransactionMode mode) {
  return Transactions(mode).run("reading a binding", [&] {
    return as_extension_owner([&] {
      const Rows rows = query("SELECT format('%I.%I', schema_name, table_name) AS name FROM reconciler.binding WHERE binding_id = $1", {Param::integer(id)});
      return rows.empty() ? std::string("(detached)") : rows[0].text("name");
    });
  });
}

Duration rest_of(int id, TransactionMode mode) {
  return Transactions(mode).run("reading when the next pass is due", [&] {
    return as_extension_owner([&] {
      const Time at = database_now();
      // A last pass that lies ahead means that the clock was set back.
      const Rows rows = query("SELECT no_pass_before - $2 AS rest FROM reconciler.binding_state WHERE binding_id = $1 AND no_pass_before > $2 AND last_pass_at <= $2",
                              {Param::integer(id), Param::time(at)});
      return rows.empty() ? Duration(0) : rows[0].span("rest");
    });
  });
}

PassReport run_pass(int id, TransactionMode mode, Waiter& waiter, bool ask_again) {
  Transactions transactions(mode);
  PassReport report;
  Oid owner = 0;
  const auto broken = [&](const std::string& why) {
    report.table = binding_name(id, mode);
    mark_broken(id, transactions, report.why_not = why);
  };
  try {
    AttachedBinding attached = transactions.run("reading a binding", [&] { return as_extension_owner([&] { return load_binding(id); }); });
    report.table = attached.binding.name;
    report.paused = attached.paused;
    owner = attached.mapping.sessions.owner;
    if (attached.mode == Mode::off || attached.mode == Mode::broken) {
      report.why_not = attached.mode == Mode::off ? "its mode is off" : "it is broken";
      return report;
    }
    const auto hub = hub_for(attached, transactions, waiter);
    PgStore store(std::move(attached), mode);
    report.began = store.now();
    report.end = Pass(store, hub ? &hub->hub() : nullptr, waiter).run(ask_again);
    report.ran = true;
    if (hub) hub->note_answers(transactions);
  } catch (const UserError& e) {
    if (!structural(e.sqlstate)) throw;
    broken(e.what());
  } catch (const ExtensionMissing&) {
    throw;
  } catch (const PostgresError& e) {
    if (!structural(e.sqlstate)) throw;
    // A table that was renamed and back while a pass ran, or given to another owner, is no broken one.
    if (const auto owner_now = owner_if_it_loads(id, transactions); owner_now && (e.is("42P01") || e.is("42703") || *owner_now != owner)) throw;
    broken(e.message);
  }
  return report;
}

}  // namespace reconciler
