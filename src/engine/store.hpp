// The database as one pass sees it. Every call is one short transaction of its own, committed when it returns:
// nothing is held while the pass talks to a hub. Implemented by postgres/ over SPI, and by the simulator.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/session.hpp"
#include "core/verdict.hpp"
#include "engine/binding.hpp"
#include "engine/hub.hpp"

namespace reconciler {

// Keyset cursor over one state, oldest first. Opaque to the engine.
struct Cursor {
  bool started = false, nulls = false, done = false;
  std::optional<std::string> age, key;
};

// One scanned session with everything recorded about it.
struct Tracked {
  Session session;
  Episode episode;
  std::optional<Hold> hold;
  CommandHistory commands;
  bool leaves = false;   // its agent is being emptied
  std::optional<PlannedMove> planned{};
  // Whom the next command is sent to where that is not its own agent, and the verdict that says so.
  struct Elsewhere { std::string agent; Verdict verdict; std::string evidence; };
  std::optional<Elsewhere> goes_to{};
  bool ignored = false;  // its agent accepted the last try and let its time pass: counted when the next one is claimed
};

// What the pass found out when it began.
struct PassStart {
  std::int64_t pass_id = 0;
  Time now{};
  Gates gates;
  std::string held_because;  // a sentence for the log where gates hold everything
  bool by_operator() const { return pass_id == 0; }  // not a pass: a person's own word
};

// A session to close, with the verdict it rests on.
struct Closing {
  const Tracked* tracked = nullptr;
  Verdict verdict;
  std::string evidence;   // JSON object: the agent's record, ages, thresholds
};
enum class Budget { none, user_requested, inferred };  // what a batch of closings spends from

// Inferred forces that a pass found due, before the first of them is done.
struct ForcesDue {
  std::int64_t count = 0;
  std::map<std::string, std::int64_t> by_state, by_reason, by_agent;
  std::vector<std::string> samples;  // ten of them
  void add(const Session&, const Verdict&);
};

struct Claim {
  std::size_t index = 0;      // into the requests
  std::string command_id;
  int attempt = 1;
  Duration not_before{0};     // spacing between commands to one agent
  std::string payload{};      // a start: what the application sent with it
  Time lease{};               // whose answer may be recorded: another lease, another claim
};

struct Attempt {
  const Tracked* tracked = nullptr;
  std::string command_id;
  int attempt = 1;
  Delivery delivery;
  bool looked_up = false;     // found in the hub's command table instead of sent
  std::optional<Time> lease;  // of the claim; empty where it was looked up
};

// A session's pool.
struct Pooled {
  int id = 0;
  std::string name;
  bool runtimes_outlive_agents = false;
  bool cleans_by_resource = false;
};

// An agent that takes sessions, as the registry has it.
struct Taker {
  std::string id;
  std::int64_t load = 0, capacity = 0;
};

// A session that another agent gets, without a command.
struct Handover {
  const Tracked* tracked = nullptr;
  Verdict verdict;
  std::string evidence;
};

struct PassEnd {
  std::int64_t scanned = 0, stuck = 0, retried = 0, reassigned = 0, finalized = 0, forced = 0, quarantined = 0, skipped = 0;
  std::int64_t hub_requests = 0, hub_failed = 0;
  Duration hub_time{0};
  std::optional<Time> next_due;
  std::optional<bool> hub_up;  // empty: not asked
  bool hub_unauthorized = false;
  std::string error;
  std::map<std::string, std::int64_t> stuck_by_state;
};

class Store {
 public:
  virtual ~Store() = default;
  virtual const Binding& binding() const = 0;
  virtual Time now() = 0;

  virtual PassStart begin_pass() = 0;
  // The gates as they stand, without beginning anything: for the Look functions.
  virtual PassStart peek() = 0;
  virtual void end_pass(const PassStart&, const PassEnd&) = 0;

  // Enabled policies' states that any session is in: of the others there is nothing to scan.
  virtual std::set<std::string> occupied() = 0;
  // The next sessions in `state`, with their commands; remembers their episodes (unless read-only).
  virtual std::vector<Tracked> scan(const std::string& state, Cursor&) = 0;
  // Forgets episodes whose session has left its state, agent, runtime or identity, or is no more.
  virtual void forget_departed() = 0;
  // Counts these sessions as detected: once per episode.
  virtual void note_stuck(const PassStart&, const std::vector<const Tracked*>&) = 0;
  // Sessions outside the watched states whose newest stop was completed lately.
  virtual std::vector<Tracked> scan_completed(Cursor&) = 0;
  // Sessions that we closed and whose agent may still have them.
  virtual std::vector<Tracked> scan_owed(Cursor&) = 0;
  // Distinct agents that sessions in `state` name, at most `limit`: asked about together, a hub lists them once.
  virtual std::vector<std::string> agents_of(const std::string& state, std::int64_t limit) = 0;
  // Non-terminal sessions in watched states.
  virtual std::int64_t watched() = 0;

  // Agents as the attached table has them; absent: no such row.
  virtual std::map<std::string, HeartbeatLook> agents(const std::vector<std::string>& ids) = 0;
  virtual std::map<std::string, Evidence> evidence(const std::vector<std::string>& ids) = 0;
  // Reads, lets `next` judge, and writes under row locks: two passes at once add up instead of overwriting.
  using NextEvidence = std::function<Evidence(const std::string& id, const std::optional<Evidence>& before)>;
  virtual std::map<std::string, Evidence> update_evidence(const std::vector<std::string>& ids, const NextEvidence& next) = 0;
  // What each source says of these runtimes. Where the binding judges by them.
  virtual std::map<std::string, std::vector<Evidence>> runtime_evidence(const std::vector<std::string>& /*runtimes*/) { return {}; }
  // As update_evidence(), for what one source says.
  virtual void update_runtime_evidence(const std::string& /*source*/, const std::vector<std::string>& /*runtimes*/, const NextEvidence&) {}
  // Sessions that are judged by their runtime now, those that the hub was not asked about for longest first, at most `limit`.
  struct Judged { std::string session, runtime; };
  virtual std::vector<Judged> runtimes_to_ask(std::int64_t /*limit*/) { return {}; }
  // Those of these runtimes that more than one session names which has not ended.
  virtual std::set<std::string> shared_runtimes(const std::vector<std::string>& /*runtimes*/) { return {}; }
  // Records who answered. Since when that instance answers, without a silence of 10 minutes or more.
  virtual Time note_instance(const std::string& instance, Time now) = 0;

  // Leases for one try each. Left out: sessions that changed, that somebody else is sending for, or that are held; and
  // what does not fit into the next seconds of an agent's spacing: call again for them.
  virtual std::vector<Claim> claim(const PassStart&, const std::vector<const Tracked*>&, Duration lease) = 0;
  virtual void record(const PassStart&, const std::vector<Attempt>&) = 0;
  // Progress of an accepted try, or the hub's word about the session. `failed` carries the agent's error.
  virtual void record_progress(const PassStart&, const Tracked&, CommandProgress, SessionAnswer, const std::string& error) = 0;
  // The hub's word about a session that we closed and would take back: running or suspended, it is what it was before,
  // where the row still is as we left it; gone, the matter is settled.
  virtual void settle_late(const PassStart&, const Tracked&, SessionAnswer) = 0;
  virtual void quarantine(const PassStart&, const Tracked&, const Verdict&, const std::string& evidence) = 0;

  // Closes each session whose row still is what the verdict rested on, with its event, audit row, counters and
  // budget in one transaction. Returns how many were closed; at most `limit` of Budget are spent.
  struct Finished { std::int64_t closed = 0, skipped = 0; std::optional<Time> budget_frees; bool spent = false; };  // spent: the budget let fewer through
  virtual Finished finish(const PassStart&, const std::vector<Closing>&, Budget) = 0;
  // What ends with a session, and was left without one: done by itself once what it names as the session's runtime is gone.
  virtual Finished finish_orphans(const PassStart&) { return {}; }
  // Agents seen present within half an hour: how many of them are gone is what losses are judged by.
  virtual std::vector<std::string> lately_present() = 0;
  // Judges inferred forces before the first of them: trips the brake (with its event) when they, or the agents lost
  // lately, are too many, and releases it when a lost agent is back. Empty: none; else what sets their pace.
  virtual std::optional<Losses> may_force(const PassStart&, const ForcesDue&) = 0;
  virtual Paced take_pace(Losses, std::int64_t wanted) = 0;

  // The pools of these sessions, by key; absent: none. Where the binding's `pools` is on.
  virtual std::map<std::string, Pooled> pools_of(const std::vector<const Tracked*>&) { return {}; }
  // Agents that take sessions of a pool, the least loaded first, at most `limit`: of the pool, then of those that can do the same.
  // Last those that are full, which take stops.
  virtual std::vector<Taker> takers(int /*pool*/, std::int64_t /*limit*/) { return {}; }
  // The next sessions of agents that are being emptied: drained, or lost with what they ran living on.
  virtual std::vector<Tracked> scan_leaving(Cursor& cursor) { return cursor.done = true, std::vector<Tracked>(); }
  // Writes the new agent where the row still is what the verdict rested on and that agent has room, with event, audit row
  // and loads in one transaction.
  virtual Finished hand_over(const PassStart&, const std::vector<Handover>&) { return {}; }
  // Agents whose last session has left them are drained.
  virtual void note_drained(const PassStart&) {}

  // Remembers which incarnation of its agent has each of these sessions.
  virtual void note_incarnations(const std::vector<const Tracked*>&) = 0;
  // Pools of agents; nothing where the binding has none. Reads the agents table; whom of the registry to ask about now, at most `limit`; empty:
  // it is too soon.
  virtual std::optional<std::vector<std::string>> agents_to_ask(std::int64_t /*limit*/) { return {}; }
  // What the hub's list names: agents that are there join their pools.
  virtual void note_agents(const std::vector<AgentAnswer>&) {}
  // Brings the registry up to what the agents table, our own looks and the sessions say.
  virtual void refresh_registry() {}
  // The next sessions that rebalance_pool() wants on another agent, at most `limit`. They leave the plan when hand_over() gives
  // them there, or can't for good; left out, and out of the plan, is what has changed since, or would go to an agent that takes
  // nothing now.
  virtual std::vector<Tracked> scan_planned(Cursor& cursor, std::int64_t /*limit*/) { return cursor.done = true, std::vector<Tracked>(); }
  virtual void forget_planned(const std::vector<const Tracked*>&) {}
  // observe mode: notes what would have been done. Any mode: a contradiction, where the verdict is to wait.
  virtual void note_would(const PassStart&, const std::vector<Closing>&) = 0;
};

}  // namespace reconciler
