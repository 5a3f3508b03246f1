#include "engine/collect.hpp"

#include <algorithm>

namespace reconciler {

CollectionEnd Collection::run(std::int64_t most) {
  end_ = {};
  start_ = store_.begin();
  if (start_.id == 0) return end_;
  for (const Selected& selected : start_.kinds) list(selected);
  remove(most);
  store_.end(start_, end_);
  return end_;
}

// Where a kind is not served, there is nothing of it.
static bool whole(const Listed& listed) { return listed.outcome == Listed::Outcome::complete || listed.outcome == Listed::Outcome::not_served; }

// One that fails in one of its namespaces has failed: nothing of the kind is absent then.
void Collection::list(const Selected& selected) {
  Listed all;
  all.outcome = Listed::Outcome::complete;
  for (const std::string& name_space : selected.namespaces) {
    const Listed one = cluster_.list(selected.kind, name_space, selected.selector,
                                     [&](const std::vector<ClusterObject>& page) { if (!page.empty()) store_.classify(start_, selected, page); });
    all.objects += one.objects;
    if (one.outcome == Listed::Outcome::complete || !whole(all)) continue;
    all.outcome = one.outcome, all.detail = one.detail;
  }
  end_.objects += all.objects;
  end_.complete = end_.complete && whole(all);
  note(whole(all), selected.kind.resource + ": " + all.detail);
  store_.listed(start_, selected, all);
}

void Collection::remove(std::int64_t most) {
  for (std::int64_t done = 0; done < most;) {
    // Few at a time: what is claimed was judged shortly before it is removed.
    const std::vector<Deletion> round = store_.deletions(start_, std::min<std::int64_t>(most - done, 20));
    if (round.empty()) return;
    for (const Deletion& deletion : round)
      if (!remove_one(deletion)) return;
    done += static_cast<std::int64_t>(round.size());
  }
}

// Whether it makes sense to go on. What was claimed and not removed is due again in the next collection.
bool Collection::remove_one(const Deletion& deletion) {
  wait(pace);
  const Removed removed = cluster_.remove(deletion.removal);
  store_.report(start_, deletion, removed);
  switch (removed.outcome) {
    case Removed::Outcome::accepted:
    case Removed::Outcome::absent:
      ++end_.removed;
      return true;
    case Removed::Outcome::changed: return true;
    case Removed::Outcome::forbidden:  // of this kind or namespace; the others' rights may be there
    case Removed::Outcome::unknown:
      ++end_.failed;
      note(false, removed.detail);
      return true;
    case Removed::Outcome::unauthorized:
    case Removed::Outcome::busy: break;
  }
  ++end_.failed;
  note(false, removed.detail);
  return false;
}

void Collection::note(bool good, const std::string& detail) {
  if (!good && end_.detail.empty()) end_.detail = detail;
}

// The waiter may come back early.
void Collection::wait(Duration span) {
  for (const Duration end = waiter_.uptime() + span; waiter_.uptime() < end;) waiter_.wait(-1, end - waiter_.uptime());
}

}  // namespace reconciler
