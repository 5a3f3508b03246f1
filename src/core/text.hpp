// Values as an operator reads them, and the one time format that hubs write.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "core/time.hpp"

namespace reconciler {

std::string span(Duration);              // "00:07:12", "3 days 00:07:12", "-00:00:05"; whole seconds
std::string instant(Time);               // "2025-12-05 10:00:00 UTC", "infinity"; whole seconds
std::string until(Time);                 // "until 2025-12-05 10:00:00 UTC", "until released" where that is infinity
std::string in_quotes(std::string_view);    // "k8s-1" in double quotes
std::string cat(std::initializer_list<std::string_view> parts);
std::string one_line(std::string foreign, std::size_t longest = 200);  // somebody else's words: short, printable, no line breaks

// "2025-12-05T10:00:00.123456789Z", any offset; digits below a microsecond are dropped. Empty: not such a time.
std::optional<Time> parse_rfc3339(std::string_view);

}  // namespace reconciler
