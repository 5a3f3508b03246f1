// preflight(): everything that has to be right, looked at in the server's catalogs and our own records. Connects to
// nobody: what a hub says is what the last CALL probe_hub() recorded.
#include <algorithm>

#include "core/text.hpp"
#include "http/credentials.hpp"
#include "postgres/binding_store.hpp"
#include "postgres/clock.hpp"
#include "postgres/hub_factory.hpp"
#include "postgres/pool_agents.hpp"
#include "postgres/pull_hub.hpp"
#include "postgres/role.hpp"
#include "postgres/server.hpp"
#include "postgres/settings.hpp"
#include "postgres/setup_findings.hpp"
#include "postgres/setup_mapping.hpp"
#include "postgres/setup_options.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"
#include "postgres/worker.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

void add(Findings& out, std::string item, std::string status, std::string detail, std::string hint = {}) {
  out.push_back({std::move(item), std::move(status), std::move(detail), std::move(hint)});
}

// Whether they fit: the tables of another version are not to be read.
bool check_version(Findings& out) {
  const std::string extension = extension_version(), library = library_version();
  const std::string advice = version_advice(extension, library);
  add(out, "version", advice.empty() ? "ok" : "fail", "extension " + extension + ", library " + library, advice);
  return advice.empty();
}

// Whether the setting lets a worker come to this database.
bool served(const std::string& database) {
  const std::vector<std::string> named = settings::databases();
  return named.empty() || std::find(named.begin(), named.end(), database) != named.end();
}

void check_worker(Findings& out, bool attached) {
  const Server here = this_server();
  const bool standby = query("SELECT pg_is_in_recovery() AS standby").only().boolean("standby");
  if (!shared::available()) {
    add(out, "worker", "warn", "session_reconciler is not in shared_preload_libraries: passes run only by CALL reconcile()", "Add it to shared_preload_libraries and restart the server, or schedule CALL reconcile().");
    return;
  }
  const std::string most = query("SELECT current_setting('max_worker_processes') AS n").only().text("n");
  const shared::Health health = shared::health();
  if (standby) add(out, "worker", "ok", "none: this is a standby; one starts with its promotion");
  else if (const int pid = shared::worker_pid(here.database)) add(out, "worker", "ok", "running, pid " + std::to_string(pid));
  else if (!attached) add(out, "worker", "ok", "none: no table is attached");
  else if (!served(here.database_name)) add(out, "worker", "fail", "session_reconciler.databases does not name this database, " + here.database_name, "Add it, or leave the setting empty, and reload.");
  else add(out, "worker", "warn", "none is running", "It starts within seconds of attach_sessions() or a restart; after CALL stop_worker() set_mode() starts it. Otherwise the server log says why not.");
  if (health.out_of_workers) add(out, "worker slots", "fail", "a worker could not be started: max_worker_processes is " + most, "Raise max_worker_processes and restart.");
  else if (health.out_of_slots) add(out, "worker slots", "fail", "more databases want a worker than the " + std::to_string(health.slots) + " that are possible", "Name the databases in session_reconciler.databases.");
  else add(out, "worker slots", "ok", std::to_string(health.used) + " of " + std::to_string(health.slots) + " used; max_worker_processes is " + most);
}

std::string megabytes(std::int64_t bytes) { return std::to_string((bytes + 524288) / 1048576) + " MB"; }

void check_events(Findings& out) {
  const Duration keep = settings::event_retention();
  const Rows rows = as_extension_owner([&] {
    return query("SELECT pg_total_relation_size('reconciler.event') AS bytes, (SELECT at FROM reconciler.event ORDER BY id LIMIT 1) AS oldest");
  });
  const std::int64_t bytes = rows[0].integer("bytes");
  const auto oldest = rows[0].maybe_time("oldest");
  const std::string size = megabytes(bytes) + (oldest ? ", oldest of " + instant(*oldest) : ", empty");
  const bool behind = keep.count() > 0 && oldest && elapsed(*oldest, database_now()) > keep + hours(48);
  if (behind) add(out, "events", "warn", size + "; older than session_reconciler.event_retention", "Passes remove a thousand old events each: see that they run.");
  else if (keep.count() == 0 && bytes > std::int64_t{10} * 1024 * 1024 * 1024) add(out, "events", "warn", size + "; they are kept for ever", "Set session_reconciler.event_retention.");
  else add(out, "events", "ok", size + (keep.count() == 0 ? "; kept for ever" : "; kept for " + span(keep)));
}

// Hubs that nobody connects to: who fetches?
void check_pulled(Findings& out) {
  for (Rows::Row hub : as_extension_owner([] { return query("SELECT name FROM reconciler.hub h WHERE profile IN (SELECT p.name FROM reconciler.hub_profile p WHERE p.definition @> '{\"pull\": true}') ORDER BY name"); })) {
    const Fetching fetching = who_fetches();
    add(out, "hub " + hub.text("name"), fetching.any ? "ok" : "warn", fetching.text, fetching.any ? "" : "An agent calls register_agent() when it starts, then next_commands() every few seconds.");
  }
}

// One hub: may it be asked, what did it answer last, does its clock agree with ours.
void check_hub(Findings& out, Rows::Row hub, http::Credentials& credentials, bool credentials_usable) {
  const std::string name = hub.text("name"), item = "hub " + name;
  if (hub.texts("base_urls").empty()) return add(out, item, "fail", "it has no address: it is not asked", "SELECT set_hub(" + quoted_literal(name) + ", 'https://…');");
  for (const std::string& address : hub.texts("base_urls")) {
    try {
      const http::Address parsed = http::parse_address(address);
      if (credentials_usable) credentials.check(parsed);
    } catch (const http::ConfigError& e) {
      add(out, item, "fail", e.what(), e.hint);
    }
  }
  const std::string call = "CALL probe_hub(" + quoted_literal(name) + ");";
  const Rows probes = as_extension_owner([&] {
    return query("SELECT u.address, a.probed_at, a.probe_ok, a.probe_detail, a.clock_off FROM reconciler.hub h, unnest(h.base_urls) AS u(address)"
                 " LEFT JOIN reconciler.hub_address a ON a.hub = $1 AND a.address = u.address WHERE h.name = $1",
                 {Param::text(name)});
  });
  // What passes find counts more than an old probe.
  const Rows passes = as_extension_owner([&] {
    return query("SELECT min(s.hub_unknown_since) AS since, bool_or(s.hub_unauthorized) AS refused FROM reconciler.binding b JOIN reconciler.binding_state s USING (binding_id)"
                 " WHERE b.hub = $1 AND NOT s.hub_up",
                 {Param::text(name)});
  });
  if (!passes[0].null("since"))
    add(out, item, "fail", "passes get no proper answer since " + instant(passes[0].time("since")) + (passes[0].boolean("refused") ? ": it refuses the credential" : ""), call);
  for (Rows::Row probe : probes) {
    const std::string address = probe.text("address");
    if (probe.null("probed_at")) {
      add(out, item, "warn", address + " was never probed", call);
      continue;
    }
    const bool fine = !probe.null("probe_ok") && probe.boolean("probe_ok");
    const std::string said = probe.maybe_text("probe_detail").value_or("");
    add(out, item, fine ? "ok" : "fail", address + (fine ? " answered" : " did not answer properly") + " at " + instant(probe.time("probed_at")) + (said.empty() ? "" : ": " + said), fine ? "" : "Mend it, then " + call);
    if (const auto off = probe.maybe_span("clock_off")) {
      const Duration distance = *off < Duration(0) ? -*off : *off;
      add(out, "clock " + name, distance > seconds(60) ? "fail" : distance > seconds(5) ? "warn" : "ok", address + " is " + span(distance) + (*off < Duration(0) ? " behind" : " ahead of") + " the database",
          distance > seconds(5) ? "Keep both hosts on NTP." : "");
    }
  }
}

// One that was written before such were refused, or restored.
void check_profiles(Findings& out) {
  for (Rows::Row hub : as_extension_owner([] { return query("SELECT h.name, h.profile, p.definition::text AS definition FROM reconciler.hub h JOIN reconciler.hub_profile p ON p.name = h.profile ORDER BY h.name"); })) try {
      usable_profile(hub.text("profile"), hub.text("definition"));
    } catch (const UserError& e) {
      add(out, "hub " + hub.text("name"), "fail", e.what(), e.hint);
    }
}

void check_hubs(Findings& out) {
  check_profiles(out);
  check_pulled(out);
  if (!settings::outbound()) {
    add(out, "outbound", "ok", "session_reconciler.outbound is off: no connection is attempted; evidence has to be pushed");
    return;
  }
  http::Credentials credentials(settings::credentials_file());
  bool usable = true;
  try {
    credentials.refresh();
    for (const std::string& warning : credentials.warnings()) add(out, "credentials", "warn", warning, "Mode 0600 or 0640 keeps others out.");
    if (credentials.warnings().empty()) add(out, "credentials", "ok", settings::credentials_file().empty() ? "no file: only hubs on loopback are talked to" : "the file is private and readable");
  } catch (const http::ConfigError& e) {
    usable = false;
    add(out, "credentials", "fail", e.what(), e.hint);
  }
  const Rows hubs = as_extension_owner([] { return query("SELECT name, base_urls FROM reconciler.hub WHERE profile NOT IN (SELECT p.name FROM reconciler.hub_profile p WHERE p.definition @> '{\"pull\": true}') ORDER BY name"); });
  for (Rows::Row hub : hubs) check_hub(out, hub, credentials, usable);
}

void check_identity(Findings& out, const std::string& prefix, const AttachedBinding& b) {
  const Server here = this_server();
  const bool same = here.system == b.armed_system && here.database == b.armed_database && here.database_name == b.armed_name;
  add(out, prefix + "identity", same ? "ok" : "fail", same ? "this is the database it was attached in" : "it was attached in another database (" + b.armed_name + "): nothing is sent or written",
      same ? "" : "If this copy is to act: SELECT confirm_identity('reason').");
}

// What passes left behind: mode, safe mode, brake, the hub's last answer.
void check_runtime(Findings& out, const std::string& prefix, int id) {
  const Rows rows = as_extension_owner([&] {
    return query("SELECT format('%I.%I', b.schema_name, b.table_name) AS name, b.mode, b.mode_reason, b.hub, b.paused_at, b.paused_by, b.pause_reason, s.safe_mode_since, s.last_error, s.last_pass_at, s.unserved_scans, s.no_pass_before, s.hub_unauthorized, k.tripped, k.tripped_why, k.slowed,"
                 " (SELECT e.agent_id FROM reconciler.agent_evidence e WHERE e.binding_id = b.binding_id AND e.detail LIKE '%it is another hub%' LIMIT 1) AS foreign_agent,"
                 " (SELECT string_agg(quote_ident(e.agent_id), ', ' ORDER BY e.suspect_since) FROM (SELECT * FROM reconciler.agent_evidence e WHERE e.binding_id = b.binding_id AND e.suspect_since IS NOT NULL ORDER BY e.suspect_since LIMIT 10) AS e) AS suspects"
                 " FROM reconciler.binding b LEFT JOIN reconciler.binding_state s USING (binding_id) LEFT JOIN reconciler.brake k USING (binding_id) WHERE b.binding_id = $1",
                 {Param::integer(id)});
  });
  if (rows.empty()) return;
  const Rows::Row row = rows[0];
  const std::string mode = row.text("mode"), mode_reason = row.text("mode_reason");
  if (mode == "broken") add(out, prefix + "mode", "fail", "broken: " + mode_reason, "Mend it, then SELECT set_mode('enforce', 'reason').");
  else add(out, prefix + "mode", "ok", mode + (mode_reason.empty() ? "" : ": " + mode_reason));
  if (!row.null("paused_at")) add(out, prefix + "pause", "warn", "paused by " + row.text("paused_by") + " since " + instant(row.time("paused_at")) + ": " + row.maybe_text("pause_reason").value_or(""), "SELECT unpause_reconciler('reason').");
  if (!row.null("safe_mode_since")) add(out, prefix + "safe mode", "fail", "since " + instant(row.time("safe_mode_since")) + ": passes crashed the server", "See the server log; then SELECT set_mode(…), or install another library.");
  if (!row.null("tripped")) add(out, prefix + "brake", "fail", "tripped since " + instant(row.time("tripped")) + ": " + row.maybe_text("tripped_why").value_or(""),
                                 "Look at reconciler_status() and reconcile_plan(). SELECT reset_brake('reason', sessions => " + quoted_literal(row.text("name")) + ") lets them through; with 0 as its second argument it releases the brake, which trips again if as many are still due.");
  else if (const std::string why = row.maybe_text("slowed").value_or(""); !why.empty())
    add(out, prefix + "brake", "warn", why + ": inferred forces go at a tenth of their pace", "See reconciler.agent_evidence for which, and why.");
  else add(out, prefix + "brake", "ok", "not tripped");
  if (const auto error = row.maybe_text("last_error"); error && !error->empty()) add(out, prefix + "last pass", "fail", *error);
  if (const auto unserved = row.maybe_span("unserved_scans"); unserved && row.time("no_pass_before") > row.time("last_pass_at") + settings::interval())
    add(out, prefix + "pace", "warn", "scans that no index serves took " + span(*unserved) + " in the last pass: the worker makes none before " + instant(row.time("no_pass_before")), "Create the indexes that are missing: see the rows index ….");
  if (const auto suspects = row.maybe_text("suspects"))
    add(out, prefix + "agents", "warn", "they accept commands and end none of them: " + *suspects, "See whether they do anything at all. One that ends a command, or is replaced, leaves this list by itself.");
  if (row.null("hub") && settings::outbound()) add(out, prefix + "hub", "warn", "none: no agent is asked", "SELECT set_hub('name', 'https://…').");
  if (row.maybe_boolean("hub_unauthorized").value_or(false)) add(out, prefix + "hub", "fail", "it refused our credential in the last pass", "Renew the token in its file; it is read again by itself.");
  if (const auto agent = row.maybe_text("foreign_agent"))
    add(out, prefix + "hub", "fail", "it does not know agent \"" + *agent + "\", which the agents table has: it is another hub", "Give the address of this platform's hub to set_hub().");
}

// As the table's statistics have it: they cost nothing, and are as old as the last ANALYZE.
void check_states(Findings& out, const std::string& prefix, int id) {
  const Rows rows = as_extension_owner([&] {
    return query("SELECT string_agg(DISTINCT s.state, ', ' ORDER BY s.state) AS states FROM reconciler.binding b JOIN pg_stats t ON (t.schemaname, t.tablename, t.attname) = (b.schema_name, b.table_name, b.columns->>'state'),"
                 " unnest(t.most_common_vals::text::text[]) AS s(state)"
                 " WHERE b.binding_id = $1 AND s.state <> ALL (b.terminal_states) AND NOT EXISTS (SELECT FROM reconciler.policy p WHERE p.binding_id = b.binding_id AND p.state = s.state)",
                 {Param::integer(id)});
  });
  if (const auto states = rows[0].maybe_text("states"))
    add(out, prefix + "states", "warn", "sessions are in states that no policy knows: " + *states, "SELECT * FROM session_coverage() counts them and says what to do.");
}

// Two reconcilers on one table undo each other. Sessions with a reason of ours that we have not closed, by the table's
// statistics.
void check_reasons(Findings& out, const std::string& prefix, int id) {
  const Rows rows = as_extension_owner([&] {
    return query("WITH found AS (SELECT b.columns->>'reason' AS name, f.reason, (f.frequency * greatest(c.reltuples, 0))::bigint AS n,"
                 "   (SELECT coalesce(sum(k.value), 0)::bigint FROM reconciler.counter k WHERE k.binding_id = b.binding_id AND k.label = f.reason AND k.name IN ('reconciler_forced_total', 'reconciler_finalized_total')) AS ours"
                 "  FROM reconciler.binding b JOIN pg_class c ON c.oid = b.sessions JOIN pg_stats t ON (t.schemaname, t.tablename, t.attname) = (b.schema_name, b.table_name, b.columns->>'reason'),"
                 "   unnest(t.most_common_vals::text::text[], t.most_common_freqs) AS f(reason, frequency)"
                 "  WHERE b.binding_id = $1 AND f.reason = ANY ('{agent_unavailable,agent_disconnected,no_agent,runtime_gone,stop_unconfirmed}'))"
                 " SELECT string_agg(format('about %s sessions have %s = %s, and %s of them were closed here', n, name, reason, ours), '; ' ORDER BY reason) AS reasons FROM found WHERE n > ours * 1.2 + 10",
                 {Param::integer(id)});
  });
  if (const auto reasons = rows[0].maybe_text("reasons"))
    add(out, prefix + "foreign writers", "warn", *reasons + ": somebody else writes reasons of ours",
        "If it is not what we closed before the table was detached last: find the other reconciler, and let one of the two do this.");
}

// A closed session is taken back only where the hub can say that it still runs.
void check_late_return(Findings& out, const std::string& prefix, int id) {
  const Rows rows = as_extension_owner([&] {
    return query("SELECT string_agg(p.state, ', ' ORDER BY p.state) AS states, d.name, d.definition::text AS definition FROM reconciler.policy p JOIN reconciler.binding b USING (binding_id)"
                 " JOIN reconciler.hub h ON h.name = b.hub JOIN reconciler.hub_profile d ON d.name = h.profile WHERE p.binding_id = $1 AND p.enabled AND p.late_return = 'readopt' GROUP BY d.name, d.definition",
                 {Param::integer(id)});
  });
  try {
    if (rows.empty() || usable_profile(rows[0].text("name"), rows[0].text("definition")).can_ask_session()) return;
  } catch (const UserError&) {
    return;  // the hub's row says so
  }
  add(out, prefix + "late return", "warn", "late_return is readopt for " + rows[0].text("states") + ", but hub profile " + rows[0].text("name") + " can't ask about a session: what is closed stays closed, and an agent that returns gets no stop",
      "Give the profile a request ask_session, or UPDATE reconciler.policy SET late_return = 'keep_terminated' WHERE binding_id = " + std::to_string(id) + ".");
}

// A policy that judges by runtimes does nothing where nobody says anything of them.
void check_runtimes(Findings& out, const std::string& prefix, const AttachedBinding& b) {
  std::string states;
  for (const Policy& policy : b.binding.policies)
    if (policy.enabled && policy.judged_by == JudgedBy::runtime) states += (states.empty() ? "" : ", ") + policy.state;
  if (states.empty()) return;
  if (!b.mapping.sessions.runtime) return add(out, prefix + "runtimes", "warn", "sessions in " + states + " are judged by their runtime, and no column names it: they are shown, never closed", "Attach again with option \"runtime_column\".");
  const Rows rows = as_extension_owner([&] {
    return query("SELECT count(DISTINCT source) AS sources, max(observed_at) AS newest, string_agg(DISTINCT source, ', ' ORDER BY source) AS names, (SELECT d.definition ? 'ask_session' FROM reconciler.hub h JOIN reconciler.hub_profile d ON d.name = h.profile WHERE h.name = $2) AS asked"
                 " FROM reconciler.runtime_evidence WHERE binding_id = $1 AND presence <> 'unknown'", {Param::integer(b.binding.id), Param::text(b.binding.hub)});
  });
  const Rows::Row row = rows[0];
  const auto newest = row.maybe_time("newest");
  const bool asks = row.maybe_boolean("asked").value_or(false) && settings::outbound();
  if (!newest && asks) return add(out, prefix + "runtimes", "ok", "the hub is asked about sessions in " + states);
  const Rows limits = as_extension_owner([] { return query("SELECT max(max_age) AS longest FROM reconciler.evidence_source"); });
  const Duration longest = std::max(limits[0].maybe_span("longest").value_or(Duration(0)), 2 * b.binding.limits.interval);
  const bool fresh = newest && elapsed(*newest, database_now()) <= longest;
  add(out, prefix + "runtimes", fresh ? "ok" : "warn",
      "sessions in " + states + " are judged by their runtime; " + (newest ? "last said something of one: " + row.text("names") + ", the newest at " + instant(*newest) : std::string("nobody says anything of any, so that nothing is done")),
      fresh ? "" : "report_evidence() and report_inventory() push what is known; a hub whose profile has ask_session is asked.");
}

// Lists of all that is there that wait for a person.
void check_inventories(Findings& out) {
  for (Rows::Row row : as_extension_owner([] { return query("SELECT * FROM reconciler.inventory WHERE state = 'rejected' ORDER BY inventory_id"); }))
    add(out, "inventory of " + row.text("source") + (row.text("scope").empty() ? "" : "/" + row.text("scope")), "fail", "rejected at " + instant(row.time("received_at")) + ": " + row.text("why"),
        "If it is right: SELECT accept_inventory(" + std::to_string(row.integer("inventory_id")) + ", 'reason').");
}

// What a restore that failed half-way, or a table that was replaced, has left.
void check_guards(Findings& out) {
  for (Rows::Row row : as_extension_owner([&] {
         return query("SELECT format('%I ON %I.%I', t.tgname, n.nspname, c.relname) AS name FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
                      " WHERE " + is_guard() + " AND t.tgparentid = 0 AND NOT EXISTS (SELECT FROM reconciler.binding b WHERE b.sessions = t.tgrelid AND b.guard_terminal AND " + names_binding("b.binding_id") + ") ORDER BY name");
       }))
    add(out, "guard triggers", "warn", "trigger " + row.text("name") + " guards nothing: no table is attached that has it", "DROP TRIGGER " + row.text("name") + ";");
}

// Agents that the hub lists, or that register themselves, and no session can have.
void check_rowless_agents(Findings& out, const std::string& prefix, const AttachedBinding& b) {
  if (!b.binding.pools || !b.mapping.agents) return;
  std::vector<std::string> agents;
  as_extension_owner([&] {
    for (Rows::Row row : query("SELECT agent_id FROM reconciler.agent WHERE connected AND source <> 'table' ORDER BY agent_id LIMIT 10000")) agents.push_back(row.text(0));
  });
  try {
    std::vector<std::string> without = Transactions::subtransaction([&] { return rowless(b, agents); });
    if (without.empty()) return;
    const std::size_t count = without.size();
    without.resize(std::min<std::size_t>(count, 10));
    add(out, prefix + "agents", "warn", std::to_string(count) + (count == 1 ? " agent of a pool has" : " agents of pools have") + " no row in the agents table and so get no session of this table: " + comma_list(without) + (count > 10 ? ", …" : ""),
        "Writing their rows is the application's; they take its sessions from then on.");
  } catch (const PostgresError&) {
    // What can't be read the rows on rights say.
  }
}

void check_table(Findings& out, int id) {
  const Rows rows = as_extension_owner([&] { return query("SELECT format('%I.%I', schema_name, table_name) AS name, sessions::oid AS oid FROM reconciler.binding WHERE binding_id = $1", {Param::integer(id)}); });
  if (rows.empty()) return;
  const std::string prefix = rows[0].text("name") + ": ";
  check_runtime(out, prefix, id);
  try {
    const AttachedBinding binding = Transactions::subtransaction([&] {
      return as_extension_owner([&] {
        AttachedBinding loaded = load_binding(id);
        check_mapping(id);
        return loaded;
      });
    });
    add(out, prefix + "mapping", "ok", "table and columns are as attached");
    check_identity(out, prefix, binding);
    check_states(out, prefix, id);
    check_reasons(out, prefix, id);
    check_late_return(out, prefix, id);
    check_rowless_agents(out, prefix, binding);
    check_runtimes(out, prefix, binding);
    if (!binding.guard_terminal) add(out, prefix + "guard", "ok", "off: an agent that comes back late may write a session that was closed");
    for (const Finding& f : table_findings(binding, look_at(static_cast<Oid>(rows[0].integer("oid")))))
      add(out, prefix + f.item, f.status == "info" ? "ok" : f.status == "missing" ? "warn" : f.status, f.detail, f.hint);
  } catch (const UserError& e) {
    add(out, prefix + "mapping", "fail", e.what(), e.hint);
  }
}

}  // namespace

RECONCILER_SQL_FUNCTION(preflight) {
  Findings findings;
  const std::vector<int> ids = as_extension_owner([] { return binding_ids(std::nullopt); });
  const bool fits = check_version(findings);
  check_worker(findings, !ids.empty());
  check_hubs(findings);
  if (fits) check_inventories(findings);
  check_events(findings);
  if (ids.empty()) add(findings, "attached tables", "warn", "none", "SELECT * FROM attach_sessions('schema.table').");
  if (fits) check_guards(findings);
  if (fits) cluster_findings(findings);
  for (int id : ids)
    if (fits) check_table(findings, id);
  SqlTable out(fcinfo);
  for (const Finding& f : findings) out.add({f.item, f.status, f.detail, f.hint.empty() ? SqlCell() : SqlCell(f.hint)});
  return sql_null(fcinfo);
}

}  // namespace reconciler
