// The life of a command after it was accepted, and what agents report. Safe on any thread.
#pragma once

#include "hub.hpp"

#include <string>
#include <string_view>

namespace testhub {

// Sends an accepted command to its agent. `payload` is the inner JSON object that the agent reads.
void deliver(Hub& hub, const CommandOrder& order, const Delivery& delivery, const std::string& payload);

// One text frame of an agent. Never throws: nonsense is noted in the journal.
void handle_agent_frame(Hub& hub, const std::string& agent, std::string_view frame);

void agent_connected(Hub& hub, const AgentProfile& profile, std::shared_ptr<AgentLink> link);
void agent_disconnected(Hub& hub, const std::string& agent, const AgentLink* link);

// Called every few milliseconds: simulated agents complete what is due and heartbeat, silent agents are dropped.
void housekeep(Hub& hub);

}  // namespace testhub
