
#include "core/json.hpp"
#include "core/text.hpp"
#include "postgres/pull_hub.hpp"
#include "postgres/repairs.hpp"
#include "postgres/server.hpp"
#include "postgres/settings.hpp"
#include "postgres/setup_detect.hpp"
#include "postgres/store.hpp"
#include "postgres/worker.hpp"

namespace reconciler {

// What stands between verdicts and deeds for this binding now. Inside a transaction, as the extension's owner.
Gates PgStore::gates(Time at) {
  Gates g;
  g.mode = b_.mode, g.mode_reason = b_.mode_reason;
  g.paused = b_.paused, g.paused_everything = b_.paused_everything;
  g.version_fits = version_advice(extension_version(), library_version()).empty();
  const Server here = this_server();
  g.identity_confirmed = here.system == b_.armed_system && here.database == b_.armed_database && here.database_name == b_.armed_name;
  const Rows rows = query("SELECT s.first_pass_at, s.promoted_at, s.server_started_at, s.safe_mode_since, b.tripped, coalesce(b.allowance, 0) AS allowance, coalesce(b.slowed, '') <> '' AS slowed,"
                          " (SELECT max(i.since) FROM reconciler.hub_instance i WHERE i.hub = $2) AS instance"
                          " FROM reconciler.binding_state s LEFT JOIN reconciler.brake b USING (binding_id) WHERE s.binding_id = $1",
                          {Param::integer(b_.binding.id), Param::text(b_.binding.hub)});
  Grace grace{.server_started = here.started, .first_pass = at, .new_instance = {}, .promoted = {},
              .start = b_.start_grace, .instance = b_.instance_grace, .promotion = b_.promotion_grace};
  if (!rows.empty()) {
    const Rows::Row row = rows[0];
    const auto first = row.maybe_time("first_pass_at");
    // Of a server that started since, the first pass is still to come.
    if (first && row.maybe_time("server_started_at") == here.started) grace.first_pass = *first;
    grace.new_instance = row.maybe_time("instance"), grace.promoted = row.maybe_time("promoted_at");
    g.safe_mode = !row.null("safe_mode_since");
    g.brake_tripped = !row.null("tripped");
    g.allowance = row.integer("allowance");
    g.brake_slowed = row.boolean("slowed");
  }
  g.grace_until = grace.until(at);
  return g;
}

bool PgStore::still_allowed(bool proven) {
  return !query("SELECT 1 FROM reconciler.binding WHERE binding_id = $1 AND mode = 'enforce' AND (paused_at IS NULL OR ($2 AND NOT pause_everything))",
                {Param::integer(b_.binding.id), Param::boolean(proven)})
              .empty();
}

PassStart PgStore::peek() {
  return transactions_.run("reading gates", [&] {
    return ours([&] {
      PassStart start;
      start.now = now();
      start.gates = gates(start.now);
      return start;
    });
  });
}

// Passes that began and never ended. One whose witness is gone was ended by a crash; one whose process is gone and
// whose witness is not was stopped in an orderly way. Three crashes within 10 minutes: safe mode.
void PgStore::notice_crashes(Time at) {
  const Rows left = query("SELECT p.pass_id, p.started_at, w.pass_id IS NULL AS crashed FROM reconciler.pass p LEFT JOIN reconciler.pass_witness w USING (pass_id)"
                          " WHERE p.binding_id = $1 AND (w.pass_id IS NULL OR NOT EXISTS (SELECT FROM pg_stat_get_activity(p.pid)))",
                          {Param::integer(b_.binding.id)});
  if (left.empty()) return;
  std::vector<std::int64_t> ids;
  std::vector<std::optional<Time>> crashes;
  for (Rows::Row row : left) {
    ids.push_back(row.integer("pass_id"));
    if (row.boolean("crashed")) crashes.push_back(row.time("started_at"));
  }
  query("DELETE FROM reconciler.pass WHERE pass_id = ANY($1)", {Param::integers(ids)});
  query("DELETE FROM reconciler.pass_witness WHERE pass_id = ANY($1)", {Param::integers(ids)});
  if (crashes.empty()) return;
  const Rows state = query("UPDATE reconciler.binding_state SET crashes = ARRAY(SELECT c FROM unnest(crashes || $2::timestamptz[]) AS c WHERE c > $3::timestamptz - interval '10 minutes' ORDER BY c)"
                           " WHERE binding_id = $1 RETURNING cardinality(crashes) AS n, safe_mode_since",
                           {Param::integer(b_.binding.id), Param::times(crashes), Param::time(at)});
  if (state.empty() || state[0].integer("n") < 3 || !state[0].null("safe_mode_since")) return;
  query("UPDATE reconciler.binding_state SET safe_mode_since = $2 WHERE binding_id = $1", {Param::integer(b_.binding.id), Param::time(at)});
  const std::string what = "safe mode: three passes over " + b_.binding.name + " crashed the server within 10 minutes";
  write_events(b_, std::nullopt, at, actor_, {{.session = {}, .kind = "error", .from_state = {}, .to_state = {}, .reason = what, .rule = {}, .evidence = {}, .before = {}, .after = {}}});
  report(LogLevel::warning, "session_reconciler: " + what, "Nothing is scanned or sent for it.", "Look at the server log; then SELECT set_mode(…) or install another library.");
}

PassStart PgStore::begin_pass() {
  return transactions_.run("beginning a pass", [&] {
    return ours([&] {
      PassStart start;
      const Time at = start.now = now();
      const Server here = this_server();
      notice_crashes(at);
      // A timeline that we have not written on before: a promotion, or a restore to a point in time.
      const auto begin = [&] {
        return query("UPDATE reconciler.binding_state SET first_pass_at = CASE WHEN server_started_at IS DISTINCT FROM $3 THEN $2 ELSE coalesce(first_pass_at, $2) END,"
                               " server_started_at = $3, promoted_at = CASE WHEN timeline <> $4 THEN $2 ELSE promoted_at END, timeline = $4,"
                               " pass_starts = ($2::timestamptz || pass_starts)[1:4], safe_mode_since = CASE WHEN library = $5 THEN safe_mode_since END,"
                               " crashes = CASE WHEN library = $5 THEN crashes ELSE '{}' END, library = $5"
                               " WHERE binding_id = $1 RETURNING nextval('reconciler.pass_id') AS pass_id",
                               {Param::integer(b_.binding.id), Param::time(at), Param::time(here.started), Param::integer(here.timeline), Param::text(library_version())});
      };
      Rows begun = begin();
      if (begun.empty()) {  // the first pass of all
        query("INSERT INTO reconciler.binding_state (binding_id) VALUES ($1) ON CONFLICT DO NOTHING", {Param::integer(b_.binding.id)});
        begun = begin();
      }
      start.pass_id = begun.only().integer("pass_id");
      query("WITH witness AS (INSERT INTO reconciler.pass_witness VALUES ($1)) INSERT INTO reconciler.pass (pass_id, binding_id, started_at, pid) VALUES ($1, $2, $3, $4)",
            {Param::integer(start.pass_id), Param::integer(b_.binding.id), Param::time(at), Param::integer(here.pid)});
      start.gates = gates(at);
      return start;
    });
  });
}

bool PgStore::served(const std::string& state) {
  if (state == look_for_orphans) return false;
  if (!state.empty()) return index_for_state(b_.mapping.sessions.relation, b_.mapping.sessions.state.name, state).has_value();
  const CommandsTable& c = *b_.mapping.commands;
  const auto table = c.created ? table_named(c.qualified, "") : std::nullopt;
  return table && index_for_latest(*table, c.action.name, "stop_session", c.created->name);
}

// A scan that no index serves reads the whole table, however few sessions are stuck. Only what took this long together
// is worth a look at the catalog.
Duration PgStore::unserved_scans() {
  Duration all{0}, unserved{0};
  for (const auto& [state, took] : scans_) all += took;
  if (50 * all >= seconds(1))
    for (const auto& [state, took] : scans_)
      if (!served(state)) unserved += took;
  return unserved;
}

namespace {

// `found`: whether there is anything to tidy.
void tidy(int binding, const Rows::Row& found, Time at) {
  if (found.boolean("guarded"))
    if (const Rows refused = query("DELETE FROM reconciler.counter WHERE binding_id = $1 AND name = 'reconciler_guarded_total' AND label <> '' RETURNING label", {Param::integer(binding)}); !refused.empty())
      count(binding, "reconciler_guarded_total", "", static_cast<double>(refused.size()));
  const Duration keep = settings::event_retention();
  if (const auto oldest = found.maybe_time("oldest_event"); keep.count() > 0 && oldest && *oldest < at - keep) {
    const Retention retention;
    query("DELETE FROM reconciler.event WHERE id IN (SELECT id FROM reconciler.event ORDER BY id LIMIT 1000) AND at < $1", {Param::time(at - keep)});
  }
  if (found.boolean("commands")) tidy_commands(binding, at);
}

// Outbound connections are off, and the hub is not this database. As the extension's owner.
bool asks_nobody(const Binding& binding) {
  return !settings::outbound() && query("SELECT FROM reconciler.hub h JOIN reconciler.hub_profile d ON d.name = h.profile WHERE h.name = $1 AND d.definition @> '{\"pull\": true}'", {Param::text(binding.hub)}).empty();
}

}  // namespace

void PgStore::end_pass(const PassStart& start, const PassEnd& end) {
  note_acted();
  transactions_.run("ending a pass", [&] {
    // Deeds are committed by now. What is left tells how the pass went: a crash that takes it back makes the pass look
    // like one that the crash ended.
    transactions_.need_not_be_flushed();
    ours([&] {
      const Time at = now();
      nlohmann::json stuck = nlohmann::json::object();
      for (const auto& [state, n] : end.stuck_by_state) stuck[state] = n;
      const std::string stuck_text = stuck.dump();
      const std::int64_t acted = end.retried + end.finalized + end.forced + end.quarantined + end.reassigned;
      // The worker then rests for 50 times as long: 2 % of a core.
      const Duration unserved = unserved_scans(), rest = 50 * unserved, usual = settings::interval();
      const bool none = unserved == Duration(0);
      const Rows was = query("WITH was AS (SELECT binding_id, unserved_scans FROM reconciler.binding_state WHERE binding_id = $1)"
            " UPDATE reconciler.binding_state s SET last_pass_at = $2, last_pass_took = $3 - $2, last_success_at = CASE WHEN $4 = '' THEN $3 ELSE last_success_at END,"
            " last_scanned = $5, last_acted = $6, last_error = $4, next_due = $7, stuck = CASE WHEN $4 = '' THEN $8 ELSE stuck END, hub_up = coalesce($9, CASE WHEN $13 THEN hub_up END),"
            " hub_unknown_since = CASE WHEN $9 THEN NULL WHEN NOT $9 THEN coalesce(hub_unknown_since, $3) WHEN $13 THEN hub_unknown_since END,"
            " hub_unauthorized = CASE WHEN $9 IS NULL THEN hub_unauthorized ELSE $10 END, unserved_scans = $11, no_pass_before = $12"
            " FROM was WHERE s.binding_id = was.binding_id RETURNING was.unserved_scans,"
            // Events ascend by id and time alike.
            " EXISTS (SELECT FROM reconciler.counter c WHERE c.binding_id = $1 AND c.name = 'reconciler_guarded_total' AND c.label <> '') AS guarded,"
            " EXISTS (SELECT FROM reconciler.command) AS commands, (SELECT e.at FROM reconciler.event e ORDER BY e.id LIMIT 1) AS oldest_event",
            {Param::integer(b_.binding.id), Param::time(start.now), Param::time(at), Param::text(valid_text(end.error, 1000)), Param::integer(end.scanned), Param::integer(acted),
             Param::time(end.next_due), Param::jsonb(std::string_view(stuck_text)), Param::boolean(end.hub_up), Param::boolean(end.hub_unauthorized),
             Param::interval(none ? std::nullopt : std::optional(unserved)), Param::time(none ? std::nullopt : std::optional(at + rest)), Param::boolean(!asks_nobody(b_.binding))});
      if (rest > usual && !was.empty() && 50 * was[0].maybe_span(0).value_or(Duration(0)) <= usual)
        report(LogLevel::log, "session_reconciler: scans of " + b_.binding.name + " that no index serves took " + span(unserved) + ": the worker rests for " + span(rest) + " after each pass", {},
               "preflight() names the missing indexes.");
      if (end.hub_requests > 0) {
        count(b_.binding.id, "reconciler_hub_requests_total", "", static_cast<double>(end.hub_requests));
        count(b_.binding.id, "reconciler_hub_requests_failed_total", "", static_cast<double>(end.hub_failed));
        count(b_.binding.id, "reconciler_hub_request_seconds_sum", "", static_cast<double>(end.hub_time.count()) / 1e6);
      }
      if (!was.empty()) tidy(b_.binding.id, was[0], at);
      if (b_.binding.judges_by_runtime()) forget_runtimes(at);
      query("WITH witness AS (DELETE FROM reconciler.pass_witness WHERE pass_id = $1) DELETE FROM reconciler.pass WHERE pass_id = $1", {Param::integer(start.pass_id)});
    });
  });
}

}  // namespace reconciler
