// Asio's coroutines as hub and agent use them.
#pragma once

#include <chrono>
#include <utility>  // Boost 1.74 uses std::exchange without including it

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/error_code.hpp>

namespace testhub {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

// co_await operation(…, into(error)): the error is a value, not an exception.
inline auto into(ErrorCode& error) { return asio::redirect_error(asio::use_awaitable, error); }

template <class Executor>
asio::awaitable<void> pause(Executor executor, std::chrono::steady_clock::duration time)
{
    ErrorCode ignored;
    asio::steady_timer timer(executor, time);
    co_await timer.async_wait(into(ignored));
}

}  // namespace testhub
