// An agent: keeps a WebSocket to its hub, sends heartbeats, carries out commands on its runtimes.
#pragma once

#include "runtimes.hpp"
#include "settings.hpp"

#include "../common/coroutines.hpp"

#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace testhub {

class Connection;

class Agent {
public:
    Agent(asio::io_context& context, AgentSettings settings, Runtimes& runtimes)
        : context_(context), settings_(std::move(settings)), runtimes_(runtimes)
    {
    }

    // Connects and reconnects; ends when the hub says shutdown.
    asio::awaitable<void> run();

private:
    asio::awaitable<void> wait_for_approval();
    asio::awaitable<bool> serve();  // one connection; true if it was established
    asio::awaitable<void> send_heartbeats(std::shared_ptr<Connection> connection);
    asio::awaitable<void> handle_frame(Connection& connection, std::string_view frame);
    asio::awaitable<void> handle_command(Connection& connection, const nlohmann::json& payload);
    void act(Connection& connection, const std::string& action, const nlohmann::json& payload);
    void send(Connection& connection, const char* type, const nlohmann::json& payload);
    nlohmann::json heartbeat() const;

    asio::io_context& context_;
    AgentSettings settings_;
    Runtimes& runtimes_;
    bool shutdown_ = false;
};

}  // namespace testhub
