// One private epoll descriptor owns libcurl's sockets and one timer, because the wait set of a backend cannot
// give up members: the caller waits for this one descriptor (PostgreSQL does the same for OAuth).
#include "http/client.hpp"

#include <curl/curl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <new>
#include <system_error>

#include "http/signals.hpp"
#include "http/transfer.hpp"

namespace reconciler::http {
namespace {

constexpr Duration kNever = Duration::max();

Duration monotonic() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return seconds(now.tv_sec) + std::chrono::duration_cast<Duration>(std::chrono::nanoseconds(now.tv_nsec));
}

// Once per process, at first use: never at load time, when this may still be the postmaster. The process
// must ignore SIGPIPE, as every process of the server does: TLS libraries write without MSG_NOSIGNAL.
void start_curl() {
  static bool started = false;
  if (started) return;
  SignalsBlocked quiet;
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) throw std::runtime_error("libcurl could not be initialised");
  started = true;
}

class Descriptor {
 public:
  Descriptor(int fd, const char* what) : fd_(fd) {
    if (fd < 0) throw std::system_error(errno, std::generic_category(), what);
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

struct Client::Impl {
  explicit Impl(int max_in_flight);
  ~Impl();

  void open_multi();
  void start(Request);
  void drive();
  void serve(const epoll_event&);
  void act(curl_socket_t, int events);
  void act_on_time();
  void collect();
  void abandon_multi();
  void arm();

  static int on_socket(CURL*, curl_socket_t, int what, void* self, void* known) noexcept;
  static int on_timer(CURLM*, long ms, void* self) noexcept;

  const std::size_t limit;
  const Descriptor mux, timer;
  CURLM* multi = nullptr;
  bool broken = false;  // an epoll or timer call failed, or the multi handle gave up
  Duration wanted = kNever, armed = kNever;  // when libcurl wants to be called, and when the timer goes off
  std::vector<std::unique_ptr<Transfer>> idle, flying;
  std::deque<Response> done;
};

Client::Impl::Impl(int max_in_flight)
    : limit(static_cast<std::size_t>(std::clamp(max_in_flight, 1, 10000))),
      mux(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"),
      timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd_create") {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = timer.get();
  if (epoll_ctl(mux.get(), EPOLL_CTL_ADD, timer.get(), &event) != 0)
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  idle.reserve(limit);  // so that giving a transfer back cannot throw
  flying.reserve(limit);
  start_curl();
  open_multi();
}

void Client::Impl::open_multi() {
  multi = curl_multi_init();
  if (multi == nullptr) throw std::bad_alloc();
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &Impl::on_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &Impl::on_timer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_MULTIPLEX));
  curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, static_cast<long>(limit));
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, static_cast<long>(limit));
  broken = false;
}

// Quick: with CURLOPT_QUICK_EXIT libcurl detaches a resolver thread that is still busy. Before 7.87 it joins
// it, which can take as long as the resolver's own timeout.
Client::Impl::~Impl() {
  SignalsBlocked quiet;
  for (auto& transfer : flying) curl_multi_remove_handle(multi, transfer->easy());
  flying.clear();
  idle.clear();
  curl_multi_cleanup(multi);
}

void Client::Impl::start(Request request) {
  if (multi == nullptr) open_multi();
  std::unique_ptr<Transfer> transfer;
  if (idle.empty()) {
    transfer = std::make_unique<Transfer>();
  } else {
    transfer = std::move(idle.back());
    idle.pop_back();
  }
  if (!transfer->prepare(std::move(request))) {
    done.push_back(transfer->refused());
    idle.push_back(std::move(transfer));
    return;
  }
  SignalsBlocked quiet;
  if (curl_multi_add_handle(multi, transfer->easy()) != CURLM_OK) {
    done.push_back(transfer->finish(CURLE_OUT_OF_MEMORY));
    idle.push_back(std::move(transfer));
    return;
  }
  flying.push_back(std::move(transfer));
  // Begins at once instead of by way of the timer, which would cost two system calls for every request.
  act_on_time();
  collect();
  if (broken) abandon_multi();
  arm();
}

// One batch a call: the caller gets to look at its interrupts between batches, and the descriptor stays
// readable while there is more.
void Client::Impl::drive() {
  if (multi == nullptr) return;
  SignalsBlocked quiet;
  epoll_event events[64];
  int count = epoll_wait(mux.get(), events, 64, 0);
  for (int i = 0; i < count && !broken; ++i) serve(events[i]);
  collect();
  if (broken) abandon_multi();
  arm();
}

void Client::Impl::serve(const epoll_event& event) {
  if (event.data.fd == timer.get()) {
    // Read before libcurl sets the timer anew: the other way round a fresh expiry would be swallowed.
    std::uint64_t expirations;
    if (::read(timer.get(), &expirations, sizeof expirations) <= 0) return;
    armed = kNever;
    act_on_time();
    return;
  }
  int what = 0;
  if (event.events & (EPOLLIN | EPOLLRDHUP)) what |= CURL_CSELECT_IN;
  if (event.events & EPOLLOUT) what |= CURL_CSELECT_OUT;
  if (event.events & (EPOLLERR | EPOLLHUP)) what |= CURL_CSELECT_ERR;
  act(event.data.fd, what);
}

void Client::Impl::act(curl_socket_t socket, int events) {
  int running = 0;
  if (curl_multi_socket_action(multi, socket, events, &running) != CURLM_OK) broken = true;
}

// libcurl names its next deadline again after this call, if there is one, even an unchanged one.
void Client::Impl::act_on_time() {
  wanted = kNever;
  act(CURL_SOCKET_TIMEOUT, 0);
}

void Client::Impl::collect() {
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    CURL* easy = message->easy_handle;
    CURLcode code = message->data.result;  // the message does not survive the removal
    auto found = std::find_if(flying.begin(), flying.end(), [&](const auto& one) { return one->easy() == easy; });
    curl_multi_remove_handle(multi, easy);
    if (found == flying.end()) continue;
    std::swap(*found, flying.back());
    done.push_back(flying.back()->finish(code));
    idle.push_back(std::move(flying.back()));
    flying.pop_back();
  }
}

// What is in flight ends here; the next start() begins with a new multi handle.
void Client::Impl::abandon_multi() {
  while (!flying.empty()) {
    curl_multi_remove_handle(multi, flying.back()->easy());
    done.push_back(flying.back()->finish(CURLE_ABORTED_BY_CALLBACK));
    idle.push_back(std::move(flying.back()));
    flying.pop_back();
  }
  curl_multi_cleanup(multi);
  multi = nullptr;
}

int Client::Impl::on_socket(CURL*, curl_socket_t socket, int what, void* self, void* known) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  if (what == CURL_POLL_REMOVE) {
    epoll_ctl(impl.mux.get(), EPOLL_CTL_DEL, socket, nullptr);  // already closed is fine
    return 0;
  }
  epoll_event event{};
  event.data.fd = socket;
  if (what & CURL_POLL_IN) event.events |= EPOLLIN;
  if (what & CURL_POLL_OUT) event.events |= EPOLLOUT;
  // libcurl may close a socket and get its number back for the next without a word in between, or the other
  // way round: whichever call is wrong, the other one is right.
  int first = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, second = known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (epoll_ctl(impl.mux.get(), first, socket, &event) != 0 &&
      ((errno != EEXIST && errno != ENOENT) || epoll_ctl(impl.mux.get(), second, socket, &event) != 0)) {
    impl.broken = true;
    return -1;
  }
  if (!known) curl_multi_assign(impl.multi, socket, &impl);
  return 0;
}

int Client::Impl::on_timer(CURLM*, long ms, void* self) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  impl.wanted = ms < 0 ? kNever : monotonic() + milliseconds(ms);
  return 0;
}

// The timer may go off too early, never too late: libcurl moves its deadline with every transfer, and most of
// the time to a later one. What has finished already must make the descriptor readable too.
void Client::Impl::arm() {
  Duration at = done.empty() ? wanted : Duration(0);
  if (flying.empty() && at == kNever ? armed == kNever : armed <= at) return;
  itimerspec when{};  // all zero: disarmed
  if (at != kNever) {
    Duration left = std::max(at - monotonic(), Duration(0));
    when.it_value.tv_sec = std::chrono::floor<seconds>(left).count();
    when.it_value.tv_nsec = (left % seconds(1)).count() * 1000;
    if (left == Duration(0)) when.it_value.tv_nsec = 1;
  }
  if (timerfd_settime(timer.get(), 0, &when, nullptr) == 0) armed = at;
}

Client::Client(int max_in_flight) : impl_(std::make_unique<Impl>(max_in_flight)) {}
Client::~Client() = default;
bool Client::has_room() const { return impl_->flying.size() < impl_->limit; }
int Client::in_flight() const { return static_cast<int>(impl_->flying.size()); }
void Client::start(Request request) { impl_->start(std::move(request)); }
int Client::descriptor() const { return impl_->mux.get(); }
void Client::drive() { impl_->drive(); }

std::optional<Response> Client::finished() {
  if (impl_->done.empty()) return {};
  Response response = std::move(impl_->done.front());
  impl_->done.pop_front();
  return response;
}

}  // namespace reconciler::http
