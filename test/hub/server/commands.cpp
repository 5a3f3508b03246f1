#include "commands.hpp"

#include "../common/text.hpp"

#include <map>
#include <nlohmann/json.hpp>

namespace testhub {

namespace {

using Json = nlohmann::json;

// What a completed command means for the runtime.
void apply_completion(Hub& hub, const CommandOrder& order)
{
    if (order.session.empty()) return;
    if (order.action == "stop_session" || order.action == "cleanup_resource")
        hub.fleet.session(order.session, SessionStatus::gone, {}, {});
    else if (order.action == "hibernate_session")
        hub.fleet.session(order.session, SessionStatus::suspended, order.agent, {});
    else
        hub.fleet.session(order.session, SessionStatus::running, order.agent, {});
}

void record(Hub& hub, const std::string& agent, const std::string& command_id, CommandStatus status,
            const std::string& error = {})
{
    const auto order = hub.fleet.progress(command_id, status, error);
    if (order && status == CommandStatus::completed) apply_completion(hub, *order);
    const std::string_view outcome = status == CommandStatus::acknowledged ? "acknowledged" : name_of(status);
    hub.journal.command(command_id, agent, order ? order->session : "", order ? order->action : "", outcome, error);
    if (hub.database)
        hub.database->later([agent, command_id, status, error](Database& database) {
            database.command_progress(command_id, agent, status, error);
        });
}

std::optional<int> capacity_of(const Json& payload)
{
    const auto it = payload.find("capacity");
    if (it == payload.end()) return std::nullopt;
    if (it->is_number_integer()) return it->get<int>();
    if (it->is_object() && it->contains("maxSessions")) return it->at("maxSessions").get<int>();
    return std::nullopt;
}

void on_heartbeat(Hub& hub, const std::string& agent, const Json& payload)
{
    if (hub.heartbeats_paused) return;
    const auto capacity = capacity_of(payload);
    const bool draining = payload.value("status", "online") == "draining";
    hub.fleet.heartbeat(agent, draining, payload.value("activeSessions", 0), capacity);
    if (const auto list = payload.find("sessions"); list != payload.end() && list->is_array()) {
        std::map<std::string, Session> sessions;
        for (const auto& one : *list) {
            const bool suspended = one.value("status", "running") == "suspended";
            sessions[one.at("id")] = {suspended ? SessionStatus::suspended : SessionStatus::running, agent,
                                      one.value("platformResourceId", "")};
        }
        hub.fleet.inventory(agent, sessions);
    }
    if (hub.database) {
        std::string document = payload.contains("capacity") ? payload["capacity"].dump() : "";
        hub.database->later([agent, document](Database& database) { database.agent_heartbeat(agent, document); });
    }
}

void on_status(Hub& hub, const std::string& agent, const Json& payload)
{
    const std::string session = payload.at("sessionId");
    const std::string state = payload.at("state");
    const Json metadata = payload.value("platformMetadata", Json::object());
    const std::string resource = metadata.value("platformResourceId", "");
    const SessionStatus status = state == "running"                           ? SessionStatus::running
                                 : state == "hibernated" || state == "suspended" ? SessionStatus::suspended
                                                                              : SessionStatus::gone;
    hub.fleet.session(session, status, agent, resource);
    hub.journal.command("", agent, session, "status", state);
    if (hub.database && hub.settings.write_sessions) {
        const std::string url = payload.value("vncReady", false) ? "/api/v1/sessions/" + session + "/vnc" : "";
        const std::string pod = metadata.value("podName", "");
        hub.database->later([=](Database& database) { database.session_status(session, state, url, pod); });
    }
}

}  // namespace

void deliver(Hub& hub, const CommandOrder& order, const Delivery& delivery, const std::string& payload)
{
    hub.journal.command(order.command_id, order.agent, order.session, order.action, "sent");
    if (!delivery.link) {
        if (delivery.simulated && hub.database)
            hub.database->later([order](Database& database) {
                database.command_progress(order.command_id, order.agent, CommandStatus::sent, {});
                database.command_progress(order.command_id, order.agent, CommandStatus::acknowledged, {});
            });
        return;
    }
    std::string frame = R"({"type":"command","timestamp":")" + rfc3339(hub.clock.now()) +
                        R"(","payload":{"commandId":)" + Json(order.command_id).dump() + R"(,"action":)" +
                        Json(order.action).dump() + R"(,"payload":)" + payload + "}}";
    delivery.link->send(std::move(frame));
    hub.fleet.progress(order.command_id, CommandStatus::sent);
    if (hub.database)
        hub.database->later([order](Database& database) {
            database.command_progress(order.command_id, order.agent, CommandStatus::sent, {});
        });
}

void handle_agent_frame(Hub& hub, const std::string& agent, std::string_view frame)
{
    try {
        const Json message = Json::parse(frame);
        const std::string type = message.at("type");
        const Json payload = message.value("payload", Json::object());
        if (type == "heartbeat") on_heartbeat(hub, agent, payload);
        else if (type == "ack") record(hub, agent, payload.at("commandId"), CommandStatus::acknowledged);
        else if (type == "complete") record(hub, agent, payload.at("commandId"), CommandStatus::completed);
        else if (type == "failed")
            record(hub, agent, payload.at("commandId"), CommandStatus::failed, payload.value("error", ""));
        else if (type == "status") on_status(hub, agent, payload);
        else if (type != "pong") hub.journal.error("agent " + agent + ": unknown message type " + type);
    } catch (const std::exception& e) {
        hub.journal.error("agent " + agent + ": " + e.what());
    }
}

void agent_connected(Hub& hub, const AgentProfile& profile, std::shared_ptr<AgentLink> link)
{
    hub.fleet.connect(profile, std::move(link));
    hub.journal.agent(profile.id, "connected");
    if (hub.database) {
        const bool insert = hub.settings.register_on_connect;
        hub.database->later([profile, insert](Database& database) { database.agent_online(profile, insert); });
    }
}

void agent_disconnected(Hub& hub, const std::string& agent, const AgentLink* link)
{
    if (!hub.fleet.disconnect(agent, link)) return;
    hub.journal.agent(agent, "disconnected");
    if (hub.database) hub.database->later([agent](Database& database) { database.agent_offline(agent); });
}

void housekeep(Hub& hub)
{
    for (const auto& order : hub.fleet.take_due()) record(hub, order.agent, order.command_id, CommandStatus::completed);

    const auto now = std::chrono::steady_clock::now();
    thread_local auto next_check = now;
    thread_local auto next_heartbeat = now + std::chrono::seconds(30);
    if (hub.heartbeats_paused) return;
    if (now >= next_check && hub.settings.stale_after.count() > 0) {
        next_check = now + std::chrono::seconds(1);
        for (const auto& link : hub.fleet.stale_links(hub.settings.stale_after)) link->close();
    }
    if (now >= next_heartbeat) {
        next_heartbeat = now + std::chrono::seconds(30);
        hub.fleet.touch_simulated();
        auto ids = hub.fleet.simulated_online();
        if (hub.database && !ids.empty())
            hub.database->later([ids = std::move(ids)](Database& database) { database.heartbeat_all(ids); });
    }
}

}  // namespace testhub
