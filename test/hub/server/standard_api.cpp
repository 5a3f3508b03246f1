// The project's own protocol, /v1 (SPEC section 6).
#include "commands.hpp"
#include "hub.hpp"

#include "../common/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace testhub {

namespace {

using Json = nlohmann::json;

constexpr std::size_t default_page = 500, largest_page = 10'000;

constexpr std::array<std::string_view, 6> known_actions{"stop_session",     "start_session",     "resume_session",
                                                        "cleanup_resource", "hibernate_session", "wake_session"};

Response error(int status, std::string_view code, std::string_view message = {})
{
    Json body{{"code", code}};
    if (!message.empty()) body["message"] = message;
    return json_response(status, Json{{"error", body}}.dump());
}

// Empty strings are unknown: null.
Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json show(const Hub& hub, const Agent& agent)
{
    const bool connected = hub.fleet.is_connected(agent);
    return {{"id", agent.profile.id},
            {"status", !connected ? "disconnected" : agent.draining ? "draining" : "connected"},
            {"incarnation", text_or_null(agent.profile.incarnation)},
            {"pool", text_or_null(agent.profile.pool)},
            {"platform", text_or_null(agent.profile.platform)},
            {"region", text_or_null(agent.profile.region)},
            {"sessions", agent.sessions},
            {"capacity", agent.profile.capacity ? Json(*agent.profile.capacity) : Json()},
            {"last_seen_at", agent.last_seen ? Json(rfc3339(*agent.last_seen)) : Json()}};
}

Response list_agents(Hub& hub, const Request& request)
{
    std::size_t limit = default_page;
    if (const std::string given = request.parameter("limit"); !given.empty()) {
        const long value = std::atol(given.c_str());
        if (value < 1) return error(400, "invalid_request", "limit must be a positive number");
        limit = std::min(static_cast<std::size_t>(value), largest_page);
    }
    std::vector<Agent> page = hub.fleet.page(request.parameter("after"), limit + 1);
    Json next;
    if (page.size() > limit) {
        page.pop_back();
        next = "/v1/agents?after=" + percent_encode(page.back().profile.id) + "&limit=" + std::to_string(limit);
    }
    Json agents = Json::array();
    for (const auto& agent : page) agents.push_back(show(hub, agent));
    return json_response(200, Json{{"hub", {{"instance_id", hub.instance()}, {"started_at", rfc3339(hub.started())},
                                            {"scope", hub.settings.scope}}},
                                   {"complete", hub.settings.complete},
                                   {"next", next},
                                   {"agents", agents}}.dump());
}

// Throws std::invalid_argument with what is wrong.
CommandOrder parse_order(const Request& request, Json& body)
{
    body = Json::parse(request.body, nullptr, false);
    if (!body.is_object()) throw std::invalid_argument("the body must be a JSON object");
    CommandOrder order;
    order.agent = request.segments[2];
    order.idempotency_key = request.idempotency_key;
    const auto text = [&](const char* name, bool required) {
        const auto it = body.find(name);
        if (it == body.end() || it->is_null()) {
            if (required) throw std::invalid_argument(std::string(name) + " is missing");
            return std::string();
        }
        if (!it->is_string()) throw std::invalid_argument(std::string(name) + " must be a string");
        return it->get<std::string>();
    };
    order.command_id = text("command_id", true);
    order.action = text("action", true);
    order.platform_resource_id = text("platform_resource_id", false);
    order.session = text("session_id", order.action != "cleanup_resource");
    if (std::find(known_actions.begin(), known_actions.end(), order.action) == known_actions.end())
        throw std::invalid_argument("unknown action " + order.action);
    return order;
}

std::string agent_payload(const CommandOrder& order, const Json& body)
{
    Json payload = body.value("payload", Json::object());
    payload["sessionId"] = order.session;
    if (!order.platform_resource_id.empty()) payload["platformResourceId"] = order.platform_resource_id;
    if (const auto reason = body.find("reason"); reason != body.end()) payload["reason"] = *reason;
    return payload.dump();
}

Response accepted(const std::string& command_id)
{
    return json_response(202, R"({"command_id":)" + Json(command_id).dump() + R"(,"status":"accepted"})");
}

Response post_command(Hub& hub, const Request& request)
{
    Json body;
    CommandOrder order;
    try {
        order = parse_order(request, body);
    } catch (const std::invalid_argument& e) {
        return error(400, "invalid_request", e.what());
    }
    hub.ledger.post(order.idempotency_key, order.command_id, order.session, order.action, order.agent);
    const Delivery delivery = hub.fleet.accept(order, true);
    switch (delivery.acceptance) {
    case Acceptance::unknown_agent: return error(404, "agent_not_found");
    case Acceptance::not_connected: return error(409, "agent_not_connected");
    case Acceptance::session_gone: return error(410, "session_gone");
    case Acceptance::replayed: return accepted(delivery.command_id);
    case Acceptance::accepted: break;
    }
    hub.ledger.accepted(order.idempotency_key, order.command_id);
    deliver(hub, order, delivery, delivery.link ? agent_payload(order, body) : std::string());
    return accepted(order.command_id);
}

Response get_command(Hub& hub, const std::string& id)
{
    const auto command = hub.fleet.command(id);
    if (!command) return error(404, "command_not_found");
    std::string_view status = "accepted";
    if (command->status == CommandStatus::acknowledged) status = "delivered";
    else if (command->status > CommandStatus::acknowledged) status = name_of(command->status);
    return json_response(200, Json{{"status", status}, {"error", text_or_null(command->error)}}.dump());
}

Response get_session(Hub& hub, const std::string& id)
{
    const auto session = hub.fleet.session(id);
    if (!session) return error(404, "session_not_found");
    return json_response(200, Json{{"status", name_of(session->status)},
                                   {"platform_resource_id", text_or_null(session->platform_resource_id)}}.dump());
}

Response get_agent(Hub& hub, const std::string& id)
{
    const auto agent = hub.fleet.find(id);
    return agent ? json_response(200, show(hub, *agent).dump()) : error(404, "agent_not_found");
}

}  // namespace

Response answer_standard(Hub& hub, const Request& request)
{
    if (const std::string token = hub.token(); !token.empty() && request.authorization != "Bearer " + token)
        return error(401, "unauthorized");
    if (request.is("POST", {"v1", "agents", "*", "commands"})) return post_command(hub, request);
    if (request.is("GET", {"v1", "agents"})) return list_agents(hub, request);
    if (request.is("GET", {"v1", "agents", "*"})) return get_agent(hub, request.segments[2]);
    if (request.is("GET", {"v1", "commands", "*"})) return get_command(hub, request.segments[2]);
    if (request.is("GET", {"v1", "sessions", "*"})) return get_session(hub, request.segments[2]);
    return error(404, "not_found");
}

void count_unanswered_post(Hub& hub, const Request& request)
{
    if (!request.is("POST", {"v1", "agents", "*", "commands"})) return;
    try {
        Json body;
        const CommandOrder order = parse_order(request, body);
        hub.ledger.post(order.idempotency_key, order.command_id, order.session, order.action, order.agent);
    } catch (const std::invalid_argument&) {
        // Not a command then.
    }
}

}  // namespace testhub
