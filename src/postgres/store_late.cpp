// Sessions that ended while their agent was not there, or a start of ours was still on its way to it. Their episode lives
// on in the state they ended in until the agent is there and has got what is owed to it, the row changes, or a day has passed.
#include "core/json.hpp"
#include "postgres/audit.hpp"
#include "postgres/pool_agents.hpp"
#include "postgres/put_back.hpp"
#include "postgres/store.hpp"

namespace reconciler {
namespace {

using nlohmann::json;
using Texts = std::vector<std::optional<std::string>>;

Event late_report(const Tracked& tracked, const std::string& outcome) {
  return {.session = tracked.session.key, .kind = "late_report", .from_state = tracked.session.state, .to_state = {}, .reason = outcome, .rule = "late_agent",
          .evidence = json{{"agent_id", tracked.goes_to ? tracked.goes_to->agent : tracked.session.agent.value_or("")}, {"outcome", outcome}}.dump(-1, ' ', false, json::error_handler_t::replace),
          .before = {}, .after = {}};
}

}  // namespace

// In the transaction that closed them, as the extension's owner. A session that we started owes a stop in any case: what
// was sent may arrive after whatever ended it.
void PgStore::end_episodes(const std::vector<const Closing*>& closed, Time at) {
  Ended owing;
  Texts over;
  for (const Closing* closing : closed) {
    const Verdict& verdict = closing->verdict;
    const Session& s = closing->tracked->session;
    over.push_back(s.key);
    if (verdict.owes != Owed::nothing || b_.binding.terminal(verdict.becomes))
      owing.add(s.key, verdict.becomes, s.runtime, verdict.owes == Owed::nothing ? std::nullopt : std::optional(verdict.owes == Owed::stop ? "stop" : "readopt"));
  }
  owe(owing, at);
  query_batch("DELETE FROM reconciler.episode e USING (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t"
              " WHERE e.binding_id = t.binding AND e.session_id = t.key AND e.owed IS NULL AND (e.start_sent IS NULL OR e.start_sent <= $3)",
              {Param::integer(b_.binding.id), Param::texts(over), Param::time(at - owed_for)});
}

// What stands with each of them, or, where nothing does, a stop after a start that may still arrive.
void PgStore::owe(const Ended& ended, Time at) {
  if (ended.keys.empty()) return;
  query_batch("UPDATE reconciler.episode e SET state = t.state, runtime_id = t.runtime, first_seen = $2, entered = $2, completion_seen = NULL, detected = false,"
              "   owed = coalesce(t.owed, 'stop'), owed_since = $2, owed_until = $3, next_attempt = e.start_sent + $9::interval, start_sent = NULL, " +
                  std::string(no_tries_yet) +
                  " FROM (SELECT $1::int AS binding, u.* FROM unnest($4::text[], $5::text[], $6::text[], $7::text[]) AS u(key, state, runtime, owed) OFFSET 0) AS t"
                  " WHERE e.binding_id = t.binding AND e.session_id = t.key AND (t.owed IS NOT NULL OR e.start_sent > $8)",
              {Param::integer(b_.binding.id), Param::time(at), Param::time(at + owed_for), Param::texts(ended.keys), Param::texts(ended.states), Param::texts(ended.runtimes),
               Param::texts(ended.owed), Param::time(at - owed_for), Param::interval(start_arrives_within)});
}

// Their row went on to another state: only the start is remembered.
void PgStore::keep_starts(const std::vector<std::optional<std::string>>& keys) {
  query_batch("UPDATE reconciler.episode e SET next_attempt = NULL, completion_seen = NULL, " + std::string(no_tries_yet) +
                  " FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t WHERE e.binding_id = t.binding AND e.session_id = t.key AND (e.tries > 0 OR e.quarantined IS NOT NULL)",
              {Param::integer(b_.binding.id), Param::texts(keys)});
}

std::vector<Tracked> PgStore::scan_owed(Cursor& cursor) {
  return transactions_.run("scanning closed sessions", [&] {
    std::vector<std::string> keys;
    ours([&] {
      for (Rows::Row row : query("SELECT session_id FROM reconciler.episode WHERE binding_id = $1 AND owed IS NOT NULL AND owed_until > $2 AND session_id > $3 ORDER BY session_id LIMIT $4",
                                 {Param::integer(b_.binding.id), Param::time(now()), Param::text(cursor.key.value_or("")), Param::integer(b_.binding.batch_size)}))
        keys.push_back(row.text("session_id"));
    });
    cursor.done = static_cast<int>(keys.size()) < b_.binding.batch_size;
    std::vector<Tracked> batch;
    if (keys.empty()) return batch;
    cursor.key = keys.back();
    batch = theirs([&] { return track(query_batch(sql_.sessions(), {Param::texts(keys)})); });
    // A row that was created again or changed by now is a matter of its own.
    std::erase_if(batch, [&](const Tracked& tracked) { return !b_.binding.terminal(tracked.session.state); });
    load_episodes(batch);
    std::erase_if(batch, [](const Tracked& tracked) { return tracked.episode.owed == Owed::nothing; });
    return batch;
  });
}

// A stop that is owed is settled when the hub has taken it over, or says that there is nothing to stop.
void PgStore::settle_accepted(const PassStart& pass, const std::vector<const Attempt*>& attempts, Time at) {
  std::map<std::string, const Tracked*> owing;
  Texts keys;
  for (const Attempt* attempt : attempts)
    if (attempt->tracked->episode.owed != Owed::nothing) owing[attempt->tracked->session.key] = attempt->tracked, keys.push_back(attempt->tracked->session.key);
  if (owing.empty()) return;
  std::vector<Event> events;
  for (Rows::Row row : query_batch("DELETE FROM reconciler.episode e USING (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t"
                                   " WHERE e.binding_id = t.binding AND e.session_id = t.key AND e.owed IS NOT NULL AND (e.accepted > 0 OR e.session_gone IS NOT NULL)"
                                   " RETURNING e.session_id, e.session_gone IS NULL AS accepted",
                                   {Param::integer(b_.binding.id), Param::texts(keys)}))
    events.push_back(late_report(*owing.at(row.text("session_id")), row.boolean("accepted") ? "stop accepted" : "session gone"));
  write_events(b_, pass.pass_id, at, actor_, events);
}

void PgStore::settle_late(const PassStart& pass, const Tracked& tracked, SessionAnswer answer) {
  transactions_.run("settling what is owed", [&] {
    const Param binding = Param::integer(b_.binding.id), session = Param::text(tracked.session.key);
    Jsonb after;
    std::string was, before_text, after_text, related;
    const bool due = ours([&] {
      if (!still_allowed(false) || query("SELECT 1 FROM reconciler.episode WHERE binding_id = $1 AND session_id = $2 AND owed = 'readopt' FOR UPDATE", {binding, session}).empty()) return false;
      const Rows rows = query("SELECT after, from_state, before::text AS before_text, after::text AS after_text, (evidence->'related')::text AS related FROM reconciler.event"
                              " WHERE session_id = $1 AND schema_name = $2 AND table_name = $3 AND kind IN ('force', 'finalize') ORDER BY id DESC LIMIT 1",
                              {session, Param::text(b_.schema), Param::text(b_.table)});
      if (rows.empty()) return answer == SessionAnswer::gone;  // its event has left by retention
      after = rows[0].maybe_jsonb("after").value_or(Jsonb{}), was = rows[0].maybe_text("from_state").value_or("");
      before_text = rows[0].maybe_text("before_text").value_or("{}"), after_text = rows[0].maybe_text("after_text").value_or("{}"), related = rows[0].maybe_text("related").value_or("[]");
      return true;
    });
    if (!due) return;
    std::string outcome = answer == SessionAnswer::gone ? "session gone" : "changed meanwhile";
    std::optional<Jsonb> put_back;
    if (answer != SessionAnswer::gone) try {
        put_back = Transactions::subtransaction([&] {
          return theirs([&] {
            put_back_related(related);
            Jsonb written = put_back_session(b_.mapping, before_text, after_text);
            write_audit(b_.mapping, {{tracked.session.key, "readopt", "late_agent", "readopted", pass.pass_id, after, written}}, now());
            return written;
          });
        });
        outcome = "readopted";
      } catch (const ChangedSince&) {
      }
    Event event = late_report(tracked, outcome);
    if (put_back) event.to_state = was, event.before = after, event.after = put_back;
    ours([&] {
      if (put_back && tracked.session.agent && b_.binding.takes_room(was)) take_back(*tracked.session.agent);
      query("DELETE FROM reconciler.episode WHERE binding_id = $1 AND session_id = $2", {binding, session});
      write_events(b_, pass.pass_id, now(), actor_, {event});
    });
  });
}

}  // namespace reconciler
