#include "simulation/shrink.hpp"

#include <sstream>
#include <stdexcept>
#include <utility>

namespace reconciler::simulation {

Outcome run(const Shape& shape, bool trace) {
  World world(shape, trace);
  world.run();
  return {world.violation(), world.passes(), world.digest()};
}

// One kind of fault less, half of the sessions, agents or time, as long as the same invariant fails.
Shape shrunk(const Shape& shape, const std::string& invariant) {
  Shape least = shape;
  const auto still_fails = [&](const Shape& smaller) {
    const Outcome outcome = run(smaller);
    if (!outcome.violation || outcome.violation->invariant != invariant) return false;
    least = smaller;
    return true;
  };
  for (bool progress = true; progress;) {
    progress = false;
    for (int i = 0; i < static_cast<int>(Fault::count); ++i) {
      Shape smaller = least;
      smaller.faults &= ~bit(static_cast<Fault>(i));
      if (smaller.faults != least.faults) progress |= still_fails(smaller);
    }
    const auto fewer = [&](auto member, auto fewest) {
      const auto value = least.*member;
      for (const auto wanted : {value / 8, value / 2, value - std::max(value / 8, fewest)}) {
        Shape smaller = least;
        smaller.*member = std::max(wanted, fewest);
        if (smaller.*member < value && still_fails(smaller)) return true;
      }
      return false;
    };
    progress |= fewer(&Shape::sessions, 1);
    progress |= fewer(&Shape::agents, 1);
    progress |= fewer(&Shape::stormy, minutes(5));
  }
  return least;
}

std::string command_line(const Shape& shape) {
  std::ostringstream out;
  out << "simulate --seed " << shape.seed << " --sessions " << shape.sessions << " --agents " << shape.agents << " --minutes "
      << shape.stormy.count() << " --faults ";
  std::string separator;
  for (int i = 0; i < static_cast<int>(Fault::count); ++i)
    if (shape.has(static_cast<Fault>(i))) out << std::exchange(separator, ",") << to_string(static_cast<Fault>(i));
  if (separator.empty()) out << "none";
  for (const Planted& planted : planted_faults())
    if (planted.plant == shape.plant) out << " --plant " << planted.name;
  return out.str();
}

Faults faults_from(const std::string& comma_separated) {
  Faults faults = 0;
  std::istringstream in(comma_separated);
  for (std::string name; std::getline(in, name, ',');) {
    Faults known = 0;
    for (int i = 0; i < static_cast<int>(Fault::count); ++i)
      if (name == to_string(static_cast<Fault>(i))) known = bit(static_cast<Fault>(i));
    if (known == 0 && name != "none") throw std::invalid_argument("there is no fault " + name);
    faults |= known;
  }
  return faults;
}

const std::vector<Planted>& planted_faults() {
  static const std::vector<Planted> all{
      {Plant::blind_finish, "blind_finish", "rests"},     {Plant::no_event, "no_event", "one_event"},
      {Plant::unreserved, "unreserved", "budget"},
      {Plant::new_key, "new_key", "one_command"},         {Plant::stale_claim, "stale_claim", "one_command"},
      {Plant::lost_record, "lost_record", "converges"},   {Plant::lost_debt, "lost_debt", "debt"},
      {Plant::lost_start, "lost_start", "debt", bit(Fault::late) | bit(Fault::lost) | bit(Fault::blink)},
      {Plant::down_is_gone, "down_is_gone", "alive"},     {Plant::old_instance, "old_instance", "alive", bit(Fault::hub_restart)},
      {Plant::lost_proof, "lost_proof", "proven"},         {Plant::old_proof, "old_proof", "proof"},
      {Plant::uncounted, "uncounted", "cap"},             {Plant::no_evidence, "no_evidence", "evidence"},
      {Plant::unheld, "unheld", "held"},                  {Plant::paused_once, "paused_once", "paused"},
      {Plant::roomless, "roomless", "room"},              {Plant::blind_move, "blind_move", "owner"},
      {Plant::starved, "starved", "starves", bit(Fault::death)}};
  return all;
}

Plant plant_from(const std::string& name) {
  for (const Planted& planted : planted_faults())
    if (name == planted.name) return planted.plant;
  throw std::invalid_argument("there is no planted fault " + name);
}

}  // namespace reconciler::simulation
