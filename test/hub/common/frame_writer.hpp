// The one writer of a WebSocket. Beast allows one write at a time, so frames from anywhere queue here.
#pragma once

#include "coroutines.hpp"

#include <boost/asio/buffer.hpp>
#include <chrono>
#include <deque>
#include <string>
#include <utility>

namespace testhub {

class FrameWriter {
public:
    // Messages that arrive within `coalesce` of each other leave joined by a newline in one frame, as StreamSpace's
    // hub does with whatever is queued; its agents cannot read such a frame. Zero = one frame for each message.
    FrameWriter(asio::any_io_executor executor, std::chrono::milliseconds coalesce)
        : wake_(executor), coalesce_(coalesce)
    {
        wake_.expires_at(asio::steady_timer::time_point::max());
    }

    // Both on the executor's thread.
    void push(std::string frame)
    {
        queue_.push_back(std::move(frame));
        wake_.cancel();
    }
    void stop()
    {
        stopped_ = true;
        wake_.cancel();
    }

    template <class WebSocket>
    asio::awaitable<void> run(WebSocket& socket)
    {
        ErrorCode error;
        while (!stopped_) {
            if (queue_.empty()) {
                wake_.expires_at(asio::steady_timer::time_point::max());
                co_await wake_.async_wait(into(error));
                continue;
            }
            if (coalesce_.count() > 0) co_await pause(wake_.get_executor(), coalesce_);
            const std::string frame = take();
            socket.text(true);
            co_await socket.async_write(asio::buffer(frame), into(error));
            if (error) co_return;
        }
    }

private:
    std::string take()
    {
        std::string frame = std::move(queue_.front());
        queue_.pop_front();
        while (coalesce_.count() > 0 && !queue_.empty()) {
            frame += '\n' + queue_.front();
            queue_.pop_front();
        }
        return frame;
    }

    asio::steady_timer wake_;
    std::chrono::milliseconds coalesce_;
    std::deque<std::string> queue_;
    bool stopped_ = false;
};

}  // namespace testhub
