// The simulated store keeps the contract that test/tap/t/016_store_contract.pl holds the real one to.
#include <gtest/gtest.h>

#include "contract/contract.hpp"
#include "simulation/store.hpp"

namespace reconciler::simulation {
namespace {

class SimBench final : public contract::Bench {
 public:
  SimBench() {
    db_.binding.id = 1, db_.binding.hub = "hub", db_.binding.commands_table = db_.binding.agents_table = true;
    db_.binding.terminal_states = {"terminated", "failed"}, db_.binding.batch_size = 2;
    db_.binding.brake.floor = db_.binding.brake.user_floor = 2;
    db_.binding.brake.share = db_.binding.brake.user_share = 0;
    Policy terminating, running, pending;
    terminating.state = "terminating";
    running.state = "running", running.user_requested = false, running.retry_action.clear(), running.stuck_after.reset();
    pending.state = "pending", pending.becomes = "failed", pending.user_requested = false, pending.retry_action = pending.awaits = start_session;
    db_.binding.policies = {terminating, running, pending};
    db_.clock = from_unix_micros(1'800'000'000'000'000);
    db_.server_started = db_.clock - hours(1);
    db_.start_grace = db_.instance_grace = db_.promotion_grace = Duration(0);
  }
  Store& one() override { return one_; }
  Store& other() override { return other_; }
  void put(const std::string& key, const std::string& state, std::optional<std::string> agent) override {
    Row& row = db_.rows[key];
    row.session.key = key, row.session.state = state, row.session.agent = std::move(agent), row.session.created = "then";
    row.session.entered = db_.clock - hours(1);
  }
  void remove(const std::string& key) override { db_.rows.erase(key); }
  std::string state_of(const std::string& key) override { return db_.rows.at(key).session.state; }
  void command(const std::string& key, const std::string& action, const std::string& agent) override {
    auto& commands = db_.commands[key];
    const bool completed = action == "stop_session";
    advance(Duration(1));
    commands.push_back({{.id = "c-" + std::to_string(commands.size()), .action = action, .status = completed ? "completed" : "pending", .created = db_.clock,
                         .sent = db_.clock, .acknowledged = {}, .completed = completed ? std::optional(db_.clock) : std::nullopt, .error = {}}, agent});
  }
  void hold(const std::string& key) override { db_.holds[key] = {db_.clock + hours(1), "reason", "operator"}; }
  void pause(bool everything) override { db_.paused = true, db_.paused_everything = everything; }
  void reset_brake(int allow) override { db_.brake.state.allowance = allow; }
  int pool() override {
    db_.binding.pools = true, db_.outlive[0] = true, db_.namespaces[0] = 0;
    for (const char* agent : {"a", "b"}) db_.registry[agent] = {.pool = 0, .capacity = 5, .draining = {}, .drained = {}}, db_.agents[agent] = {db_.clock, true};
    return 0;
  }
  void plan(const std::string& key, const std::string& from, const std::string& to) override { db_.plans[key] = {from, {to, "operator"}}; }
  void instance_grace(Duration grace) override { db_.instance_grace = grace; }
  void advance(Duration by) override { db_.clock += by; }
  std::vector<Noted> events() override {
    std::vector<Noted> noted;
    for (const Event& e : db_.events) noted.push_back({e.session, e.kind, e.reason, e.before && e.after, !e.evidence.empty()});
    return noted;
  }

 private:
  Database db_;
  Conductor nobody_;
  Witness unheard_;
  SimStore one_{db_, nobody_, unheard_}, other_{db_, nobody_, unheard_};
};

class StoreContract : public testing::TestWithParam<contract::Case> {};

TEST_P(StoreContract, IsKept) {
  SimBench bench;
  EXPECT_NO_THROW(GetParam().run(bench));
}

INSTANTIATE_TEST_SUITE_P(Simulated, StoreContract, testing::ValuesIn(contract::cases()),
                         [](const testing::TestParamInfo<contract::Case>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace reconciler::simulation
