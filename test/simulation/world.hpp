// The truth: agents and what runs on them, the application and its users, the network, and time. Passes of the real
// engine run in it, each on a stack of its own; between any two of their steps anything else may happen.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "engine/pass.hpp"
#include "simulation/fiber.hpp"
#include "simulation/invariants.hpp"
#include "simulation/shape.hpp"

namespace reconciler::simulation {

struct Running {
  Time since{};
  bool suspended = false;
  bool ours = false;  // started by a command that a pass sent
};

struct Agent {
  std::string id;
  int incarnation = 1;
  bool alive = true, cut = false;  // its process; its network
  bool silent = false;             // takes commands and does nothing
  bool approved = true;
  std::map<std::string, Running> runs;
  std::optional<Time> online_since;
  Time connected_since{};
  std::deque<std::pair<Time, Time>> online_before;  // newest last
  Time heartbeat{};
  Time handed_over{};                               // until then its connection is taken: commands keep their order on it
  Time lied_about{};                                // the hub called it disconnected although it was not
  bool online() const { return alive && !cut; }
  std::string name() const { return id + "." + std::to_string(incarnation); }
};

// What the hub keeps of a command.
struct Accepted {
  std::string agent, action, session;
  std::int64_t number = 0;  // in the order of their arrival
  CommandProgress progress = CommandProgress::open;
};

struct Hub {
  bool heartbeats = false;  // a hub whose answers prove nothing; else authoritative ones, with idempotency keys
  bool tells_gone = true;   // it answers 410 for a session that its agent does not have
  int instance = 1;
  bool up = true, slow = false, refuses = false;
  Time up_since{};
  std::set<std::string> connected, known, lied, ghosts;  // lied: called disconnected; ghosts: called connected
  bool claims(const std::string& agent) const { return (connected.contains(agent) && !lied.contains(agent)) || ghosts.contains(agent); }
  std::map<std::string, Accepted> commands;  // by key
};

class World {
 public:
  explicit World(const Shape&, bool trace = false);
  ~World();

  void run();
  const std::optional<Violation>& violation() const { return invariants_.violation(); }
  std::int64_t passes() const { return passes_begun_; }
  std::uint64_t digest() const;  // of all events: two runs of a seed have the same

  // --- what the hub, the invariants and the passes see of it
  Time now() const { return now_; }
  bool stepped() const { return stepped_; }  // the database's clock was ever wrong
  const Shape& shape() const { return shape_; }
  Database& db() { return db_; }
  Hub& hub() { return hub_; }
  Random& network() { return network_; }
  Agent* agent(const std::string& id);
  const std::map<std::string, Agent>& agents() const { return agents_; }
  bool goes_wrong(Fault fault, int per_mille) { return stormy() && shape_.has(fault) && network_.chance(per_mille); }
  bool stormy() const { return now_ < calm_from_; }
  Time calm_from() const { return calm_from_; }
  Time agentless_since(const std::string& key) const;  // the row has named no agent since then, whatever its states
  bool lost_commits_at(Time) const;
  int retries_asked(const std::string& key) const;
  std::int64_t allowances() const { return allowances_; }

  void at(Time when, std::function<void()> what) { agenda_.emplace(when, std::move(what)); }
  void after(Duration delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }
  void sleep_until(Time);  // the pass that runs
  void step(const char* what, bool committed);
  void tell(const std::string& what);  // to whoever reads the trace
  Delivery receive(const CommandRequest&);  // a request has arrived at the hub
  Profile::CommandState progress_of(const std::string& command) const;
  SessionAnswer status_of(const std::string& session);
  void looked_after_by(const std::string& session, const std::string& agent);

 private:
  struct Job;
  // people.cpp: the application, its users and the operators
  void populate();
  void live();
  void populate_pools();
  void drains();
  void plans_a_move();
  void people_act();
  void user_acts();
  void application_meddles();
  void operator_acts();
  void create(const std::string& key, const std::string& state);
  void write_row(const std::string& key, const std::function<void(Row&)>&);
  void command(const std::string& session, const std::string& action);
  // agents.cpp
  void set_online(Agent&, bool alive, bool cut);
  void connect_soon(const std::string& id, Duration longest = seconds(30));
  void beat();
  void hand_over(const std::string& agent, const std::string& action, const std::string& session, const std::string& command);
  void execute(const std::string& agent, int incarnation, const std::string& action, const std::string& session, const std::string& command);
  void report(const std::string& action, const std::string& session, const std::string& command, bool good);
  bool is_gone(const Agent&, const std::string& session) const;
  bool together(const std::string& agent, const std::string& other) const;
  Agent* who_runs(const std::string& agent, const std::string& session);
  Command* on_record(const std::string& session, const std::string& command);
  void agent_suffers();
  void hub_suffers();
  void hub_restarts();
  void server_suffers();
  struct Replica;
  void server_restarts();
  void fail_over(const Replica*);
  // world.cpp
  void begin(bool call);
  bool resume_one();
  void work_off();
  void suffer();
  void calm_down();
  void look_after_calm();
  Time next_event() const;
  void set_time(Time);
  void end_all_passes();

  Shape shape_;
  Random dice_, network_, people_, trouble_;
  Database db_;
  Hub hub_;
  Profile profile_;
  Invariants invariants_;
  std::map<std::string, Agent> agents_;
  std::multimap<Time, std::function<void()>> agenda_;
  std::vector<std::unique_ptr<Job>> jobs_;
  Job* running_ = nullptr;
  Time now_, calm_from_, end_, worker_due_;
  Duration offset_{0};
  bool trace_, stepped_ = false, calm_ = false;
  std::map<std::string, Time> agentless_since_;
  std::map<std::string, int> retries_asked_;
  std::vector<std::pair<Time, Time>> lost_;  // what was committed then is no more
  std::int64_t allowances_ = 0, passes_begun_ = 0, commands_made_ = 0, sessions_made_ = 0;
};

}  // namespace reconciler::simulation
