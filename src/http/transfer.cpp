// Setting up one transfer, and the callbacks that fill it. How it ended is told in outcome.cpp.
#include "http/transfer.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <new>
#include <string_view>

#include "http/ip.hpp"

namespace reconciler::http {
namespace {

bool is_token(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return c > 0x20 && c < 0x7f && std::string_view("()<>@,;:\\\"/[]?={}").find(static_cast<char>(c)) == std::string_view::npos;
  });
}

bool has_control(const std::string& value) {
  return std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](unsigned char x, unsigned char y) {
    return (x | 0x20) == (y | 0x20) && ((x ^ y) == 0 || (x | 0x20) >= 'a');
  });
}

long milliseconds_of(Duration span) {
  long ms = static_cast<long>(std::chrono::ceil<std::chrono::milliseconds>(span).count());
  return std::max(ms, 1L);  // 0 would mean: no limit
}

}  // namespace

Transfer::Transfer() : easy_(curl_easy_init()) {
  if (!easy_) throw std::bad_alloc();
}

template <class Value> void Transfer::set(CURLoption option, Value value) {
  CURLcode code = curl_easy_setopt(easy_.get(), option, value);
  if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
  if (code != CURLE_OK && refused_option_ == CURLE_OK) refused_option_ = code;
}

bool Transfer::prepare(Request request) {
  bool https = same_name(std::string_view(request.url).substr(0, 6), "https:");
  request_ = std::move(request);
  Shape shape{request_.method, request_.tls, https, request_.fresh_connection, has_body(),
              request_.connect_timeout, request_.total_timeout, request_.max_body};
  error_[0] = '\0';
  body_.clear();
  retry_after_.clear();
  date_.clear();
  refusal_.clear();
  refused_option_ = CURLE_OK;
  too_long_ = out_of_memory_ = link_local_ = headers_ended_ = false;

  // Setting every option costs a seventh of a whole request on loopback, and requests come in long rows of
  // one shape: all is reset when the shape changes, otherwise only what every request has of its own is set.
  if (!shape_ || *shape_ != shape) {
    shape_.reset();
    curl_easy_reset(easy_.get());  // keeps connections, DNS answers and TLS sessions
    set_callbacks();
    set_limits();
    set_origin_rules();
    set_tls(shape.https);
    set_method();
    if (refused_option_ == CURLE_OK) shape_ = std::move(shape);
  }
  set(CURLOPT_URL, request_.url.c_str());
  set_body();
  set_headers();
  if (refusal_.empty() && refused_option_ != CURLE_OK)
    refusal_ = std::string("libcurl refused an option: ") + curl_easy_strerror(refused_option_);
  return refusal_.empty();
}

void Transfer::set_callbacks() {
  set(CURLOPT_ERRORBUFFER, error_);
  set(CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  set(CURLOPT_WRITEDATA, this);
  set(CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  set(CURLOPT_HEADERDATA, this);
  set(CURLOPT_OPENSOCKETFUNCTION, &Transfer::on_open_socket);
  set(CURLOPT_OPENSOCKETDATA, this);
}

void Transfer::set_limits() {
  set(CURLOPT_CONNECTTIMEOUT_MS, milliseconds_of(request_.connect_timeout));
  set(CURLOPT_TIMEOUT_MS, milliseconds_of(request_.total_timeout));
  // Refuses a longer Content-Length at once; on_body() counts what comes without one.
  set(CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(request_.max_body));
  set(CURLOPT_NOSIGNAL, 1L);  // SIGALRM belongs to the server
#if LIBCURL_VERSION_NUM >= 0x075700
  // A name server that does not answer must not hold up the worker: without this libcurl joins its resolver
  // thread when a transfer times out or is dropped. Before 7.87 there is no way round it.
  set(CURLOPT_QUICK_EXIT, 1L);
  set(CURLOPT_CA_CACHE_TIMEOUT, 10L);  // a renewed CA file is honoured soon; a burst reads it once
#endif
  set(CURLOPT_DNS_CACHE_TIMEOUT, 10L);  // a hub that moves keeps its name
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_FRESH_CONNECT, request_.fresh_connection ? 1L : 0L);
  // Everything is left of these defaults on purpose: ACCEPT_ENCODING (no decompression bombs), COOKIEFILE,
  // NETRC, HTTP09_ALLOWED.
}

void Transfer::set_origin_rules() {
  set(CURLOPT_PATH_AS_IS, 1L);  // an id of ".." must not become another path
#if LIBCURL_VERSION_NUM >= 0x075500
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
#else
  set(CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
  set(CURLOPT_REDIR_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_MAXREDIRS, 0L);
  set(CURLOPT_UNRESTRICTED_AUTH, 0L);
  set(CURLOPT_PROXY, "");  // whatever stands in the environment of the postmaster
  set(CURLOPT_NOPROXY, "*");
  set(CURLOPT_USERAGENT, "session_reconciler");
}

void Transfer::set_tls(bool https) {
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  // The first transfers to a hub wait to learn whether they can share one connection. Not for plain http,
  // where they never can, and not where a connection of its own is the point.
  set(CURLOPT_PIPEWAIT, https && !request_.fresh_connection ? 1L : 0L);
  if (!https) return;
  set(CURLOPT_SSL_VERIFYPEER, 1L);
  set(CURLOPT_SSL_VERIFYHOST, 2L);
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!request_.tls.ca_file.empty()) {
    set(CURLOPT_CAINFO, request_.tls.ca_file.c_str());
    set(CURLOPT_CAPATH, static_cast<char*>(nullptr));  // this CA, and none of the system's
  }
  if (!request_.tls.cert_file.empty()) set(CURLOPT_SSLCERT, request_.tls.cert_file.c_str());
  if (!request_.tls.key_file.empty()) set(CURLOPT_SSLKEY, request_.tls.key_file.c_str());
}

void Transfer::set_method() {
  const std::string& method = request_.method;
  if (method == "GET") {
    set(CURLOPT_HTTPGET, 1L);
  } else if (method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (!has_body()) {
    set(CURLOPT_CUSTOMREQUEST, method.c_str());
  } else {
    set(CURLOPT_POST, 1L);
    if (method != "POST") set(CURLOPT_CUSTOMREQUEST, method.c_str());
  }
}

bool Transfer::has_body() const {
  if (request_.method == "DELETE") return !request_.body.empty();
  return request_.method != "GET" && request_.method != "HEAD";
}

void Transfer::set_body() {
  if (!is_token(request_.method)) refusal_ = "the method is not an HTTP token";
  if (!has_body()) return;
  set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
  set(CURLOPT_POSTFIELDS, request_.body.data());  // not copied: request_ outlives the transfer
}

void Transfer::set_headers() {
  headers_.reset();
  auto append = [this](const std::string& line) {
    curl_slist* longer = curl_slist_append(headers_.get(), line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    headers_.release();
    headers_.reset(longer);
  };
  bool typed = false;
  for (const auto& [name, value] : request_.headers) {
    if (!is_token(name) || has_control(value)) {
      refusal_ = "a header has a character that no header may have";
      continue;
    }
    typed = typed || same_name(name, "content-type");
    append(value.empty() ? name + ";" : name + ": " + value);
  }
  if (has_body() && !typed) append("Content-Type:");  // libcurl would call every body a form
  if (request_.body.size() > 1000) append("Expect:");   // no 100-continue: some servers ignore it, and a second is lost
  set(CURLOPT_HTTPHEADER, headers_.get());
}

std::size_t Transfer::on_body(char* data, std::size_t size, std::size_t count, void* self) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  std::size_t bytes = size * count;
  if (bytes > transfer.request_.max_body - transfer.body_.size()) {
    transfer.too_long_ = true;
    return 0;
  }
  try {
    transfer.body_.append(data, bytes);
  } catch (...) {
    transfer.out_of_memory_ = true;
    return 0;
  }
  return bytes;
}

std::size_t Transfer::on_header(char* data, std::size_t size, std::size_t count, void* self) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  std::size_t bytes = size * count;
  std::string_view line(data, bytes);
  try {
    // An interim answer (1xx) has a header block of its own before the one that counts.
    if (line.substr(0, 5) == "HTTP/") {
      transfer.retry_after_.clear();
      transfer.date_.clear();
      transfer.headers_ended_ = false;
    }
    // libcurl is content with a connection that closes in the middle of the headers.
    if (line == "\r\n" || line == "\n") transfer.headers_ended_ = true;
    std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || line.size() > 200) return bytes;
    std::string* wanted = same_name(line.substr(0, colon), "retry-after") ? &transfer.retry_after_
                          : same_name(line.substr(0, colon), "date")      ? &transfer.date_
                                                                          : nullptr;
    if (wanted == nullptr) return bytes;
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
    while (!value.empty() && static_cast<unsigned char>(value.back()) <= ' ') value.remove_suffix(1);
    wanted->assign(value);
  } catch (...) {
    transfer.out_of_memory_ = true;
    return 0;
  }
  return bytes;
}

// Called with the address a name resolved to, right before connecting: what a check of the name cannot see.
curl_socket_t Transfer::on_open_socket(void* self, curlsocktype, curl_sockaddr* address) noexcept {
  if (!may_connect(address->addr)) {
    static_cast<Transfer*>(self)->link_local_ = true;
    return CURL_SOCKET_BAD;
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

}  // namespace reconciler::http
