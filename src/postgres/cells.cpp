#include "postgres/cells.hpp"

#include <cstdio>
#include <ctime>

namespace reconciler {

std::string interval_cell(Duration d) { return std::to_string(d.count()) + " microseconds"; }

std::string time_cell(Time at) {
  if (at == Time::max()) return "infinity";
  if (at == Time::min()) return "-infinity";
  const auto whole = std::chrono::floor<seconds>(at);
  const std::time_t unix_seconds = static_cast<std::time_t>(whole.time_since_epoch().count());
  std::tm utc{};
  gmtime_r(&unix_seconds, &utc);
  char text[96];
  const int n = std::snprintf(text, sizeof text, "%04d-%02d-%02d %02d:%02d:%02d.%06d+00", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
                              utc.tm_min, utc.tm_sec, static_cast<int>((at - whole).count()));
  return std::string(text, static_cast<std::size_t>(n));
}

std::optional<std::string> time_cell(const std::optional<Time>& at) {
  std::optional<std::string> text;
  if (at) text = time_cell(*at);
  return text;
}

}  // namespace reconciler
