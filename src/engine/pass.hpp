// One pass over one binding: scan → observe → judge → claim → dispatch → record → finish. The worker, CALL
// reconcile() and the tests run this code; they differ in who calls it and how they wait.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/hub.hpp"
#include "engine/observe.hpp"
#include "engine/siblings.hpp"
#include "engine/store.hpp"
#include "engine/wait.hpp"

namespace reconciler {

class Pass {
 public:
  // `hub` may be null: no hub is set, or none may be asked. It and the others must outlive the pass.
  Pass(Store& store, AgentHub* hub, Waiter& waiter) : store_(store), hub_(hub), waiter_(waiter) {}

  // `ask_again`: unknown agents are asked a second time after observation_spacing, inside this pass (CALL);
  // the worker instead comes back by the due time that the pass returns.
  PassEnd run(bool ask_again);

 private:
  enum class Sweep { all_but_inferred_forces, inferred_forces_only, leaving, planned };
  struct Batch;  // verdicts of one scan, sorted by what is to be done

  void sweep_policies(Sweep);
  bool look_ahead(const std::string& state);
  void sweep_completed();
  void sweep_owed();
  void sweep_leaving();
  void carry_out_plan();
  void refresh_registry();
  // A hub may know of sessions alone: no command goes to such a one.
  bool may_send() const { return hub_ && (hub_->profile().pulls() || hub_->profile().knows_agents()); }
  // A copy whose identity is not confirmed asks nobody.
  bool may_ask() const { return start_.gates.identity_confirmed && !start_.gates.safe_mode; }
  void handle(std::vector<Tracked>&, Sweep);
  void settle_unknown_outcomes(std::vector<Tracked>&);
  void ask_progress(std::vector<Tracked>&);
  void sort_verdict(Tracked&, Sweep, Batch&);
  void act(Batch&);
  void send_retries();
  std::vector<const Tracked*> send_round(const std::vector<const Tracked*>& due);
  Dispatch dispatch_of(const Tracked&, const Claim&) const;
  bool close(const std::vector<Closing>&, Budget);
  void close_at_pace(const std::vector<Closing>&);
  void force_inferred();
  Duration until_asked_again() const;
  void finish_orphans();
  void due_at(std::optional<Time>);

  Store& store_;
  AgentHub* hub_;
  Waiter& waiter_;
  Observer observer_{store_, hub_};
  Siblings siblings_{store_, observer_};
  PassStart start_;
  PassEnd end_;
  ForcesDue forces_due_;                // inferred ones, counted in the first sweep, judged before the second
  Losses losses_ = Losses::few;         // what sets the pace of the second
  Duration most_waiting_{0};            // for that pace, in this pass; what is left then is left to the next one
  std::set<std::string> occupied_;      // states that sessions were in when it began
  std::set<std::string> unknown_agents_;
  bool unknown_runtimes_ = false;       // of which the hub could have told something
  std::deque<Tracked> retries_;         // due, not yet sent
};

}  // namespace reconciler
