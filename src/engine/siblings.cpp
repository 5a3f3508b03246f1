#include "engine/siblings.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "engine/facts.hpp"

namespace reconciler {
namespace {

// Enough to choose from, few enough to ask about. Those that are fuller are the next pass's.
constexpr std::int64_t most_asked = 200;

double fullness(const Taker& agent) { return agent.capacity > 0 ? static_cast<double>(agent.load) / agent.capacity : 1; }

}  // namespace

bool Siblings::wanted(const Tracked& tracked) const {
  const Binding& binding = store_.binding();
  const Episode& episode = tracked.episode;
  if (!tracked.session.agent || tracked.leaves || episode.sent_to) return true;
  const Evidence* agent = observer_.of(tracked.session.agent);
  if (!agent) return false;
  const Policy* policy = binding.policy(tracked.session.state);
  return current(*agent, store_.now(), binding.limits) == Presence::gone || agent->suspect_since || (policy && episode.attempts >= policy->max_attempts);
}

void Siblings::consider(const std::vector<Tracked>& batch, bool may_ask) {
  considered_.clear();
  if (!store_.binding().pools) return;
  std::vector<const Tracked*> asking;
  for (const Tracked& tracked : batch)
    if (wanted(tracked)) asking.push_back(&tracked);
  if (asking.empty()) return;
  const std::map<std::string, Pooled> pools = store_.pools_of(asking);
  for (const Tracked* tracked : asking) {
    const auto found = pools.find(tracked->session.key);
    if (found == pools.end()) continue;
    const Pooled& pool = found->second;
    auto& [facts, choice] = considered_[tracked->session.key];
    facts.name = pool.name, facts.runtimes_outlive_agents = pool.runtimes_outlive_agents, facts.cleans_by_resource = pool.cleans_by_resource, facts.emptied = tracked->leaves;
    choice = &choice_of(pool.id, may_ask);
  }
}

Siblings::Choice& Siblings::choice_of(int pool, bool may_ask) {
  const auto [found, first] = choices_.try_emplace(pool);
  Choice& choice = found->second;
  if (!first) return choice;
  choice.agents = store_.takers(pool, most_asked);
  choice.members = static_cast<int>(choice.agents.size());
  std::set<std::string> ids;
  for (const Taker& agent : choice.agents) ids.insert(agent.id);
  if (may_ask) observer_.look(ids);
  else observer_.load(ids);
  const Time now = store_.now();
  std::erase_if(choice.agents, [&](const Taker& agent) {
    const Evidence* known = observer_.of(agent.id);
    return !known || known->suspect_since || current(*known, now, store_.binding().limits) != Presence::present;
  });
  return choice;
}

// A stop needs no room.
Taker* Siblings::least_loaded(const Tracked& tracked, Choice& choice) const {
  const bool needs_room = store_.binding().takes_room(tracked.session.state);
  const auto takes = [&](const Taker& agent) { return (agent.load < agent.capacity || !needs_room) && agent.id != tracked.session.agent; };
  Taker* best = nullptr;
  for (Taker& agent : choice.agents)
    if (takes(agent) && (!best || fullness(agent) < fullness(*best))) best = &agent;
  return best;
}

const PoolFacts* Siblings::of(const Tracked& tracked) {
  const auto found = considered_.find(tracked.session.key);
  if (found == considered_.end()) return nullptr;
  auto& [facts, choice] = found->second;
  const auto other = [&](const Taker& agent) { return agent.id != tracked.session.agent; };
  if (const Taker* best = least_loaded(tracked, *choice)) {
    facts.taker = best->id;
  } else if (std::any_of(choice->agents.begin(), choice->agents.end(), other)) {
    facts.full = true;
    facts.none_because = "every other agent of its pool is full";
  } else if (const auto away = choice->members - static_cast<int>(choice->agents.size()); away > 0) {
    facts.none_because = cat({"none of the ", std::to_string(away), " other agents of its pool is there"});
  } else {
    facts.none_because = "no other agent of its pool takes sessions";
  }
  return &facts;
}

void Siblings::note(const Tracked& tracked, const Verdict& verdict) {
  const auto found = considered_.find(tracked.session.key);
  if (verdict.action != Action::reassign || found == considered_.end() || verdict.to_agent != found->second.facts.taker) return;
  if (!store_.binding().takes_room(tracked.session.state)) return;
  ++least_loaded(tracked, *found->second.choice)->load;
}

}  // namespace reconciler
