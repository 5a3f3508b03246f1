// test-agent: an agent with real processes as session runtimes. See ../README.md.
#include "agent.hpp"

#include "../common/parent_watch.hpp"

#include <boost/asio/signal_set.hpp>

#include <csignal>
#include <iostream>

int main(int argc, char** argv)
{
    using namespace testhub;
    std::signal(SIGPIPE, SIG_IGN);
    try {
        const AgentSettings settings = parse_agent_settings(argc, argv);
        if (settings.parent_watch) die_with_parent();
        const bool kill_runtimes = settings.kill_runtimes_on_exit;
        Runtimes runtimes(settings.state_dir, settings.id, settings.runtime_seconds, kill_runtimes);
        asio::io_context context(1);
        asio::signal_set signals(context, SIGTERM, SIGINT);
        signals.async_wait([&](ErrorCode, int) { context.stop(); });
        Agent agent(context, settings, runtimes);
        asio::co_spawn(context, agent.run(), asio::detached);
        context.run();
        if (kill_runtimes)
            for (const auto& runtime : runtimes.own()) runtimes.stop(runtime);
        // The hub sees the connection end as when any process ends.
        std::cout.flush();
        std::_Exit(0);
    } catch (const std::exception& e) {
        std::cerr << "test-agent: " << e.what() << '\n';
        return 2;
    }
}
