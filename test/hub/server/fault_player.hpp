// Carries out a fault on the socket of a request.
#pragma once

#include "faults.hpp"
#include "message.hpp"

#include "../common/coroutines.hpp"

#include <boost/asio/ip/tcp.hpp>

namespace testhub {

struct PlayedFault {
    bool keep_open = false;  // the connection can take another request
    int status = 0;          // what the client saw; 0 = nothing
};

// Whether the fault distorts the real answer, so that the request has to be carried out anyway.
bool needs_answer(FaultKind kind);

asio::awaitable<PlayedFault> play_fault(const FaultRule& rule, asio::ip::tcp::socket& socket,
                                               const Response& answer);

}  // namespace testhub
