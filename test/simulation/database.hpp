// What the database holds: the application's tables and our own, as plain values. One for all passes of a world.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/store.hpp"

namespace reconciler::simulation {

// A row of the sessions table. `session.entered` is its updated_at.
struct Row {
  Session session;
  std::string reason;
  std::optional<Time> closed;
};
bool same_identity(const Session&, const Session&);  // key, state, agent, runtime, creation
bool same_image(const Row&, const Row&);             // … and what closing writes

// A row of the command table.
struct CommandRow : Command {
  std::string agent;
};

struct KeptEpisode {
  Session of;  // its identity
  Episode episode;
  std::optional<Time> start_sent;  // in this episode or one before
};

struct KeptAgent {
  Evidence evidence;
  std::optional<Time> next_command;
};

struct Event {
  std::int64_t pass_id = 0;
  Time at{};
  std::string session{}, kind{}, from_state{}, to_state{}, reason{}, rule{}, evidence{};
  std::optional<Row> before{}, after{};
};

struct Brake {
  BrakeState state;
  bool by_losses = false, slowed = false;
  std::int64_t due = 0;
  std::optional<Time> losses_from;
  Pace pace;
  void release();
};

// Who is told of what was committed: the invariants. What they do not override they do not need.
class Witness {
 public:
  virtual ~Witness() = default;
  virtual void claimed(const Tracked&, const Claim&) {}
  virtual void recorded(const Attempt&, const Episode& /*after*/, bool /*known*/) {}
  virtual void failed(const std::string& /*session*/) {}  // the agent said so of an accepted command
  struct Change { std::string session; Row before, after; };
  virtual void closed(const Closing&, const Change&, Budget, bool /*by_operator*/, Owed) {}
  virtual void put_back(const Change&) {}
  virtual void reassigned(const Handover&, const Change&) {}
  virtual void settled(const std::string& /*session*/) {}  // nothing more is owed for it
};

struct Database {
  Binding binding;
  Time clock{};  // the database's, which may be wrong

  // The application's.
  std::map<std::string, Row> rows;
  std::map<std::string, std::vector<CommandRow>> commands;  // by session, oldest first
  struct AgentRow { std::optional<Time> heartbeat; bool approved = true; };
  std::map<std::string, AgentRow> agents;

  // Ours.
  std::map<std::string, KeptEpisode> episodes;
  std::map<std::string, KeptAgent> evidence;
  std::map<std::string, std::map<std::string, Evidence>> runtimes;  // by source
  std::map<std::string, Hold> holds;
  struct Member {
    int pool = 0;
    std::int64_t capacity = 0, load = 0;
    std::int64_t foreign = 0;  // sessions that others than us gave it since its load was counted
    bool connected = true;
    std::optional<Time> draining, drained;
  };
  std::map<std::string, Member> registry;      // by agent
  std::map<int, bool> outlive;                 // pools, and whether their runtimes outlive agents
  std::map<int, int> namespaces;               // of pools: those of one are siblings
  struct Plan { std::string from; PlannedMove move; };
  std::map<std::string, Plan> plans;           // of rebalance_pool(), by session
  std::map<std::string, int> session_pools;    // of sessions that named no agent when they were made
  std::optional<Time> agents_asked;
  struct Instance { Time since{}, last_answer{}; };
  std::map<std::string, Instance> instances;
  Brake brake;
  Mode mode = Mode::enforce;
  bool paused = false, paused_everything = false;
  Time server_started{};
  std::optional<Time> first_pass, first_pass_of, promoted;
  int timeline = 1, timeline_seen = 1;
  Duration start_grace = seconds(60), instance_grace = seconds(120), promotion_grace = seconds(300);
  std::int64_t last_pass = 0, last_command = 0;
  std::vector<Event> events;

  Gates gates() const;
  bool allowed(bool proven) const { return mode == Mode::enforce && (!paused || (proven && !paused_everything)); }
  bool held(const std::string& key) const;
  bool start_may_arrive(const KeptEpisode& kept) const { return kept.start_sent && *kept.start_sent > clock - owed_for; }
  CommandHistory history(const Session&) const;
  std::optional<int> pool_of(const Session&) const;
  bool siblings(int pool, int other) const { return pool == other || namespaces.at(pool) == namespaces.at(other); }
  std::map<std::string, std::int64_t> loads() const;  // sessions that have a place, by agent
  void recount();
  void forget_episode(const std::string& key) { episodes.erase(key); }
};

}  // namespace reconciler::simulation
