// The hub of agents that can't be called: a queue of our own, from which they fetch (next_commands()) and to which they
// answer (report_command()). It connects to nobody and always answers.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/hub.hpp"
#include "postgres/transaction.hpp"

namespace reconciler {

class PullHub final : public AgentHub {
 public:
  // For one binding's sessions. An agent whose heartbeat is older than `fresh` is not connected.
  PullHub(Profile profile, TransactionMode mode, int binding_id, Duration fresh)
      : profile_(std::move(profile)), transactions_(mode), binding_id_(binding_id), fresh_(fresh) {}
  const Profile& profile() const override { return profile_; }
  std::map<std::string, Sighting> look(const std::vector<std::string>& ids) override;
  void dispatch(const Next&, const Done&) override;
  Duration longest_delivery(std::size_t) const override { return seconds(30); }
  std::map<std::string, Profile::CommandState> command_progress(const std::vector<std::string>&) override;
  std::map<std::string, SessionSaid> session_status(const std::vector<std::string>&) override { return {}; }
  Totals totals() const override { return {}; }

 private:
  std::vector<Delivery> queue(const std::vector<Dispatch>&);
  std::vector<Delivery> queue_at_once(const std::vector<Dispatch>&);
  std::map<std::string, CommandMeaning> absent(const std::vector<Dispatch>&, Time at);
  void withdraw_others(const std::vector<const Dispatch*>&, Time at);
  std::set<std::string> insert(const std::vector<const Dispatch*>&, Time at);

  const Profile profile_;
  Transactions transactions_;
  const int binding_id_;
  const Duration fresh_;
};

// At the end of a pass: open commands that no episode waits for any more are withdrawn, and what has ended long ago
// leaves. In a transaction, as the extension's owner.
void tidy_commands(int binding_id, Time at);

// Who fetches, for probe_hub() and preflight().
struct Fetching { std::string text; bool any; };
Fetching who_fetches();

}  // namespace reconciler
