// Looks at agents: asks the hub (and the attached agents table), lets the evidence accumulate, and remembers
// within a pass whom it asked already.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/hub.hpp"
#include "engine/store.hpp"

namespace reconciler {

class Observer {
 public:
  Observer(Store& store, AgentHub* hub) : store_(store), hub_(hub) {}

  // Asks about those of `ids` that were not asked within an interval, or since the last forget(): a pass may be longer than
  // what was seen at its beginning is worth. Answers stay available below.
  void look(const std::set<std::string>& ids);
  // The record of an agent: after look() the fresh one, else the stored one (nullptr: none).
  const AgentEvidence* of(const std::optional<std::string>& agent) const;
  // Makes the stored records of `ids` available without asking anybody.
  void load(const std::set<std::string>& ids);
  void forget(const std::set<std::string>& ids);

  bool asked_hub() const { return asked_; }
  bool hub_answered() const { return answered_; }
  bool unauthorized() const { return unauthorized_; }

 private:
  Observation observation(const std::string& id, const Sighting&, const HeartbeatLook*, bool new_instance,
                          const std::optional<AgentEvidence>& before, Time now) const;

  Store& store_;
  AgentHub* hub_;
  std::map<std::string, AgentEvidence> known_;
  std::map<std::string, Time> looked_;
  bool asked_ = false, answered_ = false, unauthorized_ = false;
};

}  // namespace reconciler
