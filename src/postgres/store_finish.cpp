#include <array>
#include <set>

#include <nlohmann/json.hpp>

#include "postgres/store.hpp"

namespace reconciler {
namespace {

using nlohmann::json;
using Texts = std::vector<std::optional<std::string>>;

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string kind_of(const Verdict& verdict) { return verdict.action == Action::finalize ? "finalize" : "force"; }

// For a shell: nothing in a session id may become a command of its own.
std::string shell_quoted(const std::string& text) {
  if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == std::string::npos && !text.empty()) return text;
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string filled(std::string text, const std::string& session, const std::string& name_space, bool shell) {
  const auto put = [&](const std::string& mark, const std::string& value) {
    for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += value.size()) text.replace(at, mark.size(), value);
  };
  put("{namespace}", shell ? shell_quoted(name_space) : name_space);
  put("{session_id}", shell ? shell_quoted(session) : session);
  return text;
}

json filled(const json& templates, const std::string& session, const std::string& name_space) {
  json out = json::array();
  for (const json& each : templates) out.push_back(filled(each.get<std::string>(), session, name_space, false));
  return out;
}

// Locked: somebody holds the row. Nothing is wrong with the session; the next pass comes again.
bool passing(const PostgresError& e) { return e.is("55P03") || e.is("40001") || e.is("40P01") || e.is("57014"); }

PostgresError two_rows() {
  return PostgresError(sqlstate_code("21000"), "closing one session would write two rows", {},
                       "Map a key_column that is unique by itself, or add the table's partition columns as route_columns.");
}

Window read_window(const std::string& counts_json, std::int64_t minute) {
  Window w;
  w.minute = minute;
  const json counts = json::parse(counts_json);
  for (std::size_t i = 0; i < w.used.size() && i < counts.size(); ++i) w.used[i] = counts[i].get<std::int32_t>();
  return w;
}

std::string array_literal(const Window& w) {
  std::string out = "{";
  for (std::size_t i = 0; i < w.used.size(); ++i) out += (i ? "," : "") + std::to_string(w.used[i]);
  return out + "}";
}

BrakeState lock_brake(int binding) {
  query("INSERT INTO reconciler.brake (binding_id) VALUES ($1) ON CONFLICT DO NOTHING", {Param::integer(binding)});
  const Rows rows = query("SELECT minute, array_to_json(inferred)::text AS inferred, user_minute, array_to_json(user_requested)::text AS user_requested, tripped, allowance"
                          " FROM reconciler.brake WHERE binding_id = $1 FOR UPDATE",
                          {Param::integer(binding)});
  const Rows::Row row = rows.only();
  BrakeState state;
  state.inferred = read_window(row.text("inferred"), row.integer("minute"));
  state.user_requested = read_window(row.text("user_requested"), row.integer("user_minute"));
  state.tripped = row.maybe_time("tripped");
  state.allowance = row.integer("allowance");
  return state;
}

void save_brake(int binding, const BrakeState& state) {
  query("UPDATE reconciler.brake SET minute = $2, inferred = $3::text::int[], user_minute = $4, user_requested = $5::text::int[], allowance = $6 WHERE binding_id = $1",
        {Param::integer(binding), Param::integer(state.inferred.minute), Param::text(array_literal(state.inferred)), Param::integer(state.user_requested.minute),
         Param::text(array_literal(state.user_requested)), Param::integer(state.allowance)});
}

// What reset_brake() let through is done, or is due no more: the normal budget holds again.
void release_brake(int binding) {
  query("UPDATE reconciler.brake SET tripped = NULL, tripped_due = 0, tripped_why = '', allowance = 0 WHERE binding_id = $1", {Param::integer(binding)});
}

}  // namespace

// How many of `wanted` the budget lets through now; the brake's row stays locked until the transaction ends.
std::int64_t PgStore::spend(std::int64_t wanted, Budget budget, Time at, std::optional<Time>& frees) {
  if (budget == Budget::none) return wanted;
  BrakeState state = lock_brake(b_.binding.id);
  std::int64_t granted = 0;
  if (budget == Budget::user_requested) {
    // The table is counted only when the floor does not suffice.
    const bool enough = state.user_requested.total(at) + wanted <= b_.binding.brake.user_floor;
    const std::int64_t count = enough ? 0 : watched_.value_or(0);
    granted = std::min(wanted, user_rate_left(state, b_.binding.brake, count, at));
    const auto limit = std::max<std::int64_t>(b_.binding.brake.user_floor, static_cast<std::int64_t>(b_.binding.brake.user_share * static_cast<double>(count)));
    if (granted < wanted) frees = state.user_requested.frees_at(at, 1, limit);
    state.user_requested.add(at, granted);
  } else if (state.tripped || by_allowance_) {
    // Reset by an operator: the allowance and nothing beside it, also when another pass has just used up its last.
    granted = std::min(wanted, state.allowance);
    state.allowance -= granted;
    if (granted > 0 && state.allowance == 0) release_brake(b_.binding.id);
  } else {
    // Another pass may have spent since may_force() judged.
    granted = std::min(wanted, judge_brake(state, b_.binding.brake, wanted, watched_.value_or(0), at).left);
    state.inferred.add(at, granted);
  }
  save_brake(b_.binding.id, state);
  return granted;
}

// In the transaction of spend(): a row that had changed was not closed, and a skip costs nothing.
void PgStore::give_back(std::int64_t unused, Budget budget, Time at) {
  if (unused <= 0 || budget == Budget::none) return;
  BrakeState state = lock_brake(b_.binding.id);
  if (budget == Budget::user_requested) state.user_requested.add(at, -unused);
  else if (state.tripped) state.allowance += unused;
  else if (!by_allowance_) state.inferred.add(at, -unused);
  save_brake(b_.binding.id, state);
}

Store::Finished PgStore::finish(const PassStart& pass, const std::vector<Closing>& closings, Budget budget) {
  std::vector<const Closing*> all;
  for (const Closing& closing : closings) all.push_back(&closing);
  if (budget == Budget::user_requested && static_cast<std::int64_t>(all.size()) > 0) {
    // Counted outside of the transaction that locks the budget.
    const std::int64_t used = transactions_.run("reading the budget", [&] { return ours([&] { return lock_brake(b_.binding.id).user_requested.total(now()); }); });
    if (used + static_cast<std::int64_t>(all.size()) > b_.binding.brake.user_floor) watched();
  }
  try {
    return finish_once(pass, all, budget);
  } catch (const PostgresError& e) {
    // A table or column that is missing is not one row's fault: the binding is broken.
    const bool structural = e.is("42P01") || e.is("42703");
    if (e.cancelled() || structural || transactions_.mode() == TransactionMode::caller) throw;
  }
  // One row spoils a batch: row by row, so that it spoils itself only.
  Finished sum;
  std::size_t refused = 0;
  for (const Closing* closing : all) {
    try {
      const Finished one = finish_once(pass, {closing}, budget);
      sum.closed += one.closed, sum.skipped += one.skipped;
      if (one.budget_frees) sum.budget_frees = one.budget_frees;
    } catch (const PostgresError& e) {
      ++sum.skipped;
      if (e.cancelled()) throw;
      // A right that is missing for every row is the binding's matter, for one row that row's.
      if (e.is("42501") && ++refused == all.size() && all.size() > 1) throw;
      if (passing(e)) {
        sum.budget_frees = now() + seconds(5);
        continue;
      }
      Verdict verdict = closing->verdict;
      verdict.action = Action::quarantine, verdict.reason = "error";
      json evidence = json::parse(closing->evidence);
      evidence["error"] = {{"sqlstate", e.sqlstate}, {"message", e.message}, {"detail", e.detail}};
      quarantine(pass, *closing->tracked, verdict, dump(evidence));
    }
  }
  return sum;
}

// Lock our rows, write theirs where they still are what the verdict rested on, then event, counters and budget.
Store::Finished PgStore::finish_once(const PassStart& pass, const std::vector<const Closing*>& closings, Budget budget) {
  return transactions_.run("closing sessions", [&] {
    Finished done;
    const Time at = now();
    std::map<std::string, const Closing*> wanted;
    const bool of_a_pass = pass.pass_id > 0;  // not an operator's own word
    ours([&] {
      if (of_a_pass && !still_allowed(budget == Budget::none)) return;
      // A grace may have begun since the pass did: a hub instance that answered first in this very pass.
      if (of_a_pass && budget != Budget::none)
        if (const auto until = gates(at).grace_until) {
          done.budget_frees = until;
          return;
        }
      std::vector<std::string> keys;
      for (const Closing* closing : closings) keys.push_back(closing->tracked->session.key);
      // hold_session() locks the episode too: either it comes first and is seen here, or it waits for us.
      query_batch("SELECT FROM reconciler.episode WHERE binding_id = $1 AND session_id = ANY($2) ORDER BY session_id FOR UPDATE", {Param::integer(b_.binding.id), Param::texts(keys)});
      std::set<std::string> held;
      for (Rows::Row row : query_batch("SELECT session_id FROM reconciler.hold WHERE binding_id = $1 AND session_id = ANY($2) AND until > $3",
                                 {Param::integer(b_.binding.id), Param::texts(keys), Param::time(at)}))
        held.insert(row.text("session_id"));
      if (budget != Budget::none) spare_the_present(closings, held);
      std::int64_t left = spend(static_cast<std::int64_t>(closings.size() - held.size()), budget, at, done.budget_frees);
      for (const Closing* closing : closings) {
        const std::string& key = closing->tracked->session.key;
        if (held.contains(key) || left <= 0) continue;
        wanted[key] = closing, --left;
      }
    });
    if (wanted.empty()) return done;

    struct Image { std::string before, after; };
    std::map<std::string, Image> closed;
    theirs([&] {
      Texts keys, states, agents, runtimes, created, becomes, reasons;
      std::vector<Texts> routes(b_.mapping.sessions.route.size());
      for (const auto& [key, closing] : wanted) {
        const Session& s = closing->tracked->session;
        keys.push_back(s.key), states.push_back(s.state), agents.push_back(s.agent), runtimes.push_back(s.runtime), created.push_back(s.created);
        becomes.push_back(closing->verdict.becomes), reasons.push_back(closing->verdict.reason);
        for (std::size_t i = 0; i < routes.size(); ++i) routes[i].push_back(s.route[i]);
      }
      std::vector<Param> params{Param::texts(keys), Param::texts(states), Param::texts(agents), Param::texts(runtimes), Param::texts(created),
                                Param::texts(becomes), Param::texts(reasons), Param::time(at)};
      for (const Texts& route : routes) params.push_back(Param::texts(route));
      const Rows rows = query_batch(sql_.close(), std::span<const Param>(params));
      for (Rows::Row row : rows)
        if (!closed.emplace(row.text("key"), Image{row.text("before"), row.text("after")}).second)
          throw two_rows();
      if (rows.affected() != closed.size()) throw two_rows();
      if (b_.mapping.audit && !closed.empty()) {
        Texts audit_keys, changes;
        for (const auto& [key, image] : closed) {
          audit_keys.push_back(key);
          const Verdict& v = wanted[key]->verdict;
          // The images are JSON already: parsed and printed again they would cost more than the update.
          std::string change = dump({{"action", kind_of(v)}, {"rule", v.rule}, {"reason", v.reason}, {"pass_id", pass.pass_id}});
          change.back() = ',';
          changes.push_back(change + "\"before\": " + image.before + ", \"after\": " + image.after + "}");
        }
        query_batch(sql_.audit(), {Param::texts(audit_keys), Param::texts(changes), Param::text("system:session_reconciler"), Param::time(at), Param::text("session")});
      }
    });

    std::vector<std::string> closed_keys;
    std::map<std::string, std::string> namespaces;
    for (const auto& [key, image] : closed) closed_keys.push_back(key);
    const std::vector<Event> leftover_events = leftovers(closings, closed_keys);
    ours([&] {
      std::vector<Event> events;
      std::map<std::pair<std::string, std::string>, double> counts;
      for (const auto& [key, closing] : wanted) {
        const Verdict& v = closing->verdict;
        Event event{.session = key, .kind = kind_of(v), .from_state = closing->tracked->session.state, .to_state = v.becomes, .reason = v.reason,
                    .rule = std::string(v.rule), .evidence = closing->evidence, .before = {}, .after = {}};
        const auto found = closed.find(key);
        if (found == closed.end()) {
          event.kind = "skipped", event.to_state.reset();
          ++done.skipped;
        } else {
          event.before = found->second.before, event.after = found->second.after;
          ++counts[{v.action == Action::finalize ? "reconciler_finalized_total" : "reconciler_forced_total", v.reason}];
        }
        events.push_back(std::move(event));
      }
      events.insert(events.end(), leftover_events.begin(), leftover_events.end());
      query_batch("DELETE FROM reconciler.episode WHERE binding_id = $1 AND session_id = ANY($2)", {Param::integer(b_.binding.id), Param::texts(closed_keys)});
      for (const auto& [what, n] : counts) count(b_.binding.id, what.first, what.second, n);
      give_back(static_cast<std::int64_t>(wanted.size() - closed.size()), budget, at);
      write_events(b_, of_a_pass ? std::optional(pass.pass_id) : std::nullopt, at, actor_, events);
    });
    done.closed = static_cast<std::int64_t>(closed.size());
    return done;
  });
}

// Another pass may have seen an agent since ours looked: its sessions are judged anew.
void PgStore::spare_the_present(const std::vector<const Closing*>& closings, std::set<std::string>& spared) {
  std::set<std::string> agents;
  for (const Closing* c : closings)
    if (c->tracked->session.agent && c->verdict.rule == "agent_gone") agents.insert(*c->tracked->session.agent);
  if (agents.empty()) return;
  const std::vector<std::string> ids(agents.begin(), agents.end());
  std::set<std::string> present;
  for (Rows::Row row : query_batch("SELECT agent_id FROM reconciler.agent_evidence WHERE binding_id = $1 AND agent_id = ANY($2) AND presence <> 'gone'",
                                   {Param::integer(b_.binding.id), Param::texts(ids)}))
    present.insert(row.text("agent_id"));
  for (const Closing* c : closings)
    if (c->tracked->session.agent && present.contains(*c->tracked->session.agent)) spared.insert(c->tracked->session.key);
}

// What a forced session may leave behind: names, the command that cleans, and user data apart from it.
std::vector<Event> PgStore::leftovers(const std::vector<const Closing*>& closings, const std::vector<std::string>& closed) {
  const json templates = json::parse(b_.leftover_json);
  std::vector<Event> events;
  if (!templates.contains("resources")) return events;
  const std::set<std::string> done(closed.begin(), closed.end());
  std::set<std::string> agents;
  for (const Closing* c : closings)
    if (c->verdict.action == Action::force && c->tracked->session.agent) agents.insert(*c->tracked->session.agent);
  std::map<std::string, std::string> namespaces;
  if (b_.mapping.agents && b_.mapping.agents->metadata && !agents.empty()) {
    const std::vector<std::string> ids(agents.begin(), agents.end());
    const Rows rows = theirs([&] { return query_batch(sql_.agent_namespaces(), {Param::texts(ids)}); });
    for (Rows::Row row : rows)
      if (auto name = row.maybe_text("namespace")) namespaces[row.text("id")] = *name;
  }
  for (const Closing* c : closings) {
    const Session& s = c->tracked->session;
    if (c->verdict.action != Action::force || !done.contains(s.key)) continue;
    const auto found = s.agent ? namespaces.find(*s.agent) : namespaces.end();
    const std::string name_space = found != namespaces.end() ? found->second : templates.value("namespace", "default");
    json evidence{{"namespace", name_space},
                  {"resources", filled(templates["resources"], s.key, name_space)},
                  {"cleanup", filled(templates.value("cleanup", ""), s.key, name_space, true)},
                  {"user_data", filled(templates.value("user_data", json::array()), s.key, name_space)},
                  {"agent_id", s.agent.value_or("")}};
    events.push_back({.session = s.key, .kind = "leftover", .from_state = s.state, .to_state = c->verdict.becomes, .reason = c->verdict.reason,
                      .rule = std::string(c->verdict.rule), .evidence = dump(evidence), .before = {}, .after = {}});
  }
  return events;
}

bool PgStore::may_force(const PassStart& pass, std::int64_t due, const std::string& samples_json) {
  const bool share_counts = transactions_.run("reading the budget", [&] {
    return ours([&] { BrakeState state = lock_brake(b_.binding.id); return needs_watched(state, b_.binding.brake, due, now()); });
  });
  const std::int64_t count = share_counts ? watched() : 0;  // outside of a transaction that locks the budget
  return transactions_.run("judging the brake", [&] {
    return ours([&] {
      const Time at = now();
      BrakeState state = lock_brake(b_.binding.id);
      by_allowance_ = state.tripped && state.allowance > 0 && due > 0;
      if (state.tripped && state.allowance > 0 && due == 0) release_brake(b_.binding.id);
      if (state.tripped) return by_allowance_;
      const BrakeJudgement judged = judge_brake(state, b_.binding.brake, due, count, at);
      if (!judged.trips) return judged.left > 0;
      const std::string why = std::to_string(due) + " forces due, " + std::to_string(judged.left) + " left of " + std::to_string(judged.budget) + " per 10 minutes";
      query("UPDATE reconciler.brake SET tripped = $2, tripped_due = $3, tripped_why = $4, allowance = 0 WHERE binding_id = $1",
            {Param::integer(b_.binding.id), Param::time(at), Param::integer(due), Param::text(why)});
      const json evidence{{"due", due}, {"budget", judged.budget}, {"used", judged.used}, {"watched", count}, {"samples", json::parse(samples_json)},
                          {"next", "SELECT reset_brake('reason') lets exactly these through; hold_session() keeps single ones"}};
      write_events(b_, pass.pass_id, at, actor_, {{.session = {}, .kind = "brake_tripped", .from_state = {}, .to_state = {}, .reason = why, .rule = {}, .evidence = dump(evidence), .before = {}, .after = {}}});
      report(LogLevel::warning, "session_reconciler: brake of " + b_.binding.name + " tripped: " + why, "Nothing is closed by inference until it is reset.",
             "Look at reconcile_plan(); then SELECT reset_brake('reason').");
      return false;
    });
  });
}

void PgStore::note_would(const PassStart& pass, const std::vector<Closing>& closings) {
  transactions_.run("noting what would be done", [&] {
    ours([&] {
      std::vector<Event> events;
      Texts keys, marks;
      for (const Closing& c : closings) {
        keys.push_back(c.tracked->session.key), marks.push_back(std::string(c.verdict.rule) + " " + to_string(c.verdict.action));
        events.push_back({.session = c.tracked->session.key, .kind = std::string("would_") + to_string(c.verdict.action), .from_state = c.tracked->session.state,
                          .to_state = c.verdict.becomes.empty() ? std::nullopt : std::optional(c.verdict.becomes), .reason = c.verdict.reason.empty() ? std::nullopt : std::optional(c.verdict.reason),
                          .rule = std::string(c.verdict.rule), .evidence = c.evidence, .before = {}, .after = {}});
      }
      query_batch("UPDATE reconciler.episode e SET last_would = t.mark FROM unnest($2::text[], $3::text[]) AS t(key, mark) WHERE e.binding_id = $1 AND e.session_id = ANY($2) AND e.session_id = t.key",
            {Param::integer(b_.binding.id), Param::texts(keys), Param::texts(marks)});
      write_events(b_, pass.pass_id, now(), actor_, events);
    });
  });
}

}  // namespace reconciler
