#include "core/text.hpp"

#include <cstdio>

namespace reconciler {

std::string span(Duration d) {
  const bool negative = d.count() < 0;
  // Unsigned, so that the smallest value has a magnitude too.
  const std::uint64_t micros = negative ? 0 - static_cast<std::uint64_t>(d.count()) : static_cast<std::uint64_t>(d.count());
  const unsigned long long total = micros / 1'000'000, days = total / 86'400;
  const unsigned rest = static_cast<unsigned>(total % 86'400);
  char clock[16], out[64];
  std::snprintf(clock, sizeof clock, "%02u:%02u:%02u", rest / 3600, rest / 60 % 60, rest % 60);
  const char* sign = negative && total > 0 ? "-" : "";
  if (days == 0) std::snprintf(out, sizeof out, "%s%s", sign, clock);
  else std::snprintf(out, sizeof out, "%s%llu day%s %s", sign, days, days == 1 ? "" : "s", clock);
  return out;
}

std::string instant(Time at) {
  using namespace std::chrono;
  constexpr Time first = sys_days(year(1) / January / 1), end = sys_days(year(10000) / January / 1);
  if (at < first) return "-infinity";
  if (at >= end) return "infinity";
  const auto day = floor<days>(at);
  const year_month_day date(day);
  const auto second = static_cast<unsigned>(floor<seconds>(at - day).count());
  char out[64];
  std::snprintf(out, sizeof out, "%04d-%02u-%02u %02u:%02u:%02u UTC", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), second / 3600, second / 60 % 60,
                second % 60);
  return out;
}

std::string in_quotes(std::string_view text) { return cat({"\"", text, "\""}); }

std::string cat(std::initializer_list<std::string_view> parts) {
  std::string out;
  std::size_t size = 0;
  for (auto part : parts) size += part.size();
  out.reserve(size);
  for (auto part : parts) out += part;
  return out;
}

namespace {

// Takes one thing after the other from the front of a text; once something does not fit, nothing does.
class Taker {
 public:
  explicit Taker(std::string_view text) : rest_(text) {}
  int digits(int count) {
    int value = 0;
    for (int i = 0; i < count; ++i) {
      if (rest_.empty() || rest_.front() < '0' || rest_.front() > '9') return fits_ = false, 0;
      value = value * 10 + (rest_.front() - '0');
      rest_.remove_prefix(1);
    }
    return value;
  }
  char one_of(std::string_view choices) {
    if (rest_.empty() || choices.find(rest_.front()) == choices.npos) return fits_ = false, '\0';
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  bool next_is(char c) const { return !rest_.empty() && rest_.front() == c; }
  bool next_is_digit() const { return !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9'; }
  bool done() const { return fits_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool fits_ = true;
};

}  // namespace

std::optional<Time> parse_rfc3339(std::string_view text) {
  using namespace std::chrono;
  Taker take(text);
  const int y = take.digits(4);
  take.one_of("-");
  const int mo = take.digits(2);
  take.one_of("-");
  const int d = take.digits(2);
  take.one_of("Tt ");
  const int h = take.digits(2);
  take.one_of(":");
  const int mi = take.digits(2);
  take.one_of(":");
  const int s = take.digits(2);
  int micros = 0;
  if (take.next_is('.')) {
    take.one_of(".");
    int places = 0;
    do {
      const int digit = take.digits(1);
      if (places++ < 6) micros = micros * 10 + digit;
    } while (take.next_is_digit());
    for (; places < 6; ++places) micros *= 10;
  }
  int offset = 0;  // minutes east
  const char zone = take.one_of("Zz+-");
  if (zone == '+' || zone == '-') {
    const int oh = take.digits(2);
    take.one_of(":");
    const int om = take.digits(2);
    if (oh > 23 || om > 59) return {};
    offset = (zone == '-' ? -1 : 1) * (oh * 60 + om);
  }
  const year_month_day date(year(y), month(static_cast<unsigned>(mo)), day(static_cast<unsigned>(d)));
  if (!take.done() || !date.ok() || h > 23 || mi > 59 || s > 60) return {};  // 60: a leap second
  return Time(sys_days(date)) + hours(h) + minutes(mi - offset) + seconds(s) + Duration(micros);
}

}  // namespace reconciler
