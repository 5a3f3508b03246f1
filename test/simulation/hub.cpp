#include "simulation/hub.hpp"

#include "hub/presence.hpp"

namespace reconciler::simulation {
namespace {

constexpr Duration timeout = seconds(10);

}  // namespace

// A command on its way. It outlives its pass: what has left arrives.
struct SimHub::Flight {
  CommandRequest request;
  std::size_t index = 0;
  Delivery delivery{.outcome = Delivery::Outcome::unknown, .meaning = CommandMeaning::unclear, .hub_command_id = {}, .retry_after = {}, .detail = "timeout"};
};

Duration SimHub::longest_delivery(std::size_t) const { return timeout + seconds(5); }

bool SimHub::asks() {
  ++totals_.requests;
  Random& network = world_.network();
  const Duration way = world_.hub().slow ? network.between(milliseconds(10), seconds(20)) : network.between(milliseconds(1), milliseconds(100));
  world_.sleep_until(world_.now() + std::min(way, timeout));
  if (way < timeout && world_.hub().up && !world_.goes_wrong(Fault::lost, 30)) return true;
  ++totals_.failed;
  return false;
}

bool SimHub::comes_back() {
  Random& network = world_.network();
  world_.sleep_until(world_.now() + network.between(milliseconds(1), world_.hub().slow ? seconds(8) : milliseconds(100)));
  return !world_.goes_wrong(Fault::lost, 30);
}

std::map<std::string, Sighting> SimHub::look(const std::vector<std::string>& ids) {
  const bool answered = asks() && !world_.hub().refuses;
  std::map<std::string, Sighting> sightings;
  for (const std::string& id : ids) sightings[id] = sighting(id, answered);
  if (!answered || comes_back()) return sightings;
  for (auto& [id, one] : sightings) one = sighting(id, false);
  return sightings;
}

Sighting SimHub::sighting(const std::string& id, bool answered) const {
  Hub& hub = world_.hub();
  Voice voice;
  voice.address = "hub";
  voice.kind = answered ? Voice::Kind::answered : hub.up && hub.refuses ? Voice::Kind::unauthorized : Voice::Kind::silent;
  if (!answered && world_.shape().plant == Plant::down_is_gone) {
    voice.kind = Voice::Kind::answered, voice.agent.status = AgentAnswer::Status::disconnected;
  } else if (answered) {
    Agent* agent = world_.agent(id);
    const bool lied = hub.lied.contains(id);
    if (lied) agent->lied_about = world_.now();
    voice.agent.id = id;
    voice.agent.status = !hub.known.contains(id) ? AgentAnswer::Status::unknown_agent
                         : hub.claims(id) ? AgentAnswer::Status::connected : AgentAnswer::Status::disconnected;
    if (voice.agent.status == AgentAnswer::Status::connected) voice.agent.incarnation = agent->name();
    if (hub.heartbeats && !lied) voice.agent.heartbeat = agent->heartbeat;
    if (!hub.heartbeats) voice.hub = {.instance = "instance-" + std::to_string(hub.instance), .fleet = true, .complete = true};
  }
  return hub.heartbeats ? first_known(id, {voice}) : judge_connection(id, {voice});
}

// Sends it off; when its sender will have heard of it, or given up.
Time SimHub::leave(const std::shared_ptr<Flight>& flight) {
  ++totals_.requests;
  Random& network = world_.network();
  if (!world_.hub().up && network.chance(500)) {
    flight->delivery.outcome = Delivery::Outcome::not_sent, flight->delivery.detail = "no connection";
    return world_.now() + milliseconds(1);
  }
  if (world_.goes_wrong(Fault::lost, 50)) return world_.now() + timeout;
  const bool slow = world_.hub().slow;
  Duration there = network.between(milliseconds(1), slow ? seconds(6) : milliseconds(200));
  Duration back = network.between(milliseconds(1), slow ? seconds(6) : milliseconds(200));
  if (world_.goes_wrong(Fault::late, 50)) there = network.between(timeout, seconds(40));
  const bool heard = there + back < timeout && !world_.goes_wrong(Fault::lost, 50);
  const auto arrives = [this_world = &world_, flight, heard] {
    if (!this_world->hub().up) return;
    const Delivery said = this_world->receive(flight->request);
    if (heard) flight->delivery = said;
  };
  world_.after(there, arrives);
  if (world_.goes_wrong(Fault::doubled, 50))
    world_.after(there + network.between(milliseconds(1), seconds(20)), [this_world = &world_, flight] {
      if (this_world->hub().up) this_world->receive(flight->request);
    });
  return world_.now() + (heard ? there + back : timeout);
}

void SimHub::dispatch(const Next& next, const Done& done) {
  enum class What { leaves, ends };
  std::size_t handed_out = 0;
  for (std::vector<Dispatch> more = next(); !more.empty(); more = next()) {
    std::multimap<Time, std::pair<What, std::shared_ptr<Flight>>> agenda;
    for (Dispatch& one : more) {
      auto flight = std::make_shared<Flight>();
      flight->request = std::move(one.command), flight->index = handed_out++;
      agenda.emplace(world_.now() + one.not_before, std::pair(What::leaves, std::move(flight)));
    }
    while (!agenda.empty()) {
      const auto [when, event] = *agenda.begin();
      agenda.erase(agenda.begin());
      world_.sleep_until(when);
      if (event.first == What::leaves) agenda.emplace(leave(event.second), std::pair(What::ends, event.second));
      else done(event.second->index, event.second->delivery);
    }
  }
}

std::map<std::string, Profile::CommandState> SimHub::command_progress(const std::vector<std::string>& ids) {
  std::map<std::string, Profile::CommandState> known;
  if (!asks()) return known;
  for (const std::string& id : ids)
    if (const auto state = world_.progress_of(id); state.progress != CommandProgress::unclear) known[id] = state;
  if (!comes_back()) known.clear();
  return known;
}

std::map<std::string, SessionSaid> SimHub::session_status(const std::vector<std::string>& sessions) {
  std::map<std::string, SessionSaid> known;
  if (!asks()) return known;
  for (const std::string& session : sessions)
    if (const SessionAnswer answer = world_.status_of(session); answer != SessionAnswer::unclear) known[session] = {.answer = answer};
  if (!comes_back()) known.clear();
  return known;
}

}  // namespace reconciler::simulation
