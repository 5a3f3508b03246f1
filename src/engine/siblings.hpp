// Which other agent of its pool could take a session over: asked only for those whose own agent can't or won't.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/pool.hpp"
#include "engine/observe.hpp"
#include "engine/store.hpp"

namespace reconciler {

class Siblings {
 public:
  // `may_ask`: other agents are looked at; without, their records are good enough (Look functions).
  Siblings(Store& store, Observer& observer) : store_(store), observer_(observer) {}

  // Finds out who could take over those of the batch that need it.
  void consider(const std::vector<Tracked>& batch, bool may_ask);
  // Chooses. nullptr: it is of no pool, or its own agent is the one to ask.
  const PoolFacts* of(const Tracked&);
  // What goes to another agent counts: a batch spreads over the pool. Who was chosen for nothing keeps no place from others.
  void count(const Tracked&, const Verdict&);

 private:
  struct Choice {
    std::vector<Taker> agents;  // least loaded first, as far as they were there when we looked
    int members = 0;                // looked at
  };
  bool wanted(const Tracked&) const;
  Choice& choice(int pool, bool may_ask);
  void choose(PoolFacts&, const Tracked&, Choice&);

  Store& store_;
  Observer& observer_;
  std::map<int, Choice> choices_;
  struct Considered { PoolFacts facts; Choice* choice = nullptr; };
  std::map<std::string, Considered> considered_;  // of the last batch, by session
};

}  // namespace reconciler
