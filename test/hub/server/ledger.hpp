// How often which command was POSTed: tests ask it whether anything was sent twice. Outlives control/restart.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include <nlohmann/json_fwd.hpp>

namespace testhub {

class Ledger {
public:
    // Counts one POST. Without an idempotency key the command id takes its place.
    void post(const std::string& idempotency_key, const std::string& command_id, const std::string& session,
              const std::string& action, const std::string& agent);
    void accepted(const std::string& idempotency_key, const std::string& command_id);
    void clear();
    nlohmann::json show() const;

private:
    struct Entry {
        std::string command_id, session, action, agent;
        std::int64_t posts = 0, accepted = 0;
    };
    mutable std::mutex mutex_;
    std::unordered_map<std::string, Entry> entries_;
    std::int64_t posts_ = 0, accepted_ = 0, overflow_ = 0;
};

}  // namespace testhub
