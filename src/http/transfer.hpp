// One easy handle and what belongs to its current transfer. Reused: making one costs more than a request on
// loopback takes.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <optional>
#include <string>

#include "http/client.hpp"

namespace reconciler::http {

class Transfer {
 public:
  Transfer();  // throws std::bad_alloc
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // False: libcurl or we refuse the request as it stands; refused() has the answer then. Throws bad_alloc.
  bool prepare(Request);
  CURL* easy() const { return easy_.get(); }
  // The transfer is over and no longer with the multi handle.
  Response finish(CURLcode);
  Response refused();

 private:
  struct FreeEasy { void operator()(CURL* easy) const { curl_easy_cleanup(easy); } };
  struct FreeList { void operator()(curl_slist* list) const { curl_slist_free_all(list); } };
  template <class Value> void set(CURLoption option, Value value);

  void set_callbacks();
  void set_limits();
  void set_origin_rules();
  void set_tls(bool https);
  void set_method();
  void set_body();
  void set_headers();
  bool has_body() const;

  bool surely_not_sent() const;
  std::string describe(CURLcode) const;
  std::string describe_timeout() const;
  void read_headers(Response&) const;

  // Callbacks of libcurl: they record, they never throw.
  static std::size_t on_body(char*, std::size_t, std::size_t, void*) noexcept;
  static std::size_t on_header(char*, std::size_t, std::size_t, void*) noexcept;
  static curl_socket_t on_open_socket(void*, curlsocktype, curl_sockaddr*) noexcept;

  // What requests of one kind have in common: everything that is set but URL, headers and body.
  struct Shape {
    std::string method;
    Tls tls;
    bool https, fresh_connection, has_body;
    Duration connect_timeout, total_timeout;
    std::size_t max_body;
    bool operator==(const Shape&) const = default;
  };
  std::optional<Shape> shape_;  // of the options as they are set; empty: not set, or not all of them

  // Named by libcurl by address: they outlive the easy handle, so they stand before it.
  Request request_;
  char error_[CURL_ERROR_SIZE] = {};
  std::unique_ptr<curl_slist, FreeList> headers_;

  std::string body_, retry_after_, date_;
  std::string refusal_;
  CURLcode refused_option_ = CURLE_OK;
  bool too_long_ = false, out_of_memory_ = false, link_local_ = false, headers_ended_ = false;
  std::unique_ptr<CURL, FreeEasy> easy_;
};

// What Response::retry_after says, of the two headers as sent.
std::optional<Duration> retry_after(const std::string& value, const std::string& date);

// "host:port" of a URL for people: no user info, path or query.
std::string host_and_port(const std::string& url);

}  // namespace reconciler::http
