// From what the store and the observer know to what a rule sees, and from a verdict to what an event keeps.
#pragma once

#include <string>

#include "engine/observe.hpp"
#include "engine/store.hpp"

namespace reconciler {

Facts facts_of(const Binding&, const Observer&, const Tracked&, bool hub_set, Time now, const PoolFacts* pool = nullptr);

// What the verdict rested on, as a JSON object: the agent's record, the session's ages, thresholds.
std::string evidence_json(const Facts&, const Verdict&);

// The command that a retry of it sends.
std::string command_for(const Binding&, const Tracked&);
// Whether another agent gets the session with its next command: what is owed to one that has ended moves nothing.
bool hands_over(const Tracked&);
// Whom its next command goes to: its own agent, or another one of the pool.
const std::string& agent_for(const Tracked&);

// Rule and action in one word; observe mode notes each only once per episode.
std::string would_mark(const Verdict&);

}  // namespace reconciler
