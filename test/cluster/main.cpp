// test-apiserver: a double of a Kubernetes API server for tests. See README.md.
#include "cluster.hpp"

#include "common/command_line.hpp"
#include "common/coroutines.hpp"
#include "common/parent_watch.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <csignal>
#include <iostream>

namespace testcluster {

using namespace testhub;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

std::string Cluster::now() const
{
    std::string text = rfc3339(std::chrono::system_clock::now() + clock_offset);
    return text.substr(0, 19) + "Z";
}

std::optional<Fault> Cluster::fault(const Request& request)
{
    const std::string target = std::string(request.path) + "?" + std::string(request.query);
    for (Fault& one : faults) {
        if ((!one.method.empty() && one.method != request.method) || target.find(one.path) == std::string::npos) continue;
        if (one.after > 0) {
            --one.after;
        } else if (one.times > 0) {
            --one.times;
            return one;
        }
    }
    return {};
}

namespace {

// Everything on one thread: the double needs no locks.
asio::awaitable<bool> serve_request(Cluster& cluster, tcp::socket& socket, const http::request<http::string_body>& message)
{
    Request request;
    request.method = {message.method_string().data(), message.method_string().size()};
    request.set_target({message.target().data(), message.target().size()});
    request.body = message.body();
    const auto authorization = message[http::field::authorization], accepted = message[http::field::accept];
    request.authorization = {authorization.data(), authorization.size()};
    const std::string accept(accepted.data(), accepted.size());

    Response response;
    const bool control = !request.segments.empty() && request.segments[0] == "control";
    if (control) {
        response = answer_control(cluster, request);
    } else {
        const auto fault = cluster.fault(request);
        if (fault && fault->delay_ms > 0) co_await pause(socket.get_executor(), std::chrono::milliseconds(fault->delay_ms));
        if (fault && fault->reset) {
            socket.set_option(asio::socket_base::linger(true, 0));
            co_return false;
        }
        const bool api = !request.segments.empty() && (request.segments[0] == "api" || request.segments[0] == "apis");
        if (fault && fault->status != 0) {
            response = fault->body.empty() ? failure(fault->status, "InternalError", "an error on the server has prevented the request from succeeding")
                                           : json_response(fault->status, fault->body);
            if (!fault->retry_after.empty()) response.extra_headers = "Retry-After: " + fault->retry_after + "\r\n";
        } else {
            response = api ? answer_api(cluster, request, accept) : Response{404, "404 page not found\n", "text/plain; charset=utf-8", ""};
        }
        cluster.requests.push_back({{"method", std::string(request.method)}, {"path", std::string(request.path)}, {"query", std::string(request.query)},
                                    {"status", response.status}, {"body", std::string(request.body)}});
    }
    ErrorCode error;
    const std::string bytes = response_head(response, response.body.size(), message.keep_alive()) + response.body;
    co_await asio::async_write(socket, asio::buffer(bytes), into(error));
    co_return !error && message.keep_alive();
}

asio::awaitable<void> serve_connection(Cluster& cluster, tcp::socket socket)
{
    ErrorCode error;
    boost::beast::flat_buffer buffer;
    for (bool open = true; open;) {
        http::request_parser<http::string_body> parser;
        parser.body_limit(64 << 20);  // tests create many objects at once
        co_await http::async_read(socket, buffer, parser, into(error));
        if (error) co_return;
        open = co_await serve_request(cluster, socket, parser.get());
    }
}

asio::awaitable<void> accept_connections(Cluster& cluster, tcp::acceptor acceptor)
{
    for (;;) {
        ErrorCode error;
        tcp::socket socket = co_await acceptor.async_accept(into(error));
        if (error) co_return;
        socket.set_option(tcp::no_delay(true), error);
        asio::co_spawn(acceptor.get_executor(), serve_connection(cluster, std::move(socket)), asio::detached);
    }
}

Settings parse_settings(int argc, char** argv)
{
    const CommandLine line(argc, argv,
                           {{"port", "PORT", "of 127.0.0.1; 0 = pick one"},
                            {"port-file", "FILE", "write host:port there once listening"},
                            {"token-file", "FILE", "the bearer token that is demanded; read for each request"},
                            {"user", "NAME", "whose token that is, in messages"},
                            {"parent-watch", "", "exit when the parent process dies"}});
    Settings settings;
    settings.port = static_cast<unsigned short>(line.number("port", 0));
    settings.port_file = line.text("port-file");
    settings.token_file = line.text("token-file");
    settings.user = line.text("user", settings.user);
    settings.parent_watch = line.has("parent-watch");
    return settings;
}

void serve(Settings settings)
{
    asio::io_context context(1);
    Cluster cluster;
    cluster.settings = std::move(settings);
    cluster.store.kinds = {{"", "v1", "pods", "Pod", true},
                           {"", "v1", "services", "Service", true},
                           {"", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true},
                           {"", "v1", "namespaces", "Namespace", false},
                           {"apps", "v1", "deployments", "Deployment", true},
                           {"apps", "v1", "replicasets", "ReplicaSet", true}};
    tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), cluster.settings.port});
    const std::string address = "127.0.0.1:" + std::to_string(acceptor.local_endpoint().port());
    asio::co_spawn(context, accept_connections(cluster, std::move(acceptor)), asio::detached);
    asio::signal_set signals(context, SIGTERM, SIGINT);
    signals.async_wait([&](ErrorCode, int) { context.stop(); });
    if (!cluster.settings.port_file.empty()) {
        // Written aside and renamed, so that a waiting test never reads half of it.
        const std::string draft = cluster.settings.port_file + ".tmp";
        std::ofstream(draft) << address << '\n';
        if (std::rename(draft.c_str(), cluster.settings.port_file.c_str()) != 0) throw std::runtime_error("cannot write " + cluster.settings.port_file);
    }
    std::printf("test-apiserver listening on %s\n", address.c_str());
    std::fflush(stdout);
    context.run();
    std::_Exit(0);
}

}  // namespace

}  // namespace testcluster

int main(int argc, char** argv)
{
    std::signal(SIGPIPE, SIG_IGN);
    try {
        auto settings = testcluster::parse_settings(argc, argv);
        if (settings.parent_watch) testhub::die_with_parent();
        testcluster::serve(std::move(settings));
    } catch (const std::exception& e) {
        std::cerr << "test-apiserver: " << e.what() << '\n';
        return 2;
    }
}
