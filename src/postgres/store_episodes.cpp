// Episodes: one stay of a session in a watched state. How each begins, is found again, counted, and ends without us.
#include <set>

#include "core/rules.hpp"
#include "postgres/store.hpp"

namespace reconciler {
namespace {

Episode read_episode(Rows::Row row) {
  Episode e;
  e.first_seen = row.time("first_seen"), e.entered = row.time("entered");
  e.attempts = static_cast<int>(row.integer("attempts")), e.accepted = static_cast<int>(row.integer("accepted"));
  e.tries = static_cast<int>(row.integer("tries"));
  e.first_accepted = row.maybe_time("first_accepted");
  e.command_id = row.maybe_text("command_id"), e.hub_command_id = row.maybe_text("hub_command_id");
  e.accepted_at = row.maybe_time("accepted_at"), e.lease_until = row.maybe_time("lease_until");
  e.last_attempt = row.maybe_time("last_attempt"), e.last_result = row.text("last_result");
  e.next_attempt = row.maybe_time("next_attempt"), e.unreachable_since = row.maybe_time("unreachable_since");
  e.quarantined = row.maybe_time("quarantined"), e.write_failed = row.maybe_time("write_failed");
  e.write_error = row.text("write_error"), e.write_locked = row.maybe_time("write_locked");
  e.completion_seen = row.maybe_time("completion_seen");
  e.session_gone = row.maybe_time("session_gone"), e.retry_requested = row.maybe_time("retry_requested");
  e.last_command_seen = row.maybe_text("last_command_seen"), e.last_would = row.text("last_would");
  e.detected = row.boolean("detected");
  e.incarnation = row.text("incarnation"), e.session_running = row.maybe_time("session_running"), e.start_failed = row.maybe_time("start_failed");
  e.handover_failed = row.maybe_time("handover_failed");
  e.sent_to = row.maybe_text("sent_to"), e.siblings = static_cast<int>(row.integer("siblings"));
  const std::string owed = row.maybe_text("owed").value_or("");
  e.owed = owed == "stop" ? Owed::stop : owed == "readopt" ? Owed::readopt : Owed::nothing;
  e.owed_until = row.maybe_time("owed_until");
  return e;
}

// Age: the mapped column's value, a future one counting as now; without one, our first sight.
Time entered_at(const Session& session, Time now) { return session.entered ? std::min(*session.entered, now) : now; }

}  // namespace

// Finds each session's episode, or begins one: another state, agent, runtime or creation is another episode.
void PgStore::load_episodes(std::vector<Tracked>& batch) {
  if (batch.empty()) return;
  const Time at = now();
  ours([&] {
    std::map<std::string_view, Tracked*> by_key;
    for (Tracked& tracked : batch) by_key[tracked.session.key] = &tracked;
    std::vector<std::string> keys;
    for (const Tracked& tracked : batch) keys.push_back(tracked.session.key);
    std::set<std::string_view> known;
    std::vector<std::string> completions;
    const auto rests_from_sight = [&](const Tracked& t) { return rules::rests_from_sight(b_.binding.policy(t.session.state), t.commands, at); };
    for (Rows::Row row : query_batch("SELECT e.* FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t JOIN reconciler.episode e ON e.binding_id = t.binding AND e.session_id = t.key",
                               {Param::integer(b_.binding.id), Param::texts(keys)})) {
      Tracked& tracked = *by_key.at(row.view("session_id"));
      const Session& s = tracked.session;
      if (row.view("state") != s.state || row.maybe_text("agent_id") != s.agent || row.maybe_text("runtime_id") != s.runtime ||
          row.maybe_text("created") != s.created)
        continue;
      tracked.episode = read_episode(row);
      known.insert(tracked.session.key);
      if (rests_from_sight(tracked) && !tracked.episode.completion_seen) {
        tracked.episode.completion_seen = at;
        completions.push_back(s.key);
      }
    }
    for (Rows::Row row : query_batch("SELECT h.* FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t JOIN reconciler.hold h ON h.binding_id = t.binding AND h.session_id = t.key AND h.until > $3",
                               {Param::integer(b_.binding.id), Param::texts(keys), Param::time(at)}))
      by_key.at(row.view("session_id"))->hold = Hold{row.time("until"), row.text("reason"), row.text("actor")};

    std::vector<const Tracked*> fresh;
    for (Tracked& tracked : batch) {
      if (known.contains(tracked.session.key)) continue;
      tracked.episode = Episode{};
      tracked.episode.first_seen = at;
      tracked.episode.entered = entered_at(tracked.session, at);
      // Stuck at a pass's first sight: counted with it, at no lag of ours.
      const Policy* policy = b_.binding.policy(tracked.session.state);
      const bool in_pass = transactions_.mode() != TransactionMode::caller;
      tracked.episode.detected = in_pass && policy && policy->enabled && policy->stuck_after && at - tracked.episode.entered >= *policy->stuck_after;
      if (rests_from_sight(tracked)) tracked.episode.completion_seen = at;
      fresh.push_back(&tracked);
    }
    if (read_only()) return;
    begin_episodes(fresh, at);
    if (!completions.empty())
      query_batch("UPDATE reconciler.episode e SET completion_seen = $3 FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t WHERE e.binding_id = t.binding AND e.session_id = t.key",
            {Param::integer(b_.binding.id), Param::texts(completions), Param::time(at)});
  });
}

void PgStore::begin_episodes(const std::vector<const Tracked*>& fresh, Time at) {
  if (fresh.empty()) return;
  std::vector<std::string> keys, states;
  std::vector<std::optional<std::string>> agents, runtimes, created;
  std::vector<std::optional<Time>> entered, completions;
  std::vector<std::optional<bool>> detected;
  for (const Tracked* tracked : fresh) {
    const Session& s = tracked->session;
    detected.push_back(tracked->episode.detected);
    keys.push_back(s.key), states.push_back(s.state), agents.push_back(s.agent), runtimes.push_back(s.runtime), created.push_back(s.created);
    entered.push_back(tracked->episode.entered), completions.push_back(tracked->episode.completion_seen);
  }
  // Another pass may have begun the same episode meanwhile: its first sight stays.
  const Rows begun = query_batch("INSERT INTO reconciler.episode AS e (binding_id, first_seen, session_id, state, agent_id, runtime_id, created, entered, completion_seen, detected)"
        " SELECT $1, $2, t.* FROM unnest($3, $4, $5, $6, $7, $8, $9, $10) AS t ON CONFLICT (binding_id, session_id) DO UPDATE SET"
        " state = excluded.state, agent_id = excluded.agent_id, runtime_id = excluded.runtime_id, created = excluded.created, first_seen = excluded.first_seen,"
        " entered = excluded.entered, completion_seen = excluded.completion_seen, detected = excluded.detected, owed = NULL, owed_since = NULL, owed_until = NULL, next_attempt = NULL, " + std::string(no_tries_yet) +
        " WHERE (e.state, e.agent_id, e.runtime_id, e.created) IS DISTINCT FROM (excluded.state, excluded.agent_id, excluded.runtime_id, excluded.created)"
        " RETURNING e.state, e.detected",
        {Param::integer(b_.binding.id), Param::time(at), Param::texts(keys), Param::texts(states), Param::texts(agents), Param::texts(runtimes),
         Param::texts(created), Param::times(entered), Param::times(completions), Param::booleans(detected)});
  std::map<std::string, double> stuck;
  for (Rows::Row row : begun)
    if (row.boolean("detected")) ++stuck[row.text("state")];
  count_stuck(stuck, 0);
}

void PgStore::count_stuck(const std::map<std::string, double>& by_state, double lag_seconds) {
  double all = 0;
  for (const auto& [state, n] : by_state) {
    count(b_.binding.id, "sessions_stuck_total", state, n);
    all += n;
  }
  if (all == 0) return;
  count(b_.binding.id, "reconciler_detection_lag_seconds_sum", "", lag_seconds);
  count(b_.binding.id, "reconciler_detection_lag_seconds_count", "", all);
}

// Episodes whose session is no longer what it was are over: one look that finds the row in another state ends one.
void PgStore::forget_departed() {
  std::string after;
  for (bool more = true; more;) {
    more = transactions_.run("looking for departed sessions", [&] {
      const Rows episodes = ours([&] {
        return query("SELECT session_id, state, agent_id, runtime_id, created, first_seen, start_sent, accepted > 0 AS accepted, owed IS NOT NULL AND owed_until <= $4 AS owed_too_long"
                     " FROM reconciler.episode WHERE binding_id = $1 AND session_id > $2 ORDER BY session_id LIMIT $3",
                     {Param::integer(b_.binding.id), Param::text(after), Param::integer(b_.binding.batch_size), Param::time(now())});
      });
      if (episodes.empty()) return false;
      std::vector<std::string> keys;
      for (Rows::Row row : episodes) keys.push_back(row.text("session_id"));
      after = keys.back();
      std::map<std::string, std::vector<std::optional<std::string>>> now_rows;
      const Rows rows = theirs([&] { return query_batch(sql_.identities(), {Param::texts(keys)}); });
      for (Rows::Row row : rows) {
        auto agent = row.maybe_text("agent");
        if (agent && agent->empty()) agent.reset();
        now_rows[row.text("key")] = {row.maybe_text("state"), agent, row.maybe_text("runtime"), row.maybe_text("created")};
      }
      const Time at = now();
      std::vector<std::string> departed;
      std::vector<std::optional<Time>> first_seen;  // another pass may have begun another episode since
      std::vector<std::optional<std::string>> started;
      Ended ended;
      for (Rows::Row row : episodes) {
        if (row.boolean("owed_too_long")) {
          departed.push_back(row.text("session_id")), first_seen.push_back(row.time("first_seen"));
          continue;
        }
        const auto found = now_rows.find(row.text("session_id"));
        const std::vector<std::optional<std::string>> was{row.text("state"), row.maybe_text("agent_id"), row.maybe_text("runtime_id"), row.maybe_text("created")};
        if (found != now_rows.end() && found->second == was) continue;
        // A start of ours may still arrive at the agent that the session has.
        const auto sent = row.maybe_time("start_sent");
        if (!(sent && *sent > at - owed_for && found != now_rows.end() && found->second[1] == was[1] && found->second[3] == was[3]))
          departed.push_back(row.text("session_id")), first_seen.push_back(row.time("first_seen"));
        else if (const auto& state = found->second[0]; state && b_.binding.terminal(*state))
          ended.add(row.text("session_id"), *state, found->second[2], {});
        else
          started.push_back(row.text("session_id"));
        // The application moved it on after its agent had accepted a command.
        if (row.boolean("accepted") && was[1]) acted_.insert(*was[1]);
      }
      if (!departed.empty() || !started.empty() || !ended.keys.empty())
        ours([&] {
          owe(ended, at);
          keep_starts(started);
          query_batch("DELETE FROM reconciler.episode e USING (SELECT $1::int AS binding, u.* FROM unnest($2, $3) AS u(key, first_seen) OFFSET 0) AS t WHERE e.binding_id = t.binding AND e.session_id = t.key AND e.first_seen = t.first_seen",
                      {Param::integer(b_.binding.id), Param::texts(departed), Param::times(first_seen)});
        });
      return static_cast<int>(episodes.size()) == b_.binding.batch_size;
    });
  }
}

void PgStore::note_stuck(const PassStart&, const std::vector<const Tracked*>& stuck) {
  std::map<std::string, const Tracked*> by_key;
  std::vector<std::string> keys;
  for (const Tracked* tracked : stuck) keys.push_back(tracked->session.key), by_key[keys.back()] = tracked;
  const Time at = now();
  const auto lag_of = [&](const Tracked* tracked) {
    const Policy* policy = b_.binding.policy(tracked->session.state);
    const Time due = std::max(tracked->episode.entered + (policy && policy->stuck_after ? *policy->stuck_after : Duration(0)), tracked->episode.first_seen);
    return std::max(0.0, static_cast<double>((at - due).count()) / 1e6);
  };
  transactions_.run("counting stuck sessions", [&] {
    ours([&] {
      const Rows marked = query_batch("UPDATE reconciler.episode e SET detected = true FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t WHERE e.binding_id = t.binding AND e.session_id = t.key AND NOT e.detected RETURNING e.session_id",
                                {Param::integer(b_.binding.id), Param::texts(keys)});
      if (marked.empty()) return;
      // Only what this pass marked: another one may have counted some.
      std::map<std::string, double> by_state;
      double lag = 0;
      for (Rows::Row row : marked) {
        const Tracked* tracked = by_key.at(row.text(0));
        ++by_state[tracked->session.state];
        lag += lag_of(tracked);
      }
      count_stuck(by_state, lag);
    });
  });
}

void PgStore::note_incarnations(const std::vector<const Tracked*>& met) {
  std::vector<std::string> keys;
  for (const Tracked* tracked : met) keys.push_back(tracked->session.key);
  transactions_.run("noting incarnations", [&] {
    ours([&] {
      query_batch("UPDATE reconciler.episode e SET incarnation = a.incarnation FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t, reconciler.agent_evidence a"
                  " WHERE e.binding_id = t.binding AND e.session_id = t.key AND e.incarnation = '' AND a.binding_id = e.binding_id AND a.agent_id = e.agent_id",
                  {Param::integer(b_.binding.id), Param::texts(keys)});
    });
  });
}

}  // namespace reconciler
