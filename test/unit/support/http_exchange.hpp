// Driving http::Client to the end of its transfers, as hub/ does.
#pragma once

#include <utility>

#include "http/client.hpp"
#include "support/poll_waiter.hpp"

namespace reconciler::testing {

inline http::Response next_response(http::Client& client) {
  PollWaiter waiter;
  for (;;) {
    client.drive();
    if (auto response = client.finished()) return *std::move(response);
    if (client.in_flight() == 0) return {};
    waiter.wait(client.descriptor(), seconds(10));
  }
}

inline http::Response exchange(http::Client& client, http::Request request) {
  client.start(std::move(request));
  return next_response(client);
}

}  // namespace reconciler::testing
