// HTTP over one libcurl multi handle behind one descriptor. Knows nothing of hubs. Never blocks, never throws
// from a callback; facts that shaped it: a resolver thread must not take the server's signals, an easy handle
// is added only when a slot is free so that its timeout covers its own transfer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/time.hpp"

namespace reconciler::http {

struct Tls {  // file names, as in the credentials file; '' = not used
  std::string ca_file, cert_file, key_file;
  bool operator==(const Tls&) const = default;
};

struct Request {
  std::uint64_t tag = 0;             // comes back with the response
  std::string method = "GET", url;   // http or https only
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;                  // of methods that have one: not GET, HEAD; with DELETE it is optional
  Tls tls;
  bool fresh_connection = false;     // do not reuse a kept connection
  Duration connect_timeout = seconds(2), total_timeout = seconds(5);
  std::size_t max_body = 1 << 20;    // a longer answer fails
};

struct Response {
  std::uint64_t tag = 0;
  enum class Result {
    answered,  // status and whole body are here
    not_sent,  // no connection: surely nothing arrived
    unknown    // anything else: it may have arrived
  } result = Result::not_sent;
  long status = 0;
  std::string body, content_type;
  std::optional<Duration> retry_after;  // seconds or HTTP-date (relative to the answer's Date), ≥ 0, ≤ 1 day
  std::string date;                     // the answer's Date as sent, by the server's clock: see http_date()
  std::string error;                    // for people; names host and port, no path, query, header or secret
  Duration took{0};
};

std::optional<Time> http_date(const std::string&);  // any form that HTTP allows

class Client {
 public:
  explicit Client(int max_in_flight);
  ~Client();  // quick: joins no resolver thread
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool has_room() const;            // in_flight < max_in_flight
  int in_flight() const;
  void start(Request);              // precondition: has_room()
  int descriptor() const;           // readable when drive() has something to do
  void drive();                     // serves sockets and timers, one batch; never blocks
  std::optional<Response> finished();  // one at a time, until empty

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reconciler::http
