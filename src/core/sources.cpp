#include "core/sources.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace reconciler {
namespace {

bool contains(const std::vector<std::string>& list, const std::string& value) { return std::find(list.begin(), list.end(), value) != list.end(); }

// Of a backend that the session is not in nobody's word counts.
bool concerns(const Evidence& e, const Backends& backends) { return backends.possible.empty() || e.backend.empty() || contains(backends.possible, e.backend); }

bool speaks_of(const Evidence& e, const std::string& backend, const Backends& backends) {
  return e.backend == backend || e.last.source == hub_source || (e.backend.empty() && !backends.several);
}

// Who saw it last and says nothing now: it may still be there.
bool fell_silent(const Evidence& e, Time now, const EvidenceLimits& limits) {
  return current(e, now, limits) == Presence::unknown && e.gone_observations == 0 && e.last_present && elapsed(*e.last_present, now) < limits.sign_ceiling;
}

const Evidence* surest(const Evidence* a, const Evidence& b) {
  if (!a || (a->gone_observations < 2) != (b.gone_observations < 2)) return a && b.gone_observations < 2 ? a : &b;
  return a->gone_time >= b.gone_time ? a : &b;
}

Evidence unknown(Evidence newest, std::string why) {
  newest.last.presence = Presence::unknown, newest.last.detail = std::move(why);
  newest.gone_time = Duration(0), newest.gone_observations = 0;
  return newest;
}

}  // namespace

std::optional<Evidence> heard(const std::optional<Evidence>& before, const Observation& said, const std::optional<Duration>& max_age, const EvidenceLimits& limits) {
  const bool his = before && before->last.source == said.source && before->last.stated;
  if (his && *said.stated <= *before->last.stated) return {};
  Evidence after = accumulate(before, said, pushed_within(limits, max_age));
  after.max_age = max_age;
  return after.last.at == said.at ? std::optional(after) : std::nullopt;
}

std::optional<Evidence> combine(const std::vector<Evidence>& said, const Backends& backends, Time now, const EvidenceLimits& limits) {
  const Evidence *newest = nullptr, *silent = nullptr;
  std::vector<const Evidence*> gone;
  for (const Evidence& e : said) {
    if (!concerns(e, backends)) continue;
    if (!newest || e.last.at > newest->last.at) newest = &e;
    const Presence now_worth = current(e, now, limits);
    if (now_worth == Presence::present) return e;
    if (now_worth == Presence::gone) gone.push_back(&e);
    if (fell_silent(e, now, limits)) silent = &e;
  }
  if (!newest || gone.empty()) return newest ? std::optional(*newest) : std::nullopt;

  std::optional<Evidence> weakest;  // the backend that has been without it for the shortest time
  for (const std::string& backend : backends.possible.empty() ? std::vector<std::string>{""} : backends.possible) {
    const Evidence* best = nullptr;
    for (const Evidence* e : gone)
      if (backends.possible.empty() || speaks_of(*e, backend, backends)) best = surest(best, *e);
    if (!best) return unknown(*newest, cat({"nobody says that backend ", in_quotes(backend), " has it no more"}));
    if (!weakest || surest(best, *weakest) == &*weakest) weakest = *best;
  }
  if (silent)
    return unknown(*newest, cat({silent->last.source, " saw it ", span(elapsed(*silent->last_present, now)), " ago and says nothing now, whatever ", weakest->last.source, " says"}));
  return weakest;
}

}  // namespace reconciler
