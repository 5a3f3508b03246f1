#include "core/evidence.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace reconciler {

const char* to_string(Presence presence) {
  switch (presence) {
    case Presence::present: return "present";
    case Presence::gone: return "gone";
    case Presence::unknown: return "unknown";
    case Presence::none: return "none";
  }
  return "unknown";
}

std::optional<Presence> presence_from(const std::string& text) {
  for (const Presence p : {Presence::present, Presence::gone, Presence::unknown, Presence::none})
    if (text == to_string(p)) return p;
  return {};
}

namespace {

// Two looks further apart than this have nothing to do with each other.
Duration horizon(const EvidenceLimits& limits) { return 2 * limits.interval + limits.hub_grace; }

void forget_gone(Evidence& record) {
  record.gone_time = Duration(0);
  record.gone_observations = 0;
  record.last_gone_counted.reset();
}

bool other_incarnation(const Evidence& before, const Observation& seen) {
  const std::string& was = before.last.incarnation;
  return !was.empty() && !seen.incarnation.empty() && was != seen.incarnation;
}

// Whether what was gathered before says nothing about the agent and hub that `seen` speaks of.
bool starts_over(const Evidence& before, const Observation& seen, const EvidenceLimits& limits) {
  return seen.new_instance || elapsed(before.last.at, seen.at) > horizon(limits) || other_incarnation(before, seen) ||
         (before.unknown_since && elapsed(*before.unknown_since, seen.at) > limits.hub_grace);
}

// Some looks have nothing to say of the heartbeat or the incarnation (an event, a hub that is down). What
// earlier looks learned of them stays.
void carry_forward(Observation& last, const Observation& before) {
  if (last.incarnation.empty()) last.incarnation = before.incarnation;
  if (!last.heartbeat_seen) {
    last.heartbeat = before.heartbeat;
    last.heartbeat_seen = before.heartbeat_seen;
    last.heartbeat_changed = before.heartbeat_changed;
  }
}

void count_gone(Evidence& record, const std::optional<Evidence>& before, const Observation& seen,
                const EvidenceLimits& limits) {
  record.unknown_since.reset();
  // Time counts only between two looks that both said gone, with nothing else and no long silence between.
  // The first look after a start over opens a new span: gone_observations is still 0 then.
  if (before && record.gone_observations > 0 && before->last.presence == Presence::gone) {
    const Duration distance = elapsed(before->last.at, seen.at);
    if (distance <= 3 * limits.interval) record.gone_time += distance;
  }
  if (!record.last_gone_counted || elapsed(*record.last_gone_counted, seen.at) >= limits.observation_spacing) {
    ++record.gone_observations;
    record.last_gone_counted = seen.at;
  }
}

}  // namespace

Evidence accumulate(const std::optional<Evidence>& before, const Observation& seen, const EvidenceLimits& limits) {
  // Late or doubled reports change nothing. A record that lies far ahead is not late news but a clock that was
  // set back: it would ignore every look until that time comes again, so it is dropped.
  const bool clock_set_back = before && elapsed(seen.at, before->last.at) > horizon(limits);
  if (before && !clock_set_back && seen.at <= before->last.at) return *before;

  Evidence record;
  if (before && !clock_set_back) {
    record = *before;
    if (starts_over(*before, seen, limits)) forget_gone(record);
    if (other_incarnation(*before, seen)) record.ignored = 0, record.suspect_since.reset();
  }
  record.last = seen;
  if (before && !clock_set_back) carry_forward(record.last, before->last);

  switch (seen.presence) {
    case Presence::present:
      record.unknown_since.reset();
      if (!seen.provisional) {
        forget_gone(record);
        record.last_present = seen.at;
      }
      break;
    case Presence::gone:
      count_gone(record, before, seen, limits);
      break;
    case Presence::unknown:
    case Presence::none:
      if (!record.unknown_since) record.unknown_since = seen.at;
      break;
  }
  return record;
}

EvidenceLimits pushed_within(EvidenceLimits limits, const std::optional<Duration>& max_age) {
  if (max_age) limits.interval = *max_age / 2;
  return limits;
}

Presence current(const Evidence& record, Time now, const EvidenceLimits& limits) {
  const Duration oldest = record.max_age.value_or(2 * limits.interval);
  // A record from the future (the clock went back) is no better than an old one.
  if (elapsed(record.last.at, now) > oldest || elapsed(now, record.last.at) > oldest) return Presence::unknown;
  return record.last.presence;
}

namespace {

// The heartbeat as this look found it: what it is, since when by our own looks, and whether we saw it change.
void note_heartbeat(Observation& seen, const std::optional<Evidence>& before, const HeartbeatLook& look, Time now) {
  const Observation* last = before && before->last.heartbeat_seen ? &before->last : nullptr;
  // Without the hub's answer an older value is no news: what we know may be the hub's, and only the column is seen.
  const bool half_seen = last && look.hub != HeartbeatLook::Hub::proper && look.heartbeat < last->heartbeat;  // an empty one is the smallest
  const bool same = half_seen || (last && last->heartbeat == look.heartbeat);  // NULL is a value too
  seen.heartbeat = half_seen ? last->heartbeat : look.heartbeat;
  seen.heartbeat_seen = same ? std::min(*last->heartbeat_seen, now) : now;
  seen.heartbeat_changed = last && (!same || last->heartbeat_changed);
}

Presence presence_by(const Observation& seen, const HeartbeatLook& look, Time now, const EvidenceLimits& limits, bool& provisional) {
  if (look.hub == HeartbeatLook::Hub::other_hub) return Presence::unknown;
  if (elapsed(*seen.heartbeat_seen, now) >= limits.heartbeat_fresh)
    return look.hub == HeartbeatLook::Hub::proper ? Presence::gone : Presence::unknown;
  if (!look.approved) return Presence::unknown;
  if (seen.heartbeat_changed) return Presence::present;
  // The first value that we see: its own time is foreign, good for retries and vetoes only.
  provisional = look.heartbeat && elapsed(*look.heartbeat, now) <= limits.heartbeat_fresh;
  return provisional ? Presence::present : Presence::unknown;
}

std::string heartbeat_sentence(const Observation& seen, const HeartbeatLook& look, Time now, const EvidenceLimits& limits) {
  if (look.hub == HeartbeatLook::Hub::other_hub)
    return "the hub at this address does not know an agent that the agents table has: it is another hub";
  const std::string unchanged = span(elapsed(*seen.heartbeat_seen, now));
  const std::string fresh = span(limits.heartbeat_fresh);
  const std::string_view approval = look.approved ? "" : "; the agent is not approved";
  std::string text;
  if (!seen.heartbeat) text = cat({"no heartbeat on record for ", unchanged, approval});
  else if (seen.presence == Presence::gone || elapsed(*seen.heartbeat_seen, now) >= limits.heartbeat_fresh)
    text = cat({"heartbeat unchanged for ", unchanged, ", ", fresh, " or more", approval});
  else if (seen.heartbeat_changed) text = cat({"heartbeat changed ", unchanged, " ago", approval});
  else text = cat({"heartbeat of ", instant(*seen.heartbeat), " not yet seen to change", approval});
  if (look.hub == HeartbeatLook::Hub::unauthorized) text += "; the hub refused our credential";
  else if (look.hub == HeartbeatLook::Hub::unknown) text += "; the hub gave no proper answer";
  if (!look.hub_detail.empty()) text += cat({" (", look.hub_detail, ")"});
  return text;
}

}  // namespace

Observation judge_heartbeat(const std::optional<Evidence>& before, const HeartbeatLook& look, Time now,
                            const EvidenceLimits& limits) {
  Observation seen;
  seen.at = now;
  seen.source = "heartbeat";
  seen.unauthorized = look.hub == HeartbeatLook::Hub::unauthorized;
  if (!look.row_readable) {
    if (before) carry_forward(seen, before->last);
    seen.detail = "the agents table has no row for this agent that we may read";
    return seen;
  }
  note_heartbeat(seen, before, look, now);
  seen.presence = presence_by(seen, look, now, limits, seen.provisional);
  seen.detail = heartbeat_sentence(seen, look, now, limits);
  return seen;
}

}  // namespace reconciler
