// A hub profile as somebody writes it into reconciler.hub_profile: it is refused with a sentence, or every request that
// it makes is a proper one.
#include <stdexcept>

#include "answers.hpp"

using namespace fuzz;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto expect_proper = [](const HttpRequest& request) {
    expect(!request.method.empty() && request.target.starts_with('/'), "a request has a method and a path");
    expect(request.target.find_first_of(" \r\n") == std::string::npos, "no line break gets into a request line");
    for (const auto& [name, value] : request.headers) expect((name + value).find_first_of("\r\n") == std::string::npos, "no line break gets into a header");
  };
  try {
    const Profile hub("fuzzed", text(data, size));
    expect_proper(hub.send(command));
    CommandRequest hostile = command;
    hostile.agent = hostile.session = hostile.command_id = "../a b\r\nx: y";
    expect_proper(hub.send(hostile));
    if (hub.can_list()) expect_proper(hub.list_agents({}));
    else expect_proper(hub.ask_agent(hostile.agent));
    hub.read_send(command, 200, true, "{}");
  } catch (const std::invalid_argument& refused) {
    expect(*refused.what() != '\0', "a refusal says why");
  }
  return 0;
}
