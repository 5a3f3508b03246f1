#include "postgres/cells.hpp"

#include <cstdio>
#include <ctime>

namespace reconciler {

// In hours: before PostgreSQL 15 a number of microseconds may not have more than 32 bits.
std::string interval_cell(Duration d) {
  const bool negative = d.count() < 0;
  // Unsigned, so that the smallest value has a magnitude too.
  const unsigned long long micros = negative ? 0 - static_cast<std::uint64_t>(d.count()) : static_cast<std::uint64_t>(d.count());
  const unsigned long long total = micros / 1'000'000;
  char text[64];
  const int n = std::snprintf(text, sizeof text, "%s%llu:%02llu:%02llu.%06llu", negative ? "-" : "", total / 3600, total / 60 % 60, total % 60,
                              micros % 1'000'000);
  return std::string(text, static_cast<std::size_t>(n));
}

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
