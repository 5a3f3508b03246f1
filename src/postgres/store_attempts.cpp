#include <limits>
#include <set>

#include "core/backoff.hpp"
#include "core/json.hpp"
#include "engine/facts.hpp"
#include "postgres/store.hpp"

namespace reconciler {
namespace {

using Texts = std::vector<std::optional<std::string>>;

// The outcome of one try as its episode records it.
struct Outcome {
  std::string label;         // for the counter and the event
  bool counts = false;       // to the cap
  bool accepted = false;
  bool keep_key = false;     // the outcome is not known, or nobody was reached: the next try is the same command
  bool unreachable = false;
  bool session_gone = false;
};

Outcome outcome_of(const Delivery& d) {
  switch (d.outcome) {
    case Delivery::Outcome::not_sent: return {.label = "unreachable", .keep_key = true, .unreachable = true};
    case Delivery::Outcome::unknown: return {.label = "unknown", .keep_key = true, .unreachable = true};
    case Delivery::Outcome::answered: break;
  }
  switch (d.meaning) {
    case CommandMeaning::accepted: return {.label = "accepted", .counts = true, .accepted = true};
    case CommandMeaning::session_gone: return {.label = "session_gone", .session_gone = true};
    case CommandMeaning::rejected: return {.label = "rejected", .counts = true};
    case CommandMeaning::not_connected: return {.label = "not_connected", .keep_key = true, .unreachable = true};
    case CommandMeaning::unknown_agent: return {.label = "unknown_agent", .keep_key = true, .unreachable = true};
    case CommandMeaning::busy: return {.label = "busy", .keep_key = true, .unreachable = true};
    case CommandMeaning::unauthorized: return {.label = "unauthorized", .keep_key = true, .unreachable = true};
    case CommandMeaning::unclear: return {.label = "unclear", .keep_key = true, .unreachable = true};
  }
  return {.label = "unclear", .keep_key = true, .unreachable = true};
}

// The idempotency key of an episode's next try, as a uuid. It follows from which try that is, so that a server which has
// been promoted without this claim, or another that has not yet heard that it was, gives the same try the same key.
constexpr const char* next_key =
    "encode(substring(sha256(convert_to(concat_ws('/', $15::text, e.binding_id, e.session_id, extract(epoch FROM e.first_seen), e.tries), 'UTF8')) FROM 1 FOR 16), 'hex')::uuid::text";

// A hold that was committed while a claim was under way: the claim is taken back and made again without it.
struct HeldMeanwhile {};

// Rows are locked in this order by every pass.
template <class Wanted>
void by_key(std::vector<Wanted>& wanted) {
  std::sort(wanted.begin(), wanted.end(), [](const Wanted& a, const Wanted& b) { return a.tracked->session.key < b.tracked->session.key; });
}

}  // namespace

std::vector<Claim> PgStore::claim(const PassStart& pass, const std::vector<const Tracked*>& due, Duration lease) {
  for (;;) {
    try {
      return transactions_.run("claiming retries", [&] { return claim_once(pass, due, lease); });
    } catch (const HeldMeanwhile&) {
    }
  }
}

// In one transaction: the rows still are what the verdicts rested on, nobody else is sending or has tried since, the
// agents' next slots are reserved, and the tries are on record before the first byte leaves.
std::vector<Claim> PgStore::claim_once(const PassStart& pass, const std::vector<const Tracked*>& due, Duration lease) {
  const std::set<std::string> unchanged = still_as_scanned(due);
  const std::map<std::string, std::string> payloads = payloads_of(due);
  return ours([&] {
    std::vector<Claim> claims;
    if (!still_allowed(false)) return claims;
    const Time at = now();
    std::vector<Wanted> wanted = take_slots(due, unchanged, at);
    spare_in_grace(wanted, at);
    Loads reserved = reserve_for(wanted);
    if (wanted.empty()) return claims;
    by_key(wanted);
    Texts keys, seen, commands, others;
    std::vector<std::optional<Time>> leases, first_seen, leases_seen;
    std::vector<std::int64_t> tries;
    std::vector<std::optional<bool>> starts;
    std::map<std::string_view, const Wanted*> of_key;
    for (const Wanted& w : wanted) {
      const Episode& episode = w.tracked->episode;
      keys.push_back(w.tracked->session.key), leases.push_back(at + w.wait + lease);
      first_seen.push_back(episode.first_seen), tries.push_back(episode.tries), commands.push_back(episode.command_id), leases_seen.push_back(episode.lease_until);
      const std::string action = command_for(b_.binding, *w.tracked);
      const auto& newest = w.tracked->commands.newest_like(action);
      starts.push_back(action == start_session);
      others.push_back(w.tracked->goes_to ? std::optional(w.tracked->goes_to->agent) : std::nullopt);
      seen.push_back(newest ? std::optional(newest->id) : std::nullopt);
      of_key[w.tracked->session.key] = &w;
    }
    std::map<const Tracked*, std::size_t> index;
    for (std::size_t i = 0; i < due.size(); ++i) index[due[i]] = i;
    // The episode too still is what was scanned: no other pass has tried since, or got the answer that was out then.
    const Rows claimed = query_batch(
        "WITH claimed AS ("
        " UPDATE reconciler.episode e SET lease_until = t.lease, last_attempt = $2, tries = e.tries + 1, last_command_seen = t.seen, retry_requested = NULL,"
        "   quarantined = CASE WHEN e.retry_requested IS NULL THEN e.quarantined END, accepted_at = NULL,"
        // Another agent is another command: under its key a hub would answer what it answered for the first.
        "   command_id = coalesce(CASE WHEN e.sent_to IS NOT DISTINCT FROM t.other THEN e.command_id END, " + std::string(next_key) + "), sent_to = t.other, siblings = e.siblings + (t.other IS NOT NULL)::int,"
        "   start_sent = CASE WHEN t.start THEN $2 ELSE e.start_sent END,"
        "   incarnation = CASE WHEN t.other IS NULL THEN coalesce((SELECT nullif(a.incarnation, '') FROM reconciler.agent_evidence a WHERE a.binding_id = e.binding_id AND a.agent_id = e.agent_id), e.incarnation) ELSE e.incarnation END"
        " FROM (SELECT $1::int AS binding, u.* FROM unnest($3::text[], $4::timestamptz[], $5::text[], $11::timestamptz[], $12::bigint[], $13::text[], $14::timestamptz[], $16::boolean[], $17::text[])"
        "   AS u(key, lease, seen, first_seen, tries, command, leased, start, other) OFFSET 0) AS t"
        // A try, or its answer, that came after our scan: another pass has sent what we were to send.
        " WHERE e.binding_id = t.binding AND e.session_id = t.key AND e.first_seen = t.first_seen AND e.tries = t.tries AND e.command_id IS NOT DISTINCT FROM t.command"
        "   AND e.lease_until IS NOT DISTINCT FROM t.leased AND (e.lease_until IS NULL OR e.lease_until <= $2 OR e.lease_until > $6)"
        "   AND NOT EXISTS (SELECT FROM reconciler.hold h WHERE h.binding_id = t.binding AND h.session_id = t.key AND h.until > $2)"
        " RETURNING e.session_id, e.command_id, e.lease_until, e.attempts + 1 AS attempt, e.state, coalesce(e.sent_to, e.agent_id) AS agent_id, e.sent_to, e.owed"
        "), written AS ("
        " INSERT INTO reconciler.event (pass_id, at, schema_name, table_name, actor, session_id, kind, from_state, rule, evidence)"
        " SELECT $7, $2, $8, $9, $10, session_id, 'retry', state, CASE WHEN owed IS NOT NULL THEN 'late_agent' WHEN sent_to IS NOT NULL THEN 'sibling_due' ELSE 'retry_due' END,"
        "   jsonb_build_object('command_id', command_id, 'attempt', attempt, 'agent_id', agent_id) FROM claimed RETURNING id"
        ") SELECT session_id, command_id, attempt, lease_until, (SELECT min(id) FROM written) AS first, (SELECT max(id) FROM written) AS last FROM claimed",
        {Param::integer(b_.binding.id), Param::time(at), Param::texts(keys), Param::times(leases), Param::texts(seen),
         Param::time(at + std::max<Duration>(hours(1), 4 * lease)), Param::integer(pass.pass_id), Param::text(b_.schema), Param::text(b_.table), Param::text(actor_),
         Param::times(first_seen), Param::integers(tries), Param::texts(commands), Param::times(leases_seen),
         Param::text(b_.armed_system + "/" + std::to_string(b_.armed_database)), Param::booleans(starts), Param::texts(others)});
    // hold_session() locks the episode when it has written its hold: either it comes first and is seen here, or it
    // waits for us and sees the try. What was held before was not claimed, and is no reason to come again.
    Texts taken;
    for (Rows::Row row : claimed) taken.push_back(row.text("session_id"));
    if (!held(taken, at).empty()) throw HeldMeanwhile{};
    for (Rows::Row row : claimed) {
      const Wanted& w = *of_key.at(row.view("session_id"));
      if (keeps_place(*w.tracked)) --reserved[w.tracked->goes_to->agent];
      const auto payload = payloads.find(w.tracked->session.key);
      claims.push_back({index.at(w.tracked), row.text("command_id"), static_cast<int>(row.integer("attempt")), w.wait,
                        payload == payloads.end() ? "" : payload->second, row.time("lease_until")});
    }
    reserve({}, reserved);  // for those that were not claimed
    if (!claimed.empty()) announce(b_, pass.pass_id, claimed[0].integer("first"), claimed[0].integer("last"));
    // As they were asked for, oldest first.
    std::sort(claims.begin(), claims.end(), [](const Claim& a, const Claim& b) { return a.index < b.index; });
    return claims;
  });
}

// Whether a place with another agent is kept for it, from before its command leaves until the answer is recorded.
bool PgStore::keeps_place(const Tracked& tracked) const { return hands_over(tracked) && b_.binding.takes_room(tracked.session.state); }

// That its hub has only just started turned out since the pass began: who is missing there may not be back yet.
void PgStore::spare_in_grace(std::vector<Wanted>& wanted, Time at) {
  const auto moves = [](const Wanted& w) { return hands_over(*w.tracked); };
  if (std::any_of(wanted.begin(), wanted.end(), moves) && gates(at).grace_until) std::erase_if(wanted, moves);
}

// Those for which another agent has no room are left out.
Loads PgStore::reserve_for(std::vector<Wanted>& wanted) {
  Loads asked;
  for (const Wanted& w : wanted)
    if (keeps_place(*w.tracked)) ++asked[w.tracked->goes_to->agent];
  if (asked.empty()) return asked;
  const Loads granted = reserve(asked);
  Loads left = granted;
  std::erase_if(wanted, [&](const Wanted& w) { return keeps_place(*w.tracked) && left[w.tracked->goes_to->agent]-- <= 0; });
  return granted;
}

// Those whose row says what it said when it was scanned.
std::set<std::string> PgStore::still_as_scanned(const std::vector<const Tracked*>& due) {
  std::vector<std::string> keys;
  std::map<std::string_view, const Session*> of_key;
  for (const Tracked* tracked : due) keys.push_back(tracked->session.key), of_key[tracked->session.key] = &tracked->session;
  std::set<std::string> unchanged;
  const Rows rows = theirs([&] { return query_batch(sql_.identities(), {Param::texts(keys)}); });
  for (Rows::Row row : rows) {
    const auto found = of_key.find(row.view("key"));
    if (found == of_key.end()) continue;
    const Session& s = *found->second;
    if (row.maybe_text("state") == s.state && row.maybe_text("agent") == s.agent && row.maybe_text("runtime") == s.runtime && row.maybe_text("created") == s.created)
      unchanged.insert(s.key);
  }
  return unchanged;
}

// What the application sent with the starts that are to be sent again, by session.
std::map<std::string, std::string> PgStore::payloads_of(const std::vector<const Tracked*>& due) {
  std::map<std::string, std::string> payloads, sessions;
  std::vector<std::string> commands;
  for (const Tracked* tracked : due) {
    const auto& start = tracked->commands.newest_other;
    if (!start || command_for(b_.binding, *tracked) != start_session) continue;
    commands.push_back(start->id), sessions[start->id] = tracked->session.key;
  }
  if (commands.empty() || !b_.mapping.commands->payload) return payloads;
  const Rows rows = theirs([&] { return query_batch(sql_.payloads(), {Param::texts(commands)}); });
  for (Rows::Row row : rows) payloads[sessions.at(row.text("id"))] = row.maybe_text("payload").value_or("");
  return payloads;
}

// Spacing of commands to one agent holds over passes and backends: each agent's next free slot is a row. Only the
// slots of the next seconds are taken; a slot further ahead than that was set by a clock that was wrong.
std::vector<PgStore::Wanted> PgStore::take_slots(const std::vector<const Tracked*>& due, const std::set<std::string>& unchanged, Time at) {
  const Duration spacing = b_.binding.command_spacing, horizon = seconds(10);
  const std::int64_t most = spacing.count() > 0 ? std::max<std::int64_t>(1, horizon / spacing) : std::numeric_limits<std::int64_t>::max();
  struct Share { std::int64_t commands = 0, ignored = 0; };
  std::map<std::string, Share> per_agent;
  std::vector<Wanted> wanted;
  bool any_ignored = false;
  for (const Tracked* tracked : due)
    if (Share& share = per_agent[agent_for(*tracked)]; unchanged.contains(tracked->session.key) && share.commands < most) {
      ++share.commands, share.ignored += tracked->ignored;
      any_ignored |= tracked->ignored;
      wanted.push_back({tracked, Duration(0)});
    }
  if ((spacing.count() == 0 && !any_ignored) || wanted.empty()) return wanted;
  std::vector<std::string> agents;
  std::vector<std::int64_t> counts, ignored;
  for (const auto& [agent, share] : per_agent) agents.push_back(agent), counts.push_back(share.commands), ignored.push_back(share.ignored);
  std::map<std::string, Time> slot;
  for (Rows::Row row : query_batch("UPDATE reconciler.agent_evidence a"
                                   " SET next_command = CASE WHEN a.next_command > $4 AND a.next_command < $6 THEN a.next_command ELSE $4 END + t.n * $5::interval,"
                                   "   ignored = a.ignored + t.ignored::int, suspect_since = CASE WHEN a.ignored + t.ignored >= $8 THEN coalesce(a.suspect_since, $4) END"
                                   " FROM (SELECT $1::int AS binding, u.* FROM unnest($2::text[], $3::bigint[], $7::bigint[]) AS u(agent, n, ignored) OFFSET 0) AS t WHERE a.binding_id = t.binding AND a.agent_id = t.agent"
                                   " RETURNING a.agent_id, a.next_command - t.n * $5::interval AS slot, a.ignored >= $8 AND a.ignored - t.ignored < $8 AS new_suspect, a.ignored",
                                   {Param::integer(b_.binding.id), Param::texts(agents), Param::integers(counts), Param::time(at), Param::interval(spacing),
                                    Param::time(at + 4 * (horizon + spacing)), Param::integers(ignored), Param::integer(suspect_after)})) {
    slot[row.text("agent_id")] = row.time("slot");
    if (row.boolean("new_suspect"))
      report(LogLevel::log, "agent \"" + row.text("agent_id") + "\" of " + b_.binding.name + " is suspect",
             "It accepted " + std::to_string(row.integer("ignored")) + " commands and ended none of them in time.", "It is not taken for gone; see whether it does anything at all.");
  }
  for (Wanted& w : wanted)
    if (const auto found = slot.find(agent_for(*w.tracked)); found != slot.end()) {
      w.wait = std::max<Duration>(Duration(0), found->second - at);
      found->second += spacing;
    }
  return wanted;
}

void PgStore::record(const PassStart& pass, const std::vector<Attempt>& attempts) {
  // Another agent that took a command over gets the session in the same transaction. Where that can't be written now, the
  // episode says who has it, and the next pass writes it; so too where the lease has ended, and the place with it.
  std::vector<const Attempt*> taken;
  for (const Attempt& attempt : attempts)
    if (hands_over(*attempt.tracked) && outcome_of(attempt.delivery).accepted && attempt.lease > now()) taken.push_back(&attempt);
  if (!taken.empty()) try {
      return record_once(pass, attempts, taken);
    } catch (const PostgresError& e) {
      if (ends_pass(e, transactions_)) throw;
    } catch (const NotNow&) {
    }
  record_once(pass, attempts, {});
}

void PgStore::record_once(const PassStart& pass, const std::vector<Attempt>& attempts, const std::vector<const Attempt*>& taken) {
  transactions_.run("recording retries", [&] {
    // Paused since it was sent: the row waits.
    if (!taken.empty() && !ours([&] { return still_allowed(false); })) throw NotNow{};
    std::vector<Handover> moves;
    for (const Attempt* attempt : taken) moves.push_back({attempt->tracked, attempt->tracked->goes_to->verdict, attempt->tracked->goes_to->evidence});
    std::map<std::string, Image> images;
    if (!moves.empty()) images = write_agents(pass, moves, now());
    ours([&] {
      settle_room(attempts, images);  // agents before episodes, as everybody locks them
      const Time at = now();
      std::vector<const Attempt*> ordered;
      for (const Attempt& attempt : attempts) ordered.push_back(&attempt);
      std::sort(ordered.begin(), ordered.end(), [](const Attempt* a, const Attempt* b) { return a->tracked->session.key < b->tracked->session.key; });
      Texts keys, commands, labels, details, hub_ids;
      std::vector<std::optional<bool>> counts, accepted, keep, unreachable, gone, looked_up;
      std::vector<std::optional<Time>> next, leases;
      std::vector<std::int64_t> tries, took;
      for (const Attempt* attempt : ordered) {
        const Session& s = attempt->tracked->session;
        const Delivery& delivery = attempt->delivery;
        const Outcome outcome = outcome_of(delivery);
        const Policy* policy = b_.binding.policy(s.state);
        const Duration delay = backoff(policy ? *policy : Policy{}, std::max(1, attempt->tracked->episode.tries + 1), seed_of(s.key));
        keys.push_back(s.key), commands.push_back(attempt->command_id), labels.push_back(outcome.label);
        details.push_back(delivery.detail.empty() ? std::nullopt : std::optional(valid_text(delivery.detail, 500)));
        hub_ids.push_back(outcome.accepted ? std::optional(delivery.hub_command_id.empty() ? attempt->command_id : valid_text(delivery.hub_command_id, 200)) : std::nullopt);
        counts.push_back(outcome.counts), accepted.push_back(outcome.accepted), keep.push_back(outcome.keep_key);
        unreachable.push_back(outcome.unreachable), gone.push_back(outcome.session_gone), looked_up.push_back(attempt->looked_up);
        next.push_back(at + std::max(delay, delivery.retry_after.value_or(Duration(0))));
        leases.push_back(attempt->lease), tries.push_back(attempt->attempt), took.push_back(delivery.took.count());
      }
      // Command id and lease are compared: an answer that comes when its lease was taken over changes nothing.
      const Rows recorded = query_batch(
          "WITH recorded AS ("
          " UPDATE reconciler.episode e SET lease_until = NULL, last_result = concat_ws(': ', t.label, t.detail), next_attempt = t.next, attempts = e.attempts + t.counts::int,"
          "   accepted = e.accepted + t.accepted::int, first_accepted = CASE WHEN t.accepted THEN coalesce(e.first_accepted, $2) ELSE e.first_accepted END,"
          "   accepted_at = CASE WHEN t.accepted THEN $2 END, hub_command_id = coalesce(t.hub_id, e.hub_command_id),"
          "   command_id = CASE WHEN t.keep THEN e.command_id END, unreachable_since = CASE WHEN t.unreachable THEN coalesce(e.unreachable_since, $2) END,"
          "   session_gone = CASE WHEN t.gone THEN $2 ELSE e.session_gone END"
          " FROM (SELECT $1::int AS binding, u.* FROM unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
          "   AS u(key, command, label, detail, hub_id, counts, accepted, keep, unreachable, gone, next, lease, attempt, took, looked_up) OFFSET 0) AS t"
          " WHERE e.binding_id = t.binding AND e.session_id = t.key AND e.command_id = t.command"
          "   AND CASE WHEN t.lease IS NULL THEN e.lease_until IS NULL OR e.lease_until <= $2 ELSE e.lease_until = t.lease END"
          " RETURNING e.session_id, e.state, coalesce(e.sent_to, e.agent_id) AS agent_id, t.command, t.label, t.detail, t.attempt, t.took, t.looked_up"
          "), written AS ("
          " INSERT INTO reconciler.event (pass_id, at, schema_name, table_name, actor, session_id, kind, from_state, reason, evidence)"
          " SELECT $18, $2, $19, $20, $21, session_id, 'retry_result', state, label,"
          "   jsonb_strip_nulls(jsonb_build_object('command_id', command, 'attempt', attempt, 'outcome', label, 'agent_id', coalesce(agent_id, ''), 'detail', detail,"
          "     'took_ms', CASE WHEN took > 0 THEN took / 1000.0::float8 END, 'looked_up', CASE WHEN looked_up THEN true END))"
          " FROM recorded RETURNING id"
          ") SELECT label, count(*) AS n, (SELECT min(id) FROM written) AS first, (SELECT max(id) FROM written) AS last FROM recorded GROUP BY label",
          {Param::integer(b_.binding.id), Param::time(at), Param::texts(keys), Param::texts(commands), Param::texts(labels), Param::texts(details), Param::texts(hub_ids),
           Param::booleans(counts), Param::booleans(accepted), Param::booleans(keep), Param::booleans(unreachable), Param::booleans(gone), Param::times(next),
           Param::times(leases), Param::integers(tries), Param::integers(took), Param::booleans(looked_up), Param::integer(pass.pass_id), Param::text(b_.schema),
           Param::text(b_.table), Param::text(actor_)});
      for (Rows::Row row : recorded) count(b_.binding.id, "reconciler_retries_total", row.text("label"), static_cast<double>(row.integer("n")));
      if (!recorded.empty()) announce(b_, pass.pass_id, recorded[0].integer("first"), recorded[0].integer("last"));
      settle_accepted(pass, ordered, at);
      note_handed_over(pass, moves, images, at);
    });
  });
}

// Places that were kept for sessions which did not go there are given back; what went has left one with its own agent.
void PgStore::settle_room(const std::vector<Attempt>& attempts, const std::map<std::string, Image>& images) {
  Texts keys, agents;
  std::vector<std::optional<Time>> leases;
  std::vector<std::string> locks;
  Loads left;
  for (const Attempt& attempt : attempts) {
    const Tracked& tracked = *attempt.tracked;
    if (!keeps_place(tracked)) continue;
    const bool went = images.contains(tracked.session.key);
    if (!went) keys.push_back(tracked.session.key), agents.push_back(tracked.goes_to->agent), leases.push_back(attempt.lease), locks.push_back(tracked.goes_to->agent);
    else if (const auto& own = tracked.session.agent) ++left[*own], locks.push_back(*own);
  }
  if (!keys.empty()) {
    // Under the agents' locks nobody counts. What nothing is kept for any more may have been counted without it: given back
    // as well, it would be so twice.
    query("SELECT FROM reconciler.agent WHERE agent_id = ANY($1) ORDER BY agent_id FOR UPDATE", {Param::texts(locks)});
    for (Rows::Row row : query_batch("SELECT t.agent FROM (SELECT $1::int AS binding, u.* FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS u(key, agent, lease) OFFSET 0) AS t"
                                     " JOIN reconciler.episode e ON e.binding_id = t.binding AND e.session_id = t.key WHERE e.sent_to = t.agent AND e.lease_until = t.lease AND e.lease_until > $5 AND e.owed IS NULL",
                                     {Param::integer(b_.binding.id), Param::texts(keys), Param::texts(agents), Param::times(leases), Param::time(now())}))
      ++left[row.text("agent")];
  }
  reserve({}, left);
}

// Of the stay that was asked about: while the hub answered, another one may have begun.
void PgStore::record_progress(const PassStart& pass, const Tracked& tracked, CommandProgress progress, SessionAnswer answer, const std::string& error) {
  transactions_.run("recording progress", [&] {
    ours([&] {
      const Time at = now();
      const bool failed = progress == CommandProgress::failed;
      const std::string what = progress == CommandProgress::completed ? "completed" : failed ? "failed" : answer == SessionAnswer::gone ? "session_gone" : "";
      if (what.empty()) {
        // It runs, with the agent that is there now.
        if (answer != SessionAnswer::unclear)
          query("UPDATE reconciler.episode e SET session_running = $3, incarnation = coalesce((SELECT nullif(a.incarnation, '') FROM reconciler.agent_evidence a"
                " WHERE a.binding_id = e.binding_id AND a.agent_id = e.agent_id), e.incarnation) WHERE binding_id = $1 AND session_id = $2 AND first_seen = $4",
                {Param::integer(b_.binding.id), Param::text(tracked.session.key), Param::time(at), Param::time(tracked.episode.first_seen)});
        return;
      }
      // A start that is done has begun something; anything else that we send ends it.
      const bool start = command_for(b_.binding, tracked) == start_session;
      const std::string result = failed ? "failed: " + valid_text(error, 500) : what;
      const Rows recorded = query("UPDATE reconciler.episode SET last_result = $3, completion_seen = CASE WHEN $4 THEN $2 ELSE completion_seen END, session_gone = CASE WHEN $4 AND NOT $8 OR $5 THEN coalesce(session_gone, $2) ELSE session_gone END,"
            " session_running = CASE WHEN $4 AND $8 THEN $2 ELSE session_running END, start_failed = CASE WHEN $6 AND $8 THEN $2 ELSE start_failed END,"
            " accepted_at = CASE WHEN $6 THEN NULL ELSE accepted_at END WHERE binding_id = $1 AND session_id = $7 AND first_seen = $9 RETURNING 1",
            {Param::integer(b_.binding.id), Param::time(at), Param::text(result), Param::boolean(progress == CommandProgress::completed),
             Param::boolean(answer == SessionAnswer::gone), Param::boolean(failed), Param::text(tracked.session.key), Param::boolean(start),
             Param::time(tracked.episode.first_seen)});
      if (recorded.empty()) return;
      if (tracked.session.agent) acted_.insert(*tracked.session.agent);
      count(b_.binding.id, "reconciler_retries_total", what, 1);
      write_events(b_, pass.pass_id, at, actor_,
                   {{.session = tracked.session.key, .kind = "retry_result", .from_state = tracked.session.state, .to_state = {}, .reason = what, .rule = {},
                     .evidence = nlohmann::json{{"command_id", tracked.episode.hub_command_id.value_or("")}, {"outcome", what}, {"detail", valid_text(error, 500)}}.dump(),
                     .before = {}, .after = {}}});
    });
  });
}

// Unless the session has another stay by now, or an operator has asked for another try since it was scanned.
void PgStore::quarantine(const PassStart& pass, const Tracked& tracked, const Verdict& verdict, const std::string& evidence) {
  transactions_.run("quarantining a session", [&] {
    ours([&] {
      const Time at = now();
      const Rows marked = query("UPDATE reconciler.episode SET quarantined = coalesce(quarantined, $3), write_failed = CASE WHEN $4 AND NOT $8 THEN $3 ELSE write_failed END, handover_failed = CASE WHEN $8 THEN $3 ELSE handover_failed END,"
                                " write_error = CASE WHEN $4 THEN $5 #>> '{error,message}' ELSE write_error END, retry_requested = NULL"
                                " WHERE binding_id = $1 AND session_id = $2 AND first_seen = $6 AND retry_requested IS NOT DISTINCT FROM $7 AND (quarantined IS NULL OR $4) RETURNING 1",
                                {Param::integer(b_.binding.id), Param::text(tracked.session.key), Param::time(at), Param::boolean(verdict.reason == "error"),
                                 Param::jsonb(std::string_view(evidence)), Param::time(tracked.episode.first_seen), Param::time(tracked.episode.retry_requested), Param::boolean(verdict.action == Action::reassign)});
      if (marked.empty()) return;
      count(b_.binding.id, "reconciler_quarantined_total", "", 1);
      write_events(b_, pass.pass_id, at, actor_,
                   {{.session = tracked.session.key, .kind = "quarantine", .from_state = tracked.session.state, .to_state = {}, .reason = verdict.reason,
                     .rule = std::string(verdict.rule), .evidence = evidence, .before = {}, .after = {}}});
    });
  });
}

}  // namespace reconciler
