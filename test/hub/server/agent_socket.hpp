// The hub's end of one agent's WebSocket.
#pragma once

#include "hub.hpp"

#include "../common/coroutines.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http.hpp>

namespace testhub {

using HttpRequest = boost::beast::http::request<boost::beast::http::string_body>;

// Upgrades the connection and serves it until it ends.
asio::awaitable<void> serve_agent(Hub& hub, asio::ip::tcp::socket socket, HttpRequest upgrade,
                                         AgentProfile profile);

}  // namespace testhub
