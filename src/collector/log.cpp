#include "collector/log.hpp"

#include <cstdio>
#include <ctime>

namespace reconciler {

void log_line(const char* event, const nlohmann::json& fields) {
  const std::time_t now = std::time(nullptr);
  std::tm utc;
  gmtime_r(&now, &utc);
  char at[32];
  std::strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &utc);
  nlohmann::ordered_json line{{"at", at}, {"event", event}};
  for (const auto& field : fields.items()) line[field.key()] = field.value();
  std::printf("%s\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  std::fflush(stdout);
}

}  // namespace reconciler
