// An HTTP server on 127.0.0.1 whose every answer a test decides, down to the byte and the way it ends.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace reconciler::testing {

struct Seen {
  std::string method, target, body;
  std::map<std::string, std::string> headers;  // names in lower case
  int connection = 0;                          // counted from 1
  std::string header(const std::string& name) const {
    auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

struct Play {
  std::string bytes;
  std::chrono::milliseconds silence{0};  // before the first byte
  bool byte_by_byte = false;
  enum class Then { keep, close, reset } then = Then::keep;
};

using Headers = std::vector<std::pair<std::string, std::string>>;
// A well-formed answer with its Content-Length.
Play answer(int status, const std::string& body, const Headers& headers = {});
Play raw(std::string bytes, Play::Then then = Play::Then::close);
// Never answers, as long as the server lives.
Play never();

class FaultServer {
 public:
  using Handler = std::function<Play(const Seen&)>;  // called from threads of its own
  explicit FaultServer(Handler, int port = 0);
  ~FaultServer();  // ends every connection

  int port() const;
  std::string url() const;  // without a trailing slash
  std::vector<Seen> seen() const;
  int connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A port of 127.0.0.1 at which nobody listens.
int free_port();

}  // namespace reconciler::testing
