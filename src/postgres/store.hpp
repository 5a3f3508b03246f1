// The engine's Store over SPI. Reads and writes of the user's tables run as the table's owner in a restricted
// block (or, for Look functions, with the caller's own rights); ours run as the extension's owner.
//
//   store_scan.cpp      sessions, with their commands
//   store_episodes.cpp  their episodes
//   store_evidence.cpp  agents, evidence, the hub's instances
//   store_runtimes.cpp  runtimes that sessions are judged by
//   store_attempts.cpp  claim, record, progress, quarantine
//   store_finish.cpp    close with event and audit; what would be done
//   store_orphans.cpp   rows that hang on sessions which are no more
//   store_brake.cpp     the budget of forces
//   store_handover.cpp  other agents of a pool, and sessions that they get
//   store_late.cpp      what is owed to agents that come back
//   store_pools.cpp     the registry of agents
//   store_leftover.cpp  what a forced session may leave behind
//   store_pass.cpp      begin and end of a pass
//   store_pools.cpp     sessions by agent and pool
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/store.hpp"
#include "postgres/binding_store.hpp"
#include "postgres/events.hpp"
#include "postgres/pool_load.hpp"
#include "postgres/statements.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {

enum class Rights { owner, caller };

// "Ids are compared as uuid, the type of column "id"."
std::string how_ids_compare(const AttachedBinding&);
std::string rights_hint(const AttachedBinding&);
// What an error while rows are written means for the others.
bool passing(const PostgresError&);
bool ends_pass(const PostgresError&, const Transactions&);
UserError unknown_session(const AttachedBinding&, const std::string& key);

// What an episode that begins has not done yet: an assignment of its columns.
inline constexpr const char* no_tries_yet =
    "attempts = 0, accepted = 0, tries = 0, first_accepted = NULL, command_id = NULL, hub_command_id = NULL, accepted_at = NULL, lease_until = NULL,"
    " last_attempt = NULL, last_result = '', unreachable_since = NULL, quarantined = NULL, write_failed = NULL, write_error = '', write_locked = NULL, session_gone = NULL,"
    " retry_requested = NULL, last_command_seen = NULL, last_would = '', incarnation = '', session_running = NULL, start_failed = NULL, sent_to = NULL, siblings = 0, handover_failed = NULL";

// SQL: how old a record may be that `source` pushed and `stated`; NULL: as one of our own looks.
std::string max_age_of(const std::string& source, const std::string& stated);

class PgStore final : public Store {
 public:
  PgStore(AttachedBinding binding, TransactionMode mode, Rights rights = Rights::owner)
      : b_(std::move(binding)), sql_(b_.mapping), transactions_(mode), rights_(rights) {}

  const Binding& binding() const override { return b_.binding; }
  const AttachedBinding& attached() const { return b_; }
  Time now() override;

  PassStart begin_pass() override;
  PassStart peek() override;
  void end_pass(const PassStart&, const PassEnd&) override;

  std::set<std::string> occupied() override;
  std::vector<Tracked> scan(const std::string& state, Cursor&) override;
  std::vector<Tracked> scan_completed(Cursor&) override;
  std::vector<Tracked> scan_owed(Cursor&) override;
  void forget_departed() override;
  void note_stuck(const PassStart&, const std::vector<const Tracked*>&) override;
  std::vector<std::string> agents_of(const std::string& state, std::int64_t limit) override;
  std::int64_t watched() override;
  // Every state that sessions are in, with how many are older than their policy's threshold, or `otherwise`.
  struct Covered { std::optional<std::string> state; std::int64_t sessions = 0, over = 0; std::optional<Time> since; };
  std::vector<Covered> coverage(Duration otherwise);
  // Sessions that have not ended: of each of these agents, and by everything that tells their pool.
  std::map<std::string, std::int64_t> sessions_of(const std::vector<std::string>& agents);
  struct Populated { std::optional<std::string> state, agent, pool, platform, region; std::optional<std::int64_t> kept; std::int64_t sessions = 0; };
  std::vector<Populated> population();
  // One session in any state; empty: no such row.
  std::optional<Tracked> find(const std::string& key);
  // The row as it is now, with the key as its column prints it; begins no episode. Empty: no such row.
  std::optional<Session> look(const std::string& typed);
  // The same, locked until the transaction ends.
  std::optional<Session> lock(const std::string& typed);

  // Whom a list of agents speaks of: those that it names, and those that we know or that sessions name. Each with itself.
  std::map<std::string, std::string> agents_to_tell(const std::set<std::string>& named);
  // Runtimes of sessions that are judged by them, each with itself, or with the key of a session that names it.
  std::map<std::string, std::string> runtimes_judged(bool by_session);
  // Whether anything but what was told by functions names the agent.
  bool knows(const std::string& agent);

  std::map<std::string, HeartbeatLook> agents(const std::vector<std::string>& ids) override;
  std::map<std::string, Evidence> evidence(const std::vector<std::string>& ids) override;
  std::map<std::string, Evidence> update_evidence(const std::vector<std::string>& ids, const NextEvidence&) override;
  std::map<std::string, std::vector<Evidence>> runtime_evidence(const std::vector<std::string>& runtimes) override;
  void update_runtime_evidence(const std::string& source, const std::vector<std::string>& runtimes, const NextEvidence&) override;
  std::vector<Judged> runtimes_to_ask(std::int64_t limit) override;
  std::set<std::string> shared_runtimes(const std::vector<std::string>& runtimes) override;
  Time note_instance(const std::string& instance, Time now) override;

  std::vector<Claim> claim(const PassStart&, const std::vector<const Tracked*>&, Duration lease) override;
  void record(const PassStart&, const std::vector<Attempt>&) override;
  void record_progress(const PassStart&, const Tracked&, CommandProgress, SessionAnswer, const std::string& error) override;
  void settle_late(const PassStart&, const Tracked&, SessionAnswer) override;
  void quarantine(const PassStart&, const Tracked&, const Verdict&, const std::string& evidence) override;

  Finished finish(const PassStart&, const std::vector<Closing>&, Budget) override;
  Finished finish_orphans(const PassStart&) override;
  std::vector<std::string> lately_present() override;
  std::optional<Losses> may_force(const PassStart&, const ForcesDue&) override;
  Paced take_pace(Losses, std::int64_t wanted) override;
  void note_incarnations(const std::vector<const Tracked*>&) override;
  std::map<std::string, Pooled> pools_of(const std::vector<const Tracked*>&) override;
  std::vector<Taker> takers(int pool, std::int64_t limit) override;
  std::vector<Tracked> scan_leaving(Cursor&) override;
  Finished hand_over(const PassStart&, const std::vector<Handover>&) override;
  void note_drained(const PassStart&) override;
  void note_would(const PassStart&, const std::vector<Closing>&) override;

  std::optional<std::vector<std::string>> agents_to_ask(std::int64_t limit) override;
  void note_agents(const std::vector<AgentAnswer>&) override;
  void refresh_registry() override;
  std::vector<Tracked> scan_planned(Cursor&, std::int64_t limit) override;
  void forget_planned(const std::vector<const Tracked*>&) override;

  void act_as(std::string actor) { actor_ = std::move(actor); }  // instead of 'session_reconciler'
  void freeze(Time at) { frozen_ = at; }                          // what-if: now() is this

 private:
  // A viewer may call the functions and lack the right to what they look at.
  template <class Body> auto with_rights_hint(Body&& body) {
    try {
      return body();
    } catch (PostgresError& e) {
      if (e.is("42501")) e.hint = rights_hint(b_);
      throw;
    }
  }
  template <class Body> auto ours(Body&& body) { return as_extension_owner(std::forward<Body>(body)); }
  template <class Body> auto theirs(Body&& body) {
    if (rights_ == Rights::caller) return with_rights_hint(std::forward<Body>(body));
    return as_role(b_.mapping.sessions.owner, std::forward<Body>(body));
  }
  bool read_only() const { return rights_ == Rights::caller; }

  std::vector<Tracked> matching(const std::string& key);
  std::vector<Tracked> track(const Rows& rows);
  void leave_out_doubles(std::vector<Tracked>&) const;
  void load_episodes(std::vector<Tracked>&);
  void begin_episodes(const std::vector<const Tracked*>&, Time at);
  void count_stuck(const std::map<std::string, double>& by_state, double lag_seconds);
  void note_acted();
  std::map<std::string, Evidence> read_evidence(const std::vector<std::string>& ids, bool lock);
  std::map<std::string, std::vector<Evidence>> read_runtime_evidence(const std::vector<std::string>& runtimes);
  void forget_runtimes(Time at);
  Gates gates(Time now);
  // A pause or another mode stops a pass that runs already. Inside a transaction, as the extension's owner.
  bool still_allowed(bool proven);
  void notice_crashes(Time now);
  bool served(const std::string& state);
  Duration unserved_scans();
  // A session to send for, and how long until its agent's next free slot.
  struct Wanted { const Tracked* tracked; Duration wait; };
  std::vector<Claim> claim_once(const PassStart&, const std::vector<const Tracked*>&, Duration lease);
  std::set<std::string> still_as_scanned(const std::vector<const Tracked*>&);
  std::map<std::string, std::string> payloads_of(const std::vector<const Tracked*>&);
  bool keeps_place(const Tracked&) const;
  void spare_in_grace(std::vector<Wanted>&, Time at);
  Loads reserve_for(std::vector<Wanted>&);
  std::vector<Wanted> take_slots(const std::vector<const Tracked*>&, const std::set<std::string>& unchanged, Time at);
  // Which of `keys` an operator holds. Inside a transaction, as the extension's owner.
  std::set<std::string> held(const std::vector<std::optional<std::string>>& keys, Time at);
  void say_progress(std::int64_t closed);
  struct Orphan { std::string key, runtime, text; };
  std::vector<Orphan> orphans_of(const Step&, Duration gone_after, Time at, std::optional<std::string>& after);
  void add_orphans(std::map<std::string, std::string>& judged);
  Finished take_orphans(const PassStart&, const Step&, const std::string& reason, const std::vector<Orphan>&, Time at);
  Finished finish_once(const PassStart&, const std::vector<const Closing*>&, Budget);
  Finished close_in_transaction(const PassStart&, const std::vector<const Closing*>&, Budget);
  std::vector<const Closing*> allowed_now(const PassStart&, const std::vector<const Closing*>&, Budget, Time at, Finished&);
  using Keys = std::vector<std::optional<std::string>>;
  Keys leave_what_application_locks(std::vector<const Closing*>&);
  using Image = RowImage;  // of a closed row
  const Repair& repair_of(const Closing&) const;
  std::map<std::string, Image> write_rows(const Repair&, const std::vector<const Closing*>&, Time at);
  void take_step(const Step&, const std::vector<const Closing*>&, std::map<std::string, Image>& written, Time at);
  std::map<std::string, Image> write_theirs(const PassStart&, const std::vector<const Closing*>&, Time at);
  std::vector<Event> closing_events(const std::vector<const Closing*>&, const std::map<std::string, Image>&);
  void end_episodes(const std::vector<const Closing*>& closed, Time at);
  // Sessions that are over, in which state, and what is owed for them.
  struct Ended {
    std::vector<std::optional<std::string>> keys, states, runtimes, owed;
    void add(const std::string& key, const std::string& state, const std::optional<std::string>& runtime, std::optional<std::string> what) {
      keys.push_back(key), states.push_back(state), runtimes.push_back(runtime), owed.push_back(std::move(what));
    }
  };
  void owe(const Ended&, Time at);
  // Sessions that another agent gets. NotNow: one of them was held, or its try taken over, meanwhile; nothing is written.
  struct NotNow {};
  void record_once(const PassStart&, const std::vector<Attempt>&, const std::vector<const Attempt*>& taken);
  std::map<std::string, Image> write_agents(const PassStart&, const std::vector<Handover>&, Time at);
  void note_handed_over(const PassStart&, const std::vector<Handover>&, const std::map<std::string, Image>&, Time at);
  void drop_plans(const std::vector<std::string>& keys);
  std::vector<std::string> emptied(const std::optional<std::string>& agent);
  Finished hand_over_once(const PassStart&, const std::vector<Handover>&);
  void settle_room(const std::vector<Attempt>&, const std::map<std::string, Image>&);
  void keep_starts(const std::vector<std::optional<std::string>>& keys);
  void settle_accepted(const PassStart&, const std::vector<const Attempt*>&, Time at);
  void spare_the_present(const std::vector<const Closing*>&, std::set<std::string>& spared);
  void spare_present_runtimes(const std::vector<const Closing*>&, std::set<std::string>& spared, Time at);
  std::int64_t spend(std::int64_t wanted, Budget, Time now, std::optional<Time>& frees);
  void give_back(std::int64_t unused, Budget, Time now);
  void set_aside(const PassStart&, const Tracked&, Verdict, const std::string& rested_on, const PostgresError&);
  void note_locked(const Keys&, Time at);
  void count_for_users_rate(std::int64_t wanted);
  struct Trip { bool by_losses; std::string why; std::string numbers_json; };
  void trip(const PassStart&, Time now, const ForcesDue&, const Trip&);
  void release_when_one_is_back(const PassStart&, Time now, Time tripped);
  std::vector<Event> leftovers(const std::vector<const Closing*>& closed);
  bool is_due(const std::string& column);
  void read_agents_table();
  void count_loads();
  bool count_some(std::optional<std::string>& after);
  void forget_agents(const std::vector<AttachedBinding>& all);
  std::map<std::string, std::string> namespaces_of(const std::vector<std::string>& agents);

  AttachedBinding b_;
  Statements sql_;
  Transactions transactions_;
  Rights rights_;
  std::string actor_ = "session_reconciler";
  std::optional<Time> frozen_;
  std::set<std::string> acted_;            // agents that ended something, as this pass found out
  std::map<std::string, Duration> scans_;  // what they took, by state; '' = the latest stops
  std::optional<std::int64_t> watched_;  // counted at most once a pass
  Duration reading_{0};                  // that the agents table took
  bool by_allowance_ = false;            // this pass spends what reset_brake() let through, and nothing else
  std::int64_t allowance_left_ = 0;      // of that
};

}  // namespace reconciler
