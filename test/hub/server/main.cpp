// test-hub: an agent hub for tests, the demo and benchmarks. See ../README.md.
#include "commands.hpp"
#include "server.hpp"

#include "../common/parent_watch.hpp"

#include "../common/coroutines.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/signal_set.hpp>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <thread>

namespace {

using namespace testhub;

asio::awaitable<void> keep_house(Hub& hub, asio::io_context& context)
{
    for (;;) {
        co_await pause(context.get_executor(), std::chrono::milliseconds(10));
        housekeep(hub);
    }
}

std::string text_of(const asio::ip::tcp::endpoint& endpoint)
{
    return endpoint.address().to_string() + ":" + std::to_string(endpoint.port());
}

// Written aside and renamed, so that a waiting test never reads half of it.
void write_port_file(const std::string& path, const std::string& address)
{
    const std::string draft = path + ".tmp";
    std::ofstream(draft) << address << '\n';
    if (std::rename(draft.c_str(), path.c_str()) != 0) throw std::runtime_error("cannot write " + path);
}

void serve(Settings settings)
{
    Contexts contexts;
    for (int i = 0; i < settings.threads; ++i) contexts.push_back(std::make_unique<asio::io_context>(1));
    asio::io_context& first = *contexts.front();
    Hub hub(std::move(settings));

    auto listener = open_listener(first, hub.settings.listen, false);
    const std::string address = text_of(listener.local_endpoint());
    asio::co_spawn(first, accept_connections(hub, contexts, std::move(listener)), asio::detached);
    if (!hub.settings.listen_shared.empty()) {
        auto shared = open_listener(first, hub.settings.listen_shared, true);
        asio::co_spawn(first, accept_connections(hub, contexts, std::move(shared)), asio::detached);
    }
    asio::co_spawn(first, keep_house(hub, first), asio::detached);

    asio::signal_set signals(first, SIGTERM, SIGINT);
    signals.async_wait([&](ErrorCode, int) {
        for (const auto& context : contexts) context->stop();
    });
    if (!hub.settings.port_file.empty()) write_port_file(hub.settings.port_file, address);
    std::printf("test-hub listening on %s, instance %s\n", address.c_str(), hub.instance().c_str());
    std::fflush(stdout);

    std::vector<std::thread> threads;
    for (std::size_t i = 1; i < contexts.size(); ++i)
        threads.emplace_back([&context = *contexts[i]] {
            const auto stay = asio::make_work_guard(context);
            context.run();
        });
    first.run();
    for (auto& thread : threads) thread.join();
    // Connections still open die with the process; unwinding them one by one would only race the database's thread.
    hub.database.reset();
    std::fflush(nullptr);
    std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv)
{
    std::signal(SIGPIPE, SIG_IGN);
    try {
        Settings settings = parse_settings(argc, argv);
        if (settings.parent_watch) die_with_parent();
        serve(std::move(settings));
    } catch (const std::exception& e) {
        std::cerr << "test-hub: " << e.what() << '\n';
        return 2;
    }
}
