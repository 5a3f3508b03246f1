#include "fault_player.hpp"

#include "../common/coroutines.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

#include <array>

namespace testhub {

namespace {

asio::awaitable<bool> write_all(asio::ip::tcp::socket& socket, const std::string& bytes)
{
    ErrorCode error;
    co_await asio::async_write(socket, asio::buffer(bytes), into(error));
    co_return !error;
}

asio::awaitable<bool> write_slowly(asio::ip::tcp::socket& socket, const std::string& bytes,
                                   std::chrono::milliseconds gap)
{
    ErrorCode error;
    for (const char& byte : bytes) {
        co_await asio::async_write(socket, asio::buffer(&byte, 1), into(error));
        if (error) co_return false;
        co_await pause(socket.get_executor(), gap);
    }
    co_return true;
}

asio::awaitable<void> wait_for_close(asio::ip::tcp::socket& socket)
{
    ErrorCode error;
    std::array<char, 4096> ignored;
    while (!error)
        co_await socket.async_read_some(asio::buffer(ignored), into(error));
}

// One well-formed but wrong answer.
Response wrong_answer(const FaultRule& rule)
{
    Response response;
    switch (rule.kind) {
    case FaultKind::status:
        response.status = static_cast<int>(rule.value);
        response.body = rule.body.empty() ? R"({"error":"injected"})" : rule.body;
        break;
    case FaultKind::garbage:
        response.content_type = "text/html; charset=utf-8";
        response.body = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in to continue</h1>"
                        "</body></html>";
        break;
    case FaultKind::ok_to_all:
        response.body = "{}";
        break;
    case FaultKind::wrong_json:
        response.body = R"({"status":"UP","components":{"db":{"status":"UP"}},"version":"3.2.1","items":[]})";
        break;
    case FaultKind::redirect:
        response.status = static_cast<int>(rule.value);
        response.extra_headers = "Location: " + rule.location + "\r\n";
        break;
    case FaultKind::big_body:
        response.body = R"({"agents":[],"filler":")" + std::string(static_cast<std::size_t>(rule.value), 'x') + "\"}";
        break;
    default:
        break;
    }
    if (!rule.content_type.empty()) response.content_type = rule.content_type;
    if (!rule.retry_after.empty()) response.extra_headers += "Retry-After: " + rule.retry_after + "\r\n";
    return response;
}

}  // namespace

bool needs_answer(FaultKind kind) { return kind == FaultKind::half_body || kind == FaultKind::slow_bytes; }

asio::awaitable<PlayedFault> play_fault(const FaultRule& rule, asio::ip::tcp::socket& socket, const Response& answer)
{
    ErrorCode ignored;
    switch (rule.kind) {
    case FaultKind::never_answer:
        co_await wait_for_close(socket);
        co_return PlayedFault{false, 0};
    case FaultKind::reset:
        socket.set_option(asio::socket_base::linger(true, 0), ignored);  // close() sends RST
        socket.close(ignored);
        co_return PlayedFault{false, 0};
    case FaultKind::close_before_headers:
        socket.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
        co_return PlayedFault{false, 0};
    case FaultKind::half_body: {
        const std::string bytes = response_head(answer, answer.body.size() + 100, true) +
                                  answer.body.substr(0, answer.body.size() / 2);
        co_await write_all(socket, bytes);
        socket.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
        co_return PlayedFault{false, answer.status};
    }
    case FaultKind::slow_bytes: {
        const std::string bytes = response_head(answer, answer.body.size(), true) + answer.body;
        const bool open = co_await write_slowly(socket, bytes, std::chrono::milliseconds(rule.value));
        co_return PlayedFault{open, answer.status};
    }
    default: {
        const Response response = wrong_answer(rule);
        const std::string bytes = response_head(response, response.body.size(), true) + response.body;
        const bool open = co_await write_all(socket, bytes);
        co_return PlayedFault{open, response.status};
    }
    }
}

}  // namespace testhub
