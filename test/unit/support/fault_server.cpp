#include "support/fault_server.hpp"

#include <sys/socket.h>

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <set>
#include <thread>

namespace reconciler::testing {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;

namespace {

tcp::endpoint loopback(int port) {
  return {asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)};
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

Play answer(int status, const std::string& body, const Headers& headers) {
  std::string head = "HTTP/1.1 " + std::to_string(status) + " Status\r\n";
  for (const auto& [name, value] : headers) head += name + ": " + value + "\r\n";
  Play play;
  play.bytes = head + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  return play;
}

Play raw(std::string bytes, Play::Then then) {
  Play play;
  play.bytes = std::move(bytes);
  play.then = then;
  return play;
}

Play never() {
  Play play;
  play.silence = std::chrono::hours(1);
  return play;
}

struct FaultServer::Impl {
  Handler handler;
  asio::io_context io;
  tcp::acceptor acceptor;
  mutable std::mutex mutex;
  std::condition_variable stopped;
  bool stopping = false;
  int count = 0;
  std::vector<Seen> log;
  std::set<int> open;  // descriptors, so that the destructor can end their reads
  std::vector<std::thread> threads;
  std::thread accepting;

  Impl(Handler h, int port) : handler(std::move(h)), acceptor(io, loopback(port)) {
    std::signal(SIGPIPE, SIG_IGN);  // as in every process of the server
    accepting = std::thread([this] { accept(); });
  }

  ~Impl() {
    {
      std::lock_guard lock(mutex);
      stopping = true;
      for (int fd : open) ::shutdown(fd, SHUT_RDWR);
    }
    stopped.notify_all();
    ::shutdown(acceptor.native_handle(), SHUT_RDWR);
    accepting.join();
    for (std::thread& thread : threads) thread.join();
  }

  void accept() {
    for (;;) {
      boost::system::error_code failed;
      tcp::socket socket(io);
      acceptor.accept(socket, failed);
      std::lock_guard lock(mutex);
      if (stopping) return;
      if (failed) continue;
      open.insert(socket.native_handle());
      threads.emplace_back([this, number = ++count, s = std::move(socket)]() mutable { serve(std::move(s), number); });
    }
  }

  void serve(tcp::socket socket, int number) {
    beast::flat_buffer buffer;
    while (one_request(socket, buffer, number)) {
    }
    std::lock_guard lock(mutex);
    open.erase(socket.native_handle());
    socket.close();
  }

  bool one_request(tcp::socket& socket, beast::flat_buffer& buffer, int number) {
    beast::http::request<beast::http::string_body> request;
    boost::system::error_code failed;
    beast::http::read(socket, buffer, request, failed);
    if (failed) return false;
    Seen seen;
    seen.method = std::string(request.method_string());
    seen.target = std::string(request.target());
    seen.body = request.body();
    seen.connection = number;
    for (const auto& field : request) seen.headers[lower(std::string(field.name_string()))] = std::string(field.value());
    {
      std::lock_guard lock(mutex);
      log.push_back(seen);
    }
    return perform(handler(seen), socket);
  }

  bool perform(const Play& play, tcp::socket& socket) {
    {
      std::unique_lock lock(mutex);
      stopped.wait_for(lock, play.silence, [this] { return stopping; });
      if (stopping) return false;
    }
    boost::system::error_code failed;
    if (play.byte_by_byte) {
      socket.set_option(tcp::no_delay(true));
      for (std::size_t i = 0; i < play.bytes.size() && !failed; ++i) {
        asio::write(socket, asio::buffer(play.bytes.data() + i, 1), failed);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    } else {
      asio::write(socket, asio::buffer(play.bytes), failed);
    }
    if (play.then == Play::Then::reset) socket.set_option(asio::socket_base::linger(true, 0));
    return !failed && play.then == Play::Then::keep;
  }
};

FaultServer::FaultServer(Handler handler, int port) : impl_(std::make_unique<Impl>(std::move(handler), port)) {}
FaultServer::~FaultServer() = default;
int FaultServer::port() const { return impl_->acceptor.local_endpoint().port(); }
std::string FaultServer::url() const { return "http://127.0.0.1:" + std::to_string(port()); }

std::vector<Seen> FaultServer::seen() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->log;
}

int FaultServer::connections() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->count;
}

int free_port() {
  asio::io_context io;
  return tcp::acceptor(io, loopback(0)).local_endpoint().port();
}

}  // namespace reconciler::testing
