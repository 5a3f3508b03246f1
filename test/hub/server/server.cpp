#include "server.hpp"

#include "agent_socket.hpp"
#include "fault_player.hpp"

#include "../common/coroutines.hpp"

#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket/rfc6455.hpp>

#include <sys/socket.h>

#include <array>

namespace testhub {

namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;

namespace {

using View = std::string_view;

template <class BeastString>
View view(const BeastString& text)
{
    return {text.data(), text.size()};
}

// The views point into the message, which outlives the request.
Request request_of(const HttpRequest& message, std::uint64_t connection)
{
    Request request;
    request.method = view(message.method_string());
    request.set_target(view(message.target()));
    request.body = message.body();
    request.authorization = view(message[http::field::authorization]);
    request.idempotency_key = view(message["Idempotency-Key"]);
    request.connection = connection;
    return request;
}

bool is_streamspace(const Request& request)
{
    return request.segments.size() > 1 && request.segments[0] == "api" && request.segments[1] == "v1";
}

bool is_control(const Request& request) { return !request.segments.empty() && request.segments[0] == "control"; }

// A blocking answer is made on the database's thread; the connection goes on when it is there.
asio::awaitable<Response> answer_beside(Hub& hub, const Request& request)
{
    auto start = [&hub, &request](auto handler) {
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        hub.database->later([&hub, &request, shared](Database&) {
            Response response = answer_streamspace(hub, request);
            asio::post(asio::get_associated_executor(*shared), [shared, response = std::move(response)]() mutable {
                (*shared)(std::move(response));
            });
        });
    };
    co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Response)>(start, asio::use_awaitable);
}

asio::awaitable<Response> answer(Hub& hub, const Request& request)
{
    if (hub.settings.streamspace && is_streamspace(request)) {
        if (hub.database) co_return co_await answer_beside(hub, request);
        co_return answer_streamspace(hub, request);
    }
    if (hub.settings.standard && !request.segments.empty() && request.segments[0] == "v1")
        co_return answer_standard(hub, request);
    co_return json_response(404, R"({"error":"404 page not found"})");
}

asio::awaitable<bool> write(tcp::socket& socket, const Response& response, bool keep_alive)
{
    ErrorCode error;
    const std::string head = response_head(response, response.body.size(), keep_alive);
    const std::array<asio::const_buffer, 2> parts{asio::buffer(head), asio::buffer(response.body)};
    co_await asio::async_write(socket, parts, into(error));
    co_return !error && keep_alive;
}

AgentProfile profile_of(const Request& request)
{
    AgentProfile profile;
    profile.id = request.parameter("agent_id");
    profile.incarnation = request.parameter("incarnation");
    profile.pool = request.parameter("pool");
    profile.platform = request.parameter("platform", "kubernetes");
    profile.region = request.parameter("region");
    if (const std::string capacity = request.parameter("capacity"); !capacity.empty())
        profile.capacity = std::atoi(capacity.c_str());
    return profile;
}

// Why an agent may not connect; status 200 if it may.
asio::awaitable<Response> admit_agent(Hub& hub, const Request& request)
{
    if (request.path != "/api/v1/agents/connect") co_return json_response(404, R"({"error":"404 page not found"})");
    const std::string id = request.parameter("agent_id");
    if (id.empty()) co_return json_response(400, R"({"error":"agent_id is required"})");
    if (hub.fleet.refuses_connections()) co_return json_response(503, R"({"error":"Service Unavailable"})");
    if (hub.settings.register_on_connect || !hub.database) co_return Response{};
    // Look the agent up the way the admin endpoint does: 404 if it has no row.
    Request lookup;
    const std::string authorization = "Bearer " + hub.token();
    lookup.method = "GET";
    lookup.segments = {"api", "v1", "admin", "agents", id};
    lookup.authorization = authorization;
    co_return co_await answer_beside(hub, lookup);
}

// Answers one request; false when the connection is to be closed.
asio::awaitable<bool> serve_request(Hub& hub, tcp::socket& socket, const Request& request, bool keep_alive)
{
    // Everything that a co_await refers to has a name: g++ has destroyed such temporaries twice.
    Response response;
    if (is_control(request)) {
        response = answer_control(hub, request);
        co_return co_await write(socket, response, keep_alive);
    }
    const FaultPlan plan = hub.faults.plan(request);
    const auto delay = plan.delay + std::chrono::milliseconds(hub.latency_ms.load(std::memory_order_relaxed));
    if (plan.broken && !plan.broken->executes && !needs_answer(plan.broken->kind)) {
        count_unanswered_post(hub, request);
        if (delay.count() > 0) co_await pause(socket.get_executor(), delay);
        const PlayedFault played = co_await play_fault(*plan.broken, socket, response);
        hub.journal.request(request, played.status, name_of(plan.broken->kind));
        co_return played.keep_open && keep_alive;
    }
    response = co_await answer(hub, request);
    if (delay.count() > 0) co_await pause(socket.get_executor(), delay);
    if (plan.broken) {
        const PlayedFault played = co_await play_fault(*plan.broken, socket, response);
        hub.journal.request(request, played.status, name_of(plan.broken->kind));
        co_return played.keep_open && keep_alive;
    }
    hub.journal.request(request, response.status, plan.delay.count() > 0 ? "delay_ms" : "");
    co_return co_await write(socket, response, keep_alive);
}

asio::awaitable<void> serve_connection(Hub& hub, tcp::socket socket, std::uint64_t number)
{
    ErrorCode error;
    beast::flat_buffer buffer;
    bool open = true;
    while (open) {
        http::request_parser<http::string_body> parser;
        parser.body_limit(64 << 20);
        co_await http::async_read(socket, buffer, parser, into(error));
        if (error) break;
        HttpRequest message = parser.release();
        const Request request = request_of(message, number);
        if (beast::websocket::is_upgrade(message)) {
            const FaultPlan plan = hub.faults.plan(request);
            if (plan.delay.count() > 0) co_await pause(socket.get_executor(), plan.delay);
            if (plan.broken) {
                const Response no_answer;
                co_await play_fault(*plan.broken, socket, no_answer);
                break;
            }
            const Response admitted = co_await admit_agent(hub, request);
            if (admitted.status == 200) {
                AgentProfile profile = profile_of(request);
                co_await serve_agent(hub, std::move(socket), std::move(message), std::move(profile));
                co_return;
            }
            co_await write(socket, admitted, false);
            break;
        }
        open = co_await serve_request(hub, socket, request, message.keep_alive());
    }
    socket.shutdown(tcp::socket::shutdown_send, error);
}

}  // namespace

tcp::endpoint parse_endpoint(const std::string& text)
{
    const auto colon = text.rfind(':');
    if (colon == std::string::npos) throw std::invalid_argument("not an address: " + text);
    ErrorCode error;
    const auto address = asio::ip::make_address(text.substr(0, colon), error);
    const int port = std::atoi(text.c_str() + colon + 1);
    if (error || port < 0 || port > 65535) throw std::invalid_argument("not an address: " + text);
    if (!address.is_loopback()) throw std::invalid_argument("only loopback addresses: " + text);
    return {address, static_cast<std::uint16_t>(port)};
}

tcp::acceptor open_listener(asio::io_context& context, const std::string& address, bool shared)
{
    const tcp::endpoint endpoint = parse_endpoint(address);
    tcp::acceptor acceptor(context);
    acceptor.open(endpoint.protocol());
    acceptor.set_option(asio::socket_base::reuse_address(true));
    if (shared) {
        const int on = 1;
        if (setsockopt(acceptor.native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
            throw std::runtime_error("SO_REUSEPORT is refused");
    }
    acceptor.bind(endpoint);
    acceptor.listen();
    return acceptor;
}

asio::awaitable<void> accept_connections(Hub& hub, Contexts& contexts, tcp::acceptor acceptor)
{
    static std::atomic<std::uint64_t> connections{0};
    ErrorCode error;
    for (std::size_t next = 0;; next = (next + 1) % contexts.size()) {
        asio::io_context& context = *contexts[next];
        tcp::socket socket = co_await acceptor.async_accept(context, into(error));
        if (error) {  // out of descriptors, for one: give others time to close theirs
            co_await pause(acceptor.get_executor(), std::chrono::milliseconds(50));
            continue;
        }
        socket.set_option(tcp::no_delay(true), error);
        const std::uint64_t number = ++connections;
        asio::co_spawn(context, serve_connection(hub, std::move(socket), number), asio::detached);
    }
}

}  // namespace testhub
