// The engine's Store in memory: what src/postgres/store_*.cpp do in SQL, said once more over a Database. One for each
// pass, as there. test/contract holds both to the same contract.
//
//   store_scan.cpp      passes, scans, episodes, evidence
//   store_attempts.cpp  claim, record, progress, quarantine
//   store_finish.cpp    close, and what is owed afterwards
//   store_brake.cpp     the budget of forces
//   store_pools.cpp     the registry of agents, and sessions that others of a pool get
#pragma once

#include <set>

#include "simulation/database.hpp"

namespace reconciler::simulation {

// Every call of the store is one transaction or several; between them, and around the call, others may act.
class Conductor {
 public:
  virtual ~Conductor() = default;
  virtual void before(const char*) {}  // may let others go first; may throw: nothing was committed
  virtual void after(const char*) {}   // may throw: committed, but nobody learned of it
};

// Faults on purpose, to see that the invariants find them.
enum class Plant {
  none,
  blind_finish,    // closes whatever the row has become
  no_event,        // a closing without its event
  unreserved,      // forces are not booked
  new_key,         // a try whose outcome is not known gets a new key
  stale_claim,     // claims although another pass has tried since the scan
  lost_record,     // answers are not recorded
  lost_debt,       // nothing is owed to an agent that comes back
  lost_start,      // … or after a start of ours that may still arrive
  down_is_gone,    // a hub that does not answer counts as one that says gone
  old_instance,    // a hub that restarted counts as the one before
  lost_proof,      // a stop that was completed is never seen
  old_proof,       // a stop that was completed counts although a start came after it
  uncounted,       // attempts are not remembered from one pass to the next
  no_evidence,     // a closing's event without the evidence
  unheld,          // holds are not looked at
  paused_once,     // a pause, and another mode, when a pass begins only
  roomless,        // another agent gets a session although it is full
  blind_move,      // … whatever the row has become
  starved          // nobody takes what a lost agent had
};

class SimStore final : public Store {
 public:
  SimStore(Database& db, Conductor& conductor, Witness& witness, Plant plant = Plant::none)
      : db_(db), conductor_(conductor), witness_(witness), plant_(plant) {}

  const Binding& binding() const override { return db_.binding; }
  Time now() override { return db_.clock; }

  PassStart begin_pass() override;
  PassStart peek() override { return {.pass_id = 0, .now = db_.clock, .gates = db_.gates(), .held_because = {}}; }
  void end_pass(const PassStart&, const PassEnd&) override;

  std::set<std::string> occupied() override;
  std::vector<Tracked> scan(const std::string& state, Cursor&) override;
  std::vector<Tracked> scan_completed(Cursor&) override;
  std::vector<Tracked> scan_owed(Cursor&) override;
  void forget_departed() override;
  void note_stuck(const PassStart&, const std::vector<const Tracked*>&) override;
  std::vector<std::string> agents_of(const std::string& state, std::int64_t limit) override;
  std::int64_t watched() override;

  std::map<std::string, HeartbeatLook> agents(const std::vector<std::string>& ids) override;
  std::map<std::string, Evidence> evidence(const std::vector<std::string>& ids) override;
  std::map<std::string, Evidence> update_evidence(const std::vector<std::string>& ids, const NextEvidence&) override;
  std::map<std::string, std::vector<Evidence>> runtime_evidence(const std::vector<std::string>& runtimes) override;
  void update_runtime_evidence(const std::string& source, const std::vector<std::string>& runtimes, const NextEvidence&) override;
  Time note_instance(const std::string& instance, Time now) override;

  std::vector<Claim> claim(const PassStart&, const std::vector<const Tracked*>&, Duration lease) override;
  void record(const PassStart&, const std::vector<Attempt>&) override;
  void record_progress(const PassStart&, const Tracked&, CommandProgress, SessionAnswer, const std::string& error) override;
  void settle_late(const PassStart&, const Tracked&, SessionAnswer) override;
  void quarantine(const PassStart&, const Tracked&, const Verdict&, const std::string& evidence) override;

  Finished finish(const PassStart&, const std::vector<Closing>&, Budget) override;
  std::map<std::string, Pooled> pools_of(const std::vector<const Tracked*>&) override;
  std::vector<Taker> takers(int pool, std::int64_t limit) override;
  std::vector<Tracked> scan_leaving(Cursor&) override;
  Finished hand_over(const PassStart&, const std::vector<Handover>&) override;
  std::vector<Tracked> scan_planned(Cursor&, std::int64_t limit) override;
  void forget_planned(const std::vector<const Tracked*>&) override;
  void note_drained(const PassStart&) override;
  std::optional<std::vector<std::string>> agents_to_ask(std::int64_t limit) override;
  void refresh_registry() override;

  std::vector<std::string> lately_present() override;
  std::optional<Losses> may_force(const PassStart&, const ForcesDue&) override;
  Paced take_pace(Losses, std::int64_t wanted) override;
  void note_incarnations(const std::vector<const Tracked*>&) override;
  void note_would(const PassStart&, const std::vector<Closing>&) override;

 private:
  // One transaction.
  template <class Body> auto step(const char* what, Body&& body) {
    conductor_.before(what);
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
      conductor_.after(what);
    } else {
      auto result = body();
      conductor_.after(what);
      return result;
    }
  }
  bool held(const std::string& key) const { return plant_ != Plant::unheld && db_.held(key); }
  bool allowed(bool proven) const { return plant_ == Plant::paused_once || db_.allowed(proven); }
  std::vector<Tracked> track(const std::vector<const Row*>&);
  Episode& episode_of(const Tracked&);
  Episode* kept(const std::string& key);
  Episode* in_its_episode(const Tracked&);
  void write(const PassStart&, Event);
  std::vector<const Closing*> allowed_now(const PassStart&, const std::vector<Closing>&, Budget, Finished&);
  bool close_row(const PassStart&, const Closing&, Budget, Owed);
  Owed owed_after(const Closing&) const;
  void end_episode(const std::string& key, Owed);
  void owe(KeptEpisode&, const Session& row, Owed);
  bool departed(const std::string& key, KeptEpisode&);
  bool spared(const Closing&) const;
  std::int64_t spend(std::int64_t wanted, Budget, std::optional<Time>& frees);
  void give_back(std::int64_t unused, Budget);
  void trip(const PassStart&, const ForcesDue&, bool by_losses);
  void release_when_one_is_back(const PassStart&);
  void settle_accepted(const PassStart&, const Attempt&);
  bool record_one(const PassStart&, const Attempt&);
  bool reserve(const std::string& agent);
  void give_room_back(const std::string& agent);
  bool move_row(const PassStart&, const Handover&);
  bool takes_place(const Tracked&) const;
  bool keeps_place(const Attempt&);
  void settle_room(const PassStart&, const Attempt&, bool recorded, bool kept_place);

  Database& db_;
  Conductor& conductor_;
  Witness& witness_;
  Plant plant_;
  std::optional<std::int64_t> watched_;  // counted at most once a pass
  bool by_allowance_ = false;
};

}  // namespace reconciler::simulation
