// One hub: everything that its endpoints share.
#pragma once

#include "clock.hpp"
#include "database.hpp"
#include "faults.hpp"
#include "fleet.hpp"
#include "journal.hpp"
#include "ledger.hpp"
#include "message.hpp"
#include "settings.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

namespace testhub {

struct Hub {
    explicit Hub(Settings given);

    Settings settings;
    Clock clock;
    Journal journal;
    Faults faults;
    Ledger ledger;
    Fleet fleet;
    std::unique_ptr<Database> database;  // none: StreamSpace's tables are kept in the fleet

    // Switches of /control.
    std::atomic<std::int64_t> latency_ms{0};
    std::atomic<bool> heartbeats_paused{false};
    std::atomic<bool> dispatch_queue_full{false};

    std::string instance() const;
    std::string token() const;
    WallTime started() const;
    void begin_new_instance();
    void set_token(std::string token);

private:
    mutable std::mutex mutex_;
    std::string instance_, token_;
    WallTime started_;
};

// The endpoints. A StreamSpace answer may wait for the database: with one it is made on the database's thread.
Response answer_standard(Hub& hub, const Request& request);
Response answer_streamspace(Hub& hub, const Request& request);
Response answer_control(Hub& hub, const Request& request);
// Counts a POSTed command in the ledger that a fault keeps from the endpoint.
void count_unanswered_post(Hub& hub, const Request& request);

}  // namespace testhub
