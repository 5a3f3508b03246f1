// The commands' and runtimes' half of the fleet.
#include "fleet.hpp"

#include "../common/text.hpp"

#include <nlohmann/json.hpp>

namespace testhub {

std::string_view name_of(SessionStatus status)
{
    switch (status) {
    case SessionStatus::running: return "running";
    case SessionStatus::suspended: return "suspended";
    case SessionStatus::gone: break;
    }
    return "gone";
}

std::string_view name_of(CommandStatus status)
{
    switch (status) {
    case CommandStatus::accepted: return "pending";
    case CommandStatus::sent: return "sent";
    case CommandStatus::acknowledged: return "ack";
    case CommandStatus::completed: return "completed";
    case CommandStatus::failed: break;
    }
    return "failed";
}

void Fleet::session(const std::string& id, SessionStatus status, const std::string& agent, const std::string& resource)
{
    const std::lock_guard lock(mutex_);
    Session& session = sessions_[id];
    session.status = status;
    if (!agent.empty()) session.agent = agent;
    if (!resource.empty()) session.platform_resource_id = resource;
}

std::optional<Session> Fleet::session(const std::string& id) const
{
    const std::lock_guard lock(mutex_);
    const auto it = sessions_.find(id);
    if (it == sessions_.end()) return std::nullopt;
    return it->second;
}

void Fleet::inventory(const std::string& agent, const std::map<std::string, Session>& sessions)
{
    const std::lock_guard lock(mutex_);
    for (const auto& [id, session] : sessions) sessions_[id] = session;
    for (auto& [id, session] : sessions_)
        if (session.agent == agent && sessions.find(id) == sessions.end()) session.status = SessionStatus::gone;
}

Command* Fleet::find_command(std::string_view id) const
{
    const auto it = command_by_id_.find(id);
    return it == command_by_id_.end() ? nullptr : it->second;
}

Delivery Fleet::accept(const CommandOrder& order, bool once, std::string payload)
{
    const std::lock_guard lock(mutex_);
    Delivery delivery;
    delivery.command_id = order.command_id;
    if (once) {
        const Command* first = find_command(order.command_id);
        if (!order.idempotency_key.empty()) {
            const auto by_key = command_by_key_.find(order.idempotency_key);
            if (by_key != command_by_key_.end()) first = by_key->second;
        }
        if (first != nullptr) {
            delivery.acceptance = Acceptance::replayed;
            delivery.command_id = first->order.command_id;
            return delivery;
        }
    }
    const auto it = agents_.find(order.agent);
    if (it == agents_.end() || (it->second.forgotten && !connected_locked(it->second))) {
        delivery.acceptance = Acceptance::unknown_agent;
        return delivery;
    }
    const Agent& agent = it->second;
    if (once && order.action == "stop_session") {
        const auto session = sessions_.find(order.session);
        if (session != sessions_.end() && session->second.status == SessionStatus::gone) {
            delivery.acceptance = Acceptance::session_gone;
            return delivery;
        }
    }
    if (!connected_locked(agent)) {
        delivery.acceptance = Acceptance::not_connected;
        return delivery;
    }
    delivery.link = agent.link;
    delivery.simulated = agent.simulated;

    while (!commands_.empty() && commands_.size() >= keep_commands_) {
        command_by_id_.erase(commands_.front().order.command_id);
        command_by_key_.erase(commands_.front().order.idempotency_key);
        commands_.pop_front();
    }
    Command& command = commands_.emplace_back();
    command.order = order;
    command.payload = std::move(payload);
    command.row_id = random_uuid();
    command.created = clock_.now();
    command_by_id_[command.order.command_id] = &command;
    if (!order.idempotency_key.empty()) command_by_key_[command.order.idempotency_key] = &command;
    if (agent.simulated) {
        command.sent = command.acknowledged = command.created;
        command.status = CommandStatus::acknowledged;
        if (agent.complete_after)
            due_.push({std::chrono::steady_clock::now() + *agent.complete_after, order.command_id});
    }
    return delivery;
}

std::optional<Command> Fleet::command(const std::string& id) const
{
    const std::lock_guard lock(mutex_);
    const Command* command = find_command(id);
    if (command == nullptr) return std::nullopt;
    return *command;
}

std::optional<CommandOrder> Fleet::progress(const std::string& command_id, CommandStatus status,
                                            const std::string& error)
{
    const std::lock_guard lock(mutex_);
    Command* command = find_command(command_id);
    if (command == nullptr) return std::nullopt;
    const WallTime now = clock_.now();
    switch (status) {
    case CommandStatus::accepted: break;
    case CommandStatus::sent: command->sent = now; break;
    case CommandStatus::acknowledged: command->acknowledged = now; break;
    case CommandStatus::completed: command->completed = now; break;
    case CommandStatus::failed: command->error = error; break;
    }
    if (status > command->status) command->status = status;
    return command->order;
}

std::vector<CommandOrder> Fleet::take_due()
{
    const auto now = std::chrono::steady_clock::now();
    const std::lock_guard lock(mutex_);
    std::vector<CommandOrder> due;
    while (!due_.empty() && due_.top().at <= now) {
        if (const Command* command = find_command(due_.top().command_id)) due.push_back(command->order);
        due_.pop();
    }
    return due;
}

nlohmann::json Fleet::show() const
{
    using Json = nlohmann::json;
    const auto time = [](const std::optional<WallTime>& t) { return t ? Json(rfc3339(*t)) : Json(); };
    const std::lock_guard lock(mutex_);
    Json agents = Json::array(), sessions = Json::array(), commands = Json::array();
    for (const auto& [id, agent] : agents_) {
        agents.push_back({{"id", id}, {"connected", connected_locked(agent)}, {"draining", agent.draining},
                          {"simulated", agent.simulated}, {"forgotten", agent.forgotten},
                          {"incarnation", agent.profile.incarnation}, {"pool", agent.profile.pool},
                          {"sessions", agent.sessions}, {"last_seen_at", time(agent.last_seen)}});
    }
    for (const auto& [id, session] : sessions_)
        sessions.push_back({{"id", id}, {"status", name_of(session.status)}, {"agent", session.agent},
                            {"platform_resource_id", session.platform_resource_id}});
    for (const auto& command : commands_)
        commands.push_back({{"command_id", command.order.command_id}, {"agent", command.order.agent},
                            {"session_id", command.order.session}, {"action", command.order.action},
                            {"idempotency_key", command.order.idempotency_key}, {"status", name_of(command.status)},
                            {"error", command.error}, {"created_at", rfc3339(command.created)},
                            {"sent_at", time(command.sent)}, {"acknowledged_at", time(command.acknowledged)},
                            {"completed_at", time(command.completed)}});
    return {{"agents", agents}, {"sessions", sessions}, {"commands", commands}};
}

}  // namespace testhub
