// Asking a hub about agents: by its list where it has one, otherwise one by one.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "hub/exchange.hpp"
#include "hub/presence.hpp"

namespace reconciler {

// agent → what each address said, in the order of the addresses.
using Voices = std::map<std::string, std::vector<Voice>>;

Voices ask_lists(Exchange&, const Profile&, const std::vector<std::string>& agents);
// All agents of all lists that were read to their end.
std::vector<AgentAnswer> list_agents(Exchange&, const Profile&);
Voices ask_one_by_one(Exchange&, const Profile&, const std::vector<std::string>& agents);

// Why an answer counts for nothing, in a sentence.
std::string why_not_heard(const Exchange&, std::size_t address, const Exchange::Reply&);

}  // namespace reconciler
