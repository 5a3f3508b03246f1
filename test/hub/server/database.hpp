// StreamSpace's tables agents, agent_commands and sessions, written as its API writes them (streamspace profile).
// One connection on one thread of its own; a lost connection is opened again at the next statement.
#pragma once

#include "clock.hpp"
#include "fleet.hpp"
#include "journal.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct pg_conn;

namespace testhub {

struct DatabaseError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct AgentRow {
    std::string id, agent_id, platform;
    std::optional<std::string> region, status, capacity, last_heartbeat, metadata, approval;
    std::string created_at, updated_at;
};

struct CommandRow {
    std::string id, created_at;
};

class Database {
public:
    Database(std::string conninfo, const Clock& clock, Journal& journal);
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    // Runs the job on the database's thread, in order. What it throws is noted in the journal.
    void later(std::function<void(Database&)> job);

    // All below: on that thread only; throw DatabaseError.
    std::vector<AgentRow> agents(const std::string& platform, const std::string& status, const std::string& region);
    std::optional<AgentRow> agent(const std::string& agent_id);
    CommandRow insert_command(const CommandOrder& order, const std::optional<std::string>& payload);
    void command_progress(const std::string& command_id, const std::string& agent, CommandStatus status,
                          const std::string& error);
    void command_undelivered(const std::string& command_id);
    void agent_online(const AgentProfile& profile, bool insert);
    void agent_heartbeat(const std::string& agent_id, const std::string& capacity_document);
    void heartbeat_all(const std::vector<std::string>& agent_ids);
    void agent_offline(const std::string& agent_id);
    void insert_agent(const AgentProfile& profile, const std::string& status, const std::string& approval);
    bool approve(const std::string& agent_id);
    void session_status(const std::string& session, const std::string& state, const std::string& url,
                        const std::string& pod);

private:
    using Values = std::vector<std::optional<std::string>>;
    using Rows = std::vector<Values>;
    Rows query(const std::string& sql, const Values& values, int* affected = nullptr);
    std::vector<AgentRow> select_agents(const std::string& where, const Values& values);
    bool has_approval();
    void run();

    std::string conninfo_;
    const Clock& clock_;
    Journal& journal_;
    pg_conn* connection_ = nullptr;
    std::optional<bool> has_approval_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void(Database&)>> jobs_;
    bool stop_ = false;
    std::thread thread_;
};

}  // namespace testhub
