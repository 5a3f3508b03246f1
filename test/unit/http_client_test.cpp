// What a server can do to us, and what the client makes of it. The distinction that everything above rests
// on: `not_sent` only where surely nothing arrived.
#include "http/client.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "support/fault_server.hpp"
#include "support/http_exchange.hpp"

namespace reconciler::http {
namespace {

using namespace reconciler::testing;
using Result = Response::Result;
using Then = Play::Then;

Request get(const std::string& url) {
  Request request;
  request.url = url;
  return request;
}

FaultServer::Handler always(Play play) {
  return [play](const Seen&) { return play; };
}

Response ask(const FaultServer& server, Duration total = seconds(5)) {
  Client client(4);
  Request request = get(server.url() + "/v1/secret-path?token=secret-query");
  request.headers.emplace_back("Authorization", "Bearer secret-token");
  request.total_timeout = total;
  return exchange(client, std::move(request));
}

void expect_no_secret(const std::string& error) {
  EXPECT_EQ(error.find("secret"), std::string::npos) << error;
  EXPECT_EQ(error.find("/v1"), std::string::npos) << error;
}

TEST(HttpClient, BringsStatusBodyAndType) {
  FaultServer server(always(answer(404, R"({"a":1})", {{"Content-Type", "application/json"}})));
  Client client(4);
  Request request = get(server.url() + "/x?y=z");
  request.tag = 77;
  Response response = exchange(client, request);
  EXPECT_EQ(response.result, Result::answered);
  EXPECT_EQ(response.tag, 77u);
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.body, R"({"a":1})");
  EXPECT_EQ(response.content_type, "application/json");
  EXPECT_GT(response.took, Duration(0));
  EXPECT_EQ(response.error, "");
  ASSERT_EQ(server.seen().size(), 1u);
  EXPECT_EQ(server.seen()[0].target, "/x?y=z");
  EXPECT_EQ(server.seen()[0].header("user-agent"), "session_reconciler");
  EXPECT_EQ(server.seen()[0].header("accept-encoding"), "") << "no decompression bombs";
}

TEST(HttpClient, PostsTheBodyAsItIs) {
  FaultServer server(always(answer(202, "{}")));
  Client client(4);
  Request request = get(server.url());
  request.method = "POST";
  request.headers = {{"Idempotency-Key", "k1"}, {"X-Empty", ""}};
  request.body = std::string("{\"zero\":\"\0\"}", 12) + std::string(2000000, 'x');
  std::string body = request.body;
  exchange(client, request);
  ASSERT_EQ(server.seen().size(), 0u) << "Beast refuses more than 1 MiB; the next one fits";

  request.body = body = std::string("{\"zero\":\"\0\"}", 12);
  Response response = exchange(client, request);
  EXPECT_EQ(response.status, 202);
  Seen seen = server.seen().at(0);
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.body, body);
  EXPECT_EQ(seen.header("idempotency-key"), "k1");
  EXPECT_EQ(seen.headers.count("x-empty"), 1u);
  EXPECT_EQ(seen.headers.count("expect"), 0u) << "no 100-continue";
  EXPECT_EQ(seen.headers.count("content-type"), 0u) << "no form";
}

TEST(HttpClient, ForgetsARequestWhenItsHandleIsUsedAgain) {
  FaultServer server(always(answer(200, "{}")));
  Client client(1);
  Request post = get(server.url());
  post.method = "POST";
  post.body = "body";
  post.headers = {{"Authorization", "Bearer secret"}};
  exchange(client, post);
  exchange(client, get(server.url()));
  Seen second = server.seen().at(1);
  EXPECT_EQ(second.method, "GET");
  EXPECT_EQ(second.body, "");
  EXPECT_EQ(second.headers.count("authorization"), 0u);
}

TEST(HttpClient, LimitsAreThoseOfEachRequest) {
  FaultServer server([](const Seen& seen) { return seen.target == "/hang" ? never() : answer(200, "12345"); });
  Client client(1);
  Request narrow = get(server.url()), hasty = get(server.url() + "/hang");
  narrow.max_body = 4;
  hasty.total_timeout = milliseconds(50);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(exchange(client, narrow).result, Result::unknown);
    EXPECT_EQ(exchange(client, get(server.url())).body, "12345");
    EXPECT_EQ(exchange(client, hasty).result, Result::unknown);
    EXPECT_EQ(exchange(client, get("nonsense://x")).result, Result::not_sent);
    EXPECT_EQ(exchange(client, get(server.url())).body, "12345");
  }
}

TEST(HttpClient, SendsOtherMethods) {
  FaultServer server(always(answer(200, "{}")));
  Client client(1);
  for (const char* method : {"DELETE", "PUT", "PATCH"}) {
    Request request = get(server.url());
    request.method = method;
    request.body = "b";
    EXPECT_EQ(exchange(client, request).status, 200);
    EXPECT_EQ(server.seen().back().method, method);
    EXPECT_EQ(server.seen().back().body, "b");
  }
  Request bare = get(server.url());
  bare.method = "DELETE";
  EXPECT_EQ(exchange(client, bare).status, 200);
  EXPECT_EQ(server.seen().back().method, "DELETE");
  EXPECT_EQ(server.seen().back().body, "");
  EXPECT_EQ(server.seen().back().header("content-length"), "");
}

TEST(HttpClient, KeepsConnectionsAndOpensFreshOnes) {
  FaultServer server(always(answer(200, "{}")));
  Client client(4);
  for (int i = 0; i < 5; ++i) exchange(client, get(server.url()));
  EXPECT_EQ(server.connections(), 1);
  Request fresh = get(server.url());
  fresh.fresh_connection = true;
  exchange(client, fresh);
  EXPECT_EQ(server.connections(), 2);
}

TEST(HttpClient, NeverHasMoreConnectionsThanRoom) {
  FaultServer server(always(answer(200, "{}")));
  Client client(8);
  PollWaiter waiter;
  std::set<std::uint64_t> back;
  std::uint64_t started = 0;
  while (back.size() < 300) {
    while (client.has_room() && started < 300) {
      Request request = get(server.url());
      request.tag = started++;
      client.start(request);
    }
    EXPECT_LE(client.in_flight(), 8);
    waiter.wait(client.descriptor(), seconds(10));
    client.drive();
    while (auto response = client.finished()) {
      EXPECT_EQ(response->status, 200);
      back.insert(response->tag);
    }
  }
  EXPECT_LE(server.connections(), 8);
  EXPECT_EQ(client.in_flight(), 0);
}

// ---- no connection: nothing was sent

TEST(HttpClient, RefusedConnectionSentNothing) {
  int port = free_port();
  Client client(1);
  Response response = exchange(client, get("http://127.0.0.1:" + std::to_string(port) + "/secret"));
  EXPECT_EQ(response.result, Result::not_sent);
  EXPECT_EQ(response.error, "could not connect to 127.0.0.1:" + std::to_string(port) + ": Connection refused");
}

TEST(HttpClient, ConnectTimeoutSentNothing) {
  // A listener whose queue is full: the system drops what comes on top of it.
  int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(listener, 0), 0);
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  std::vector<int> fillers;
  for (int i = 0; i < 4; ++i) {
    fillers.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ::connect(fillers.back(), reinterpret_cast<sockaddr*>(&address), length);
  }
  Client client(1);
  Request request = get("http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)));
  request.connect_timeout = milliseconds(200);
  Response response = exchange(client, request);
  EXPECT_EQ(response.result, Result::not_sent);
  EXPECT_NE(response.error.find("could not connect to 127.0.0.1:"), std::string::npos) << response.error;
  EXPECT_NE(response.error.find("within 200 ms"), std::string::npos) << response.error;
  for (int fd : fillers) ::close(fd);
  ::close(listener);
}

TEST(HttpClient, FailedHandshakeSentNothing) {
  FaultServer server(always(raw("this is not TLS\r\n")));
  // The listener speaks no TLS, and what a hello looks like to it ends the connection.
  Client client(1);
  Response response = exchange(client, get("https://127.0.0.1:" + std::to_string(server.port()) + "/secret"));
  EXPECT_EQ(response.result, Result::not_sent);
  EXPECT_NE(response.error.find("could not establish TLS with 127.0.0.1:"), std::string::npos) << response.error;
  expect_no_secret(response.error);
}

TEST(HttpClient, OtherSchemesAreRefused) {
  Client client(1);
  for (const char* url : {"file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "nonsense", ""}) {
    Response response = exchange(client, get(url));
    EXPECT_EQ(response.result, Result::not_sent) << url;
    EXPECT_EQ(response.body, "") << url;
    EXPECT_NE(response.error, "") << url;
  }
}

TEST(HttpClient, LinkLocalIsRefusedWhenConnecting) {
  Client client(1);
  for (const char* url : {"http://169.254.169.254/", "http://[::ffff:169.254.169.254]/", "http://[64:ff9b::a9fe:a9fe]/", "http://0xa9fea9fe/"}) {
    Response response = exchange(client, get(url));
    EXPECT_EQ(response.result, Result::not_sent) << url;
    EXPECT_NE(response.error.find("link-local"), std::string::npos) << response.error;
  }
}

TEST(HttpClient, AHeaderCannotSmuggleAnother) {
  FaultServer server(always(answer(200, "{}")));
  Client client(1);
  Headers bad[] = {{{"A", "b\r\nX-Evil: 1"}}, {{"A\r\nX-Evil", "1"}}, {{"", "x"}}, {{"A b", "x"}}};
  for (const auto& headers : bad) {
    Request request = get(server.url());
    request.headers = headers;
    Response response = exchange(client, request);
    EXPECT_EQ(response.result, Result::not_sent);
    EXPECT_EQ(response.error.find("Evil"), std::string::npos) << response.error;
  }
  EXPECT_EQ(server.connections(), 0);
  EXPECT_EQ(exchange(client, get(server.url())).status, 200) << "the handle is as good as before";
}

TEST(HttpClient, TheEnvironmentsProxyIsIgnored) {
  FaultServer server(always(answer(200, "{}")));
  std::string dead = "http://127.0.0.1:" + std::to_string(free_port());
  for (const char* name : {"http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"}) ::setenv(name, dead.c_str(), 1);
  EXPECT_EQ(ask(server).status, 200);
  for (const char* name : {"http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"}) ::unsetenv(name);
}

// ---- a connection that ends badly: it may have arrived

struct Ending {
  const char* name;
  Play play;
  const char* says;
};

TEST(HttpClient, ABrokenAnswerIsUnknown) {
  const Ending endings[] = {
      {"closes before the headers", raw(""), "closed the connection without an answer"},
      {"resets before the headers", raw("", Then::reset), "was lost"},
      {"half a header", raw("HTTP/1.1 200 OK\r\nContent-Le"), ""},
      {"half a body", raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"agents\":["), "broke off its answer"},
      {"half a body, then reset", raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Then::reset), ""},
      {"half a chunked body", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\"\r\n"), ""},
      {"garbage", raw("\x16\x03\x01 what is this?\r\n\r\n"), "is not proper HTTP"},
      {"HTTP of the future", raw("HTTP/9.9 200 OK\r\n\r\n"), "is not proper HTTP"},
      {"a broken chunk size", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), ""},
  };
  for (const Ending& ending : endings) {
    FaultServer server(always(ending.play));
    Response response = ask(server);
    EXPECT_EQ(response.result, Result::unknown) << ending.name << ": " << response.error;
    EXPECT_NE(response.error.find(ending.says), std::string::npos) << ending.name << ": " << response.error;
    EXPECT_NE(response.error.find("127.0.0.1:" + std::to_string(server.port())), std::string::npos) << response.error;
    EXPECT_EQ(response.body, "") << ending.name;
    expect_no_secret(response.error);
  }
}

TEST(HttpClient, SilenceIsUnknown) {
  FaultServer server(always(never()));
  Response response = ask(server, milliseconds(150));
  EXPECT_EQ(response.result, Result::unknown);
  EXPECT_EQ(response.error, "127.0.0.1:" + std::to_string(server.port()) + " did not answer within 150 ms");
}

TEST(HttpClient, AnAnswerThatStopsHalfwayIsUnknown) {
  Play half = raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Then::keep);
  FaultServer server(always(half));
  EXPECT_EQ(ask(server, milliseconds(150)).result, Result::unknown);
}

TEST(HttpClient, ALongAnswerIsUnknown) {
  auto limited = [](const FaultServer& server) {
    Client client(1);
    Request request = get(server.url());
    request.max_body = 1000;
    return exchange(client, request);
  };
  FaultServer fits(always(answer(200, std::string(1000, 'x'))));
  EXPECT_EQ(limited(fits).body.size(), 1000u);

  FaultServer announced(always(answer(200, std::string(1001, 'x'))));
  FaultServer chunked(always(raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'x') +
                                 "\r\n0\r\n\r\n")));
  FaultServer endless(always(raw("HTTP/1.1 200 OK\r\n\r\n" + std::string(1 << 20, 'x'))));
  for (const FaultServer* server : {&announced, &chunked, &endless}) {
    Response response = limited(*server);
    EXPECT_EQ(response.result, Result::unknown);
    EXPECT_NE(response.error.find("longer than 1000 bytes"), std::string::npos) << response.error;
    EXPECT_EQ(response.body, "");
  }
}

TEST(HttpClient, EndlessHeadersAreUnknown) {
  std::string headers = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 20000; ++i) headers += "X-" + std::to_string(i) + ": " + std::string(100, 'x') + "\r\n";
  FaultServer server(always(raw(headers)));
  EXPECT_EQ(ask(server).result, Result::unknown);
}

// ---- odd, but proper

TEST(HttpClient, SlowBytesMakeAWholeAnswer) {
  Play slow = answer(200, R"({"agents":[]})");
  slow.byte_by_byte = true;
  FaultServer server(always(slow));
  EXPECT_EQ(ask(server).body, R"({"agents":[]})");
}

TEST(HttpClient, BytesBeyondTheContentLengthAreNoAnswer) {
  FaultServer server(always(raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 500 Smuggled\r\n\r\n", Then::keep)));
  Client client(1);
  for (int i = 0; i < 2; ++i) {
    Response response = exchange(client, get(server.url()));
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "{}");
  }
}

TEST(HttpClient, RedirectsAreNotFollowed) {
  FaultServer target(always(answer(200, "secret")));
  FaultServer server(always(answer(302, "", {{"Location", target.url() + "/"}})));
  Response response = ask(server);
  EXPECT_EQ(response.result, Result::answered);
  EXPECT_EQ(response.status, 302);
  EXPECT_EQ(target.connections(), 0);
}

TEST(HttpClient, InterimAnswersAreSkipped) {
  FaultServer server(always(raw("HTTP/1.1 103 Early\r\nRetry-After: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")));
  Response response = ask(server);
  EXPECT_EQ(response.status, 200);
  EXPECT_FALSE(response.retry_after);
}

TEST(HttpClient, CookiesAreNotKept) {
  FaultServer server(always(answer(200, "{}", {{"Set-Cookie", "a=b"}})));
  Client client(1);
  exchange(client, get(server.url()));
  exchange(client, get(server.url()));
  EXPECT_EQ(server.seen().at(1).headers.count("cookie"), 0u);
}

TEST(HttpClient, RetryAfter) {
  struct { const char* value; const char* date; std::optional<Duration> expected; } const cases[] = {
      {"7", "", seconds(7)},
      {"0", "", seconds(0)},
      {"99999999999999999999", "", hours(24)},
      {"-1", "", {}},
      {"soon", "Wed, 21 Oct 2015 07:28:00 GMT", {}},
      {"", "", {}},
      {"Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", seconds(30)},
      {"Wed, 21 Oct 2015 07:27:00 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", seconds(0)},
      {"Wed, 21 Oct 2099 07:27:00 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", hours(24)},
      {"Wed, 21 Oct 2015 07:28:30 GMT", "", {}},
  };
  for (const auto& one : cases) {
    Headers headers{{"rEtRy-AfTeR", one.value}};
    if (*one.date) headers.emplace_back("Date", one.date);
    FaultServer server(always(answer(503, "{}", headers)));
    Response response = ask(server);
    EXPECT_EQ(response.status, 503);
    EXPECT_EQ(response.retry_after, one.expected) << one.value << " | " << one.date;
    EXPECT_EQ(response.date, one.date);
  }
}

TEST(HttpClient, ReadsDates) {
  EXPECT_EQ(http_date("Wed, 21 Oct 2015 07:28:00 GMT"), Time(seconds(1445412480)));
  EXPECT_FALSE(http_date(""));
  EXPECT_FALSE(http_date("yesterday"));
  EXPECT_FALSE(http_date("Fri Dec  5 10:00:00 9949999"));  // libcurl takes any year, microseconds do not hold it
}

// ---- kept connections

TEST(HttpClient, AConnectionClosedWhileIdleIsReplaced) {
  FaultServer server(always(raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Then::close)));
  Client client(1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(exchange(client, get(server.url())).status, 200);
}

// The second request on a kept connection gets a closed connection for an answer. libcurl then sends it once
// more by itself, since a server may close an idle connection at any time: a hub may see one command twice.
FaultServer::Handler closes_on_the_second_request() {
  return [calls = std::make_shared<std::map<int, int>>(), mutex = std::make_shared<std::mutex>()](const Seen& seen) {
    std::lock_guard lock(*mutex);
    return ++(*calls)[seen.connection] == 2 ? raw("") : answer(200, "{}");
  };
}

TEST(HttpClient, AKeptConnectionThatDiesIsTriedOnceMoreByLibcurl) {
  FaultServer server(closes_on_the_second_request());
  Client client(1);
  Request post = get(server.url());
  post.method = "POST";
  post.body = "command";
  EXPECT_EQ(exchange(client, post).status, 200);
  EXPECT_EQ(exchange(client, post).status, 200);
  EXPECT_EQ(server.seen().size(), 3u);
}

TEST(HttpClient, ARefusedSecondConnectionDoesNotHideWhatTheFirstCarried) {
  auto server = std::make_unique<FaultServer>(always(answer(200, "{}")));
  int port = server->port();
  std::string url = server->url();
  Client client(1);
  EXPECT_EQ(exchange(client, get(url)).status, 200);
  server.reset();
  // The next one on that port takes the kept connection's request and is gone before a second can be opened.
  int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<unsigned short>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 8), 0);
  std::thread peer([&] {
    int connection = ::accept(listener, nullptr, nullptr);
    char request[4096];
    const char* reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    EXPECT_GT(::recv(connection, request, sizeof request, 0), 0);
    EXPECT_GT(::send(connection, reply, std::strlen(reply), MSG_NOSIGNAL), 0);
    EXPECT_GT(::recv(connection, request, sizeof request, 0), 0);
    ::close(listener);
    ::close(connection);
  });
  EXPECT_EQ(exchange(client, get(url)).status, 200);
  Response response = exchange(client, get(url));
  peer.join();
  EXPECT_EQ(response.result, Result::unknown) << response.error;
}

TEST(HttpClient, OnAFreshConnectionNothingIsSentTwice) {
  int calls = 0;
  FaultServer server([&](const Seen&) { return ++calls == 1 ? answer(200, "{}") : raw(""); });
  Client client(1);
  exchange(client, get(server.url()));
  Request fresh = get(server.url());
  fresh.fresh_connection = true;
  EXPECT_EQ(exchange(client, fresh).result, Result::unknown);
  EXPECT_EQ(server.seen().size(), 2u);
}

// ---- the descriptor

TEST(HttpClient, IsQuietWhenIdle) {
  FaultServer server(always(answer(200, "{}")));
  Client client(2);
  exchange(client, get(server.url()));
  client.drive();
  EXPECT_FALSE(client.finished());
  pollfd one{client.descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&one, 1, 50), 0) << "a kept connection must not keep the worker awake";
}

TEST(HttpClient, GoesAwayWithTransfersInFlight) {
  FaultServer server(always(never()));
  {
    Client client(8);
    for (int i = 0; i < 8; ++i) client.start(get(server.url()));
    PollWaiter waiter;
    for (int i = 0; i < 20; ++i) {
      client.drive();
      waiter.wait(client.descriptor(), milliseconds(5));
    }
    EXPECT_EQ(client.in_flight(), 8);
  }
  Client again(1);
  FaultServer other(always(answer(200, "{}")));
  EXPECT_EQ(exchange(again, get(other.url())).status, 200);
}

TEST(HttpClient, LeavesNoDescriptorBehind) {
  FaultServer server(always(answer(200, "{}")));
  auto lowest_free = [] {
    int fd = ::dup(0);
    ::close(fd);
    return fd;
  };
  {
    Client warm_up(1);
    exchange(warm_up, get(server.url()));
  }
  std::this_thread::sleep_for(milliseconds(50));  // the server's side closes by itself
  int before = lowest_free();
  for (int i = 0; i < 20; ++i) {
    Client client(4);
    exchange(client, get(server.url()));
    client.start(get("http://127.0.0.1:" + std::to_string(free_port())));
  }
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_LE(lowest_free(), before + 1);
}

}  // namespace
}  // namespace reconciler::http
