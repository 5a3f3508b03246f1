// The engine's AgentHub: requests of one pass, through a network that loses, delays, doubles and reorders them.
#pragma once

#include "engine/hub.hpp"
#include "simulation/world.hpp"

namespace reconciler::simulation {

class SimHub final : public AgentHub {
 public:
  SimHub(World& world, const Profile& profile) : world_(world), profile_(profile) {}
  const Profile& profile() const override { return profile_; }
  std::map<std::string, Sighting> look(const std::vector<std::string>& ids) override;
  void dispatch(const Next& next, const Done& done) override;
  Duration longest_delivery(std::size_t commands) const override;
  std::map<std::string, Profile::CommandState> command_progress(const std::vector<std::string>& ids) override;
  std::map<std::string, SessionSaid> session_status(const std::vector<std::string>& sessions) override;
  Totals totals() const override { return totals_; }

 private:
  struct Flight;
  // There and back. False: no answer came.
  bool asks();
  bool comes_back();
  Sighting sighting(const std::string& id, bool answered) const;
  Time leave(const std::shared_ptr<Flight>&);

  World& world_;
  const Profile& profile_;
  Totals totals_;
};

}  // namespace reconciler::simulation
