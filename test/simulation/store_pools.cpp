// Pools: what src/postgres/store_handover.cpp, store_registry.cpp and pool_load.cpp do.
#include <algorithm>
#include <tuple>

#include "engine/facts.hpp"
#include "simulation/store.hpp"

namespace reconciler::simulation {

std::map<std::string, Pooled> SimStore::pools_of(const std::vector<const Tracked*>& sessions) {
  return step("read pools", [&] {
    std::map<std::string, Pooled> pools;
    for (const Tracked* tracked : sessions)
      if (const auto id = db_.pool_of(tracked->session)) pools[tracked->session.key] = {*id, "pool-" + std::to_string(*id), db_.outlive.at(*id)};
    return pools;
  });
}

std::vector<Taker> SimStore::takers(int pool, std::int64_t limit) {
  return step("read agents of a pool", [&] {
    std::vector<Taker> found;
    if (plant_ == Plant::starved) return found;
    for (const auto& [id, member] : db_.registry) {
      const std::int64_t load = plant_ == Plant::roomless ? 0 : member.load;
      const auto record = db_.evidence.find(id);
      const bool gone = record != db_.evidence.end() && record->second.evidence.last.presence == Presence::gone;
      if (db_.siblings(member.pool, pool) && member.connected && db_.agents.at(id).approved && !member.draining && !gone)
        found.push_back({id, load, member.capacity});
    }
    const auto fullness = [](const Taker& a) { return static_cast<double>(a.load) / static_cast<double>(a.capacity); };
    const auto order = [&](const Taker& a) { return std::tuple(fullness(a) >= 1, db_.registry.at(a.id).pool != pool, fullness(a)); };
    std::stable_sort(found.begin(), found.end(), [&](const Taker& a, const Taker& b) { return order(a) < order(b); });
    if (static_cast<std::int64_t>(found.size()) > limit) found.resize(static_cast<std::size_t>(limit));
    return found;
  });
}

std::vector<Tracked> SimStore::scan_leaving(Cursor& cursor) {
  cursor.started = cursor.done = true;
  if (!db_.binding.pools) return {};
  return step("scan leaving", [&] {
    std::vector<const Row*> found;
    for (const auto& [key, row] : db_.rows) {
      const auto member = row.session.agent ? db_.registry.find(*row.session.agent) : db_.registry.end();
      if ((cursor.key && key <= *cursor.key) || db_.binding.terminal(row.session.state) || member == db_.registry.end() || !db_.outlive.at(member->second.pool)) continue;
      const auto record = db_.evidence.find(member->first);
      const bool lost = !member->second.connected && record != db_.evidence.end() && record->second.evidence.last.presence == Presence::gone;
      if ((lost || (member->second.draining && !member->second.drained)) && static_cast<int>(found.size()) < db_.binding.batch_size) found.push_back(&row);
    }
    if (!found.empty()) cursor.key = found.back()->session.key;
    cursor.done = static_cast<int>(found.size()) < db_.binding.batch_size;
    std::vector<Tracked> batch = track(found);
    for (Tracked& tracked : batch) tracked.leaves = true;
    return batch;
  });
}

bool SimStore::reserve(const std::string& agent) {
  const auto member = db_.registry.find(agent);
  if (member == db_.registry.end() || (member->second.load >= member->second.capacity && plant_ != Plant::roomless)) return false;
  ++member->second.load;
  return true;
}

void SimStore::give_room_back(const std::string& agent) {
  if (const auto member = db_.registry.find(agent); member != db_.registry.end()) member->second.load = std::max<std::int64_t>(0, member->second.load - 1);
}

// The row's agent, its event and its episode, where the row still is as judged. Room was taken before.
bool SimStore::move_row(const PassStart& pass, const Handover& move) {
  const Session& s = move.tracked->session;
  const Verdict& v = move.verdict;
  const auto found = db_.rows.find(s.key);
  const auto kept = db_.episodes.find(s.key);
  if (found == db_.rows.end() || held(s.key) || kept == db_.episodes.end() || kept->second.episode.first_seen != move.tracked->episode.first_seen) return false;
  Row& row = found->second;
  if (!same_identity(row.session, s) && plant_ != Plant::blind_move) return false;
  const Row before = row;
  row.session.agent = v.to_agent;
  Episode& e = kept->second.episode;
  kept->second.of = row.session;
  e.sent_to.reset(), e.quarantined.reset(), e.unreachable_since.reset(), e.last_would.clear();
  const auto record = db_.evidence.find(v.to_agent);
  e.incarnation = record == db_.evidence.end() ? "" : record->second.evidence.last.incarnation;
  const Policy* policy = db_.binding.policy(s.state);
  if (!(policy && policy->enabled) && !kept->second.start_sent) db_.episodes.erase(kept);
  write(pass, {.session = s.key, .kind = "reassign", .from_state = s.state, .to_state = s.state, .reason = v.reason, .rule = std::string(v.rule),
               .evidence = move.evidence, .before = before, .after = row});
  witness_.reassigned(move, {s.key, before, row});
  return true;
}

std::vector<Tracked> SimStore::scan_planned(Cursor& cursor, std::int64_t limit) {
  cursor.done = true;
  if (!db_.binding.pools) return {};
  return step("read planned moves", [&] {
    std::vector<const Row*> found;
    std::vector<std::string> stale;
    std::int64_t seen = 0;
    for (auto plan = cursor.key ? db_.plans.upper_bound(*cursor.key) : db_.plans.begin(); plan != db_.plans.end() && seen < limit; ++plan, ++seen) {
      cursor.key = plan->first;
      const auto row = db_.rows.find(plan->first);
      const auto& to = db_.registry.at(plan->second.move.to_agent);
      if (row != db_.rows.end() && row->second.session.agent == plan->second.from && to.connected && !to.draining) found.push_back(&row->second);
      else stale.push_back(plan->first);
    }
    cursor.done = seen < limit;
    std::vector<Tracked> batch = track(found);
    for (Tracked& tracked : batch) tracked.planned = db_.plans.at(tracked.session.key).move;
    for (const std::string& key : stale) db_.plans.erase(key);
    return batch;
  });
}

void SimStore::forget_planned(const std::vector<const Tracked*>& sessions) {
  step("forget planned moves", [&] {
    for (const Tracked* tracked : sessions) db_.plans.erase(tracked->session.key);
  });
}

Store::Finished SimStore::hand_over(const PassStart& pass, const std::vector<Handover>& moves) {
  return step("hand over", [&] {
    Finished done;
    if (!allowed(false) || db_.gates().grace_until) return done;
    for (const Handover& move : moves) {
      if (move.tracked->planned) db_.plans.erase(move.tracked->session.key);
      const auto& own = move.tracked->session.agent;
      const bool takes_room = db_.binding.takes_room(move.tracked->session.state);
      if (takes_room && !reserve(move.verdict.to_agent)) {
        ++done.skipped;
      } else if (move_row(pass, move)) {
        if (own && takes_room) give_room_back(*own);
        ++done.closed;
      } else {
        if (takes_room) give_room_back(move.verdict.to_agent);
        write(pass, {.session = move.tracked->session.key, .kind = "skipped", .from_state = move.tracked->session.state, .reason = move.verdict.reason, .rule = std::string(move.verdict.rule)});
        ++done.skipped;
      }
    }
    return done;
  });
}

bool SimStore::takes_place(const Tracked& tracked) const { return hands_over(tracked) && db_.binding.takes_room(tracked.session.state); }

// As recount() sees it.
bool SimStore::keeps_place(const Attempt& attempt) {
  const Episode* e = kept(attempt.tracked->session.key);
  return takes_place(*attempt.tracked) && e && e->owed == Owed::nothing && e->sent_to == attempt.tracked->goes_to->agent && e->lease_until == attempt.lease && e->lease_until > db_.clock;
}

// Another agent has taken a command over, or has not: the session is its own, or the place that is kept is given back.
void SimStore::settle_room(const PassStart& pass, const Attempt& attempt, bool recorded, bool kept_place) {
  const Tracked& tracked = *attempt.tracked;
  if (!hands_over(tracked)) return;
  const Episode* e = kept(tracked.session.key);
  const bool taken = recorded && allowed(false) && attempt.lease > db_.clock && e && e->accepted_at && e->sent_to == tracked.goes_to->agent;
  if (!taken || !move_row(pass, {&tracked, tracked.goes_to->verdict, tracked.goes_to->evidence})) {
    if (kept_place) give_room_back(tracked.goes_to->agent);
  } else if (tracked.session.agent && takes_place(tracked)) {
    give_room_back(*tracked.session.agent);
  }
}

void SimStore::note_drained(const PassStart& pass) {
  if (!db_.binding.pools) return;
  step("note drained", [&] {
    db_.recount();
    std::set<std::string> busy;
    for (const auto& [key, row] : db_.rows)
      if (row.session.agent && !db_.binding.terminal(row.session.state)) busy.insert(*row.session.agent);
    for (auto& [id, member] : db_.registry)
      if (member.draining && !member.drained && member.load == 0 && !busy.contains(id)) {
        member.drained = db_.clock;
        write(pass, {.kind = "drained"});
      }
  });
}

std::optional<std::vector<std::string>> SimStore::agents_to_ask(std::int64_t limit) {
  if (!db_.binding.pools) return {};
  return step("list agents of pools", [&]() -> std::optional<std::vector<std::string>> {
    const Duration half = db_.binding.limits.interval / 2;
    auto& asked = db_.agents_asked;
    if (asked && *asked >= db_.clock - half && *asked <= db_.clock) return std::nullopt;
    asked = db_.clock;
    std::vector<std::string> ids;
    for (const auto& [id, member] : db_.registry) {
      const auto record = db_.evidence.find(id);
      if (static_cast<std::int64_t>(ids.size()) < limit && (record == db_.evidence.end() || record->second.evidence.last.at <= db_.clock - half)) ids.push_back(id);
    }
    return ids;
  });
}

// Whether they are there follows our own looks.
void SimStore::refresh_registry() {
  if (!db_.binding.pools) return;
  step("keep the registry", [&] {
    for (auto& [id, member] : db_.registry)
      if (const auto record = db_.evidence.find(id); record != db_.evidence.end() && record->second.evidence.last.presence != Presence::unknown)
        member.connected = record->second.evidence.last.presence == Presence::present;
    db_.recount();
  });
}

}  // namespace reconciler::simulation
