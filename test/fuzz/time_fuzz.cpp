// A time as a hub writes it (RFC 3339), and how it is shown.
#include "core/text.hpp"
#include "fuzz.hpp"

using namespace fuzz;
using namespace reconciler;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto at = parse_rfc3339(text(data, size));
  if (!at) return 0;
  std::string shown = instant(*at);  // whole seconds
  if (shown.ends_with("infinity")) return 0;
  shown.replace(10, 1, "T").replace(19, std::string::npos, "Z");
  const auto again = parse_rfc3339(shown);
  expect(again && *again <= *at && *at - *again < seconds(1), "what is shown is what was read, to the second");
  return 0;
}
