// What the command line of the agent says.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace testhub {

struct AgentSettings {
    std::string host, port;  // of the hub
    std::string id, incarnation, pool, platform, region;
    std::optional<int> capacity;
    std::chrono::milliseconds heartbeat{30'000};
    std::chrono::milliseconds first_retry{200}, longest_retry{5'000};
    bool register_first = false;  // POST /agents/register until approved, as StreamSpace's agent
    std::chrono::milliseconds register_every{30'000};
    std::string state_dir;
    int runtime_seconds = 7200;  // a forgotten runtime ends by itself; 0 = never
    bool draining = false;
    bool parent_watch = false;
    bool kill_runtimes_on_exit = false;
    bool report_sessions = true;  // heartbeats list the runtimes

    // Misbehaviour.
    bool ignore_stops = false;  // ack, never act
    std::optional<std::string> fail_stops;
    bool die_on_stop = false;   // right after it was received
    bool ack_only = false;      // every command
    bool mute = false;          // acts, but sends nothing
    std::chrono::milliseconds delay{0};
};

// Throws std::invalid_argument.
AgentSettings parse_agent_settings(int argc, char** argv);

}  // namespace testhub
