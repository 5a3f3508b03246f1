// The contract's world in a server: an attached table, and two stores over SPI in one backend, each call of them a
// transaction of its own. CALL contract_case(name) runs one case; test/tap/t/016_store_contract.pl calls all.
#include "contract/contract.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

class PostgresBench final : public contract::Bench {
 public:
  PostgresBench() {
    run("DELETE FROM sessions");
    run("DELETE FROM agent_commands");
    for (const char* table : {"episode", "agent", "planned_move", "agent_evidence", "hold", "brake", "hub_instance", "binding_state"}) run(std::string("DELETE FROM reconciler.") + table);
    run("UPDATE reconciler.binding SET paused_at = NULL, paused_by = NULL, pause_everything = false, instance_grace = '0'");
    advance(Duration(0));
    open();
    begun_ = number("SELECT coalesce(max(id), 0) FROM reconciler.event");
  }
  Store& one() override { return *one_; }
  Store& other() override { return *other_; }
  void put(const std::string& key, const std::string& state, std::optional<std::string> agent) override {
    run("INSERT INTO sessions (id, user_id, state, assigned_agent_id, updated_at) VALUES ($1, 'u', $2, $3, reconciler.clock() - interval '1 hour')"
        " ON CONFLICT (id) DO UPDATE SET state = excluded.state, assigned_agent_id = excluded.assigned_agent_id",
        {Param::text(key), Param::text(state), Param::text(agent)});
  }
  void remove(const std::string& key) override { run("DELETE FROM sessions WHERE id = $1", {Param::text(key)}); }
  std::string state_of(const std::string& key) override {
    return transactions_.run("reading a state", [&] { return query("SELECT state FROM sessions WHERE id = $1", {Param::text(key)}).only().text(0); });
  }
  void command(const std::string& key, const std::string& action, const std::string& agent) override {
    run("INSERT INTO agent_commands (command_id, agent_id, session_id, action, status, sent_at, completed_at)"
        " SELECT 'c-' || count(*), $1, $2, $3, CASE $3 WHEN 'stop_session' THEN 'completed' ELSE 'pending' END, now(), CASE $3 WHEN 'stop_session' THEN now() END FROM agent_commands",
        {Param::text(agent), Param::text(key), Param::text(action)});
  }
  void hold(const std::string& key) override { run("SELECT hold_session($1, reconciler.clock() + interval '1 hour', 'reason')", {Param::text(key)}); }
  void pause(bool everything) override {
    run("UPDATE reconciler.binding SET paused_at = now(), paused_by = 'operator', pause_everything = $1", {Param::boolean(everything)});
  }
  void reset_brake(int allow) override { run("SELECT reset_brake('reason', $1::integer)", {Param::integer(allow)}); }
  void advance(Duration by) override {
    ahead_ += by;
    run("SELECT set_config('session_reconciler.clock_offset', $1, false)", {Param::text(std::to_string(std::chrono::duration_cast<seconds>(ahead_).count()) + "s")});
  }
  int pool() override {
    for (const char* agent : {"a", "b"}) run("SELECT register_agent($1, 'contract', '', '', 5)", {Param::text(agent)});
    return static_cast<int>(number("SELECT pool_id FROM reconciler.agent_pool WHERE name = 'contract'"));
  }
  void plan(const std::string& key, const std::string& from, const std::string& to) override {
    run("INSERT INTO reconciler.planned_move SELECT binding_id, $1, $2, $3, reconciler.clock(), 'operator' FROM reconciler.binding", {Param::text(key), Param::text(from), Param::text(to)});
  }
  void instance_grace(Duration grace) override {
    run("UPDATE reconciler.binding SET instance_grace = $1", {Param::interval(grace)});
    open();
  }
  std::vector<Noted> events() override {
    return transactions_.run("reading events", [&] {
      std::vector<Noted> noted;
      for (Rows::Row row : query("SELECT coalesce(session_id, '') AS session, kind, coalesce(reason, '') AS reason, before IS NOT NULL AND after IS NOT NULL AS images,"
                                 " evidence IS NOT NULL AS evidence FROM reconciler.event WHERE id > $1 AND kind NOT IN ('hold', 'policy_changed') ORDER BY id",
                                 {Param::integer(begun_)}))
        noted.push_back({row.text("session"), row.text("kind"), row.text("reason"), row.boolean("images"), row.boolean("evidence")});
      return noted;
    });
  }

 private:
  void open() { one_.emplace(binding(), TransactionMode::procedure), other_.emplace(binding(), TransactionMode::procedure); }
  void run(const std::string& sql, std::initializer_list<Param> params = {}) {
    transactions_.run("preparing a case", [&] { query(sql, params); });
  }
  std::int64_t number(const std::string& sql) {
    return transactions_.run("reading", [&] { return query(sql).only().integer(0); });
  }
  AttachedBinding binding() {
    return transactions_.run("reading a binding", [&] { return as_extension_owner([&] { return load_binding(one_binding(std::nullopt)); }); });
  }

  Transactions transactions_{TransactionMode::procedure};
  std::optional<PgStore> one_, other_;
  std::int64_t begun_ = 0;
  Duration ahead_{0};
};

}  // namespace

RECONCILER_SQL_FUNCTION(contract_case) {
  const std::string name = sql_text(fcinfo, 0);
  Procedure procedure(fcinfo->context, "CALL contract_case()");
  for (const contract::Case& one : contract::cases())
    if (name == one.name) {
      PostgresBench bench;
      one.run(bench);
      return sql_null(fcinfo);
    }
  throw std::invalid_argument("there is no case " + name);
}

RECONCILER_SQL_FUNCTION(contract_cases) {
  (void)fcinfo;
  std::string names;
  for (const contract::Case& one : contract::cases()) names += one.name + std::string("\n");
  return sql_text_datum(names);
}

}  // namespace reconciler
