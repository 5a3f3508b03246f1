#include <limits>
#include <set>

#include <nlohmann/json.hpp>

#include "core/backoff.hpp"
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

std::string attempt_json(const std::string& command_id, int attempt, const std::string& agent) {
  return nlohmann::json{{"command_id", command_id}, {"attempt", attempt}, {"agent_id", agent}}.dump(-1, ' ', false,
                                                                                                  nlohmann::json::error_handler_t::replace);
}

}  // namespace

// In one transaction: the rows still are what the verdicts rested on, nobody else is sending, the agents' next
// slots are reserved, and the tries are on record before the first byte leaves.
std::vector<Claim> PgStore::claim(const PassStart& pass, const std::vector<const Tracked*>& due, Duration lease) {
  return transactions_.run("claiming retries", [&] {
    std::vector<std::string> keys;
    std::map<std::string, std::size_t> index;
    for (std::size_t i = 0; i < due.size(); ++i) keys.push_back(due[i]->session.key), index[due[i]->session.key] = i;

    std::set<std::string> unchanged;
    const Rows rows = theirs([&] { return query_batch(sql_.identities(), {Param::texts(keys)}); });
    for (Rows::Row row : rows) {
      const auto found = index.find(row.text("key"));
      if (found == index.end()) continue;
      const Session& s = due[found->second]->session;
      if (row.maybe_text("state") == s.state && row.maybe_text("agent") == s.agent && row.maybe_text("runtime") == s.runtime && row.maybe_text("created") == s.created)
        unchanged.insert(s.key);
    }
    return ours([&] {
      std::vector<Claim> claims;
      if (!still_allowed(false)) return claims;
      const Time at = now();
      // Locked before holds are read: a hold that comes first is seen, one that comes later waits for the claim.
      query_batch("SELECT FROM reconciler.episode WHERE binding_id = $1 AND session_id = ANY($2) ORDER BY session_id FOR UPDATE",
            {Param::integer(b_.binding.id), Param::texts(keys)});
      // Spacing of commands to one agent holds over passes and backends: each agent's next free slot is a row. Only
      // the slots of the next seconds are taken; a slot further ahead than that was set by a clock that was wrong.
      const Duration spacing = b_.binding.command_spacing, horizon = seconds(10);
      const std::int64_t most = spacing.count() > 0 ? std::max<std::int64_t>(1, horizon / spacing) : std::numeric_limits<std::int64_t>::max();
      std::map<std::string, std::int64_t> per_agent;
      std::vector<const Tracked*> taken;
      for (const Tracked* tracked : due)
        if (unchanged.contains(tracked->session.key) && per_agent[*tracked->session.agent] < most) {
          ++per_agent[*tracked->session.agent];
          taken.push_back(tracked);
        }
      std::map<std::string, Time> slot;
      if (spacing.count() > 0 && !per_agent.empty()) {
        std::vector<std::string> agents;
        std::vector<std::int64_t> counts;
        for (const auto& [agent, n] : per_agent) agents.push_back(agent), counts.push_back(n);
        for (Rows::Row row : query_batch("UPDATE reconciler.agent_evidence a SET next_command = CASE WHEN a.next_command > $4 AND a.next_command < $6 THEN a.next_command ELSE $4 END + t.n * $5::interval"
                                   " FROM unnest($2::text[], $3::bigint[]) AS t(agent, n) WHERE a.binding_id = $1 AND a.agent_id = ANY($2) AND a.agent_id = t.agent"
                                   " RETURNING a.agent_id, a.next_command - t.n * $5::interval AS slot",
                                   {Param::integer(b_.binding.id), Param::texts(agents), Param::integers(counts), Param::time(at), Param::interval(spacing),
                                    Param::time(at + 4 * (horizon + spacing))}))
          slot[row.text("agent_id")] = row.time("slot");
      }
      std::vector<std::string> claim_keys;
      std::vector<std::optional<Time>> leases;
      Texts seen;
      std::map<std::string, Duration> not_before;
      for (const Tracked* tracked : taken) {
        const Session& s = tracked->session;
        Duration wait{0};
        if (const auto found = slot.find(*s.agent); found != slot.end()) {
          wait = std::max<Duration>(Duration(0), found->second - at);
          found->second += spacing;
        }
        claim_keys.push_back(s.key), leases.push_back(at + wait + lease);
        seen.push_back(tracked->commands.newest_stop ? std::optional(tracked->commands.newest_stop->id) : std::nullopt);
        not_before[s.key] = wait;
      }
      if (claim_keys.empty()) return claims;
      std::vector<Event> events;
      for (Rows::Row row : query_batch("UPDATE reconciler.episode e SET lease_until = t.lease, last_attempt = $2, tries = e.tries + 1, last_command_seen = t.seen, retry_requested = NULL,"
                                 " quarantined = CASE WHEN e.retry_requested IS NULL THEN e.quarantined END, command_id = coalesce(e.command_id, gen_random_uuid()::text), accepted_at = NULL"
                                 " FROM unnest($3::text[], $4::timestamptz[], $5::text[]) AS t(key, lease, seen)"
                                 " WHERE e.binding_id = $1 AND e.session_id = ANY($3) AND e.session_id = t.key AND (e.lease_until IS NULL OR e.lease_until <= $2 OR e.lease_until > $6)"
                                 " AND NOT EXISTS (SELECT FROM reconciler.hold h WHERE h.binding_id = $1 AND h.session_id = t.key AND h.until > $2)"
                                 " RETURNING e.session_id, e.command_id, e.lease_until, e.attempts + 1 AS attempt",
                                 {Param::integer(b_.binding.id), Param::time(at), Param::texts(claim_keys), Param::times(leases), Param::texts(seen),
                                  Param::time(at + std::max<Duration>(hours(1), 4 * lease))})) {
        const std::string key = row.text("session_id");
        const Session& s = due[index[key]]->session;
        claims.push_back({index[key], row.text("command_id"), static_cast<int>(row.integer("attempt")), not_before[key], row.time("lease_until")});
        events.push_back({.session = key, .kind = "retry", .from_state = s.state, .to_state = {}, .reason = {}, .rule = "retry_due",
                          .evidence = attempt_json(claims.back().command_id, claims.back().attempt, *s.agent), .before = {}, .after = {}});
      }
      write_events(b_, pass.pass_id, at, actor_, events);
      return claims;
    });
  });
}

void PgStore::record(const PassStart& pass, const std::vector<Attempt>& attempts) {
  transactions_.run("recording retries", [&] {
    ours([&] {
      const Time at = now();
      Texts keys, commands, results, hub_ids;
      std::vector<std::optional<bool>> counts, accepted, keep, unreachable, gone;
      std::vector<std::optional<Time>> next, leases;
      std::map<std::string, Event> events;
      for (const Attempt& attempt : attempts) {
        const Session& s = attempt.tracked->session;
        const Outcome outcome = outcome_of(attempt.delivery);
        const Policy* policy = b_.binding.policy(s.state);
        const Duration delay = policy ? backoff(*policy, std::max(1, attempt.tracked->episode.tries + 1), seed_of(s.key)) : Duration(minutes(1));
        const std::string detail = valid_text(attempt.delivery.detail, 500);
        const std::string result = detail.empty() ? outcome.label : outcome.label + ": " + detail;
        keys.push_back(s.key), commands.push_back(attempt.command_id), results.push_back(result);
        hub_ids.push_back(outcome.accepted ? std::optional(attempt.delivery.hub_command_id.empty() ? attempt.command_id : valid_text(attempt.delivery.hub_command_id, 200)) : std::nullopt);
        counts.push_back(outcome.counts), accepted.push_back(outcome.accepted), keep.push_back(outcome.keep_key);
        unreachable.push_back(outcome.unreachable), gone.push_back(outcome.session_gone);
        next.push_back(at + std::max(delay, attempt.delivery.retry_after.value_or(Duration(0))));
        leases.push_back(attempt.lease);
        nlohmann::json evidence{{"command_id", attempt.command_id}, {"attempt", attempt.attempt}, {"outcome", outcome.label}, {"agent_id", s.agent.value_or("")}};
        if (!detail.empty()) evidence["detail"] = detail;
        if (attempt.delivery.took.count() > 0) evidence["took_ms"] = static_cast<double>(attempt.delivery.took.count()) / 1000;
        if (attempt.looked_up) evidence["looked_up"] = true;
        events[s.key] = {.session = s.key, .kind = "retry_result", .from_state = s.state, .to_state = {}, .reason = outcome.label, .rule = {},
                         .evidence = evidence.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), .before = {}, .after = {}};
      }
      // Command id and lease are compared: an answer that comes when its lease was taken over changes nothing.
      std::vector<Event> recorded;
      std::map<std::string, double> outcomes;
      for (Rows::Row row : query_batch("UPDATE reconciler.episode e SET lease_until = NULL, last_result = t.result, next_attempt = t.next, attempts = e.attempts + t.counts::int,"
            " accepted = e.accepted + t.accepted::int, first_accepted = CASE WHEN t.accepted THEN coalesce(e.first_accepted, $2) ELSE e.first_accepted END,"
            " accepted_at = CASE WHEN t.accepted THEN $2 END, hub_command_id = coalesce(t.hub_id, e.hub_command_id),"
            " command_id = CASE WHEN t.keep THEN e.command_id END, unreachable_since = CASE WHEN t.unreachable THEN coalesce(e.unreachable_since, $2) END,"
            " session_gone = CASE WHEN t.gone THEN $2 ELSE e.session_gone END"
            " FROM unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) AS t(key, command, result, hub_id, counts, accepted, keep, unreachable, gone, next, lease)"
            " WHERE e.binding_id = $1 AND e.session_id = ANY($3) AND e.session_id = t.key AND e.command_id = t.command"
            " AND CASE WHEN t.lease IS NULL THEN e.lease_until IS NULL OR e.lease_until <= $2 ELSE e.lease_until = t.lease END RETURNING e.session_id",
            {Param::integer(b_.binding.id), Param::time(at), Param::texts(keys), Param::texts(commands), Param::texts(results), Param::texts(hub_ids),
             Param::booleans(counts), Param::booleans(accepted), Param::booleans(keep), Param::booleans(unreachable), Param::booleans(gone), Param::times(next), Param::times(leases)})) {
        Event& event = events.at(row.text(0));
        ++outcomes[*event.reason];
        recorded.push_back(std::move(event));
      }
      for (const auto& [label, n] : outcomes) count(b_.binding.id, "reconciler_retries_total", label, n);
      write_events(b_, pass.pass_id, at, actor_, recorded);
    });
  });
}

void PgStore::record_progress(const PassStart& pass, const Tracked& tracked, CommandProgress progress, SessionAnswer answer, const std::string& error) {
  transactions_.run("recording progress", [&] {
    ours([&] {
      const Time at = now();
      const bool failed = progress == CommandProgress::failed;
      const std::string what = progress == CommandProgress::completed ? "completed" : failed ? "failed" : answer == SessionAnswer::gone ? "session_gone" : "";
      if (what.empty()) return;
      const std::string result = failed ? "failed: " + valid_text(error, 500) : what;
      query("UPDATE reconciler.episode SET last_result = $3, completion_seen = CASE WHEN $4 THEN $2 ELSE completion_seen END, session_gone = CASE WHEN $4 OR $5 THEN coalesce(session_gone, $2) ELSE session_gone END,"
            " accepted_at = CASE WHEN $6 THEN NULL ELSE accepted_at END WHERE binding_id = $1 AND session_id = $7",
            {Param::integer(b_.binding.id), Param::time(at), Param::text(result), Param::boolean(progress == CommandProgress::completed),
             Param::boolean(answer == SessionAnswer::gone), Param::boolean(failed), Param::text(tracked.session.key)});
      count(b_.binding.id, "reconciler_retries_total", what, 1);
      write_events(b_, pass.pass_id, at, actor_,
                   {{.session = tracked.session.key, .kind = "retry_result", .from_state = tracked.session.state, .to_state = {}, .reason = what, .rule = {},
                     .evidence = nlohmann::json{{"command_id", tracked.episode.hub_command_id.value_or("")}, {"outcome", what}, {"detail", valid_text(error, 500)}}.dump(),
                     .before = {}, .after = {}}});
    });
  });
}

void PgStore::quarantine(const PassStart& pass, const Tracked& tracked, const Verdict& verdict, const std::string& evidence) {
  transactions_.run("quarantining a session", [&] {
    ours([&] {
      const Time at = now();
      const Rows marked = query("UPDATE reconciler.episode SET quarantined = coalesce(quarantined, $3), write_failed = CASE WHEN $4 THEN $3 ELSE write_failed END, retry_requested = NULL"
                                " WHERE binding_id = $1 AND session_id = $2 AND (quarantined IS NULL OR $4) RETURNING 1",
                                {Param::integer(b_.binding.id), Param::text(tracked.session.key), Param::time(at), Param::boolean(verdict.reason == "error")});
      if (marked.empty()) return;
      count(b_.binding.id, "reconciler_quarantined_total", "", 1);
      write_events(b_, pass.pass_id, at, actor_,
                   {{.session = tracked.session.key, .kind = "quarantine", .from_state = tracked.session.state, .to_state = {}, .reason = verdict.reason,
                     .rule = std::string(verdict.rule), .evidence = evidence, .before = {}, .after = {}}});
    });
  });
}

}  // namespace reconciler
