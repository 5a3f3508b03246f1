// Acting functions that write a user's table: in the caller's transaction, as the table's owner, with an event.

#include "core/json.hpp"
#include "core/text.hpp"
#include "postgres/acting.hpp"
#include "postgres/audit.hpp"
#include "postgres/clock.hpp"
#include "postgres/cells.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

std::string reason_of(FunctionCallInfo fcinfo, int arg) {
  const std::string reason = sql_text(fcinfo, arg);
  if (reason.find_first_not_of(" \t\n") == std::string::npos)
    throw UserError("22023", "a reason is required", "Say in a few words why; it is kept in reconciler.event.");
  return reason;
}

AttachedBinding attached(FunctionCallInfo fcinfo, int arg) {
  return binding_of(sql_is_null(fcinfo, arg) ? std::nullopt : std::optional(sql_oid(fcinfo, arg)));
}

Tracked existing(PgStore& store, const std::string& key) {
  if (auto found = store.find(key)) return *found;
  throw unknown_session(store.attached(), key);
}

// One event, as the acting role.
void note(const AttachedBinding& b, const std::string& key, const char* kind, const std::string& from, const std::string& to, const std::string& reason,
          std::optional<Jsonb> before = {}, std::optional<Jsonb> after = {}, std::optional<std::string> evidence = {}) {
  const std::string actor = acting_role();
  as_extension_owner([&] {
    write_events(b, std::nullopt, database_now(), actor,
                 {{.session = key, .kind = kind, .from_state = from, .to_state = to, .reason = reason, .rule = "operator", .evidence = std::move(evidence),
                   .before = std::move(before), .after = std::move(after)}});
  });
}

}  // namespace

RECONCILER_SQL_FUNCTION(request_termination) {
  const std::string reason = reason_of(fcinfo, 1);
  PgStore store(attached(fcinfo, 2), TransactionMode::caller);
  refuse_copy(store.attached());
  const AttachedBinding& b = store.attached();
  const Tracked tracked = existing(store, sql_text(fcinfo, 0));
  const std::string& key = tracked.session.key;  // as the column prints it, not as it was typed
  const Policy* ending = b.binding.ending();
  if (!ending)
    throw UserError("55000", "no policy of " + b.binding.name + " is for sessions that users asked to end", "Set user_requested on one in reconciler.policy.");
  const std::string& wanted = ending->state;
  refuse_terminal(store.binding(), tracked.session);
  if (tracked.session.state == wanted)
    throw UserError("55000", "session \"" + key + "\" is " + wanted + " already", "retry_session() sends another stop; force_terminate_session() closes it.");
  const Statements statements(b.mapping);
  const Time now = database_now();
  const Rows rows = as_role(b.mapping.sessions.owner, [&] {
    Rows written = query(statements.set_state(), {Param::text(key), Param::text(tracked.session.state), Param::text(wanted), Param::time(now)});
    if (written.size() == 1) write_audit(b.mapping, {{key, "request_termination", "operator", reason, 0, written[0].jsonb("before"), written[0].jsonb("after")}}, now);
    return written;
  });
  if (rows.size() != 1) throw UserError("40001", "session \"" + key + "\" changed meanwhile", "Look at it again, then repeat.");
  // Its age counts from here whatever the application's column says: nothing was asked of an agent before. An episode of another
  // state is over as it is, and may have to hand on a start.
  as_extension_owner([&] { query("DELETE FROM reconciler.episode WHERE binding_id = $1 AND session_id = $2 AND state = $3", {Param::integer(b.binding.id), Param::text(key), Param::text(wanted)}); });
  note(b, key, "retry", tracked.session.state, wanted, reason, rows[0].jsonb("before"), rows[0].jsonb("after"));
  if (auto again = store.find(key))
    as_extension_owner([&] {
      query("UPDATE reconciler.episode SET retry_requested = $3 WHERE binding_id = $1 AND session_id = $2", {Param::integer(b.binding.id), Param::text(key), Param::time(now)});
    });
  if (tracked.hold) notice("the stop waits for the end of the hold", "Held by " + tracked.hold->actor + " " + until(tracked.hold->until) + ": " + tracked.hold->reason + ". release_session() ends it.");
  shared::wake_worker_at_commit();
  return sql_text_datum("requested");
}

RECONCILER_SQL_FUNCTION(force_terminate_session) {
  const std::string reason = reason_of(fcinfo, 1);
  PgStore store(attached(fcinfo, 2), TransactionMode::caller);
  refuse_copy(store.attached());
  const Tracked tracked = existing(store, sql_text(fcinfo, 0));
  const std::string& key = tracked.session.key;
  refuse_terminal(store.binding(), tracked.session);
  if (tracked.hold) throw held(key, *tracked.hold);
  const Policy* policy = store.binding().policy(tracked.session.state);
  store.act_as(acting_role());
  Closing closing{&tracked, {}, nlohmann::json{{"operator_reason", reason}, {"text", "closed by an operator"}}.dump()};
  closing.verdict.rule = "operator", closing.verdict.action = Action::force;
  closing.verdict.becomes = policy ? policy->becomes : store.binding().closes_as();
  closing.verdict.reason = "user_requested";
  const Store::Finished done = store.finish(PassStart{}, {closing}, Budget::none);
  if (done.closed != 1) throw UserError("40001", "session \"" + key + "\" changed meanwhile", "Look at it again, then repeat.");
  shared::wake_worker_at_commit();
  return sql_text_datum(closing.verdict.becomes);
}

}  // namespace reconciler
