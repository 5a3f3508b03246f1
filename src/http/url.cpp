// Addresses of hubs and origins of credentials. libcurl's own parser takes them apart, so that what is
// checked here is what is connected to later; around it stand the checks that it leaves to its callers.
#include <curl/curl.h>

#include <algorithm>
#include <memory>

#include "http/credentials.hpp"
#include "http/ip.hpp"

namespace reconciler::http {
namespace {

const char* const kExample = "An address looks like \"https://hub.example.com:8443/prefix\".";

struct FreeUrl { void operator()(CURLU* url) const { curl_url_cleanup(url); } };
struct FreeText { void operator()(char* text) const { curl_free(text); } };
using Url = std::unique_ptr<CURLU, FreeUrl>;

// A part that the URL does not have is ''.
std::string part(const Url& url, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), which, &text, flags) != CURLUE_OK) return {};
  std::unique_ptr<char, FreeText> owner(text);
  return text == nullptr ? std::string() : std::string(text);
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

// What precedes libcurl's parser, which forgives a lot ("http:/host", spaces, backslashes in a path).
class Spelling {
 public:
  Spelling(const std::string& url, const std::string& what) : url_(url), what_(what) {}

  void check() const {
    if (std::any_of(url_.begin(), url_.end(), [](unsigned char c) { return c <= 0x20 || c >= 0x7f || c == '\\'; }))
      fail("has a character that no URL may have",
           "Only printable ASCII is allowed, and no backslash; write an international name in its xn-- form.");
    std::size_t colon = url_.find("://");
    std::string scheme = colon == std::string::npos ? "" : lower(url_.substr(0, colon));
    if (scheme != "http" && scheme != "https") fail("is not an http or https URL", kExample);
    std::string rest = url_.substr(colon + 3);
    std::string authority = rest.substr(0, rest.find_first_of("/?#"));
    if (authority.empty()) fail("names no host", kExample);
    if (authority.find('@') != std::string::npos)
      fail("must not contain a user name or password",
           "Put the secret into a file, and name that file in the file of session_reconciler.credentials_file.");
    // Also zone ids ("[fe80::1%25eth0]"): such addresses are link-local.
    if (authority.find('%') != std::string::npos) fail("has a percent sign in its host", kExample);
    // Looked for here since older parsers drop an empty one.
    if (rest.find('#') != std::string::npos) fail("must not have a fragment", kExample);
    if (rest.find('?') != std::string::npos) fail("must not have a query", kExample);
  }

  [[noreturn]] void fail(const std::string& wrong, const std::string& hint) const {
    throw ConfigError(named() + " " + wrong, hint);
  }

 private:
  // The URL is shown only as far as it can hold no secret: a query may be a token, and wherever there is an
  // @ a password may stand before it, however badly the rest is spelled.
  std::string named() const {
    bool showable = url_.find('@') == std::string::npos && url_.size() <= 200 &&
                    std::all_of(url_.begin(), url_.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7f; });
    return showable ? what_ + " \"" + url_.substr(0, url_.find_first_of("?#")) + "\"" : what_;
  }

  const std::string& url_;
  const std::string& what_;
};

std::string canonical_host(const std::string& host, const Spelling& spelling) {
  if (auto ip = canonical_ip(host)) return *ip;
  bool name = !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
  });
  if (!name) spelling.fail("has a host that is neither a name nor an IP address", kExample);
  return host;
}

int port_number(const std::string& text, const Spelling& spelling) {
  int port = 0;
  for (char digit : text.substr(0, 6)) port = port * 10 + (digit - '0');
  if (port < 1 || port > 65535) spelling.fail("has a port that is not between 1 and 65535", kExample);
  return port;
}

}  // namespace

std::string Origin::text() const { return scheme + "://" + host + ":" + std::to_string(port); }
bool Origin::loopback() const { return host == "localhost" || is_loopback(host); }
bool Origin::link_local() const { return is_link_local(host); }

Address parse_address(const std::string& text, const std::string& what) {
  Spelling spelling(text, what);
  spelling.check();

  Url url(curl_url());
  if (!url) throw std::bad_alloc();
  CURLUcode code = curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_DISALLOW_USER);
  if (code == CURLUE_OUT_OF_MEMORY) throw std::bad_alloc();
  if (code == CURLUE_BAD_PORT_NUMBER) spelling.fail("has a port that is not between 1 and 65535", kExample);
  if (code != CURLUE_OK) spelling.fail("is not a valid URL", kExample);

  Address address;
  address.origin.scheme = lower(part(url, CURLUPART_SCHEME));
  address.origin.host = canonical_host(lower(part(url, CURLUPART_HOST)), spelling);
  address.origin.port = port_number(part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT), spelling);
  if (address.origin.link_local())
    spelling.fail("is link-local", "Link-local addresses are refused: metadata services of clouds live there.");
  address.prefix = part(url, CURLUPART_PATH);
  while (!address.prefix.empty() && address.prefix.back() == '/') address.prefix.pop_back();
  return address;
}

}  // namespace reconciler::http
