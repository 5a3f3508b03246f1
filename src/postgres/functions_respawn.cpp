// resume_or_respawn(): what a user who wants his session back is told, and, where its runtime is gone, the end that lets the
// application give it a new one. By the evidence on record: nobody is asked here.

#include "core/json.hpp"
#include "core/rules.hpp"
#include "core/text.hpp"
#include "engine/facts.hpp"
#include "postgres/acting.hpp"
#include "postgres/clock.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

struct Answer { const char* outcome; std::string detail; };

Answer refused(std::string why) { return {"refused", std::move(why)}; }

// Ended by an earlier call, it may be by somebody else at the same moment: the same answer for both.
Answer ended(const AttachedBinding& b, const Session& session) {
  const Rows newest = as_extension_owner([&] {
    return query("SELECT id, kind FROM reconciler.event WHERE session_id = $1 AND schema_name = $2 AND table_name = $3 AND to_state IS NOT NULL ORDER BY id DESC LIMIT 1",
                 {Param::text(session.key), Param::text(b.schema), Param::text(b.table)});
  });
  if (!newest.empty() && newest[0].view("kind") == "respawn") return {"respawn_requested", "its runtime was given up already, by event " + std::to_string(newest[0].integer("id")) + ": start a new one"};
  return refused("the session has ended: its state is " + session.state);
}

Answer not_gone(const Facts& f, Presence presence) {
  const std::string runtime = "its runtime " + in_quotes(*f.session.runtime);
  if (presence == Presence::unknown) return refused("nobody can say whether " + runtime + " is there" + (f.runtime ? ": " + f.runtime->last.detail : std::string()));
  if (f.session.state == "suspended") return refused(runtime + " is there: it can be resumed, which is the application's to do");
  return {"already_running", runtime + " is there"};
}

// Given up as after gone_after, but at once: a user waits. Two looks, signs of life and what is being replaced count as ever.
Answer respawn(PgStore& store, const Tracked& tracked, const Facts& f) {
  const std::string gone = "its runtime " + in_quotes(*f.session.runtime) + " has been gone for " + span(f.runtime->gone_time);
  if (f.runtime_shared) return refused(gone + ", but another session names it too");
  if (f.runtime->gone_observations < 2) return refused(gone + "; a second look has to confirm it: try again soon");
  Verdict verdict = rules::inferred(f, f.runtime->gone_time, rules::close(Action::respawn, f.policy, "runtime_gone", gone));
  if (verdict.action == Action::wait) return refused(verdict.text);
  verdict.rule = "runtime_gone";
  store.act_as(acting_role());
  if (store.finish(PassStart{}, {{&tracked, verdict, evidence_json(f, verdict)}}, Budget::none).closed == 1)
    return {"respawn_requested", gone + ": it is given up, and the session is " + verdict.becomes + ": start a new one"};
  const auto now = store.look(tracked.session.key);
  if (!now) return refused("the session is no more");
  return store.binding().terminal(now->state) ? ended(store.attached(), *now) : refused("the session changed meanwhile: look at it again");
}

Answer answer(PgStore& store, const Tracked& tracked) {
  const AttachedBinding& b = store.attached();
  const Session& session = tracked.session;
  if (b.binding.terminal(session.state)) return ended(b, session);
  if (tracked.hold) return refused("held by " + tracked.hold->actor + ": " + tracked.hold->reason);
  if (b.mode != Mode::enforce) return refused(std::string("the mode of the table is ") + to_string(b.mode));
  if (b.paused) return refused("the reconciler is paused");
  Observer observer(store, nullptr);
  observer.load_runtimes({tracked});
  const Facts facts = facts_of(b.binding, observer, tracked, b.binding.hub.has_value(), database_now());
  if (!rules::judged_by(facts, JudgedBy::runtime) || !facts.policy->enabled) return refused("sessions in state " + in_quotes(session.state) + " are not judged by their runtime");
  if (!rules::has_runtime(facts)) return refused("the session names no runtime");
  const Presence presence = rules::runtime_presence(facts);
  return presence == Presence::gone ? respawn(store, tracked, facts) : not_gone(facts, presence);
}

}  // namespace

RECONCILER_SQL_FUNCTION(resume_or_respawn) {
  SqlTable table(fcinfo);
  PgStore store(binding_of(sql_is_null(fcinfo, 1) ? std::nullopt : std::optional(sql_oid(fcinfo, 1))), TransactionMode::caller);
  refuse_copy(store.attached());
  const std::string key = sql_text(fcinfo, 0);
  const auto tracked = store.find(key);
  if (!tracked) throw unknown_session(store.attached(), key);
  const Answer said = answer(store, *tracked);
  table.add({std::string(said.outcome), said.detail});
  return sql_null(fcinfo);
}

}  // namespace reconciler
