// Rows that hang on sessions which are no more: what a policy's step says of them when a session ends is done to them by itself,
// once what they name as the session's runtime is gone for as long as a session's would have to be.
#include <set>

#include "core/json.hpp"
#include "core/sources.hpp"
#include "core/text.hpp"
#include "postgres/clock.hpp"
#include "postgres/repairs.hpp"
#include "postgres/store.hpp"

namespace reconciler {

Store::Finished PgStore::finish_orphans(const PassStart& pass) {
  Finished sum;
  std::set<std::string> done;  // states that end alike have the same steps
  for (const Policy& policy : b_.binding.policies) {
    const auto repair = b_.mapping.repairs.find(policy.state);
    if (!policy.enabled || policy.judged_by != JudgedBy::runtime || repair == b_.mapping.repairs.end()) continue;
    for (const Step& step : repair->second.steps) {
      if (!step.runtime || !done.insert(describe(step)).second) continue;
      for (std::optional<std::string> after = ""; after && !sum.budget_frees;) {
        const Finished one = transactions_.run("closing what sessions left", [&] {
          const Time at = now();
          return take_orphans(pass, step, policy.reason, orphans_of(step, policy.gone_after, at, after), at);
        });
        sum.closed += one.closed, sum.skipped += one.skipped, sum.budget_frees = one.budget_frees;
      }
    }
  }
  return sum;
}

// What they name as runtimes is asked about like those of sessions. Inside the block of the table's owner.
void PgStore::add_orphans(std::map<std::string, std::string>& judged) {
  std::set<std::string> done;
  for (const auto& [state, repair] : b_.mapping.repairs)
    for (const Step& step : repair.steps) {
      if (!step.runtime || !done.insert(describe(step)).second) continue;
      for (std::optional<std::string> after = ""; after;) {
        const Rows rows = query(sql_.orphans(step), {Param::text(after), Param::integer(b_.binding.batch_size)});
        for (Rows::Row row : rows) judged.emplace(row.text("runtime"), row.text("runtime"));
        after = static_cast<int>(rows.size()) == b_.binding.batch_size ? std::optional(rows[rows.size() - 1].text("key")) : std::nullopt;
      }
    }
}

// The next ones whose runtime is gone, in two looks and for long enough. `after`: where the page before ended; empty: that was all.
// Inside a transaction.
std::vector<PgStore::Orphan> PgStore::orphans_of(const Step& step, Duration gone_after, Time at, std::optional<std::string>& after) {
  const Time begun = database_now();
  const Rows rows = theirs([&] { return query(sql_.orphans(step), {Param::text(after), Param::integer(b_.binding.batch_size)}); });
  scans_[std::string(look_for_orphans)] += database_now() - begun;
  after = static_cast<int>(rows.size()) == b_.binding.batch_size ? std::optional(rows[rows.size() - 1].text("key")) : std::nullopt;
  std::vector<std::string> runtimes;
  for (Rows::Row row : rows) runtimes.push_back(row.text("runtime"));
  std::vector<Orphan> gone;
  if (runtimes.empty()) return gone;
  const auto said = ours([&] { return read_runtime_evidence(runtimes); });
  for (Rows::Row row : rows) {
    const std::string runtime = row.text("runtime");
    const auto found = said.find(runtime);
    const auto together = found == said.end() ? std::nullopt : combine(found->second, b_.binding.backends_of(Session{}), at, b_.binding.limits);
    if (!together || current(*together, at, b_.binding.limits) != Presence::gone || together->gone_observations < 2 || together->gone_time < gone_after) continue;
    gone.push_back({row.text("key"), runtime, "session " + in_quotes(row.text("key")) + " is no more, and its runtime " + in_quotes(runtime) + " has been gone for " + span(together->gone_time)});
  }
  return gone;
}

Store::Finished PgStore::take_orphans(const PassStart& pass, const Step& step, const std::string& reason, const std::vector<Orphan>& orphans, Time at) {
  Finished done;
  if (orphans.empty()) return done;
  const std::int64_t granted = ours([&] { return still_allowed(false) ? spend(static_cast<std::int64_t>(orphans.size()), Budget::inferred, at, done.budget_frees) : 0; });
  if (granted == 0) return done;
  Keys keys, runtimes;
  std::map<std::string, std::string> texts;
  for (const Orphan& orphan : orphans) {
    if (static_cast<std::int64_t>(keys.size()) == granted) break;
    keys.push_back(orphan.key), runtimes.push_back(orphan.runtime), texts[orphan.key] = orphan.text;
  }
  std::vector<Event> events;
  const Rows rows = theirs([&] { return query_batch(sql_.step(step, true), {Param::texts(keys), Param::texts(runtimes), Param::time(at)}); });
  for (Rows::Row row : rows) {
    const std::string text = nlohmann::json(texts.at(row.text("key"))).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    events.push_back({.session = {}, .kind = "force", .from_state = {}, .to_state = {}, .reason = reason, .rule = "runtime_gone", .evidence = "{\"text\": " + text + ", \"related\": [" + row.text("change") + "]}",
                      .before = {}, .after = {}});
  }
  done.closed = static_cast<std::int64_t>(events.size()), done.skipped = granted - done.closed;
  ours([&] {
    give_back(done.skipped, Budget::inferred, at);
    if (done.closed > 0) count(b_.binding.id, "reconciler_forced_total", reason, static_cast<double>(done.closed));
    write_events(b_, pass.pass_id, at, actor_, events);
  });
  return done;
}

}  // namespace reconciler
