// From what the addresses of a hub said about an agent to what is known of it. Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/hub.hpp"

namespace reconciler {

// What one address said about one agent in this look.
struct Voice {
  std::string address;
  bool recent = false;  // in the last 10 minutes it answered properly, or it is there now, whatever it says
  enum class Kind { silent, unauthorized, answered } kind = Kind::silent;
  // Answered. unknown_agent: the address surely does not know it (its own word, or absent from a complete
  // list); absent from an incomplete list is `unclear`.
  AgentAnswer agent;
  HubIdentity hub;
  std::string detail;  // silent, unauthorized: why
};

// A hub whose answers prove whether an agent is connected. Where `gone` rests on several instances, hub.instance
// of the sighting names them all, joined by commas: a restart of any of them is a new instance.
Sighting judge_connection(const std::string& agent, const std::vector<Voice>&);

// A hub whose answers prove nothing about a connection: the first address that knows the agent is heard.
Sighting first_known(const std::string& agent, const std::vector<Voice>&);

}  // namespace reconciler
