// A hub's answers through a profile. The first byte of an input chooses the status, the second what was asked and whether
// there is a Retry-After; the rest is the body.
#pragma once

#include <algorithm>
#include <string>

#include "core/json.hpp"
#include "core/profile.hpp"
#include "fuzz.hpp"
#include "support/profiles.hpp"

namespace fuzz {

using namespace reconciler;
using nlohmann::json;

struct HubAnswer {
  long status;
  int asked;  // one of five
  bool retry_after;
  std::string_view body;

  static HubAnswer of(const std::uint8_t* data, std::size_t size) {
    static constexpr long statuses[] = {200, 201, 202, 204, 301, 400, 401, 403, 404, 409, 410, 418, 429, 500, 503, 599};
    return {statuses[data[0] % std::size(statuses)], data[1] / 2 % 5, data[1] % 2 == 1, text(data + 2, size - 2)};
  }

  json read() const { return json::parse(body.begin(), body.end(), nullptr, false); }
  // The string at a JSON pointer; '' where there is none.
  std::string at(const char* pointer) const {
    const json all = read();
    const json::json_pointer there(pointer);
    return all.is_object() && all.contains(there) && all[there].is_string() ? all[there].get<std::string>() : std::string();
  }
};

inline const CommandRequest command{"c-1", "k8s-1", "stop_session", "s-1", "pod-1", "stuck", 3};

// For people, in a log and in an event.
inline void expect_readable(const std::string& words) {
  expect(words.size() < 300 && std::none_of(words.begin(), words.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }),
         "what is said of an answer is short and printable");
}

inline void expect_proper_target(const HttpRequest& request) {
  expect(request.target.starts_with('/') && !request.target.starts_with("//") &&
             std::all_of(request.target.begin(), request.target.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; }),
         "the next page is asked for at the same origin");
}

inline void read_list(const Profile& hub, const HubAnswer& answer) {
  const auto page = hub.read_agents(answer.status, answer.body);
  if (!page) return;
  expect(answer.read().is_object(), "a list that proves something is a JSON object");
  for (const auto& agent : page->agents) expect(!agent.id.empty(), "no agent without an id");
  if (page->next) expect_proper_target(hub.list_agents(page->next));
}

inline void read_agent(const Profile& hub, const HubAnswer& answer) {
  const auto one = hub.read_agent(command.agent, answer.status, answer.body);
  if (!one) return;
  expect(answer.read().is_object(), "an answer that proves something is a JSON object");
  expect(one->agent.id == command.agent, "only the agent that was asked about");
}

inline void read_command(const Profile& hub, const HubAnswer& answer) {
  const auto state = hub.read_command(command.command_id, answer.status, answer.body);
  expect(state.progress == CommandProgress::unclear || answer.read().is_object(), "progress that does not fit is unclear");
  expect_readable(state.error);
}

inline void read_session(const Profile& hub, const HubAnswer& answer) {
  const SessionAnswer said = hub.read_session(answer.status, answer.body).answer;
  expect(said == SessionAnswer::unclear || answer.read().is_object(), "a session's answer that does not fit is unclear");
  if (said == SessionAnswer::gone) expect(answer.status == 200 && answer.at("/status") == "gone", "gone is 200 that says so");
}

inline CommandMeaning read_send(const Profile& hub, const HubAnswer& answer) {
  const auto sent = hub.read_send(command, answer.status, answer.retry_after, answer.body);
  expect_readable(sent.detail);
  expect((sent.meaning == CommandMeaning::accepted) == !sent.hub_command_id.empty(), "a command id of what was accepted, and of nothing else");
  const bool by_status = sent.meaning == CommandMeaning::unclear || sent.meaning == CommandMeaning::unauthorized || sent.meaning == CommandMeaning::busy;
  expect(by_status || answer.read().is_object(), "an answer to a command that does not fit is unclear");
  expect(sent.meaning != CommandMeaning::busy || answer.status == 429 || (answer.status == 503 && answer.retry_after), "busy is 429, or 503 with Retry-After");
  return sent.meaning;
}

// What holds of every profile. Returns the meaning of the answer to a command.
inline CommandMeaning read(const Profile& hub, const HubAnswer& answer) {
  if (answer.asked == 0 && hub.can_list()) read_list(hub, answer);
  else if (answer.asked == 1) read_agent(hub, answer);
  else if (answer.asked == 2 && hub.can_ask_command()) read_command(hub, answer);
  else if (answer.asked == 3 && hub.can_ask_session()) read_session(hub, answer);
  else return read_send(hub, answer);
  return CommandMeaning::unclear;
}

}  // namespace fuzz
