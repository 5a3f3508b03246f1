// StreamSpace's admin endpoints for agents, /api/v1: its bodies, its status codes, its quirks.
#include "commands.hpp"
#include "hub.hpp"

#include "../common/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace testhub {

namespace {

using Json = nlohmann::json;
using Ordered = nlohmann::ordered_json;

Response answer(int status, const Ordered& body) { return json_response(status, body.dump()); }

// Go leaves nil fields out.
void put(Ordered& object, const char* name, const std::optional<std::string>& value)
{
    if (value) object[name] = *value;
}

Ordered show(const AgentRow& row, bool with_approval)
{
    Ordered agent{{"id", row.id}, {"agentId", row.agent_id}, {"platform", row.platform}};
    agent["region"] = row.region.value_or("");
    agent["status"] = row.status.value_or("");
    if (row.capacity) agent["capacity"] = Ordered::parse(*row.capacity, nullptr, false);
    put(agent, "lastHeartbeat", row.last_heartbeat);
    if (row.metadata) agent["metadata"] = Ordered::parse(*row.metadata, nullptr, false);
    agent["approvalStatus"] = with_approval ? row.approval.value_or("") : "";
    agent["createdAt"] = row.created_at;
    agent["updatedAt"] = row.updated_at;
    return agent;
}

AgentRow row_of(const Hub& hub, const Agent& agent)
{
    AgentRow row;
    row.id = agent.row_id;
    row.agent_id = agent.profile.id;
    row.platform = agent.profile.platform;
    row.region = agent.profile.region;
    row.status = hub.fleet.is_connected(agent) ? "online" : "offline";
    row.capacity = R"({"maxSessions":)" + std::to_string(agent.profile.capacity.value_or(100)) + "}";
    if (agent.last_seen) row.last_heartbeat = rfc3339(*agent.last_seen);
    row.approval = agent.approval;
    row.created_at = rfc3339(agent.created);
    row.updated_at = rfc3339(agent.last_seen.value_or(agent.created));
    return row;
}

std::optional<AgentRow> find_agent(Hub& hub, const std::string& id)
{
    if (hub.database) return hub.database->agent(id);
    const auto agent = hub.fleet.find(id);
    if (!agent) return std::nullopt;
    return row_of(hub, *agent);
}

Response list_agents(Hub& hub, const Request& request)
{
    const std::string platform = request.parameter("platform"), status = request.parameter("status"),
                      region = request.parameter("region");
    std::vector<AgentRow> rows;
    if (hub.database) {
        rows = hub.database->agents(platform, status, region);
        // Scanned into plain Go strings: one NULL spoils the list.
        for (const auto& row : rows)
            if (!row.region || !row.status || !row.approval)
                throw DatabaseError("sql: Scan error: converting NULL to string is unsupported");
    } else {
        for (const auto& agent : hub.fleet.page({}, SIZE_MAX)) {
            AgentRow row = row_of(hub, agent);
            if ((platform.empty() || platform == row.platform) && (status.empty() || status == *row.status) &&
                (region.empty() || region == *row.region))
                rows.push_back(std::move(row));
        }
    }
    Ordered agents = Ordered::array();
    for (const auto& row : rows) agents.push_back(show(row, true));
    return answer(200, {{"agents", agents}, {"total", rows.size()}});
}

Response not_found(const std::string& agent) { return answer(404, {{"error", "Agent not found"}, {"agentId", agent}}); }

Response not_connected(const AgentRow& row)
{
    return answer(503, {{"error", "Agent not connected"},
                        {"details", "Agent must be connected via WebSocket to receive commands"},
                        {"agentId", row.agent_id},
                        {"status", row.status.value_or("")}});
}

Response post_command(Hub& hub, const Request& request)
{
    static constexpr std::array<std::string_view, 4> actions{"start_session", "stop_session", "hibernate_session",
                                                             "wake_session"};
    const Ordered body = Ordered::parse(request.body, nullptr, false);
    const auto is_text = [&](const char* name) { return !body.contains(name) || body[name].is_string(); };
    if (!body.is_object() || !is_text("action") || !is_text("sessionId") ||
        (body.contains("payload") && !body["payload"].is_object() && !body["payload"].is_null()))
        return answer(400, {{"error", "Invalid request format"}, {"details", "invalid JSON for this request"}});
    CommandOrder order;
    order.agent = request.segments[4];
    order.action = body.value("action", "");
    order.session = body.value("sessionId", "");
    if (std::find(actions.begin(), actions.end(), order.action) == actions.end())
        return answer(400, {{"error", "Validation failed"},
                            {"fields", {{"action", "Must be one of: start_session, stop_session, hibernate_session, "
                                                   "wake_session"}}}});
    order.command_id = "cmd-" + random_uuid();
    hub.ledger.post({}, order.command_id, order.session, order.action, order.agent);

    const auto agent = find_agent(hub, order.agent);
    if (!agent) return not_found(order.agent);
    if (!hub.fleet.connected(order.agent)) return not_connected(*agent);

    const bool has_payload = body.contains("payload") && body["payload"].is_object();
    const std::string payload = has_payload ? body["payload"].dump() : "null";
    CommandRow row{random_uuid(), rfc3339(hub.clock.now())};
    if (hub.database) {
        try {
            row = hub.database->insert_command(order, has_payload ? std::optional(payload) : std::nullopt);
        } catch (const DatabaseError& e) {
            return answer(500, {{"error", "Failed to create command"}, {"details", e.what()}});
        }
    }
    // The row is there by now, and stays pending.
    if (hub.dispatch_queue_full)
        return answer(500, {{"error", "Failed to dispatch command"}, {"details", "command queue is full"}});

    const Delivery delivery = hub.fleet.accept(order, false, payload);
    if (delivery.acceptance == Acceptance::accepted) {
        hub.ledger.accepted({}, order.command_id);
        if (hub.database)  // after the answer, as upstream's dispatcher
            hub.database->later([&hub, order, delivery, payload](Database&) { deliver(hub, order, delivery, payload); });
        else
            deliver(hub, order, delivery, payload);
    } else {  // it has just gone
        hub.journal.command(order.command_id, order.agent, order.session, order.action, "not_connected");
        if (hub.database) hub.database->command_undelivered(order.command_id);
    }
    Ordered created{{"id", row.id}, {"commandId", order.command_id}, {"agentId", order.agent}};
    if (!order.session.empty()) created["sessionId"] = order.session;
    created["action"] = order.action;
    if (has_payload) created["payload"] = body["payload"];
    created["status"] = "pending";
    created["createdAt"] = row.created_at;
    return answer(201, created);
}

// What an agent does before it connects; it repeats this until approved.
Response register_agent(Hub& hub, const Request& request)
{
    const Json body = Json::parse(request.body, nullptr, false);
    if (!body.is_object() || !body.contains("agentId") || !body["agentId"].is_string())
        return answer(400, {{"error", "Invalid request format"}, {"details", "agentId is required"}});
    AgentProfile profile;
    profile.id = body["agentId"];
    profile.platform = body.value("platform", "kubernetes");
    profile.region = body.value("region", "");
    if (body.contains("capacity") && body["capacity"].contains("maxSessions"))
        profile.capacity = body["capacity"]["maxSessions"].get<int>();
    const std::string approval = hub.settings.approve_new_agents ? "approved" : "pending";
    const bool known = find_agent(hub, profile.id).has_value();
    if (!hub.database) {
        hub.fleet.register_agent(profile, approval);
    } else if (known) {
        hub.database->agent_online(profile, false);  // online, with a fresh heartbeat, approved or not
    } else {
        hub.database->insert_agent(profile, "offline", approval);
    }
    const AgentRow row = find_agent(hub, profile.id).value();
    const std::string now = row.approval.value_or("");
    if (now == "rejected") return answer(403, {{"error", "Agent registration rejected"}, {"agentId", profile.id}});
    const bool approved = now == "approved";
    return answer(approved ? 200 : 202, {{"agent", show(row, true)},
                                         {"approvalStatus", now},
                                         {"message", approved ? "Agent approved" : "Agent is pending approval"}});
}

Response approve(Hub& hub, const std::string& id)
{
    const bool done = hub.database ? hub.database->approve(id) : hub.fleet.approve(id);
    if (!done) return answer(404, {{"error", "Agent not found or not in pending status"}, {"agentId", id}});
    return answer(200, {{"message", "Agent approved"}, {"agentId", id}});
}

Response route(Hub& hub, const Request& request)
{
    if (request.is("POST", {"api", "v1", "admin", "agents", "*", "command"})) return post_command(hub, request);
    if (request.is("GET", {"api", "v1", "admin", "agents"})) return list_agents(hub, request);
    if (request.is("GET", {"api", "v1", "admin", "agents", "*"})) {
        const auto agent = find_agent(hub, request.segments[4]);
        return agent ? answer(200, show(*agent, false)) : not_found(request.segments[4]);
    }
    if (request.is("POST", {"api", "v1", "admin", "agents", "*", "approve"})) return approve(hub, request.segments[4]);
    return answer(404, {{"error", "Not found"}});
}

}  // namespace

Response answer_streamspace(Hub& hub, const Request& request)
{
    try {
        // Agents bring their own key, which is not looked at.
        if (request.is("POST", {"api", "v1", "agents", "register"})) return register_agent(hub, request);
        if (const std::string token = hub.token(); !token.empty()) {
            if (request.authorization.empty()) return answer(401, {{"error", "Authorization header required"}});
            if (request.authorization != "Bearer " + token)
                return answer(401, {{"error", "Invalid or expired token"}, {"message", "token signature is invalid"}});
        }
        return route(hub, request);
    } catch (const DatabaseError& e) {
        return answer(500, {{"error", "Database error"}, {"details", e.what()}});
    } catch (const Json::exception& e) {
        return answer(400, {{"error", "Invalid request format"}, {"details", e.what()}});
    }
}

}  // namespace testhub
