#include <algorithm>

#include "core/rules.hpp"
#include "simulation/store.hpp"

namespace reconciler::simulation {
namespace {

std::string text_of(Time at) { return std::to_string(unix_micros(at)); }

// Where a keyset cursor stands: rows with an age first, those without in an order of their own.
bool comes_after(const Row& row, const Cursor& cursor) {
  if (!cursor.started) return true;
  if (cursor.nulls) return row.session.key > *cursor.key;
  const Time age = from_unix_micros(std::stoll(*cursor.age));
  return *row.session.entered > age || (*row.session.entered == age && row.session.key > *cursor.key);
}

bool older(const Row* a, const Row* b) {
  if (a->session.entered != b->session.entered) return a->session.entered < b->session.entered;
  return a->session.key < b->session.key;
}

}  // namespace

Episode* SimStore::kept(const std::string& key) {
  const auto found = db_.episodes.find(key);
  return found == db_.episodes.end() ? nullptr : &found->second.episode;
}

void SimStore::write(const PassStart& pass, Event event) {
  event.pass_id = pass.pass_id, event.at = db_.clock;
  db_.events.push_back(std::move(event));
}

PassStart SimStore::begin_pass() {
  return step("begin", [&] {
    if (db_.first_pass_of != db_.server_started || !db_.first_pass) db_.first_pass = db_.clock;
    db_.first_pass_of = db_.server_started;
    if (db_.timeline != db_.timeline_seen) db_.promoted = db_.clock;
    db_.timeline_seen = db_.timeline;
    return PassStart{.pass_id = ++db_.last_pass, .now = db_.clock, .gates = db_.gates(), .held_because = {}};
  });
}

void SimStore::end_pass(const PassStart&, const PassEnd& end) {
  // After an error the engine calls from its handler, where nobody else may run: handlers are the thread's.
  if (end.error.empty()) step("end", [] {});
}

std::set<std::string> SimStore::occupied() {
  return step("occupied", [&] {
    std::set<std::string> states;
    for (const auto& [key, row] : db_.rows)
      if (const Policy* policy = db_.binding.policy(row.session.state); policy && policy->enabled) states.insert(row.session.state);
    return states;
  });
}

std::vector<Tracked> SimStore::scan(const std::string& state, Cursor& cursor) {
  return step("scan", [&] {
    std::vector<const Row*> found;
    for (const auto& [key, row] : db_.rows)
      if (row.session.state == state && row.session.entered.has_value() != cursor.nulls && comes_after(row, cursor)) found.push_back(&row);
    std::sort(found.begin(), found.end(), older);
    const auto limit = static_cast<std::size_t>(db_.binding.batch_size);
    if (found.size() > limit) found.resize(limit);
    cursor.started = true;
    if (!found.empty()) {
      const Session& last = found.back()->session;
      cursor.age = last.entered ? std::optional(text_of(*last.entered)) : std::nullopt, cursor.key = last.key;
    }
    if (found.size() < limit) {
      if (!cursor.nulls) cursor.nulls = true, cursor.started = false, cursor.key.reset();
      else cursor.done = true;
    }
    return track(found);
  });
}

std::vector<Tracked> SimStore::scan_completed(Cursor& cursor) {
  return step("scan completed", [&] {
    std::vector<const Row*> found;
    for (const auto& [key, row] : db_.rows) {
      const Policy* policy = db_.binding.policy(row.session.state);
      if ((cursor.key && key <= *cursor.key) || (policy && policy->enabled) || db_.binding.terminal(row.session.state)) continue;
      const auto commands = db_.commands.find(key);
      if (commands == db_.commands.end()) continue;
      const bool lately = std::any_of(commands->second.begin(), commands->second.end(), [&](const Command& c) {
        return c.action == "stop_session" && (c.completed || c.status == "completed") && c.created && *c.created > db_.clock - hours(24);
      });
      if (lately && static_cast<int>(found.size()) < db_.binding.batch_size) found.push_back(&row);
    }
    if (!found.empty()) cursor.key = found.back()->session.key;
    cursor.done = static_cast<int>(found.size()) < db_.binding.batch_size;
    return track(found);
  });
}

std::vector<Tracked> SimStore::scan_owed(Cursor& cursor) {
  return step("scan owed", [&] {
    std::vector<const Row*> found;
    int seen = 0;
    for (const auto& [key, episode] : db_.episodes) {
      if (episode.episode.owed == Owed::nothing || *episode.episode.owed_until <= db_.clock || (cursor.key && key <= *cursor.key)) continue;
      if (seen == db_.binding.batch_size) break;
      ++seen, cursor.key = key;
      const auto row = db_.rows.find(key);
      if (row != db_.rows.end() && db_.binding.terminal(row->second.session.state)) found.push_back(&row->second);
    }
    cursor.done = seen < db_.binding.batch_size;
    std::vector<Tracked> batch = track(found);
    std::erase_if(batch, [](const Tracked& tracked) { return tracked.episode.owed == Owed::nothing; });
    return batch;
  });
}

// With their commands, holds and episodes; what is new begins one: another state, agent, runtime or creation is another.
std::vector<Tracked> SimStore::track(const std::vector<const Row*>& rows) {
  std::vector<Tracked> batch;
  for (const Row* row : rows) {
    Tracked& tracked = batch.emplace_back();
    tracked.session = row->session;
    tracked.commands = db_.history(row->session);
    if (plant_ == Plant::lost_proof && tracked.commands.newest_stop) tracked.commands.newest_stop->completed.reset(), tracked.commands.newest_stop->status = "sent";
    if (plant_ == Plant::old_proof) tracked.commands.newest_other.reset(), tracked.commands.newest_elsewhere.reset();
    if (held(row->session.key)) tracked.hold = db_.holds.at(row->session.key);
    tracked.episode = episode_of(tracked);
    if (plant_ == Plant::uncounted) tracked.episode.attempts = 0;
  }
  return batch;
}

Episode& SimStore::episode_of(const Tracked& tracked) {
  const Session& s = tracked.session;
  const Policy* policy = db_.binding.policy(s.state);
  const auto found = db_.episodes.find(s.key);
  const bool known = found != db_.episodes.end() && same_identity(found->second.of, s);
  const auto start_sent = found == db_.episodes.end() ? std::nullopt : found->second.start_sent;
  Episode& episode = known ? found->second.episode : (db_.episodes[s.key] = {s, {}, start_sent}).episode;
  if (!known) {
    episode.first_seen = db_.clock;
    episode.entered = s.entered ? std::min(*s.entered, db_.clock) : db_.clock;
    episode.detected = policy && policy->enabled && policy->stuck_after && db_.clock - episode.entered >= *policy->stuck_after;
  }
  if (!episode.completion_seen && rules::rests_from_sight(policy, tracked.commands, db_.clock)) episode.completion_seen = db_.clock;
  return episode;
}

void SimStore::forget_departed() {
  step("forget what was owed", [&] {
    std::erase_if(db_.episodes, [&](const auto& entry) { return entry.second.episode.owed != Owed::nothing && *entry.second.episode.owed_until <= db_.clock; });
  });
  step("forget departed", [&] {
    for (auto entry = db_.episodes.begin(); entry != db_.episodes.end();)
      entry = departed(entry->first, entry->second) ? db_.episodes.erase(entry) : std::next(entry);
  });
}

// Another state, agent, runtime or creation ends an episode. One whose start may still arrive is remembered as that, and
// owes a stop when the session is found to have ended.
bool SimStore::departed(const std::string& key, KeptEpisode& kept) {
  const auto found = db_.rows.find(key);
  if (found == db_.rows.end()) return true;
  const Session& row = found->second.session;
  if (same_identity(row, kept.of)) return false;
  if (!db_.start_may_arrive(kept) || row.agent != kept.of.agent || row.created != kept.of.created || plant_ == Plant::lost_start) return true;
  if (db_.binding.terminal(row.state)) owe(kept, row, Owed::stop);
  else kept.episode = Episode{};
  return false;
}

void SimStore::note_stuck(const PassStart&, const std::vector<const Tracked*>& stuck) {
  step("note stuck", [&] {
    for (const Tracked* tracked : stuck)
      if (Episode* episode = kept(tracked->session.key)) episode->detected = true;
  });
}

void SimStore::note_incarnations(const std::vector<const Tracked*>& met) {
  step("note incarnations", [&] {
    for (const Tracked* tracked : met) {
      const auto found = db_.episodes.find(tracked->session.key);
      if (found == db_.episodes.end() || !found->second.episode.incarnation.empty() || !found->second.of.agent) continue;
      const auto agent = db_.evidence.find(*found->second.of.agent);
      if (agent != db_.evidence.end()) found->second.episode.incarnation = agent->second.evidence.last.incarnation;
    }
  });
}

std::vector<std::string> SimStore::agents_of(const std::string& state, std::int64_t limit) {
  return step("list agents", [&] {
    std::set<std::string> ids;
    for (const auto& [key, row] : db_.rows)
      if (row.session.state == state && row.session.agent && static_cast<std::int64_t>(ids.size()) < limit) ids.insert(*row.session.agent);
    return std::vector<std::string>(ids.begin(), ids.end());
  });
}

std::int64_t SimStore::watched() {
  if (!watched_)
    watched_ = step("count watched", [&] {
      return std::count_if(db_.rows.begin(), db_.rows.end(), [&](const auto& entry) {
        const Policy* policy = db_.binding.policy(entry.second.session.state);
        return policy && policy->enabled;
      });
    });
  return *watched_;
}

std::map<std::string, HeartbeatLook> SimStore::agents(const std::vector<std::string>& ids) {
  return step("read agents", [&] {
    std::map<std::string, HeartbeatLook> looks;
    for (const std::string& id : ids)
      if (const auto row = db_.agents.find(id); row != db_.agents.end()) {
        HeartbeatLook& look = looks[id];
        look.row_readable = true, look.approved = row->second.approved, look.heartbeat = row->second.heartbeat;
      }
    return looks;
  });
}

std::map<std::string, Evidence> SimStore::evidence(const std::vector<std::string>& ids) {
  return step("read evidence", [&] {
    std::map<std::string, Evidence> found;
    for (const std::string& id : ids)
      if (const auto record = db_.evidence.find(id); record != db_.evidence.end()) found[id] = record->second.evidence;
    return found;
  });
}

std::map<std::string, Evidence> SimStore::update_evidence(const std::vector<std::string>& ids, const NextEvidence& next) {
  return step("record evidence", [&] {
    std::map<std::string, Evidence> after;
    for (const std::string& id : ids) {
      const auto before = db_.evidence.find(id);
      after[id] = next(id, before == db_.evidence.end() ? std::nullopt : std::optional(before->second.evidence));
      db_.evidence[id].evidence = after[id];
    }
    return after;
  });
}

std::map<std::string, std::vector<Evidence>> SimStore::runtime_evidence(const std::vector<std::string>& runtimes) {
  return step("read evidence of runtimes", [&] {
    std::map<std::string, std::vector<Evidence>> said;
    for (const std::string& id : runtimes)
      if (const auto found = db_.runtimes.find(id); found != db_.runtimes.end())
        for (const auto& [source, record] : found->second) said[id].push_back(record);
    return said;
  });
}

void SimStore::update_runtime_evidence(const std::string& source, const std::vector<std::string>& runtimes, const NextEvidence& next) {
  step("record evidence of runtimes", [&] {
    for (const std::string& id : runtimes) {
      auto& said = db_.runtimes[id];
      const auto before = said.find(source);
      said[source] = next(id, before == said.end() ? std::nullopt : std::optional(before->second));
    }
    return true;
  });
}

Time SimStore::note_instance(const std::string& instance, Time at) {
  if (!db_.binding.hub || plant_ == Plant::old_instance) return Time::min();
  return step("record instance", [&] {
    const auto [found, first] = db_.instances.try_emplace(instance, Database::Instance{at, at});
    Database::Instance& known = found->second;
    const bool set_back = known.last_answer - at > minutes(1);
    if (!first && (at - known.last_answer > minutes(10) || set_back)) known.since = at;
    known.last_answer = set_back ? at : std::max(known.last_answer, at);
    const Time since = known.since;
    if (since == at) std::erase_if(db_.instances, [&](const auto& entry) { return entry.second.last_answer < at - hours(24); });
    return since;
  });
}

}  // namespace reconciler::simulation
