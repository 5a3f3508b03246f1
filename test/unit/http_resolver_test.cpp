// Names are resolved on threads that libcurl starts. They must take no signal, a slow name server must not
// hold anybody up, and what a name resolves to is checked. Here getaddrinfo() is ours.
#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "http/client.hpp"
#include "support/fault_server.hpp"
#include "support/http_exchange.hpp"

namespace {

std::atomic<int> lookups = 0;
std::atomic<bool> terminate_blocked = false, fault_blocked = true;
std::atomic<bool> release = false;  // ends a slow lookup
std::atomic<int> slow_ended = 0;

}  // namespace

// The dynamic linker finds the program's symbol before that of the C library.
extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints, addrinfo** result) {
  static auto real = reinterpret_cast<decltype(&getaddrinfo)>(dlsym(RTLD_NEXT, "getaddrinfo"));
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  terminate_blocked = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGHUP) && sigismember(&mask, SIGUSR1) &&
                      sigismember(&mask, SIGALRM) && sigismember(&mask, SIGURG);
  fault_blocked = sigismember(&mask, SIGSEGV);
  ++lookups;
  if (std::strcmp(name, "slow.test") == 0) {
    for (int i = 0; i < 2000 && !release; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ++slow_ended;
  }
  if (std::strcmp(name, "metadata.test") == 0) name = "169.254.169.254";
  if (std::strcmp(name, "hub.test") == 0) name = "127.0.0.1";
  return real(name, service, hints, result);
}

namespace reconciler::http {
namespace {

using namespace reconciler::testing;
using Result = Response::Result;

Request get(const std::string& host, int port = 80) {
  Request request;
  request.url = "http://" + host + ":" + std::to_string(port) + "/";
  return request;
}

TEST(HttpResolver, ItsThreadTakesNoSignal) {
  FaultServer server([](const Seen&) { return answer(200, "{}"); });
  Client client(1);
  lookups = 0;
  Response response = exchange(client, get("hub.test", server.port()));
  EXPECT_EQ(response.status, 200) << response.error;
  ASSERT_GT(lookups, 0) << "getaddrinfo was not replaced";
  EXPECT_TRUE(terminate_blocked);
  EXPECT_FALSE(fault_blocked) << "a crash must be reported as one";
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_FALSE(sigismember(&mask, SIGTERM)) << "ours is as before";
}

TEST(HttpResolver, ANameOfALinkLocalAddressIsRefused) {
  Client client(1);
  Response response = exchange(client, get("metadata.test"));
  EXPECT_EQ(response.result, Result::not_sent);
  EXPECT_EQ(response.error, "refused to connect to metadata.test:80: its name resolves to a link-local address");
}

#if LIBCURL_VERSION_NUM >= 0x075700  // older ones join the thread: see CURLOPT_QUICK_EXIT

TEST(HttpResolver, ASlowNameServerHoldsUpNobody) {
  release = false;
  {
    Client client(4);
    Request request = get("slow.test");
    request.connect_timeout = request.total_timeout = milliseconds(100);
    Response response = exchange(client, request);
    EXPECT_EQ(response.result, Result::not_sent);
    EXPECT_EQ(response.error, "could not resolve the name of slow.test:80 within 100 ms");
    request.connect_timeout = request.total_timeout = seconds(60);
    client.start(request);  // and is still at it when the client goes
  }
  EXPECT_EQ(slow_ended, 0) << "somebody waited for the thread";
  release = true;
}

#endif

}  // namespace
}  // namespace reconciler::http
