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
  Siblings(Store& store, Observer& observer) : store_(store), observer_(observer) {}

  // Finds the pools of those of the batch that need another agent. `may_ask`: other agents are looked at; without, their records
  // are good enough (Look functions).
  void consider(const std::vector<Tracked>& batch, bool may_ask);
  // With the agent that is the least loaded by now. nullptr: it is of no pool, or its own agent is the one to ask.
  const PoolFacts* of(const Tracked&);
  // By this verdict the session goes there, which counts: sessions spread over the pool. What stays takes no room.
  void note(const Tracked&, const Verdict&);

 private:
  struct Choice {
    std::vector<Taker> agents;  // least loaded first, as far as they were there when we looked
    int members = 0;                // looked at
  };
  struct Considered {
    PoolFacts facts;
    Choice* choice;
  };
  bool wanted(const Tracked&) const;
  Choice& choice_of(int pool, bool may_ask);
  Taker* least_loaded(const Tracked&, Choice&) const;

  Store& store_;
  Observer& observer_;
  std::map<int, Choice> choices_;
  std::map<std::string, Considered> considered_;  // of the last batch, by session
};

}  // namespace reconciler
