#include "agent.hpp"

#include "../common/frame_writer.hpp"
#include "../common/text.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <unistd.h>

namespace testhub {

namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using Json = nlohmann::json;
using tcp = asio::ip::tcp;

namespace {

void say(const std::string& line)
{
    std::printf("%s %s\n", rfc3339(std::chrono::system_clock::now()).c_str(), line.c_str());
    std::fflush(stdout);
}

bool is_stop(const std::string& action) { return action == "stop_session" || action == "cleanup_resource"; }

}  // namespace

class Connection {
public:
    explicit Connection(asio::io_context& context) : socket(context), writer(context.get_executor(), {}) {}

    void drop()
    {
        open = false;
        writer.stop();
        beast::get_lowest_layer(socket).close();
    }

    websocket::stream<beast::tcp_stream> socket;
    FrameWriter writer;
    bool open = true;
};

namespace {

asio::awaitable<void> write_frames(std::shared_ptr<Connection> connection)
{
    co_await connection->writer.run(connection->socket);
    connection->drop();
}

}  // namespace

asio::awaitable<void> Agent::run()
{
    if (settings_.register_first) co_await wait_for_approval();
    auto retry = settings_.first_retry;
    while (!shutdown_) {
        const bool connected = co_await serve();
        if (connected) retry = settings_.first_retry;
        if (shutdown_) break;
        co_await pause(context_.get_executor(), retry);
        retry = std::min(retry * 2, settings_.longest_retry);
    }
    context_.stop();
}

asio::awaitable<void> Agent::wait_for_approval()
{
    const Json body{{"agentId", settings_.id},
                    {"platform", settings_.platform},
                    {"region", settings_.region},
                    {"capacity", {{"maxSessions", settings_.capacity.value_or(100)}}}};
    for (;;) {
        ErrorCode error;
        beast::tcp_stream stream(context_);
        tcp::resolver resolver(context_);
        const auto addresses = co_await resolver.async_resolve(settings_.host, settings_.port, into(error));
        if (!error) co_await stream.async_connect(addresses, into(error));
        http::request<http::string_body> request{http::verb::post, "/api/v1/agents/register", 11};
        request.set(http::field::host, settings_.host);
        request.set(http::field::content_type, "application/json");
        request.body() = body.dump();
        request.prepare_payload();
        if (!error) co_await http::async_write(stream, request, into(error));
        beast::flat_buffer buffer;
        http::response<http::string_body> response;
        if (!error) co_await http::async_read(stream, buffer, response, into(error));
        if (!error && response.result_int() == 200) co_return;
        say("not approved yet: " + (error ? error.message() : std::to_string(response.result_int())));
        co_await pause(context_.get_executor(), settings_.register_every);
    }
}

asio::awaitable<bool> Agent::serve()
{
    ErrorCode error;
    const auto connection = std::make_shared<Connection>(context_);
    tcp::resolver resolver(context_);
    const auto addresses = co_await resolver.async_resolve(settings_.host, settings_.port, into(error));
    if (error) co_return false;
    beast::tcp_stream& stream = beast::get_lowest_layer(connection->socket);
    co_await stream.async_connect(addresses, into(error));
    if (error) co_return false;
    stream.socket().set_option(tcp::no_delay(true), error);
    // Idle pings, so that a hub that vanished without a word is noticed.
    connection->socket.set_option(websocket::stream_base::timeout::suggested(beast::role_type::client));

    std::string target = "/api/v1/agents/connect?agent_id=" + percent_encode(settings_.id) +
                         "&incarnation=" + percent_encode(settings_.incarnation) +
                         "&pool=" + percent_encode(settings_.pool) + "&platform=" + percent_encode(settings_.platform) +
                         "&region=" + percent_encode(settings_.region);
    if (settings_.capacity) target += "&capacity=" + std::to_string(*settings_.capacity);
    co_await connection->socket.async_handshake(settings_.host + ":" + settings_.port, target, into(error));
    if (error) {
        say("refused: " + error.message());
        co_return false;
    }
    say("connected to " + settings_.host + ":" + settings_.port);
    asio::co_spawn(context_, write_frames(connection), asio::detached);
    asio::co_spawn(context_, send_heartbeats(connection), asio::detached);

    beast::flat_buffer buffer;
    while (!shutdown_) {
        co_await connection->socket.async_read(buffer, into(error));
        if (error) break;
        const std::string frame = beast::buffers_to_string(buffer.cdata());
        buffer.consume(buffer.size());
        co_await handle_frame(*connection, frame);
    }
    connection->drop();
    say("disconnected");
    co_return true;
}

asio::awaitable<void> Agent::send_heartbeats(std::shared_ptr<Connection> connection)
{
    while (connection->open) {
        send(*connection, "heartbeat", heartbeat());
        co_await pause(context_.get_executor(), settings_.heartbeat);
    }
}

Json Agent::heartbeat() const
{
    Json sessions = Json::array();
    for (const auto& runtime : runtimes_.own())
        sessions.push_back({{"id", runtime.session},
                            {"status", runtime.suspended ? "suspended" : "running"},
                            {"platformResourceId", Runtimes::resource_id(runtime)}});
    Json payload{{"status", settings_.draining ? "draining" : "online"}, {"activeSessions", sessions.size()}};
    if (settings_.capacity) payload["capacity"] = {{"maxSessions", *settings_.capacity}};
    if (settings_.report_sessions) payload["sessions"] = std::move(sessions);
    return payload;
}

void Agent::send(Connection& connection, const char* type, const Json& payload)
{
    if (settings_.mute) return;
    const Json frame{{"type", type}, {"timestamp", rfc3339(std::chrono::system_clock::now())}, {"payload", payload}};
    connection.writer.push(frame.dump(-1, ' ', false, Json::error_handler_t::replace));
}

asio::awaitable<void> Agent::handle_frame(Connection& connection, std::string_view frame)
{
    // A frame is one message. Two in one are lost, as StreamSpace's agents lose them.
    const Json message = Json::parse(frame, nullptr, false);
    if (!message.is_object()) {
        say("dropped a frame that is not one JSON object");
        co_return;
    }
    const std::string type = message.value("type", "");
    if (type == "command") co_await handle_command(connection, message.value("payload", Json::object()));
    else if (type == "ping") send(connection, "pong", Json::object());
    else if (type == "shutdown") shutdown_ = true;
}

asio::awaitable<void> Agent::handle_command(Connection& connection, const Json& payload)
{
    const std::string action = payload.value("action", ""), id = payload.value("commandId", "");
    Json details = Json::object();
    if (payload.contains("payload") && payload["payload"].is_object()) details = payload["payload"];
    say("received " + action + " " + id);
    if (is_stop(action) && settings_.die_on_stop) kill(getpid(), SIGKILL);

    send(connection, "ack", {{"commandId", id}});
    if (settings_.ack_only || (settings_.ignore_stops && is_stop(action))) co_return;
    if (settings_.delay.count() > 0) co_await pause(context_.get_executor(), settings_.delay);
    std::string error;
    try {
        if (is_stop(action) && settings_.fail_stops) throw std::runtime_error(*settings_.fail_stops);
        act(connection, action, details);
    } catch (const std::exception& e) {
        error = e.what();
    }
    if (error.empty()) send(connection, "complete", {{"commandId", id}, {"result", {{"action", action}}}});
    else send(connection, "failed", {{"commandId", id}, {"error", error}});
    say(action + " " + id + ": " + (error.empty() ? "completed" : error));
}

void Agent::act(Connection& connection, const std::string& action, const Json& payload)
{
    const std::string session = payload.value("sessionId", "");
    const std::string resource = payload.value("platformResourceId", "");
    if (session.empty() && (action != "cleanup_resource" || resource.empty()))
        throw std::runtime_error("missing sessionId");

    if (action == "start_session") {
        const Runtime runtime = runtimes_.start(session);
        send(connection, "status",
             {{"sessionId", session},
              {"state", "running"},
              {"vncReady", true},
              {"vncPort", 3000},
              {"platformMetadata", {{"podName", session + "-" + std::to_string(runtime.pid)},
                                    {"podIP", "127.0.0.1"},
                                    {"platformResourceId", Runtimes::resource_id(runtime)}}}});
        return;
    }
    const auto runtime = session.empty() ? runtimes_.find_by_resource(resource) : runtimes_.find(session);
    if (is_stop(action)) {
        if (runtime) runtimes_.stop(*runtime);  // nothing to stop is a success
    } else if (action != "hibernate_session" && action != "wake_session" && action != "resume_session") {
        throw std::runtime_error("unknown action: " + action);
    } else if (!runtime) {
        throw std::runtime_error("no runtime for session " + session);
    } else if (action == "hibernate_session") {
        runtimes_.suspend(*runtime);
    } else {
        runtimes_.resume(*runtime);
    }
}

}  // namespace testhub
