// What tests of hub/ share: the profiles as installed, bodies of the standard protocol, and a hub object.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hub/http_hub.hpp"
#include "support/fault_server.hpp"
#include "support/poll_waiter.hpp"

namespace reconciler::testing {

inline Profile installed_profile(const std::string& name) {
  auto root = std::filesystem::absolute(__FILE__).parent_path().parent_path().parent_path().parent_path();
  std::ifstream file(root / "src/hub/profiles" / (name + ".json"));
  return Profile(name, std::string(std::istreambuf_iterator<char>(file), {}));
}

struct ListBody {
  std::string instance = "hub-1", scope = "";  // '' = not said
  bool complete = true;
  std::string next = "";
  std::vector<std::pair<std::string, std::string>> agents = {};  // id, status

  std::string text() const {
    std::string list;
    for (const auto& [id, status] : agents)
      list += (list.empty() ? "" : ",") + (R"({"id":")" + id + R"(","status":")" + status + R"(","incarnation":"i-)" + id + "\"}");
    return R"({"hub":{"instance_id":")" + instance + "\"" + (scope.empty() ? "" : R"(,"scope":")" + scope + "\"") +
           R"(},"complete":)" + (complete ? "true" : "false") + R"(,"next":)" + (next.empty() ? "null" : "\"" + next + "\"") +
           R"(,"agents":[)" + list + "]}";
  }
};

inline Play error(int status, const std::string& code, const Headers& headers = {}) {
  return answer(status, R"({"error":{"code":")" + code + "\"}}", headers);
}

// The command id is what the hub was given in its Idempotency-Key.
inline Play accepted(const Seen& seen) {
  return answer(202, R"({"command_id":")" + seen.header("idempotency-key") + R"(","status":"accepted"})");
}

struct World {
  PollWaiter waiter;
  http::Credentials credentials{""};
  HubOptions options;

  World() {
    options.max_in_flight = 8;
    options.connect_timeout = milliseconds(500);
    options.total_timeout = milliseconds(300);  // what hangs in these tests hangs for good
  }
  std::unique_ptr<HttpHub> hub(std::vector<std::string> addresses, const std::string& profile = "standard") {
    options.addresses = std::move(addresses);
    return std::make_unique<HttpHub>(installed_profile(profile), options, credentials, waiter);
  }
};

inline std::string nobody() { return "http://127.0.0.1:" + std::to_string(free_port()); }

}  // namespace reconciler::testing
