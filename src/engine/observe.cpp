#include "engine/observe.hpp"

namespace reconciler {
namespace {

HeartbeatLook::Hub hub_part(const Sighting& sighting) {
  switch (sighting.kind) {
    case Sighting::Kind::answered: return HeartbeatLook::Hub::proper;
    case Sighting::Kind::other_hub: return HeartbeatLook::Hub::other_hub;
    case Sighting::Kind::unauthorized: return HeartbeatLook::Hub::unauthorized;
    case Sighting::Kind::unknown: break;
  }
  return HeartbeatLook::Hub::unknown;
}

// Where agents fetch their commands from the database they are known by that.
bool knows_agents(const AgentHub& hub) { return hub.profile().pulls() || hub.profile().knows_agents(); }

}  // namespace

Observation Observer::observation(const std::string&, const Sighting& sighting, const HeartbeatLook* row,
                                  bool new_instance, const std::optional<Evidence>& before, Time now) const {
  Observation seen;
  if (hub_->profile().authoritative()) {
    seen.presence = sighting.presence;
    seen.source = "hub";
    seen.unauthorized = sighting.kind == Sighting::Kind::unauthorized;
    seen.detail = sighting.detail;
  } else {
    HeartbeatLook look = row ? *row : HeartbeatLook{};
    // Our own registry can be read, and an agent that is not in it makes no heartbeat.
    look.row_readable = look.row_readable || hub_->profile().pulls();
    look.hub = hub_part(sighting);
    look.hub_detail = sighting.detail;
    // The newest of the two: a hub that writes its table late must not make an agent look silent.
    if (sighting.agent.heartbeat && (!look.heartbeat || *look.heartbeat < *sighting.agent.heartbeat))
      look.heartbeat = sighting.agent.heartbeat;
    seen = judge_heartbeat(before, look, now, store_.binding().limits);
  }
  seen.at = now;
  seen.instance = sighting.hub.instance;
  seen.new_instance = new_instance;
  if (!sighting.agent.incarnation.empty()) seen.incarnation = sighting.agent.incarnation;
  return seen;
}

void Observer::look(const std::set<std::string>& wanted) {
  if (!hub_ || !knows_agents(*hub_)) return load(wanted);
  if (wanted.empty()) return;
  const Time begun = store_.now();
  std::vector<std::string> ids;
  for (const std::string& id : wanted) {
    const auto [last, first] = looked_.try_emplace(id, begun);
    if (!first && begun - last->second < store_.binding().limits.interval) continue;
    last->second = begun;
    ids.push_back(id);
  }
  if (ids.empty()) return;

  const auto sightings = hub_->look(ids);
  asked_ = true;
  std::map<std::string, HeartbeatLook> rows;
  if (!hub_->profile().authoritative()) rows = store_.agents(ids);

  const Time now = store_.now();
  std::map<std::string, Time> answering_since;
  for (const auto& [id, sighting] : sightings) {
    if (sighting.kind == Sighting::Kind::unauthorized) unauthorized_ = true;
    if (sighting.kind != Sighting::Kind::answered) continue;
    answered_ = true;
    if (!answering_since.contains(sighting.hub.instance))
      answering_since[sighting.hub.instance] = store_.note_instance(sighting.hub.instance, now);
  }
  const auto next = [&](const std::string& id, const std::optional<Evidence>& before) {
    const auto found = sightings.find(id);
    const Sighting sighting = found == sightings.end() ? Sighting{} : found->second;
    const auto row = rows.find(id);
    // New to this agent: its record is older than the instance, whoever met the instance first.
    const auto since = answering_since.find(sighting.hub.instance);
    const bool is_new = since != answering_since.end() && before && since->second > before->last.at;
    // What was pushed of it stands as long as it is worth anything: a hub that says nothing does not speak against it.
    if (before && before->last.stated && sighting.kind != Sighting::Kind::answered && current(*before, now, store_.binding().limits) != Presence::unknown) return *before;
    return accumulate(before, observation(id, sighting, row == rows.end() ? nullptr : &row->second, is_new, before, now),
                      store_.binding().limits);
  };
  for (auto& [id, evidence] : store_.update_evidence(ids, next)) known_[id] = evidence;
}

namespace {

// A pass asks no more than that: each is a request of its own.
constexpr std::int64_t most_runtimes = 10000;

Observation seen_by_hub(const SessionSaid& said, const std::string& runtime, Time now) {
  Observation seen;
  seen.at = now, seen.source = hub_source, seen.unauthorized = said.unauthorized, seen.detail = said.detail;
  if (said.answer == SessionAnswer::unclear) return seen;
  if (!said.runtime.empty() && said.runtime != runtime) {
    seen.detail = "the hub speaks of another runtime of the session, \"" + said.runtime + "\"";
    return seen;
  }
  const bool gone = said.answer == SessionAnswer::gone;
  seen.presence = gone ? Presence::gone : Presence::present;
  seen.detail = gone ? "the hub calls the session gone" : said.answer == SessionAnswer::suspended ? "the hub calls the session suspended" : "the hub calls the session running";
  return seen;
}

}  // namespace

void Observer::look_at_runtimes() {
  if (!sees_runtimes()) return;
  std::map<std::string, std::string> session_of;  // by runtime: two that name the same are not told apart
  std::vector<std::string> sessions, runtimes;
  for (const Store::Judged& judged : store_.runtimes_to_ask(most_runtimes))
    if (session_of.emplace(judged.runtime, judged.session).second) sessions.push_back(judged.session), runtimes.push_back(judged.runtime);
  if (sessions.empty()) return;
  const auto said = hub_->session_status(sessions);
  asked_ = true;
  for (const auto& [session, one] : said) {
    unauthorized_ = unauthorized_ || one.unauthorized;
    answered_ = answered_ || one.proper;
  }
  const Time now = store_.now();
  store_.update_runtime_evidence(hub_source, runtimes, [&](const std::string& runtime, const std::optional<Evidence>& before) {
    const auto found = said.find(session_of.at(runtime));
    return accumulate(before, seen_by_hub(found == said.end() ? SessionSaid{} : found->second, runtime, now), store_.binding().limits);
  });
}

void Observer::load_runtimes(const std::vector<Tracked>& batch) {
  runtimes_.clear(), shared_.clear();
  const Binding& binding = store_.binding();
  std::vector<const Session*> judged;
  std::set<std::string> ids, gone;
  for (const Tracked& tracked : batch) {
    const Session& session = tracked.session;
    const Policy* policy = binding.policy(session.state);
    if (!policy || policy->judged_by != JudgedBy::runtime || !session.runtime || session.runtime->empty()) continue;
    judged.push_back(&session), ids.insert(*session.runtime);
  }
  if (judged.empty()) return;
  const auto said = store_.runtime_evidence({ids.begin(), ids.end()});
  const Time now = store_.now();
  for (const Session* session : judged) {
    const auto found = said.find(*session->runtime);
    if (found == said.end()) continue;
    const auto together = combine(found->second, binding.backends_of(*session), now, binding.limits);
    if (!together) continue;
    if (current(*together, now, binding.limits) == Presence::gone) gone.insert(*session->runtime);
    runtimes_[session->key] = *together;
  }
  if (!gone.empty()) shared_ = store_.shared_runtimes({gone.begin(), gone.end()});
}

const Evidence* Observer::runtime_of(const Session& session) const {
  const auto found = runtimes_.find(session.key);
  return found == runtimes_.end() ? nullptr : &found->second;
}

bool Observer::shares_runtime(const Session& session) const { return session.runtime && shared_.contains(*session.runtime); }

void Observer::load(const std::set<std::string>& ids) {
  std::vector<std::string> missing;
  for (const std::string& id : ids)
    if (!known_.contains(id)) missing.push_back(id);
  if (missing.empty()) return;
  for (auto& [id, evidence] : store_.evidence(missing)) known_[id] = evidence;
}

void Observer::forget(const std::set<std::string>& ids) {
  for (const std::string& id : ids) looked_.erase(id);
}

const Evidence* Observer::of(const std::optional<std::string>& agent) const {
  if (!agent) return nullptr;
  const auto found = known_.find(*agent);
  return found == known_.end() ? nullptr : &found->second;
}

}  // namespace reconciler
