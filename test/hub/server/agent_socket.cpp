#include "agent_socket.hpp"

#include "commands.hpp"

#include "../common/frame_writer.hpp"
#include "../common/text.hpp"

#include "../common/coroutines.hpp"

#include <boost/beast/core.hpp>
#include <boost/beast/websocket.hpp>

#include <memory>

namespace testhub {

namespace beast = boost::beast;
namespace websocket = beast::websocket;

namespace {

class AgentSocket : public AgentLink, public std::enable_shared_from_this<AgentSocket> {
public:
    AgentSocket(Hub& hub, asio::ip::tcp::socket socket, AgentProfile profile)
        : hub_(hub),
          profile_(std::move(profile)),
          socket_(std::move(socket)),
          writer_(socket_.get_executor(), hub.settings.coalesce)
    {
    }

    void send(std::string frame) override
    {
        asio::post(socket_.get_executor(), [self = shared_from_this(), frame = std::move(frame)]() mutable {
            self->writer_.push(std::move(frame));
        });
    }

    void close() override
    {
        asio::post(socket_.get_executor(), [self = shared_from_this()] { self->drop(); });
    }

    asio::awaitable<void> run(HttpRequest upgrade)
    {
        ErrorCode error;
        websocket::stream_base::timeout timeout{};
        timeout.handshake_timeout = std::chrono::seconds(10);
        timeout.idle_timeout = std::chrono::seconds(60);
        timeout.keep_alive_pings = true;
        socket_.set_option(timeout);
        co_await socket_.async_accept(upgrade, into(error));
        if (error) co_return;

        const auto self = shared_from_this();
        agent_connected(hub_, profile_, self);
        asio::co_spawn(socket_.get_executor(), write_frames(self), asio::detached);
        send(R"({"type":"ping","timestamp":")" + rfc3339(hub_.clock.now()) + R"(","payload":{}})");

        beast::flat_buffer buffer;
        for (;;) {
            co_await socket_.async_read(buffer, into(error));
            if (error) break;
            const auto data = buffer.cdata();
            handle_agent_frame(hub_, profile_.id, {static_cast<const char*>(data.data()), data.size()});
            buffer.consume(buffer.size());
        }
        drop();
        agent_disconnected(hub_, profile_.id, this);
    }

private:
    static asio::awaitable<void> write_frames(std::shared_ptr<AgentSocket> self)
    {
        co_await self->writer_.run(self->socket_);
        self->drop();
    }

    void drop()
    {
        writer_.stop();
        beast::get_lowest_layer(socket_).close();
    }

    Hub& hub_;
    AgentProfile profile_;
    websocket::stream<beast::tcp_stream> socket_;
    FrameWriter writer_;
};

}  // namespace

asio::awaitable<void> serve_agent(Hub& hub, asio::ip::tcp::socket socket, HttpRequest upgrade, AgentProfile profile)
{
    const auto agent = std::make_shared<AgentSocket>(hub, std::move(socket), std::move(profile));
    co_await agent->run(std::move(upgrade));
}

}  // namespace testhub
