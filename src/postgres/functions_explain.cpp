// explain_session(): the verdict's trace, what stands between it and the deed, and what a person can do.

#include "core/json.hpp"
#include "core/rules.hpp"
#include "core/text.hpp"
#include "engine/facts.hpp"
#include "engine/look.hpp"
#include "engine/siblings.hpp"
#include "postgres/cells.hpp"
#include "postgres/clock.hpp"
#include "postgres/hub_factory.hpp"
#include "postgres/repairs.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

class Steps {
 public:
  explicit Steps(FunctionCallInfo fcinfo) : table_(fcinfo) {}
  void add(std::string_view rule, const std::string& outcome, const std::string& detail) {
    table_.add({std::to_string(++n_), std::string(rule), outcome, detail});
  }

 private:
  SqlTable table_;
  int n_ = 0;
};

using Said = std::map<std::string, std::vector<Evidence>>;  // of each runtime, by its sources

void explain_inputs(Steps& steps, const AttachedBinding& b, const Seen& seen, const Said& sources) {
  const Session& s = seen.tracked.session;
  const auto text = [](const std::optional<std::string>& value) { return value ? "\"" + *value + "\"" : std::string("NULL"); };
  steps.add("session", s.state, "row of " + b.binding.name + ": agent " + text(s.agent) + ", runtime " + text(s.runtime) + ", created " + text(s.created) + "; in this state since " +
                                    time_cell(seen.tracked.episode.entered) + ", first seen by us at " + time_cell(seen.tracked.episode.first_seen));
  if (const Evidence* agent = seen.facts.agent)
    steps.add("evidence", to_string(current(*agent, seen.facts.now, seen.facts.limits)),
              agent->last.detail + " (source " + agent->last.source + ", looked at " + time_cell(agent->last.at) + ", gone for " + span(agent->gone_time) + " over " +
                  std::to_string(agent->gone_observations) + " looks; a record older than " + span(2 * seen.facts.limits.interval) + " is unknown)");
  else if (s.agent)
    steps.add("evidence", "unknown", "nobody has been asked about agent " + text(s.agent) + " yet");
  else
    steps.add("evidence", "none", "the session names no agent");
  for (const auto& [runtime, said] : sources)
    for (const Evidence& one : said)
      steps.add("evidence of runtime", to_string(current(one, seen.facts.now, seen.facts.limits)),
                one.last.detail + " (source " + one.last.source + (one.backend.empty() ? "" : ", backend " + one.backend) + ", at " + time_cell(one.last.at) + ", gone for " + span(one.gone_time) + " over " +
                    std::to_string(one.gone_observations) + " words; older than " + span(one.max_age.value_or(2 * seen.facts.limits.interval)) + " it is unknown)");
  if (sources.empty() && rules::judged_by(seen.facts, JudgedBy::runtime))
    steps.add("evidence of runtime", rules::has_runtime(seen.facts) ? "unknown" : "none", rules::has_runtime(seen.facts) ? "nobody has said anything about runtime " + text(s.runtime) : "the session names no runtime");
  const CommandHistory& c = seen.tracked.commands;
  const auto say = [&](const char* step, const std::optional<Command>& command) {
    if (command)
      steps.add(step, command->action, command->id + ": status " + command->status + ", created " + time_cell(command->created).value_or("never") + ", sent " +
                                           time_cell(command->sent).value_or("never") + ", completed " + time_cell(command->completed).value_or("never"));
  };
  say("command", c.newest_stop), say("command", c.newest_other), say("command elsewhere", c.newest_elsewhere);
}

void explain_brake(Steps& steps, const AttachedBinding& b) {
  as_extension_owner([&] {
    const Rows rows = query("SELECT (SELECT sum(n) FROM unnest(inferred) WITH ORDINALITY AS u(n, i) WHERE minute - i + 1 > $2 - 10) AS inferred,"
                            " (SELECT sum(n) FROM unnest(user_requested) WITH ORDINALITY AS u(n, i) WHERE user_minute - i + 1 > $2 - 10) AS requested, tripped, tripped_why, allowance"
                            " FROM reconciler.brake WHERE binding_id = $1",
                            {Param::integer(b.binding.id), Param::integer(unix_micros(database_now()) / 60000000)});
    const BrakeLimits& l = b.binding.brake;
    std::string detail = "inferred: at most max(" + std::to_string(l.floor) + ", " + std::to_string(static_cast<int>(l.share * 100)) + " % of watched) per 10 min; asked for by users: max(" +
                         std::to_string(l.user_floor) + ", " + std::to_string(static_cast<int>(l.user_share * 100)) + " %)";
    if (rows.empty()) return steps.add("brake", "free", detail + "; nothing was forced yet");
    const Rows::Row row = rows[0];
    detail += "; forced in the last 10 minutes: " + std::to_string(row.maybe_integer("inferred").value_or(0)) + " inferred, " + std::to_string(row.maybe_integer("requested").value_or(0)) + " asked for";
    if (row.null("tripped")) return steps.add("brake", "free", detail);
    steps.add("brake", "tripped", row.text("tripped_why") + " at " + time_cell(row.time("tripped")) + "; let through by reset_brake(): " + std::to_string(row.integer("allowance")));
  });
}

std::string request_of(const AttachedBinding& b, const Tracked& t, const Policy& policy) {
  const Rows rows = query("SELECT coalesce(h.base_urls[1], '') AS url, h.profile, p.definition::text AS definition FROM reconciler.hub h JOIN reconciler.hub_profile p ON p.name = h.profile WHERE h.name = $1",
                          {Param::text(b.binding.hub)});
  if (rows.empty()) return "no hub is set";
  const Profile profile = usable_profile(rows[0].text("profile"), rows[0].text("definition"));
  if (!profile.pulls() && !profile.knows_agents()) return "the hub knows of sessions alone";
  if (profile.pulls()) return "queued in reconciler.command for next_commands('" + *t.session.agent + "')";
  const HttpRequest request = profile.send({.command_id = t.episode.command_id.value_or("(new)"), .agent = *t.session.agent, .action = policy.retry_action, .session = t.session.key,
                                            .runtime = t.session.runtime.value_or(""), .reason = "stuck in " + t.session.state, .attempt = t.episode.attempts + 1, .payload = R"x("(as the application sent it)")x"});
  return request.method + " " + rows[0].text("url") + request.target + " " + request.body;
}

void explain_deed(Steps& steps, PgStore& store, const Seen& seen) {
  const AttachedBinding& b = store.attached();
  const Session& s = seen.tracked.session;
  const Statements statements(b.mapping);
  // What is not due yet would be written with the signs of life of that moment.
  const auto quiet_since = closes(seen.verdict) ? seen.verdict.quiet_since : std::optional(plus(seen.facts.now, -seen.facts.limits.sign_fresh_for));
  const auto idle_since = closes(seen.verdict) ? seen.verdict.idle_since : std::optional(plus(seen.facts.now, -seen.facts.limits.replacement_grace));
  steps.add("write", "where", "a close would write only WHERE " + statements.where_of_close(s, time_cell(quiet_since), time_cell(idle_since), rules::judged_by(seen.facts, JudgedBy::runtime) && rules::has_runtime(seen.facts)));
  if (const auto repair = b.mapping.repairs.find(s.state); repair != b.mapping.repairs.end()) {
    if (!repair->second.sets.empty()) steps.add("write", "sets", "with it: " + describe(repair->second.sets));
    for (const Step& step : repair->second.steps) steps.add("write", "step", "in the same transaction, rows of " + describe(step));
  }
  const Policy* policy = seen.facts.policy;
  if (policy && !policy->retry_action.empty() && s.agent && b.binding.hub)
    steps.add("request", policy->retry_action, as_extension_owner([&] { return request_of(b, seen.tracked, *policy); }));
}

void explain_history(Steps& steps, const AttachedBinding& b, const std::string& key) {
  as_extension_owner([&] {
    for (Rows::Row row : query("SELECT id, at, kind, reason, evidence->>'detail' AS detail FROM reconciler.event WHERE session_id = $1 AND schema_name = $2 AND table_name = $3 ORDER BY id DESC LIMIT 10",
                               {Param::text(key), Param::text(b.schema), Param::text(b.table)}))
      steps.add("event " + std::to_string(row.integer("id")), row.text("kind"),
                time_cell(row.time("at")) + " " + row.maybe_text("reason").value_or("") + (row.null("detail") ? "" : ": " + row.text("detail")));
  });
}

std::string held_by(const Seen& seen) {
  if (!seen.gated.text.empty()) return seen.gated.text;
  if (seen.gated.until) return "until " + time_cell(*seen.gated.until);
  return seen.blocked_by() == Blocked::none ? "nothing stands in its way" : "held back";
}

// As retry_session() allows it, and where there is somebody to send to.
bool may_retry(const Seen& seen) {
  const Facts& f = seen.facts;
  return f.policy && f.policy->enabled && !f.policy->retry_action.empty() && f.session.agent && f.hub_set;
}

std::string advice_on_ended(const AttachedBinding& b, const std::string& key) {
  const Rows closing = as_extension_owner([&] {
    return query("SELECT c.id, c.kind FROM reconciler.binding b, reconciler.closing(b, $2) c WHERE b.binding_id = $1 AND c.id IS NOT NULL", {Param::integer(b.binding.id), Param::text(key)});
  });
  if (closing.empty()) return "nothing; the session has ended";
  if (closing[0].view("kind") == "guard") return "guard_suspended ended it, by event " + std::to_string(closing[0].integer("id")) + ": hold_session(), the write, release_session() bring it back";
  return "undo_event(" + std::to_string(closing[0].integer("id")) + ") brings it back" +
         (b.guard_terminal ? "; where its row was written since, hold_session(), the write, release_session(): the guard refuses others" : "");
}

std::string advice(const AttachedBinding& b, const Seen& seen) {
  const std::string always = "hold_session() keeps it as it is; force_terminate_session() closes it";
  if (seen.facts.session.state.empty()) return "set its state; a session without one is never written";
  switch (seen.blocked_by()) {
    case Blocked::hold: return "release_session() ends the hold";
    case Blocked::pause: return "unpause_reconciler() resumes";
    case Blocked::brake: return "look at reconcile_plan(), then reset_brake()";
    case Blocked::observe_mode: return "set_mode('enforce', reason) lets it act";
    case Blocked::identity: return "confirm_identity(reason), if this is not a copy";
    case Blocked::safe_mode: return "look at the server log; set_mode() ends safe mode";
    case Blocked::quarantine: return "retry_session() tries again; force_terminate_session() closes it";
    case Blocked::hub_auth: return "renew the hub's token in session_reconciler.credentials_file";
    case Blocked::hub_unknown: return "CALL probe_hub() and preflight() show what is wrong with the hub; set_hub() sets one; " + always;
    default: break;
  }
  if (seen.facts.terminal) return advice_on_ended(b, seen.tracked.session.key);
  return (may_retry(seen) ? "retry_session() tries at once; " : "") + always;
}

}  // namespace

RECONCILER_SQL_FUNCTION(explain_session) {
  const std::string key = sql_text(fcinfo, 0);
  const std::optional<Oid> sessions = sql_is_null(fcinfo, 1) ? std::nullopt : std::optional(sql_oid(fcinfo, 1));
  Steps steps(fcinfo);
  std::vector<AttachedBinding> bindings = bindings_to_show(sessions);
  if (bindings.empty()) notice("no sessions table is attached", "Attach one with attach_sessions().");
  for (AttachedBinding& b : bindings) {
    PgStore store(std::move(b), TransactionMode::caller, Rights::caller);
    const std::optional<Tracked> tracked = store.find(key);
    if (!tracked) {
      steps.add("session", "unknown", store.binding().name + " has no session \"" + key + "\" that you may see. " + how_ids_compare(store.attached()));
      explain_history(steps, store.attached(), key);
      continue;
    }
    const Time now = database_now();
    Observer observer(store, nullptr);
    if (tracked->session.agent) observer.load({*tracked->session.agent});
    observer.load_runtimes({*tracked});
    Siblings siblings(store, observer);
    siblings.consider({*tracked}, false);
    const Facts facts = facts_of(store.binding(), observer, *tracked, store.binding().hub.has_value(), now, siblings.of(*tracked));
    const Seen seen = look_at(store.peek().gates, *tracked, facts);
    explain_inputs(steps, store.attached(), seen, rules::judged_by(facts, JudgedBy::runtime) && rules::has_runtime(facts) ? store.runtime_evidence({*tracked->session.runtime}) : Said());
    std::vector<TraceStep> trace;
    judge(facts, &trace);
    bool decided = false;
    for (const TraceStep& step : trace) {
      steps.add(step.rule, step.matched ? "decides" : decided ? "not reached" : "no", step.detail);
      decided = decided || step.matched;
    }
    steps.add("verdict", to_string(seen.verdict.action), seen.verdict.text);
    steps.add("gate", to_string(seen.blocked_by()), held_by(seen));
    explain_brake(steps, store.attached());
    if (!facts.terminal && !facts.session.state.empty()) explain_deed(steps, store, seen);
    explain_history(steps, store.attached(), key);
    steps.add("operator", "you can", advice(store.attached(), seen));
  }
  return sql_null(fcinfo);
}

}  // namespace reconciler
