#include "hub/presence.hpp"

#include <algorithm>
#include <set>

namespace reconciler {
namespace {

using Status = AgentAnswer::Status;

// With one address the whole hub is behind it unless it says otherwise, with several each is an instance.
bool speaks_for_fleet(const Voice& voice, std::size_t addresses) { return voice.hub.fleet.value_or(addresses == 1); }

bool answered(const Voice& voice) { return voice.kind == Voice::Kind::answered; }
bool says(const Voice& voice, Status status) { return answered(voice) && voice.agent.status == status; }

template <class Test> const Voice* first(const std::vector<Voice>& voices, Test test) {
  auto found = std::find_if(voices.begin(), voices.end(), test);
  return found == voices.end() ? nullptr : &*found;
}

Sighting heard(const std::string& agent, const Voice& voice, Presence presence, std::string detail) {
  Sighting sighting;
  sighting.kind = Sighting::Kind::answered;
  sighting.presence = presence;
  sighting.agent = voice.agent;
  sighting.agent.id = agent;
  sighting.hub = voice.hub;
  sighting.detail = std::move(detail);
  return sighting;
}

// Nobody answered: the reasons of all of them, of the first in full.
Sighting nobody_answered(const std::string& agent, const std::vector<Voice>& voices) {
  Sighting sighting;
  sighting.agent.id = agent;
  const Voice* denied = first(voices, [](const Voice& v) { return v.kind == Voice::Kind::unauthorized; });
  if (denied != nullptr) sighting.kind = Sighting::Kind::unauthorized;
  const Voice* shown = denied != nullptr ? denied : voices.empty() ? nullptr : &voices.front();
  sighting.detail = shown == nullptr ? "the hub has no address" : shown->detail;
  return sighting;
}

std::string joined_instances(const std::vector<Voice>& voices) {
  std::set<std::string> names;
  for (const Voice& voice : voices)
    if (answered(voice) && !voice.hub.instance.empty()) names.insert(voice.hub.instance);
  std::string joined;
  for (const std::string& name : names) joined += (joined.empty() ? "" : ",") + name;
  return joined;
}

// No address speaks for the fleet: all that were there lately have to say that the agent is not connected
// to them, and one of them has to know it.
Sighting judge_instances(const std::string& agent, const std::vector<Voice>& voices) {
  const Voice* any = first(voices, answered);
  auto unknown = [&](const std::string& why) {
    Sighting sighting = heard(agent, *any, Presence::unknown, why);
    if (voices.size() > 1) sighting.hub.instance.clear();  // it rests on no instance
    return sighting;
  };
  if (const Voice* missing = first(voices, [](const Voice& v) { return v.recent && !answered(v); }))
    return unknown(missing->address + " was there in the last 10 minutes and does not answer now: " + missing->detail);
  if (const Voice* unclear = first(voices, [](const Voice& v) { return says(v, Status::unclear); }))
    return unknown(unclear->address + " does not say whether it knows the agent");
  const Voice* knows = first(voices, [](const Voice& v) { return says(v, Status::disconnected); });
  if (knows == nullptr) return unknown("the hub does not know the agent, and is not known to be complete");
  Sighting gone = heard(agent, *knows, Presence::gone, knows->address + " knows the agent and is not connected to it");
  if (voices.size() > 1) gone.hub.instance = joined_instances(voices);
  return gone;
}

}  // namespace

Sighting judge_connection(const std::string& agent, const std::vector<Voice>& voices) {
  if (first(voices, answered) == nullptr) return nobody_answered(agent, voices);
  if (const Voice* here = first(voices, [](const Voice& v) { return says(v, Status::connected); }))
    return heard(agent, *here, Presence::present, "connected to " + here->address);

  auto for_fleet = [&](const Voice& v) { return speaks_for_fleet(v, voices.size()); };
  if (const Voice* lost = first(voices, [&](const Voice& v) { return says(v, Status::disconnected) && for_fleet(v); }))
    return heard(agent, *lost, Presence::gone, lost->address + " knows the agent and is not connected to it");
  if (const Voice* never = first(
          voices, [&](const Voice& v) { return says(v, Status::unknown_agent) && v.hub.complete && for_fleet(v); }))
    return heard(agent, *never, Presence::gone, never->address + " names every agent, and not this one");
  return judge_instances(agent, voices);
}

Sighting first_known(const std::string& agent, const std::vector<Voice>& voices) {
  if (const Voice* knows =
          first(voices, [](const Voice& v) { return answered(v) && !says(v, Status::unknown_agent); }))
    return heard(agent, *knows, Presence::unknown, knows->address + " answered");
  // Not known to some, and the others did not say: nothing is known.
  std::vector<Voice> others;
  std::copy_if(voices.begin(), voices.end(), std::back_inserter(others), [](const Voice& v) { return !answered(v); });
  if (!others.empty() || voices.empty()) return nobody_answered(agent, others);
  Sighting sighting = heard(agent, voices.front(), Presence::unknown,
                            voices.front().address + " does not know the agent: it is another hub than the table's");
  sighting.kind = Sighting::Kind::other_hub;
  return sighting;
}

}  // namespace reconciler
