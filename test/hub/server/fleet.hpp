// What this hub knows: agents and their connections, runtimes as agents reported them, commands. All in memory.
#pragma once

#include "clock.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace testhub {

using SteadyTime = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

// A live connection to an agent. Both calls are safe on any thread and return at once.
class AgentLink {
public:
    virtual ~AgentLink() = default;
    virtual void send(std::string frame) = 0;
    virtual void close() = 0;
};

// What an agent says of itself when it connects.
struct AgentProfile {
    std::string id, incarnation, pool, platform = "kubernetes", region;
    std::optional<int> capacity;
};

struct Agent {
    AgentProfile profile;
    std::string row_id;           // the uuid that StreamSpace's API shows
    std::string approval = "approved";
    bool draining = false;
    bool forgotten = false;       // by a restart; visible again when it connects
    int sessions = 0;             // as last reported
    std::optional<WallTime> last_seen;
    WallTime created;
    SteadyTime last_heard;
    std::shared_ptr<AgentLink> link;
    // A simulated agent has no process: it accepts every command and completes it by itself.
    bool simulated = false;
    bool simulated_online = false;
    std::optional<std::chrono::milliseconds> complete_after;  // none = never
};

enum class SessionStatus { running, suspended, gone };

struct Session {
    SessionStatus status = SessionStatus::running;
    std::string agent, platform_resource_id;
};

enum class CommandStatus { accepted, sent, acknowledged, completed, failed };

struct CommandOrder {
    std::string command_id, agent, session, action, platform_resource_id, idempotency_key;
};

struct Command {
    CommandOrder order;
    CommandStatus status = CommandStatus::accepted;
    std::string error;
    std::string row_id;
    std::string payload;  // JSON as sent to the agent; empty if it follows from the order
    WallTime created;
    std::optional<WallTime> sent, acknowledged, completed;
};

enum class Acceptance { accepted, replayed, unknown_agent, not_connected, session_gone };

struct Delivery {
    Acceptance acceptance = Acceptance::accepted;
    std::string command_id;           // of a replay: the first one's
    std::shared_ptr<AgentLink> link;  // none for a simulated agent
    bool simulated = false;
};

struct SimulatedAgents {
    std::vector<std::string> ids;
    AgentProfile profile;
    bool online = true, draining = false;
    std::optional<std::chrono::milliseconds> complete_after;
    int sessions = 0;
};

class Fleet {
public:
    Fleet(const Clock& clock, std::size_t keep_commands) : clock_(clock), keep_commands_(keep_commands) {}

    // Agents. A second connection of the same id replaces and closes the first.
    void connect(const AgentProfile& profile, std::shared_ptr<AgentLink> link);
    bool disconnect(const std::string& id, const AgentLink* link);  // false if another connection took over
    void heartbeat(const std::string& id, bool draining, int sessions, std::optional<int> capacity);
    void register_agent(const AgentProfile& profile, const std::string& approval_if_new);
    bool approve(const std::string& id);
    void simulate(const SimulatedAgents& agents);
    std::vector<std::string> simulated_online() const;
    void touch_simulated();
    std::optional<Agent> find(const std::string& id) const;
    bool connected(const std::string& id) const;
    // Up to `limit` known agents with an id greater than `after`, in order.
    std::vector<Agent> page(const std::string& after, std::size_t limit) const;
    bool is_connected(const Agent& agent) const;
    std::vector<std::shared_ptr<AgentLink>> stale_links(std::chrono::seconds limit) const;

    // Runtimes.
    void session(const std::string& id, SessionStatus status, const std::string& agent, const std::string& resource);
    std::optional<Session> session(const std::string& id) const;
    // All runtimes an agent has: sessions it reported earlier and no longer has are gone.
    void inventory(const std::string& agent, const std::map<std::string, Session>& sessions);

    // Commands. `once`: the same idempotency key or command id is the same command, and a stop of a session whose
    // runtime is known to be gone is refused.
    Delivery accept(const CommandOrder& order, bool once, std::string payload = {});
    std::optional<Command> command(const std::string& id) const;
    // What became of it; returns the order if it is known. The last word stays: completed is not undone.
    std::optional<CommandOrder> progress(const std::string& command_id, CommandStatus status,
                                         const std::string& error = {});
    // Commands of simulated agents that are due to complete.
    std::vector<CommandOrder> take_due();

    // Forget connections, sessions and commands as a restarted process does; agents too unless keep_known.
    void restart(bool keep_known, std::chrono::milliseconds refuse);
    bool refuses_connections() const;

    nlohmann::json show() const;

private:
    bool connected_locked(const Agent& agent) const;
    Command* find_command(std::string_view id) const;

    const Clock& clock_;
    const std::size_t keep_commands_;
    mutable std::mutex mutex_;
    std::map<std::string, Agent, std::less<>> agents_;
    std::unordered_map<std::string, Session> sessions_;
    std::deque<Command> commands_;  // in order of arrival; the indexes point into it
    std::unordered_map<std::string_view, Command*> command_by_id_, command_by_key_;
    struct Due {
        SteadyTime at;
        std::string command_id;
        bool operator>(const Due& other) const { return at > other.at; }
    };
    std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
    SteadyTime refuse_until_{};
};

std::string_view name_of(SessionStatus status);
std::string_view name_of(CommandStatus status);  // StreamSpace's words: pending, sent, ack, completed, failed

}  // namespace testhub
