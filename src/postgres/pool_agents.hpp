// Agents of pools: who is asked next, and how many sessions each has. Table reconciler.agent.
//
// Who gets a session has its place taken by reserve() in the transaction that writes the session's agent, under the lock of
// the agent's row: no agent is ever given more than its capacity. Sessions end without telling us; recount() finds the truth.
// Locks: the session's row first, then agents by agent_id, then episodes and events.
//
// In the caller's transaction and outside of a role block: what is ours is done as the extension's owner, what is the
// users' as their tables' owners.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/time.hpp"
#include "postgres/binding_store.hpp"
#include "postgres/spi.hpp"

namespace reconciler {

struct PoolAgent {
  std::string id;
  int pool = 0;
  std::int64_t load = 0, capacity = 0;
};

// An agent not heard of for longer gets no new sessions.
Duration longest_silence();

// Who is free, as one binding sees it: connected, approved, neither suspect nor drained, below its capacity, seen within two
// intervals (120 s at least), and not gone by the binding's own evidence.
class FreeAgents {
 public:
  FreeAgents(const Binding& binding, Time now) : binding_(binding), now_(now) {}

  // Takes one place at the least loaded of a pool; ties at random. Whom others hold locked is passed over as long as somebody
  // else is free; else it waits. Empty: the pool is full, as far as its loads are known.
  std::optional<std::string> reserve(int pool);
  // The same; and before a pool counts as full, who is full in it is counted. Empty: it is.
  std::optional<std::string> reserve_counted(int pool);
  // Agents of the pool that no session of this table can have are not chosen any more.
  void leave_out_rowless(const AttachedBinding&, int pool);
  // Why it is, or nobody else was found: "2 agents: 1 full, …".
  std::string why_nobody(int pool);
  // One at this agent: false, and nothing is taken, where it is not free. May wait.
  bool reserve_at(const std::string& agent);
  // The least loaded `limit` of a pool and of its sibling pools (same platform, region, namespace and backend, where a namespace
  // is named), its own pool's first, and those that are full last: they too take stops. Locks and takes nothing.
  std::vector<PoolAgent> siblings(int pool, int limit);

  // Whether an agent is there to go on with the sessions that it has: also full, suspect or draining. One that is in no pool is,
  // unless the evidence says gone.
  bool there(const std::string& agent);

 private:
  using Params = std::vector<Param>;
  Params with_common(std::initializer_list<Param> more) const;
  std::optional<std::string> reserve_unlocked(int pool);
  std::vector<std::string> full_by_mistake(int pool, bool& free);
  bool count_free(const std::string& agent, bool wait);

  const Binding& binding_;
  Time now_;
  std::vector<std::string> left_out_;
};

// Those of them that the binding's agents table, where it has one, has no row of: mostly a foreign key keeps sessions from
// having such an agent.
std::vector<std::string> rowless(const AttachedBinding&, const std::vector<std::string>& agents);

// One session less. An agent whom somebody else has locked keeps its number until it is counted: waiting here could deadlock
// with who waits for the agent that we have reserved.
void release(const std::string& agent);

// One session more, whether it has room or not: it had that session before.
void take_back(const std::string& agent);

// Sessions of each of these agents, over every attached table with an agent column; none: not in the map. Those that have a
// place there: a user asked for the end of none of them; and those that have not ended.
std::map<std::string, std::int64_t> loads_of(const std::vector<std::string>& agents);
std::map<std::string, std::int64_t> left_with(const std::vector<std::string>& agents);
// Locks these agents, counts their sessions that have a place, and writes what it found. Nobody can be assigned between the count and the write.
void recount(const std::vector<std::string>& agents, Time now);

// Pools of sessions: what their own columns say, else what reconciler.session_pool says, else their agent's. A session of which
// nothing is known, or which names a pool that does not exist, is not in the map.
std::map<std::string, int> pools_of(const AttachedBinding&, const std::vector<std::string>& keys);
// The pool of that name; empty: none, or several and none of them without a platform and region.
std::optional<int> pool_named(const std::string& name, const std::optional<std::string>& platform = {}, const std::optional<std::string>& region = {});

}  // namespace reconciler
