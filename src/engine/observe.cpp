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

}  // namespace

Observation Observer::observation(const std::string&, const Sighting& sighting, const HeartbeatLook* row,
                                  bool new_instance, const std::optional<AgentEvidence>& before, Time now) const {
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
  if (!hub_) return load(wanted);
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
  const auto next = [&](const std::string& id, const std::optional<AgentEvidence>& before) {
    const auto found = sightings.find(id);
    const Sighting sighting = found == sightings.end() ? Sighting{} : found->second;
    const auto row = rows.find(id);
    // New to this agent: its record is older than the instance, whoever met the instance first.
    const auto since = answering_since.find(sighting.hub.instance);
    const bool is_new = since != answering_since.end() && before && since->second > before->last.at;
    return accumulate(before, observation(id, sighting, row == rows.end() ? nullptr : &row->second, is_new, before, now),
                      store_.binding().limits);
  };
  for (auto& [id, evidence] : store_.update_evidence(ids, next)) known_[id] = evidence;
}

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

const AgentEvidence* Observer::of(const std::optional<std::string>& agent) const {
  if (!agent) return nullptr;
  const auto found = known_.find(*agent);
  return found == known_.end() ? nullptr : &found->second;
}

}  // namespace reconciler
