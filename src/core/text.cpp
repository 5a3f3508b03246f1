#include "core/text.hpp"

#include <cstdio>
#include <ctime>

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
  constexpr Time first(seconds(-62'135'596'800)), end(seconds(253'402'300'800));  // of the years 1 to 9999
  if (at < first) return "-infinity";
  if (at >= end) return "infinity";
  // Not the calendar of <chrono>: g++ 10 has none.
  const std::time_t second = std::chrono::floor<seconds>(at).time_since_epoch().count();
  std::tm utc;
  gmtime_r(&second, &utc);
  char out[80];
  std::snprintf(out, sizeof out, "%04d-%02d-%02d %02d:%02d:%02d UTC", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                utc.tm_hour, utc.tm_min, utc.tm_sec);
  return out;
}

std::string until(Time at) {
  const std::string when = instant(at);
  return when == "infinity" ? "until released" : "until " + when;
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

std::string one_line(std::string text, std::size_t longest) {
  if (text.size() > longest) {
    std::size_t end = longest;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a character
    text = text.substr(0, end) + "…";
  }
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
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
  std::tm date{};
  date.tm_year = y - 1900;
  date.tm_mon = mo - 1;
  date.tm_mday = d;
  const Time midnight(seconds(timegm(&date)));
  const bool exists = date.tm_mon == mo - 1 && date.tm_mday == d;  // timegm() made another day of one that does not
  if (!take.done() || !exists || h > 23 || mi > 59 || s > 60) return {};  // 60: a leap second
  return midnight + hours(h) + minutes(mi - offset) + seconds(s) + Duration(micros);
}

}  // namespace reconciler
