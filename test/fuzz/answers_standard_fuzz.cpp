#include "answers.hpp"

using namespace fuzz;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Profile hub = profiles::load("standard");
  if (size < 2) return 0;
  const HubAnswer answer = HubAnswer::of(data, size);
  switch (read(hub, answer)) {
    case CommandMeaning::accepted:
      expect(answer.status == 202 && answer.at("/command_id") == command.command_id && answer.at("/status") == "accepted", "accepted is 202 for this command");
      break;
    case CommandMeaning::session_gone: expect(answer.status == 410 && answer.at("/error/code") == "session_gone", "session_gone is 410 that says so"); break;
    case CommandMeaning::unknown_agent: expect(answer.status == 404 && answer.at("/error/code") == "agent_not_found", "unknown_agent is 404 that says so"); break;
    default: break;
  }
  return 0;
}
