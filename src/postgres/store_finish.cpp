#include <algorithm>
#include <set>

#include "core/json.hpp"
#include "postgres/audit.hpp"
#include "postgres/store.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

using nlohmann::json;
using Texts = std::vector<std::optional<std::string>>;

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

const char* kind_of(const Verdict& verdict) { return to_string(verdict.action); }  // finalize, force or respawn

// `object` with one more member, a list.
std::string with_list(const std::string& object, const char* name, const std::string& members) {
  if (members.empty()) return object;
  return object.substr(0, object.size() - 1) + ", \"" + name + "\": [" + members + "]}";
}

constexpr std::string_view runtime_gone = "runtime_gone";  // the rule

// What a note is called: of something that would be done, or that speaks against what the row says.
std::string noted_as(const Verdict& verdict) {
  if (verdict.action != Action::wait) return std::string("would_") + to_string(verdict.action);
  return verdict.rule == "runtime_shared" ? "shared_runtime" : "contradiction";
}

// A hold that was committed while a closing was under way: it is taken back and made again without it.
struct HeldMeanwhile {};

}  // namespace

// Locked: somebody holds the row. Nothing is wrong with the session; the next pass comes again.
bool passing(const PostgresError& e) { return e.is("55P03") || e.is("40001") || e.is("40P01"); }

// A person's cancel is for the whole pass, and so is the statement_timeout of a session that CALLs it. Ours is for each
// transaction: some row of it hangs. A full disk is nobody's fault.
bool ends_pass(const PostgresError& e, const Transactions& transactions) {
  return (e.cancelled() && !(e.timed_out() && transactions.own_time_limit())) || e.is("53100");
}

Store::Finished PgStore::finish(const PassStart& pass, const std::vector<Closing>& closings, Budget budget) {
  std::vector<const Closing*> all;
  for (const Closing& closing : closings) all.push_back(&closing);
  if (budget == Budget::user_requested) count_for_users_rate(static_cast<std::int64_t>(all.size()));
  try {
    return finish_once(pass, all, budget);
  } catch (const PostgresError& e) {
    if (ends_pass(e, transactions_) || transactions_.mode() == TransactionMode::caller) throw;
    // Not one row's fault: a table or column that is missing, unless it is only a trigger's, and another owner than this pass acts as.
    if (e.is("42P01") || e.is("42703") || e.is("42501"))
      if (const auto owner = owner_if_it_loads(b_.binding.id, transactions_); owner != b_.mapping.sessions.owner) throw;
  }
  // One row spoils a batch: row by row, so that it spoils itself only.
  Finished sum;
  std::size_t refused = 0, tried = 0;
  Texts locked;
  for (const Closing* closing : all) {
    ++tried;
    try {
      const Finished one = finish_once(pass, {closing}, budget);
      sum.closed += one.closed, sum.skipped += one.skipped;
      if (one.budget_frees) sum.budget_frees = one.budget_frees;
    } catch (const PostgresError& e) {
      ++sum.skipped;
      if (ends_pass(e, transactions_)) throw;
      // A right that is missing for every row is the binding's matter, for one row that row's.
      if (e.is("42501") && ++refused == all.size() && all.size() > 1) throw;
      if (passing(e)) {
        locked.push_back(closing->tracked->session.key);
        if (locked.size() == tried && tried == 5) break;  // the table is locked, not these rows: one lock_timeout for each would be minutes
        continue;
      }
      set_aside(pass, *closing->tracked, closing->verdict, closing->evidence, e);
      // Others may hang like it: one timeout a batch, not hundreds. The next pass comes without it.
      if (e.timed_out()) {
        sum.budget_frees = now() + seconds(5);
        break;
      }
    }
  }
  if (!locked.empty()) {
    transactions_.run("noting locked rows", [&] { ours([&] { note_locked(locked, now()); }); });
    sum.budget_frees = now() + seconds(5);
  }
  return sum;
}

void PgStore::set_aside(const PassStart& pass, const Tracked& tracked, Verdict verdict, const std::string& rested_on, const PostgresError& e) {
  verdict.reason = "error";
  json evidence = json::parse(rested_on);
  evidence["error"] = {{"sqlstate", e.sqlstate}, {"message", e.message}, {"detail", e.detail}};
  quarantine(pass, tracked, verdict, dump(evidence));
}

// Inside a transaction, as the extension's owner.
void PgStore::note_locked(const Keys& keys, Time at) {
  query("UPDATE reconciler.episode SET write_locked = $3 WHERE binding_id = $1 AND session_id = ANY($2)",
        {Param::integer(b_.binding.id), Param::texts(keys), Param::time(at)});
}

Store::Finished PgStore::finish_once(const PassStart& pass, const std::vector<const Closing*>& closings, Budget budget) {
  for (;;) {
    try {
      const Finished done = transactions_.run("closing sessions", [&] { return close_in_transaction(pass, closings, budget); });
      if (budget == Budget::inferred && done.closed > 0) say_progress(done.closed);
      return done;
    } catch (const HeldMeanwhile&) {
    }
  }
}

// To who watches a mass repair that reset_brake() let through.
void PgStore::say_progress(std::int64_t closed) {
  if (!by_allowance_ || transactions_.mode() != TransactionMode::procedure) return;
  notice(b_.binding.name + ": " + std::to_string(closed) + " more closed, " + std::to_string(allowance_left_) + " left of those that reset_brake() let through");
}

// Theirs where they still are what the verdict rested on, then event, counters and budget.
Store::Finished PgStore::close_in_transaction(const PassStart& pass, const std::vector<const Closing*>& closings, Budget budget) {
  Finished done;
  const Time at = now();
  std::vector<const Closing*> wanted = allowed_now(pass, closings, budget, at, done);
  if (wanted.empty()) return done;
  const std::int64_t granted = static_cast<std::int64_t>(wanted.size());
  const Texts locked = leave_what_application_locks(wanted);
  const std::map<std::string, Image> images = theirs([&] { return write_theirs(pass, wanted, at); });
  std::vector<const Closing*> closed;
  std::vector<std::optional<std::string>> keys;
  for (const Closing* closing : wanted)
    if (images.contains(closing->tracked->session.key)) closed.push_back(closing), keys.push_back(closing->tracked->session.key);
  std::vector<Event> events = closing_events(wanted, images);
  for (Event& event : leftovers(closed)) events.push_back(std::move(event));
  ours([&] {
    end_episodes(closed, at);
    for (const Closing* closing : closed)
      if (closing->verdict.rule == "completion_proven" && closing->tracked->session.agent) acted_.insert(*closing->tracked->session.agent);
    // hold_session() locks the episode when it has written its hold: either it comes first and is seen here, or it
    // waits for us and finds the session ended.
    if (!held(keys, at).empty()) {
      if (transactions_.mode() == TransactionMode::caller) throw UserError("55000", "the session has just been held by somebody else");
      throw HeldMeanwhile{};
    }
    std::map<std::pair<std::string, std::string>, double> counts;
    for (const Closing* closing : closed)
      ++counts[{closing->verdict.action == Action::finalize ? "reconciler_finalized_total" : "reconciler_forced_total", closing->verdict.reason}];
    for (const auto& [what, n] : counts) count(b_.binding.id, what.first, what.second, n);
    give_back(granted - static_cast<std::int64_t>(closed.size()), budget, at);
    if (!locked.empty()) note_locked(locked, at);
    write_events(b_, pass.by_operator() ? std::nullopt : std::optional(pass.pass_id), at, actor_, events);
  });
  done.closed = static_cast<std::int64_t>(closed.size());
  done.skipped = granted - done.closed;
  if (!locked.empty()) done.budget_frees = at + seconds(5);
  return done;
}

// Sessions that the application is at work on by its own convention are left to the next pass; the others are ours until the
// transaction ends. A person waits.
PgStore::Keys PgStore::leave_what_application_locks(std::vector<const Closing*>& wanted) {
  Keys locked;
  if (!b_.mapping.locks_like_application) return locked;
  Keys keys;
  for (const Closing* closing : wanted) keys.push_back(closing->tracked->session.key);
  std::set<std::string> ours_now;
  const Rows rows = theirs([&] { return query_batch(Statements::lock_like_application(transactions_.mode() == TransactionMode::caller), {Param::texts(keys)}); });
  for (Rows::Row row : rows) ours_now.insert(row.text("key"));
  std::erase_if(wanted, [&](const Closing* closing) {
    const bool free = ours_now.contains(closing->tracked->session.key);
    if (!free) locked.push_back(closing->tracked->session.key);
    return !free;
  });
  return locked;
}

// What mode, pause, graces, holds and the budget let through, in the order of the keys: every pass locks rows so.
std::vector<const Closing*> PgStore::allowed_now(const PassStart& pass, const std::vector<const Closing*>& closings, Budget budget, Time at, Finished& done) {
  return ours([&] {
    std::vector<const Closing*> wanted;
    if (!pass.by_operator() && !still_allowed(budget == Budget::none)) return wanted;
    // A grace may have begun since the pass did: a hub instance that answered first in this very pass.
    if (!pass.by_operator() && budget != Budget::none)
      if (const auto until = gates(at).grace_until) {
        done.budget_frees = until;
        return wanted;
      }
    Texts keys;
    for (const Closing* closing : closings) keys.push_back(closing->tracked->session.key);
    std::set<std::string> spared = held(keys, at);
    if (budget != Budget::none) spare_the_present(closings, spared), spare_present_runtimes(closings, spared, at);
    const auto asked = static_cast<std::int64_t>(closings.size() - spared.size());
    std::int64_t left = spend(asked, budget, at, done.budget_frees);
    done.spent = left < asked;
    for (const Closing* closing : closings)
      if (left > 0 && !spared.contains(closing->tracked->session.key)) wanted.push_back(closing), --left;
    std::sort(wanted.begin(), wanted.end(), [](const Closing* a, const Closing* b) { return a->tracked->session.key < b->tracked->session.key; });
    return wanted;
  });
}

// Inside the block of the table's owner: the rows, those that hang on them, and the application's audit. Images of what was
// closed, by key.
std::map<std::string, PgStore::Image> PgStore::write_theirs(const PassStart& pass, const std::vector<const Closing*>& wanted, Time at) {
  std::map<const Repair*, std::vector<const Closing*>> by_repair;  // nearly always one
  for (const Closing* closing : wanted) by_repair[&repair_of(*closing)].push_back(closing);
  std::map<std::string, Image> images;
  for (const auto& [repair, closings] : by_repair) {
    std::map<std::string, Image> written = write_rows(*repair, closings, at);
    for (const Step& step : repair->steps) take_step(step, closings, written, at);
    images.merge(written);
  }
  std::vector<Change> changes;
  for (const Closing* closing : wanted) {
    const Verdict& v = closing->verdict;
    if (const auto image = images.find(closing->tracked->session.key); image != images.end())
      changes.push_back({image->first, kind_of(v), v.rule, v.reason, pass.pass_id, image->second.before, image->second.after});
  }
  write_audit(b_.mapping, changes, at);
  return images;
}

// What its policy says of an end that it writes itself.
const Repair& PgStore::repair_of(const Closing& closing) const {
  static const Repair none;
  const std::string& state = closing.tracked->session.state;
  const auto found = b_.mapping.repairs.find(state);
  const Policy* policy = b_.binding.policy(state);
  return found != b_.mapping.repairs.end() && policy && closing.verdict.becomes == policy->becomes ? found->second : none;
}

std::map<std::string, PgStore::Image> PgStore::write_rows(const Repair& repair, const std::vector<const Closing*>& closings, Time at) {
  Texts keys, states, agents, runtimes, created, becomes, reasons, versions;
  std::vector<std::optional<Time>> quiet_since, idle_since;
  std::vector<Texts> routes(b_.mapping.sessions.route.size());
  for (const Closing* closing : closings) {
    const Session& s = closing->tracked->session;
    keys.push_back(s.key), states.push_back(s.state), agents.push_back(s.agent), runtimes.push_back(s.runtime), created.push_back(s.created);
    becomes.push_back(closing->verdict.becomes), reasons.push_back(closing->verdict.reason);
    quiet_since.push_back(closing->verdict.quiet_since), idle_since.push_back(closing->verdict.idle_since), versions.push_back(s.version);
    for (std::size_t i = 0; i < routes.size(); ++i) routes[i].push_back(s.route[i]);
  }
  std::vector<Param> params{Param::texts(keys), Param::texts(states), Param::texts(agents), Param::texts(runtimes), Param::texts(created),
                            Param::texts(becomes), Param::texts(reasons), Param::time(at), Param::times(quiet_since), Param::times(idle_since), Param::texts(versions)};
  for (const Texts& route : routes) params.push_back(Param::texts(route));
  std::map<std::string, Image> images;
  const bool alone = std::any_of(closings.begin(), closings.end(), [](const Closing* closing) { return closing->verdict.rule == runtime_gone; });
  const Rows rows = query_batch(sql_.close(repair, alone), std::span<const Param>(params));
  for (Rows::Row row : rows)
    if (!images.emplace(row.text("key"), Image{row.jsonb("before"), row.jsonb("after")}).second) throw two_rows();
  if (rows.affected() != images.size()) throw two_rows();
  return images;
}

// Of the sessions that were written only.
void PgStore::take_step(const Step& step, const std::vector<const Closing*>& closings, std::map<std::string, Image>& written, Time at) {
  Texts keys, runtimes;
  for (const Closing* closing : closings)
    if (written.contains(closing->tracked->session.key)) keys.push_back(closing->tracked->session.key), runtimes.push_back(closing->tracked->session.runtime);
  if (keys.empty()) return;
  for (Rows::Row row : query_batch(sql_.step(step), {Param::texts(keys), Param::texts(runtimes), Param::time(at)})) {
    std::string& related = written.at(row.text("key")).related;
    related += (related.empty() ? "" : ", ") + row.text("change");
  }
}

std::vector<Event> PgStore::closing_events(const std::vector<const Closing*>& wanted, const std::map<std::string, Image>& images) {
  std::vector<Event> events;
  events.reserve(2 * wanted.size());
  for (const Closing* closing : wanted) {
    const Verdict& v = closing->verdict;
    const Session& s = closing->tracked->session;
    Event event{.session = s.key, .kind = kind_of(v), .from_state = s.state, .to_state = v.becomes, .reason = v.reason,
                .rule = std::string(v.rule), .evidence = closing->evidence, .before = {}, .after = {}};
    if (const auto image = images.find(s.key); image == images.end())
      event.kind = "skipped", event.to_state.reset();
    else
      event.before = image->second.before, event.after = image->second.after, event.evidence = with_list(closing->evidence, "related", image->second.related);
    events.push_back(std::move(event));
  }
  return events;
}

std::set<std::string> PgStore::held(const std::vector<std::optional<std::string>>& keys, Time at) {
  std::set<std::string> found;
  for (Rows::Row row : query_batch("SELECT h.session_id FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t JOIN reconciler.hold h ON h.binding_id = t.binding AND h.session_id = t.key AND h.until > $3",
                                   {Param::integer(b_.binding.id), Param::texts(keys), Param::time(at)}))
    found.insert(row.text(0));
  return found;
}

// Another pass may have seen an agent since ours looked, and lost it again: its sessions are judged anew.
void PgStore::spare_the_present(const std::vector<const Closing*>& closings, std::set<std::string>& spared) {
  std::vector<std::string> ids;
  std::vector<std::int64_t> long_enough;  // microseconds
  std::map<std::string, Duration> agents;
  for (const Closing* c : closings)
    if (c->tracked->session.agent && c->verdict.rule == "agent_gone") {
      Duration& gone_after = agents[*c->tracked->session.agent];
      gone_after = std::max(gone_after, b_.binding.policy(c->tracked->session.state)->gone_after);
    }
  if (agents.empty()) return;
  for (const auto& [id, gone_after] : agents) ids.push_back(id), long_enough.push_back(gone_after.count());
  std::set<std::string> present;
  for (Rows::Row row : query_batch("SELECT a.agent_id FROM (SELECT $1::int AS binding, u.* FROM unnest($2, $3) AS u(agent, micros) OFFSET 0) AS t JOIN reconciler.agent_evidence a ON a.binding_id = t.binding AND a.agent_id = t.agent"
                                   " WHERE a.presence <> 'gone' OR a.gone_time < t.micros * interval '1 microsecond'",
                                   {Param::integer(b_.binding.id), Param::texts(ids), Param::integers(long_enough)}))
    present.insert(row.text("agent_id"));
  for (const Closing* c : closings)
    if (c->tracked->session.agent && present.contains(*c->tracked->session.agent)) spared.insert(c->tracked->session.key);
}

// Nor may anybody have seen its runtime since.
void PgStore::spare_present_runtimes(const std::vector<const Closing*>& closings, std::set<std::string>& spared, Time at) {
  std::vector<const Session*> judged;
  std::vector<std::string> ids;
  for (const Closing* c : closings)
    if (c->verdict.rule == runtime_gone) judged.push_back(&c->tracked->session), ids.push_back(*judged.back()->runtime);
  if (ids.empty()) return;
  const auto said = read_runtime_evidence(ids);
  for (const Session* session : judged) {
    const auto found = said.find(*session->runtime);
    const auto together = found == said.end() ? std::nullopt : combine(found->second, b_.binding.backends_of(*session), at, b_.binding.limits);
    if (!together || current(*together, at, b_.binding.limits) != Presence::gone || together->gone_time < b_.binding.policy(session->state)->gone_after) spared.insert(session->key);
  }
}

void PgStore::note_would(const PassStart& pass, const std::vector<Closing>& closings) {
  transactions_.run("noting what would be done", [&] {
    ours([&] {
      std::vector<Event> events;
      Texts keys, marks;
      for (const Closing& c : closings) {
        keys.push_back(c.tracked->session.key), marks.push_back(std::string(c.verdict.rule) + " " + to_string(c.verdict.action));
        events.push_back({.session = c.tracked->session.key, .kind = noted_as(c.verdict), .from_state = c.tracked->session.state,
                          .to_state = c.verdict.becomes.empty() ? std::nullopt : std::optional(c.verdict.becomes), .reason = c.verdict.reason.empty() ? std::nullopt : std::optional(c.verdict.reason),
                          .rule = std::string(c.verdict.rule), .evidence = c.evidence, .before = {}, .after = {}});
      }
      query_batch("UPDATE reconciler.episode e SET last_would = t.mark FROM (SELECT $1::int AS binding, u.* FROM unnest($2::text[], $3::text[]) AS u(key, mark) OFFSET 0) AS t WHERE e.binding_id = t.binding AND e.session_id = t.key",
            {Param::integer(b_.binding.id), Param::texts(keys), Param::texts(marks)});
      write_events(b_, pass.pass_id, now(), actor_, events);
    });
  });
}

}  // namespace reconciler
