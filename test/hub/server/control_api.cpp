// /control: switches for tests. No token, no faults.
#include "commands.hpp"
#include "hub.hpp"

#include <nlohmann/json.hpp>

namespace testhub {

namespace {

using Json = nlohmann::json;

Response ok(const Json& body = {{"ok", true}})
{
    return json_response(200, body.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

Response restart(Hub& hub, const Json& body)
{
    const double seconds = body.value("refuse_connections_seconds", 0.0);
    hub.begin_new_instance();
    hub.fleet.restart(body.value("keep_known", true), std::chrono::milliseconds(static_cast<long>(seconds * 1000)));
    hub.journal.agent("", "restarted");
    return ok({{"instance_id", hub.instance()}});
}

Response fake_agents(Hub& hub, const Json& body)
{
    SimulatedAgents agents;
    if (body.contains("ids")) agents.ids = body["ids"].get<std::vector<std::string>>();
    const std::string prefix = body.value("prefix", "agent-");
    const long first = body.value("first", 1L), count = body.value("count", 0L);
    for (long i = first; i < first + count; ++i) agents.ids.push_back(prefix + std::to_string(i));
    const std::string status = body.value("status", "connected");
    if (status != "connected" && status != "disconnected" && status != "draining")
        throw std::invalid_argument("status must be connected, disconnected or draining");
    agents.online = status != "disconnected";
    agents.draining = status == "draining";
    if (body.contains("complete_after_ms") && !body["complete_after_ms"].is_null())
        agents.complete_after = std::chrono::milliseconds(body["complete_after_ms"].get<long>());
    agents.profile.incarnation = body.value("incarnation", "");
    agents.profile.pool = body.value("pool", "");
    agents.profile.platform = body.value("platform", "kubernetes");
    agents.profile.region = body.value("region", "");
    if (body.contains("capacity")) agents.profile.capacity = body["capacity"].get<int>();
    agents.sessions = body.value("sessions", 0);
    hub.fleet.simulate(agents);
    if (hub.database && body.value("register", false)) {
        hub.database->later([agents](Database& database) {
            for (const auto& id : agents.ids) {
                AgentProfile profile = agents.profile;
                profile.id = id;
                if (agents.online) database.agent_online(profile, true);
                else database.insert_agent(profile, "offline", "approved");
            }
        });
    }
    return ok({{"ok", true}, {"agents", agents.ids.size()}});
}

// Declares the truth about runtimes without any agent: [{"id","status","agent","platform_resource_id"}]
Response set_sessions(Hub& hub, const Json& body)
{
    for (const auto& one : body) {
        const std::string status = one.value("status", "running");
        if (status != "running" && status != "suspended" && status != "gone")
            throw std::invalid_argument("status must be running, suspended or gone");
        hub.fleet.session(one.at("id"),
                          status == "running"     ? SessionStatus::running
                          : status == "suspended" ? SessionStatus::suspended
                                                  : SessionStatus::gone,
                          one.value("agent", ""), one.value("platform_resource_id", ""));
    }
    return ok();
}

Response state(Hub& hub)
{
    Json all = hub.fleet.show();
    all["hub"] = {{"instance_id", hub.instance()}, {"scope", hub.settings.scope}, {"complete", hub.settings.complete},
                  {"clock_offset_seconds", hub.clock.offset_seconds()}, {"latency_ms", hub.latency_ms.load()},
                  {"heartbeats_paused", hub.heartbeats_paused.load()},
                  {"queue_full", hub.dispatch_queue_full.load()}};
    return ok(all);
}

Response route(Hub& hub, const Request& request)
{
    if (request.is("GET", {"control", "state"})) return state(hub);
    if (request.is("GET", {"control", "faults"})) return ok(hub.faults.show());
    if (request.is("GET", {"control", "log-counts"})) return ok(hub.ledger.show());
    if (request.is("DELETE", {"control", "log-counts"})) {
        hub.ledger.clear();
        return ok();
    }
    if (request.method != "POST" || request.segments.size() != 2) return json_response(404, R"({"error":"not found"})");

    const Json body = request.body.empty() ? Json::object() : Json::parse(request.body);
    const std::string& what = request.segments[1];
    if (what == "faults") hub.faults.replace(body);
    else if (what == "restart") return restart(hub, body);
    else if (what == "clock") hub.clock.set_offset_seconds(body.at("offset_seconds").get<double>());
    else if (what == "heartbeats") hub.heartbeats_paused = body.at("paused").get<bool>();
    else if (what == "latency") hub.latency_ms = body.at("ms").get<std::int64_t>();
    else if (what == "token") hub.set_token(body.at("token").get<std::string>());
    else if (what == "queue") hub.dispatch_queue_full = body.at("full").get<bool>();
    else if (what == "fake_agents") return fake_agents(hub, body);
    else if (what == "sessions") return set_sessions(hub, body);
    else return json_response(404, R"({"error":"not found"})");
    return ok();
}

}  // namespace

Response answer_control(Hub& hub, const Request& request)
{
    try {
        return route(hub, request);
    } catch (const std::exception& e) {
        return json_response(400, Json{{"error", e.what()}}.dump() + "\n");
    }
}

}  // namespace testhub
