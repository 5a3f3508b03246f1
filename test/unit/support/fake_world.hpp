// A store, a hub and a waiter in memory, for tests of the engine. They record what was asked of them, in order.
#pragma once

#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/pass.hpp"

namespace reconciler::test {

inline Profile standard_like(const std::string& more = "") {
  return Profile("standard", R"({"authoritative": true, "idempotent": true,
    "hub": {"instance": "/hub/instance_id", "scope": "/hub/scope", "scopes": {"fleet": true}, "complete": "/complete"},
    "agent": {"id": "/id", "status": "/status", "statuses": {"connected": "connected"}},
    "list_agents": {"method": "GET", "path": "/v1/agents", "agents": "/agents", "next": "/next", "next_parameter": "next", "answers": [{"status": 200, "means": "agents"}]},
    "ask_agent": {"method": "GET", "path": "/v1/agents/{agent_id}", "answers": [{"status": 200, "means": "agent"}]},
    "send": {"method": "POST", "path": "/v1/agents/{agent_id}/commands", "body": {"command_id": "{command_id}"}, "answers": [{"status": 202, "means": "accepted"}]})" + more + "}");
}
inline Profile with_sessions() {
  return standard_like(R"(, "ask_session": {"method": "GET", "path": "/v1/sessions/{session_id}", "answers": [{"status": 200, "means": "running"}]})");
}

struct FakeStore final : Store {
  Binding bind;
  Time clock = from_unix_micros(1'800'000'000'000'000);
  Gates gates;
  std::vector<Tracked> rows;
  std::map<std::string, Evidence> records;
  std::vector<std::string> log;  // what happened, in order
  std::int64_t closed = 0, brake_due = 0;
  bool brake_lets = true;
  ForcesDue forces;
  std::vector<std::string> lately;
  std::int64_t tokens = 1'000'000, per_second = 1'000'000;
  std::set<std::string> refuse_claims;

  FakeStore() {
    gates.mode = Mode::enforce;
    bind.hub = "hub";
    bind.terminal_states = {"terminated"};
    Policy terminating;
    terminating.state = "terminating";
    bind.policies = {terminating};
  }
  Tracked& add(const std::string& key, const std::string& agent, Duration age, const std::string& state = "terminating") {
    Tracked t;
    t.session.key = key, t.session.state = state, t.session.agent = agent;
    t.episode.first_seen = t.episode.entered = clock - age;
    rows.push_back(t);
    return rows.back();
  }
  void gone(const std::string& agent, Duration time) {
    Evidence e;
    e.last.presence = Presence::gone, e.last.at = clock - seconds(30), e.last.source = "hub";
    e.gone_time = time, e.gone_observations = 9, e.last_gone_counted = e.last.at;
    records[agent] = e;
  }

  const Binding& binding() const override { return bind; }
  Time now() override { return clock; }
  PassStart begin_pass() override { return log.push_back("begin"), PassStart{.pass_id = 7, .now = clock, .gates = gates, .held_because = ""}; }
  PassStart peek() override { return PassStart{.pass_id = 0, .now = clock, .gates = gates, .held_because = ""}; }
  void end_pass(const PassStart&, const PassEnd& e) override { log.push_back(e.error.empty() ? "end" : "end: " + e.error); }
  std::set<std::string> occupied() override {
    std::set<std::string> states;
    for (const Tracked& t : rows) states.insert(t.session.state);
    return states;
  }
  std::vector<Tracked> scan(const std::string& state, Cursor& cursor) override {
    std::vector<Tracked> found;
    if (cursor.nulls) return cursor.done = true, found;  // all have an age
    for (const Tracked& t : rows)
      if (t.session.state == state && (!cursor.key || t.session.key > *cursor.key) && static_cast<int>(found.size()) < bind.batch_size) found.push_back(t);
    if (!found.empty()) cursor.key = found.back().session.key;
    cursor.nulls = static_cast<int>(found.size()) < bind.batch_size;
    return found;
  }
  std::vector<Tracked> scan_completed(Cursor& cursor) override { return cursor.done = true, std::vector<Tracked>{}; }
  std::vector<Tracked> scan_owed(Cursor& cursor) override {
    std::vector<Tracked> found;
    for (const Tracked& t : rows)
      if (t.episode.owed != Owed::nothing) found.push_back(t);
    return cursor.done = true, found;
  }
  void forget_departed() override {}
  void note_stuck(const PassStart&, const std::vector<const Tracked*>& s) override { log.push_back("stuck " + std::to_string(s.size())); }
  std::vector<std::string> agents_of(const std::string&, std::int64_t) override {
    std::set<std::string> ids;
    for (const Tracked& t : rows) ids.insert(*t.session.agent);
    return {ids.begin(), ids.end()};
  }
  std::int64_t watched() override { return static_cast<std::int64_t>(rows.size()); }
  std::map<std::string, HeartbeatLook> agents(const std::vector<std::string>&) override { return {}; }
  std::map<std::string, Evidence> evidence(const std::vector<std::string>&) override { return records; }
  std::map<std::string, Evidence> update_evidence(const std::vector<std::string>& ids, const NextEvidence& next) override {
    for (const std::string& id : ids) records[id] = next(id, records.contains(id) ? std::optional(records[id]) : std::nullopt);
    return records;
  }
  std::map<std::string, std::map<std::string, Evidence>> runtimes;  // by source
  std::set<std::string> shared;
  std::map<std::string, std::vector<Evidence>> runtime_evidence(const std::vector<std::string>& ids) override {
    std::map<std::string, std::vector<Evidence>> said;
    for (const std::string& id : ids)
      for (const auto& [source, record] : runtimes[id]) said[id].push_back(record);
    return said;
  }
  void update_runtime_evidence(const std::string& source, const std::vector<std::string>& ids, const NextEvidence& next) override {
    for (const std::string& id : ids) runtimes[id][source] = next(id, runtimes[id].contains(source) ? std::optional(runtimes[id][source]) : std::nullopt);
  }
  std::vector<Judged> runtimes_to_ask(std::int64_t) override {
    std::vector<Judged> asked;
    for (const Tracked& t : rows)
      if (t.session.runtime && bind.policy(t.session.state) && bind.policy(t.session.state)->judged_by == JudgedBy::runtime) asked.push_back({t.session.key, *t.session.runtime});
    return asked;
  }
  std::set<std::string> shared_runtimes(const std::vector<std::string>&) override { return shared; }
  std::vector<Taker> free;  // of the one pool
  std::map<std::string, Pooled> pools_of(const std::vector<const Tracked*>& sessions) override {
    std::map<std::string, Pooled> pools;
    for (const Tracked* tracked : sessions) pools[tracked->session.key] = {1, "pool", true};
    return pools;
  }
  std::vector<Taker> takers(int, std::int64_t) override { return free; }
  Finished hand_over(const PassStart&, const std::vector<Handover>& moves) override {
    for (const Handover& move : moves) log.push_back("hand over " + move.tracked->session.key + " to " + move.verdict.to_agent);
    return {.closed = static_cast<std::int64_t>(moves.size()), .skipped = 0, .budget_frees = {}};
  }
  Time instance_since = Time::min();
  Time note_instance(const std::string&, Time) override { return instance_since; }
  std::vector<Claim> claim(const PassStart&, const std::vector<const Tracked*>& due, Duration) override {
    std::vector<Claim> claims;
    for (std::size_t i = 0; i < due.size(); ++i)
      if (!refuse_claims.contains(due[i]->session.key)) claims.push_back({i, "key-" + due[i]->session.key, 1, Duration(0), "", {}});
    log.push_back("claim " + std::to_string(claims.size()));
    return claims;
  }
  void record(const PassStart&, const std::vector<Attempt>& a) override { log.push_back("record " + std::to_string(a.size())); }
  void record_progress(const PassStart&, const Tracked& t, CommandProgress, SessionAnswer answer, const std::string&) override {
    log.push_back(std::string("said ") + (answer == SessionAnswer::gone ? "gone" : "running") + " of " + t.session.key);
  }
  void settle_late(const PassStart&, const Tracked& t, SessionAnswer answer) override {
    log.push_back(std::string(answer == SessionAnswer::gone ? "late gone " : "readopt ") + t.session.key);
  }
  void quarantine(const PassStart&, const Tracked& t, const Verdict&, const std::string&) override { log.push_back("quarantine " + t.session.key); }
  Finished finish(const PassStart&, const std::vector<Closing>& c, Budget budget) override {
    const char* names[] = {"finalize", "force asked", "force inferred"};
    log.push_back(std::string(names[static_cast<int>(budget)]) + " " + std::to_string(c.size()));
    const std::int64_t granted = std::min(budget_left, static_cast<std::int64_t>(c.size()));
    closed += granted, budget_left -= granted;
    return {.closed = granted, .skipped = 0, .budget_frees = {}, .spent = granted < static_cast<std::int64_t>(c.size())};
  }
  std::int64_t budget_left = std::numeric_limits<std::int64_t>::max();
  std::vector<std::string> lately_present() override { return lately; }
  std::optional<Losses> may_force(const PassStart&, const ForcesDue& due) override {
    forces = due, brake_due = due.count;
    log.push_back("brake " + std::to_string(due.count));
    return brake_lets ? std::optional(Losses::few) : std::nullopt;
  }
  Paced take_pace(Losses, std::int64_t wanted) override {
    if (tokens <= 0) return tokens = per_second, Paced{0, seconds(1)};
    const std::int64_t granted = std::min(tokens, wanted);
    tokens -= granted;
    return {granted, Duration(0)};
  }
  void note_would(const PassStart&, const std::vector<Closing>& c) override { log.push_back("would " + std::to_string(c.size())); }

  void note_incarnations(const std::vector<const Tracked*>& met) override {
    for (const Tracked* t : met)
      for (Tracked& row : rows)
        if (row.session.key == t->session.key) row.episode.incarnation = records[*t->session.agent].last.incarnation;
  }
  bool logged(const std::string& what) const {
    for (const std::string& line : log)
      if (line == what) return true;
    return false;
  }
};

struct FakeHub final : AgentHub {
  Profile the_profile = standard_like();
  FakeStore& store;
  std::map<std::string, Presence> says;  // absent: unknown
  int looks = 0;
  std::vector<std::string> sent, actions, reasons;
  std::map<std::string, SessionAnswer> sessions;  // absent: unclear
  std::vector<std::string> asked;                 // about which
  std::string incarnation;                        // of every agent
  explicit FakeHub(FakeStore& s) : store(s) {}
  const Profile& profile() const override { return the_profile; }
  std::map<std::string, Sighting> look(const std::vector<std::string>& ids) override {
    ++looks;
    std::map<std::string, Sighting> out;
    for (const std::string& id : ids) {
      Sighting& s = out[id];
      if (!says.contains(id)) continue;
      s.kind = Sighting::Kind::answered, s.presence = says[id], s.agent.incarnation = incarnation;
    }
    return out;
  }
  void dispatch(const Next& next, const Done& done) override {
    std::size_t index = 0;
    for (std::vector<Dispatch> commands = next(); !commands.empty(); commands = next())
      for (const Dispatch& one : commands) {
        store.log.push_back("send " + one.command.session);
        sent.push_back(one.command.command_id), actions.push_back(one.command.action), reasons.push_back(one.command.reason);
        Delivery d;
        d.outcome = Delivery::Outcome::answered, d.meaning = CommandMeaning::accepted;
        done(index++, d);
      }
  }
  Duration longest_delivery(std::size_t) const override { return seconds(60); }
  std::map<std::string, Profile::CommandState> command_progress(const std::vector<std::string>&) override { return {}; }
  std::map<std::string, SessionSaid> session_status(const std::vector<std::string>& ids) override {
    std::map<std::string, SessionSaid> answers;
    asked = ids;
    for (const std::string& id : ids)
      if (sessions.contains(id)) answers[id] = {.answer = sessions[id]};
    return answers;
  }
  Totals totals() const override { return {}; }
};

struct FakeWaiter final : Waiter {
  FakeStore& store;
  std::vector<Duration> waited;
  bool cancel = false;
  explicit FakeWaiter(FakeStore& s) : store(s) {}
  void wait(int, Duration timeout) override {
    if (cancel) throw std::runtime_error("cancelled");
    waited.push_back(timeout);
    store.clock += timeout;
  }
  Duration uptime() const override { return Duration(0); }
};

}  // namespace reconciler::test
