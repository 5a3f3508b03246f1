// Listens, reads requests, hands them to the endpoint they are for, writes the answers.
#pragma once

#include "hub.hpp"

#include "../common/coroutines.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <memory>
#include <string>
#include <vector>

namespace testhub {

using Contexts = std::vector<std::unique_ptr<asio::io_context>>;

// "127.0.0.1:8080". Only loopback addresses: throws std::invalid_argument.
asio::ip::tcp::endpoint parse_endpoint(const std::string& text);

asio::ip::tcp::acceptor open_listener(asio::io_context& context, const std::string& address, bool shared);

// Each connection lives on one of the contexts (one thread each), so it needs no locks of its own.
asio::awaitable<void> accept_connections(Hub& hub, Contexts& contexts, asio::ip::tcp::acceptor acceptor);

}  // namespace testhub
