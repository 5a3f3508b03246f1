// The hub's idea of now. Tests shift it to make heartbeats and commands old, or to give the hub a wrong clock.
#pragma once

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>

namespace testhub {

class Clock {
public:
    std::chrono::system_clock::time_point now() const
    {
        return std::chrono::system_clock::now() + std::chrono::microseconds(offset_micros_.load());
    }
    void set_offset_seconds(double seconds) { offset_micros_ = std::llround(seconds * 1e6); }
    double offset_seconds() const { return static_cast<double>(offset_micros_.load()) / 1e6; }

private:
    std::atomic<std::int64_t> offset_micros_{0};
};

}  // namespace testhub
