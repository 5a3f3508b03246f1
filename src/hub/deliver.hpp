// Sending commands: to which address, how often, and when it is over.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "hub/exchange.hpp"

namespace reconciler {

struct DeliverySettings {
  int fresh_connection_tries = 6;
  std::map<std::string, std::size_t> home;  // agent → the address it was last seen connected to
};

void deliver_commands(Exchange&, const Profile&, const DeliverySettings&, const AgentHub::Next&, const AgentHub::Done&);

}  // namespace reconciler
