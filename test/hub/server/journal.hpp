// What happened, one JSON line each, flushed at once: tests read the file while the hub runs.
#pragma once

#include "message.hpp"

#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>

namespace testhub {

class Journal {
public:
    Journal() = default;
    ~Journal();
    Journal(const Journal&) = delete;
    Journal& operator=(const Journal&) = delete;

    void open(const std::string& path);  // throws std::runtime_error

    // status 0: no answer was sent.
    void request(const Request& request, int status, std::string_view fault);
    // outcome: accepted, sent, not_connected, acknowledged, completed, failed.
    void command(std::string_view command_id, std::string_view agent, std::string_view session,
                 std::string_view action, std::string_view outcome, std::string_view error = {});
    // event: connected, disconnected, restarted…
    void agent(std::string_view agent, std::string_view event);
    void error(std::string_view what);  // also to stderr

private:
    void write(const std::string& line);

    std::mutex mutex_;
    std::FILE* file_ = nullptr;
};

}  // namespace testhub
