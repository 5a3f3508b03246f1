// A hub's address: refused with a sentence and a hint, or its one canonical form, which is read as itself.
#include "fuzz.hpp"
#include "http/credentials.hpp"

using namespace fuzz;
using namespace reconciler::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string typed(text(data, size));
  std::optional<Address> address;
  try {
    address = parse_address(typed);
  } catch (const ConfigError& refused) {
    expect(*refused.what() != '\0' && !refused.hint.empty(), "a refusal says why, and what to do");
    expect(typed.find('@') == std::string::npos || std::string_view(refused.what()).find('@') == std::string_view::npos, "no password is shown");
    return 0;
  }
  const Origin& origin = address->origin;
  expect(origin.scheme == "http" || origin.scheme == "https", "only http and https");
  expect(!origin.host.empty() && origin.port >= 1 && origin.port <= 65535, "a host and a port");
  expect(!origin.link_local(), "nothing link-local");
  expect(address->prefix.empty() || (address->prefix.front() == '/' && address->prefix.back() != '/'), "a prefix begins with a slash and ends without");
  const Address again = parse_address(origin.text() + address->prefix);
  expect(again.origin == origin && again.prefix == address->prefix, "the canonical form is read as itself");
  return 0;
}
