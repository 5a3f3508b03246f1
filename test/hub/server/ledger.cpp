#include "ledger.hpp"

#include <nlohmann/json.hpp>

namespace testhub {

namespace {
// A benchmark must not eat the machine: beyond that many keys only the totals count on.
constexpr std::size_t most_keys = 1'000'000;
}  // namespace

void Ledger::post(const std::string& idempotency_key, const std::string& command_id, const std::string& session,
                  const std::string& action, const std::string& agent)
{
    const std::string& key = idempotency_key.empty() ? command_id : idempotency_key;
    const std::lock_guard lock(mutex_);
    ++posts_;
    auto it = entries_.find(key);
    if (it == entries_.end()) {
        if (entries_.size() >= most_keys) {
            ++overflow_;
            return;
        }
        it = entries_.try_emplace(key).first;
        it->second.command_id = command_id;
        it->second.session = session;
        it->second.action = action;
        it->second.agent = agent;
    }
    ++it->second.posts;
}

void Ledger::accepted(const std::string& idempotency_key, const std::string& command_id)
{
    const std::lock_guard lock(mutex_);
    ++accepted_;
    const auto it = entries_.find(idempotency_key.empty() ? command_id : idempotency_key);
    if (it != entries_.end()) ++it->second.accepted;
}

void Ledger::clear()
{
    const std::lock_guard lock(mutex_);
    entries_.clear();
    posts_ = accepted_ = overflow_ = 0;
}

nlohmann::json Ledger::show() const
{
    using Json = nlohmann::json;
    const std::lock_guard lock(mutex_);
    Json keys = Json::array(), sessions = Json::object();
    for (const auto& [key, entry] : entries_) {
        keys.push_back({{"key", key}, {"command_id", entry.command_id}, {"session_id", entry.session},
                        {"action", entry.action}, {"agent", entry.agent}, {"posts", entry.posts},
                        {"accepted", entry.accepted}});
        Json& session = sessions.emplace(entry.session, Json::object()).first.value();
        session["posts"] = session.value("posts", std::int64_t{0}) + entry.posts;
        session["accepted"] = session.value("accepted", std::int64_t{0}) + entry.accepted;
        session["distinct_keys"] = session.value("distinct_keys", 0) + 1;
    }
    return {{"posts", posts_}, {"accepted", accepted_}, {"distinct_keys", entries_.size()},
            {"not_itemized", overflow_}, {"keys", keys}, {"sessions", sessions}};
}

}  // namespace testhub
