// Looks at agents and runtimes: asks the hub (and the attached agents table), lets the evidence accumulate, and remembers
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
  const Evidence* of(const std::optional<std::string>& agent) const;
  // Makes the stored records of `ids` available without asking anybody.
  void load(const std::set<std::string>& ids);
  void forget(const std::set<std::string>& ids);

  // Asks the hub about sessions that are judged by their runtime, as far as it can be asked.
  void look_at_runtimes();
  // Whether that can say anything.
  bool sees_runtimes() const { return hub_ && hub_->profile().can_ask_session(); }
  // Makes available what all sources say of the runtimes of these sessions, and who names the same.
  void load_runtimes(const std::vector<Tracked>&);
  const Evidence* runtime_of(const Session&) const;
  bool shares_runtime(const Session&) const;

  bool asked_hub() const { return asked_; }
  bool hub_answered() const { return answered_; }
  bool unauthorized() const { return unauthorized_; }

 private:
  Observation observation(const std::string& id, const Sighting&, const HeartbeatLook*, bool new_instance,
                          const std::optional<Evidence>& before, Time now) const;

  Store& store_;
  AgentHub* hub_;
  std::map<std::string, Evidence> known_;
  std::map<std::string, Evidence> runtimes_;  // by session, of the batch that was loaded last
  std::set<std::string> shared_;
  std::map<std::string, Time> looked_;
  bool asked_ = false, answered_ = false, unauthorized_ = false;
};

}  // namespace reconciler
