// How a transfer ended: whether anything can have arrived, and one sentence about it for people.
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>

#include "http/transfer.hpp"

namespace reconciler::http {
namespace {

constexpr Duration kLongestRetryAfter = hours(24);

std::string text_of_span(Duration span) {
  auto ms = std::chrono::duration_cast<milliseconds>(span).count();
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
}

// Foreign bytes may stand in libcurl's messages about certificates.
std::string printable(const char* text) {
  std::string clean(text);
  if (clean.size() > 200) clean.resize(200);
  std::replace_if(clean.begin(), clean.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return clean;
}

bool is_tls_error(CURLcode code) {
  switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_USE_SSL_FAILED:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::optional<Time> http_date(const std::string& text) {
  std::time_t at = text.empty() ? -1 : curl_getdate(text.c_str(), nullptr);
  // libcurl takes years that no microseconds hold.
  constexpr std::time_t year_10000 = 253402300800;
  if (at == -1 || at < -year_10000 || at >= year_10000) return {};
  return Time(seconds(at));
}

// Without the answer's own Date an HTTP-date says nothing: whose clock would it be measured against?
std::optional<Duration> retry_after(const std::string& text, const std::string& date) {
  if (text.empty()) return {};
  if (std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    long amount = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount);
    if (error != std::errc() || amount > 86400) return kLongestRetryAfter;
    return seconds(amount);
  }
  auto at = http_date(text), now = http_date(date);
  if (!at || !now) return {};
  return std::clamp<Duration>(*at - *now, Duration(0), kLongestRetryAfter);
}

std::string host_and_port(const std::string& url) {
  std::size_t start = url.find("://");
  if (start == std::string::npos) return "the server";
  bool https = start == 5;
  start += 3;
  std::string authority = url.substr(start, url.find_first_of("/?#", start) - start);
  authority = printable(authority.substr(authority.rfind('@') + 1).c_str());
  std::size_t colon = authority.rfind(':');
  bool ported = colon != std::string::npos && authority.find(']', colon) == std::string::npos;
  return ported ? authority : authority + (https ? ":443" : ":80");
}

// Certain only where no byte of the request was handed to the system and no connection got as far as that.
// libcurl sends once more by itself when a kept connection turns out closed; its count covers both times, so
// that a refused second connection does not hide what went out on the first.
bool Transfer::surely_not_sent() const {
  long sent = 0;
  curl_off_t uploaded = 0, ready = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_REQUEST_SIZE, &sent);
  curl_easy_getinfo(easy_.get(), CURLINFO_SIZE_UPLOAD_T, &uploaded);
  curl_easy_getinfo(easy_.get(), CURLINFO_PRETRANSFER_TIME_T, &ready);
  return sent == 0 && uploaded == 0 && ready == 0;
}

std::string Transfer::describe_timeout() const {
  std::string peer = host_and_port(request_.url);
  curl_off_t resolved = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_NAMELOOKUP_TIME_T, &resolved);
  if (!surely_not_sent()) return peer + " did not answer within " + text_of_span(request_.total_timeout);
  std::string within = " within " + text_of_span(std::min(request_.connect_timeout, request_.total_timeout));
  return (resolved == 0 ? "could not resolve the name of " + peer : "could not connect to " + peer) + within;
}

std::string Transfer::describe(CURLcode code) const {
  std::string peer = host_and_port(request_.url);
  if (out_of_memory_ || code == CURLE_OUT_OF_MEMORY) return "out of memory while talking to " + peer;
  if (too_long_ || code == CURLE_FILESIZE_EXCEEDED)
    return "the answer of " + peer + " is longer than " + std::to_string(request_.max_body) + " bytes";
  if (link_local_ && code == CURLE_COULDNT_CONNECT)
    return "refused to connect to " + peer + ": its name resolves to a link-local address";
  if (is_tls_error(code))
    return "could not establish TLS with " + peer + ": " + printable(error_[0] ? error_ : curl_easy_strerror(code));
  switch (code) {
    case CURLE_COULDNT_CONNECT: {
      long error = 0;
      curl_easy_getinfo(easy_.get(), CURLINFO_OS_ERRNO, &error);
      return "could not connect to " + peer +
             (error ? ": " + std::generic_category().message(static_cast<int>(error)) : "");
    }
    case CURLE_COULDNT_RESOLVE_HOST: return "could not resolve the name of " + peer;
    case CURLE_OPERATION_TIMEDOUT: return describe_timeout();
    case CURLE_GOT_NOTHING: return peer + " closed the connection without an answer";
    case CURLE_OK:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2_STREAM: return peer + " broke off its answer";
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return "the connection to " + peer + " was lost";
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_HTTP2: return "the answer of " + peer + " is not proper HTTP";
    case CURLE_URL_MALFORMAT: return "the URL for " + peer + " is not valid";
    default: return "the exchange with " + peer + " failed: " + curl_easy_strerror(code);
  }
}

void Transfer::read_headers(Response& response) const {
  response.date = date_;
  response.retry_after = retry_after(retry_after_, response.date);
  const char* type = nullptr;
  if (curl_easy_getinfo(easy_.get(), CURLINFO_CONTENT_TYPE, &type) == CURLE_OK && type != nullptr)
    response.content_type = type;
}

Response Transfer::finish(CURLcode code) {
  Response response;
  response.tag = request_.tag;
  curl_off_t took = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_TOTAL_TIME_T, &took);
  response.took = Duration(took);
  long status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  if (code == CURLE_OK && status > 0 && headers_ended_) {
    response.result = Response::Result::answered;
    response.status = status;
    response.body = std::move(body_);
    read_headers(response);
  } else {
    response.result = surely_not_sent() ? Response::Result::not_sent : Response::Result::unknown;
    response.error = describe(code);
  }
  body_.clear();
  return response;
}

Response Transfer::refused() {
  Response response;
  response.tag = request_.tag;
  response.error = "no request to " + host_and_port(request_.url) + ": " + refusal_;
  return response;
}

}  // namespace reconciler::http
