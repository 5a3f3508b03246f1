// Retry-After and Date of an answer, on one line each.
#include "fuzz.hpp"
#include "http/transfer.hpp"

using namespace fuzz;
using namespace reconciler;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view both = text(data, size);
  const std::size_t end = both.find('\n');
  const std::string value(both.substr(0, end)), date(end == both.npos ? "" : both.substr(end + 1));
  const auto wait = http::retry_after(value, date);
  if (wait) expect(*wait >= Duration(0) && *wait <= hours(24), "never negative, never more than a day");
  if (!value.empty() && value.find_first_not_of("0123456789") == std::string::npos) expect(wait.has_value(), "a number of seconds is always understood");
  if (!http::http_date(date) && wait) expect(value.find_first_not_of("0123456789") == std::string::npos, "a date says nothing without the answer's own");
  return 0;
}
