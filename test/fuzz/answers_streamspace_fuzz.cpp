#include "answers.hpp"

using namespace fuzz;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Profile hub = profiles::load("streamspace");
  if (size < 2) return 0;
  const HubAnswer answer = HubAnswer::of(data, size);
  switch (read(hub, answer)) {
    case CommandMeaning::accepted:
      expect(answer.status == 201 && answer.at("/agentId") == command.agent && answer.at("/sessionId") == command.session, "accepted is 201 for this agent and session");
      break;
    case CommandMeaning::session_gone: expect(false, "this hub never says that a session is gone"); break;
    case CommandMeaning::not_connected: expect(answer.status == 503 && answer.at("/error") == "Agent not connected", "not_connected is 503 that says so"); break;
    default: break;
  }
  return 0;
}
