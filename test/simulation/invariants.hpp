// What must hold, whatever goes wrong. Checked where something was committed; the first violation ends the world.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "simulation/database.hpp"

namespace reconciler::simulation {

class World;
struct Agent;
struct Running;

struct Violation {
  std::string invariant, text;
  Time at{};
};

class Invariants final : public Witness {
 public:
  explicit Invariants(World& world) : world_(world) {}
  const std::optional<Violation>& violation() const { return violation_; }

  void claimed(const Tracked&, const Claim&) override;
  void recorded(const Attempt&, const Episode& after, bool known) override;
  void failed(const std::string& session) override;
  void closed(const Closing&, const Change&, Budget, bool by_operator, Owed) override;
  void put_back(const Change&) override;
  void settled(const std::string& session) override;
  void reassigned(const Handover&, const Change&) override;

  void step_done();                  // every change has its event
  void row_changed(const std::string& session, bool forgets);  // by the application; forgets: what we did for it is over
  void go_back_to(const Invariants& then);  // the database did
  void calm_is_over();               // everything stuck came to an end or is shown

 private:
  void violated(const char* invariant, const std::string& text);
  void check_rest(const Closing&, const Change&);
  void check_evidence(const Event&);
  bool forgotten(const std::string& session, const Running&) const;
  Time there_since(const Agent&) const;
  void check_alive(const Closing&);
  void check_proof(const Closing&);
  void check_budget(Budget);
  void check_debts();
  void check_proven();
  void check_starving();

  World& world_;
  std::optional<Violation> violation_;

  struct Open {  // what is known of an episode's commands
    Time first_seen{};
    std::string incarnation;
    std::string target;              // the agent that the newest went to
    std::optional<std::string> key;  // of the try whose outcome is not known
    std::optional<Time> accepted;
  };
  std::map<std::string, Open> open_;
  std::vector<Change> changes_;      // of this step, that want their event
  std::size_t events_seen_ = 0;
  std::deque<Time> inferred_, asked_;  // forces, by the database's clock
  std::int64_t most_watched_ = 0;
  std::map<std::string, Time> starts_;   // sessions that we sent a start for, and when last
  std::set<std::string> lost_starts_;    // … and the database has forgotten that
  std::map<std::string, Time> owing_;    // sessions closed without their agent, and when
  std::set<std::string> settled_;        // what we started there is no matter of ours any more: the hub took its stop over, its row was moved, or changed after its end
};

}  // namespace reconciler::simulation
