// Fault switches: which request is answered wrongly, and how.
#pragma once

#include "message.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace testhub {

enum class FaultKind {
    delay_ms, status, garbage, ok_to_all, wrong_json, half_body, reset, close_before_headers, redirect, big_body,
    slow_bytes, never_answer
};

std::string_view name_of(FaultKind kind);

struct FaultRule {
    // match; an empty one matches all
    std::string method, path_prefix, agent, body_contains;
    FaultKind kind = FaultKind::status;
    std::int64_t value = 0;  // ms, status code or bytes
    std::string body, content_type, retry_after, location;
    std::optional<std::int64_t> times;  // left
    double percent = 100;
    // The request is carried out and only its answer is lost or replaced.
    bool executes = false;
    std::int64_t matched = 0;
};

// What to do with one request: wait, then perhaps break the answer.
struct FaultPlan {
    std::chrono::milliseconds delay{0};
    std::optional<FaultRule> broken;
    bool none() const { return delay.count() == 0 && !broken; }
};

class Faults {
public:
    explicit Faults(std::uint64_t seed);

    // A list of rules, {"rules":[…]} or one rule. Throws std::invalid_argument and changes nothing on a bad one.
    void replace(const nlohmann::json& rules);
    void add(const nlohmann::json& rules);
    nlohmann::json show() const;

    // The first rule that fits wins; delays add up on the way. Uses up `times`.
    FaultPlan plan(const Request& request);

private:
    mutable std::mutex mutex_;
    std::atomic<bool> any_{false};
    std::vector<FaultRule> rules_;
    std::mt19937_64 random_;
};

}  // namespace testhub
