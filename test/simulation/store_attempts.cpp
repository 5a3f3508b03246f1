#include <algorithm>
#include <limits>

#include "core/backoff.hpp"
#include "engine/facts.hpp"
#include "simulation/store.hpp"

namespace reconciler::simulation {
namespace {

struct Outcome {
  bool counts = false, accepted = false, keep_key = false, session_gone = false;
  std::string label;
};

Outcome outcome_of(const Delivery& d) {
  Outcome nobody{.keep_key = true, .label = d.outcome == Delivery::Outcome::not_sent ? "unreachable" : "unknown"};
  if (d.outcome != Delivery::Outcome::answered) return nobody;
  switch (d.meaning) {
    case CommandMeaning::accepted: return {.counts = true, .accepted = true, .label = "accepted"};
    case CommandMeaning::rejected: return {.counts = true, .label = "rejected"};
    case CommandMeaning::session_gone: return {.session_gone = true, .label = "session_gone"};
    default: break;
  }
  nobody.label = to_string(d.meaning);
  return nobody;
}

}  // namespace

std::vector<Claim> SimStore::claim(const PassStart& pass, const std::vector<const Tracked*>& due, Duration lease) {
  return step("claim", [&] {
    std::vector<Claim> claims;
    if (!allowed(false)) return claims;
    const Time at = db_.clock;
    const Duration spacing = db_.binding.command_spacing, horizon = seconds(10);
    const std::int64_t most = spacing.count() > 0 ? std::max<std::int64_t>(1, horizon / spacing) : std::numeric_limits<std::int64_t>::max();
    std::map<std::string, std::int64_t> per_agent;
    for (std::size_t i = 0; i < due.size(); ++i) {
      const Session& s = due[i]->session;
      const auto row = db_.rows.find(s.key);
      const auto found = db_.episodes.find(s.key);
      if (row == db_.rows.end() || !same_identity(row->second.session, s) || found == db_.episodes.end() || per_agent[agent_for(*due[i])] >= most) continue;
      const std::string& target = agent_for(*due[i]);
      ++per_agent[target];
      Duration wait(0);
      const auto agent = db_.evidence.find(target);
      if (spacing.count() > 0 && agent != db_.evidence.end()) {
        auto& next = agent->second.next_command;
        const Time slot = next && *next > at && *next < at + 4 * (horizon + spacing) ? *next : at;
        wait = slot - at, next = slot + spacing;
      }
      Episode& e = found->second.episode;
      const bool leased = e.lease_until && *e.lease_until > at && *e.lease_until <= at + std::max<Duration>(hours(1), 4 * lease);
      const Episode& seen = due[i]->episode;
      const bool tried_since = e.first_seen != seen.first_seen || e.tries != seen.tries || e.command_id != seen.command_id || e.lease_until != seen.lease_until;
      if (leased || held(s.key) || (tried_since && plant_ != Plant::stale_claim)) continue;
      const std::optional<std::string> other = due[i]->goes_to ? std::optional(due[i]->goes_to->agent) : std::nullopt;
      if (hands_over(*due[i]) && db_.gates().grace_until) continue;
      if (takes_place(*due[i]) && !reserve(*other)) continue;
      const auto& newest = due[i]->commands.newest_like(command_for(db_.binding, *due[i]));
      e.lease_until = at + wait + lease, e.last_attempt = at, ++e.tries;
      e.last_command_seen = newest ? std::optional(newest->id) : std::nullopt;
      if (e.retry_requested) e.quarantined.reset(), e.retry_requested.reset();
      if (e.sent_to != other) e.command_id.reset();  // another agent is another command
      e.sent_to = other, e.siblings += other.has_value();
      if (!e.command_id || plant_ == Plant::new_key) e.command_id = "key-" + std::to_string(++db_.last_command);
      e.accepted_at.reset();
      if (!other && agent != db_.evidence.end() && !agent->second.evidence.last.incarnation.empty()) e.incarnation = agent->second.evidence.last.incarnation;
      const bool start = command_for(db_.binding, *due[i]) == start_session;
      if (start) found->second.start_sent = at;
      claims.push_back({i, *e.command_id, e.attempts + 1, wait, start && newest ? "{}" : "", *e.lease_until});
      write(pass, {.session = s.key, .kind = "retry", .from_state = s.state, .rule = e.owed == Owed::nothing ? (other ? "sibling_due" : "retry_due") : "late_agent"});
      witness_.claimed(*due[i], claims.back());
    }
    return claims;
  });
}

void SimStore::record(const PassStart& pass, const std::vector<Attempt>& attempts) {
  step("record", [&] {
    for (const Attempt& attempt : attempts) {
      const bool kept_place = keeps_place(attempt);
      const bool recorded = plant_ != Plant::lost_record && record_one(pass, attempt);
      if (recorded) settle_accepted(pass, attempt);
      settle_room(pass, attempt, recorded, kept_place);
    }
  });
}

// Command id and lease are compared: an answer that comes when its lease was taken over changes nothing.
bool SimStore::record_one(const PassStart& pass, const Attempt& attempt) {
  const Session& s = attempt.tracked->session;
  const Time at = db_.clock;
  Episode* e = kept(s.key);
  if (!e || e->command_id != attempt.command_id) return false;
  if (attempt.lease ? e->lease_until != attempt.lease : e->lease_until && *e->lease_until > at) return false;
  const Outcome outcome = outcome_of(attempt.delivery);
  const Policy* policy = db_.binding.policy(s.state);
  const Duration delay = backoff(policy ? *policy : Policy{}, std::max(1, attempt.tracked->episode.tries + 1), seed_of(s.key));
  const std::string& hub_id = attempt.delivery.hub_command_id;
  e->lease_until.reset();
  e->last_result = attempt.delivery.detail.empty() ? outcome.label : outcome.label + ": " + attempt.delivery.detail;
  e->next_attempt = at + std::max(delay, attempt.delivery.retry_after.value_or(Duration(0)));
  e->attempts += outcome.counts, e->accepted += outcome.accepted;
  if (outcome.accepted && !e->first_accepted) e->first_accepted = at;
  e->accepted_at = outcome.accepted ? std::optional(at) : std::nullopt;
  if (outcome.accepted) e->hub_command_id = hub_id.empty() ? attempt.command_id : hub_id;
  if (!outcome.keep_key) e->command_id.reset();
  if (!outcome.keep_key) e->unreachable_since.reset();
  else if (!e->unreachable_since) e->unreachable_since = at;
  if (outcome.session_gone) e->session_gone = at;
  write(pass, {.session = s.key, .kind = "retry_result", .from_state = s.state, .reason = outcome.label});
  witness_.recorded(attempt, *e, !outcome.keep_key);
  return true;
}

// The session may have begun another episode since it was scanned.
Episode* SimStore::in_its_episode(const Tracked& tracked) {
  // This clock may stand still between two of them.
  const auto found = db_.episodes.find(tracked.session.key);
  const bool same = found != db_.episodes.end() && same_identity(found->second.of, tracked.session) && found->second.episode.first_seen == tracked.episode.first_seen;
  return same ? &found->second.episode : nullptr;
}

void SimStore::record_progress(const PassStart& pass, const Tracked& tracked, CommandProgress progress, SessionAnswer answer, const std::string& error) {
  step("record progress", [&] {
    const Time at = db_.clock;
    Episode* e = in_its_episode(tracked);
    if (!e) return;
    const bool completed = progress == CommandProgress::completed, failed = progress == CommandProgress::failed, gone = answer == SessionAnswer::gone;
    if (!completed && !failed && !gone) {
      if (answer == SessionAnswer::unclear) return;
      e->session_running = at;
      const auto& agent = db_.episodes.at(tracked.session.key).of.agent;
      const auto record = agent ? db_.evidence.find(*agent) : db_.evidence.end();
      if (record != db_.evidence.end() && !record->second.evidence.last.incarnation.empty()) e->incarnation = record->second.evidence.last.incarnation;
      return;
    }
    const bool start = command_for(db_.binding, tracked) == start_session;
    const std::string what = completed ? "completed" : failed ? "failed" : "session_gone";
    e->last_result = failed ? "failed: " + error : what;
    if (completed) e->completion_seen = at;
    if (((completed && !start) || gone) && !e->session_gone) e->session_gone = at;
    if (completed && start) e->session_running = at;
    if (failed && start) e->start_failed = at;
    if (failed) e->accepted_at.reset(), witness_.failed(tracked.session.key);
    write(pass, {.session = tracked.session.key, .kind = "retry_result", .from_state = tracked.session.state, .reason = what});
  });
}

void SimStore::quarantine(const PassStart& pass, const Tracked& tracked, const Verdict& verdict, const std::string& evidence) {
  step("quarantine", [&] {
    Episode* e = in_its_episode(tracked);
    if (!e || e->quarantined || e->retry_requested != tracked.episode.retry_requested) return;
    e->quarantined = db_.clock, e->retry_requested.reset();
    write(pass, {.session = tracked.session.key, .kind = "quarantine", .from_state = tracked.session.state, .reason = verdict.reason,
                 .rule = std::string(verdict.rule), .evidence = evidence});
  });
}

}  // namespace reconciler::simulation
