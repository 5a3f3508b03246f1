// What the command line of the hub says.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace testhub {

struct Settings {
    std::string listen = "127.0.0.1:0";
    std::string listen_shared;  // a second address, with SO_REUSEPORT: several hubs behind one port
    std::string port_file;
    bool standard = true;     // serve /v1
    bool streamspace = true;  // serve /api/v1
    std::string database;     // libpq conninfo of a StreamSpace control plane; empty = keep everything in memory
    bool register_on_connect = true;  // a connecting agent gets its row, instead of upstream's 404
    bool approve_new_agents = true;
    bool write_sessions = true;  // an agent's `status` message updates the sessions table, as upstream
    std::string token;           // Bearer token that the API demands; empty = none
    std::string instance;        // instance id; random when empty
    std::string scope = "fleet";
    bool complete = true;
    std::string log_file;
    std::vector<std::string> faults;  // JSON, each one rule or a list
    bool parent_watch = false;
    int threads = 1;
    std::chrono::milliseconds latency{0};
    std::chrono::milliseconds coalesce{0};   // see FrameWriter
    std::chrono::seconds stale_after{45};    // no heartbeat that long = disconnected; 0 = never
    std::size_t keep_commands = 500'000;     // older ones are forgotten
    std::uint64_t seed = 0;                  // of the faults that have a percentage; 0 = random
};

// Throws std::invalid_argument.
Settings parse_settings(int argc, char** argv);

}  // namespace testhub
