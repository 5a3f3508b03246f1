#include "hub.hpp"

#include "../common/text.hpp"

#include <nlohmann/json.hpp>

namespace testhub {

Hub::Hub(Settings given)
    : settings(std::move(given)),
      faults(settings.seed),
      fleet(clock, settings.keep_commands),
      latency_ms(settings.latency.count()),
      instance_(settings.instance),
      token_(settings.token),
      started_(clock.now())
{
    if (!settings.log_file.empty()) journal.open(settings.log_file);
    for (const auto& rule : settings.faults) faults.add(nlohmann::json::parse(rule));
    if (!settings.database.empty()) database = std::make_unique<Database>(settings.database, clock, journal);
}

std::string Hub::instance() const
{
    const std::lock_guard lock(mutex_);
    return instance_;
}

std::string Hub::token() const
{
    const std::lock_guard lock(mutex_);
    return token_;
}

WallTime Hub::started() const
{
    const std::lock_guard lock(mutex_);
    return started_;
}

void Hub::begin_new_instance()
{
    const std::lock_guard lock(mutex_);
    instance_ = random_uuid();
    started_ = clock.now();
}

void Hub::set_token(std::string token)
{
    const std::lock_guard lock(mutex_);
    token_ = std::move(token);
}

}  // namespace testhub
