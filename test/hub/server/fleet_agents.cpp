// The agents' half of the fleet.
#include "fleet.hpp"

#include "../common/text.hpp"

namespace testhub {

bool Fleet::connected_locked(const Agent& agent) const
{
    if (!agent.simulated) return agent.link != nullptr;
    // A simulated agent reconnects as soon as a restarted hub takes connections again.
    return agent.simulated_online && std::chrono::steady_clock::now() >= refuse_until_;
}

bool Fleet::is_connected(const Agent& agent) const
{
    const std::lock_guard lock(mutex_);
    return connected_locked(agent);
}

void Fleet::connect(const AgentProfile& profile, std::shared_ptr<AgentLink> link)
{
    std::shared_ptr<AgentLink> replaced;
    {
        const std::lock_guard lock(mutex_);
        auto [it, is_new] = agents_.try_emplace(profile.id);
        Agent& agent = it->second;
        if (is_new) {
            agent.row_id = random_uuid();
            agent.created = clock_.now();
        }
        agent.profile = profile;
        agent.simulated = agent.forgotten = agent.draining = false;
        agent.last_seen = clock_.now();
        agent.last_heard = std::chrono::steady_clock::now();
        replaced = std::move(agent.link);
        agent.link = std::move(link);
    }
    if (replaced) replaced->close();
}

bool Fleet::disconnect(const std::string& id, const AgentLink* link)
{
    const std::lock_guard lock(mutex_);
    const auto it = agents_.find(id);
    if (it == agents_.end() || it->second.link.get() != link) return false;
    it->second.link.reset();
    return true;
}

void Fleet::heartbeat(const std::string& id, bool draining, int sessions, std::optional<int> capacity)
{
    const std::lock_guard lock(mutex_);
    const auto it = agents_.find(id);
    if (it == agents_.end()) return;
    Agent& agent = it->second;
    agent.draining = draining;
    agent.sessions = sessions;
    if (capacity) agent.profile.capacity = capacity;
    agent.last_seen = clock_.now();
    agent.last_heard = std::chrono::steady_clock::now();
}

void Fleet::register_agent(const AgentProfile& profile, const std::string& approval_if_new)
{
    const std::lock_guard lock(mutex_);
    auto [it, is_new] = agents_.try_emplace(profile.id);
    if (is_new) {
        it->second.row_id = random_uuid();
        it->second.created = clock_.now();
        it->second.approval = approval_if_new;
    } else {
        it->second.last_seen = clock_.now();  // re-registering refreshes the heartbeat, without any connection
    }
    it->second.profile = profile;
}

bool Fleet::approve(const std::string& id)
{
    const std::lock_guard lock(mutex_);
    const auto it = agents_.find(id);
    if (it == agents_.end() || it->second.approval != "pending") return false;
    it->second.approval = "approved";
    return true;
}

void Fleet::simulate(const SimulatedAgents& agents)
{
    const std::lock_guard lock(mutex_);
    for (const auto& id : agents.ids) {
        auto [it, is_new] = agents_.try_emplace(id);
        Agent& agent = it->second;
        if (is_new) {
            agent.row_id = random_uuid();
            agent.created = clock_.now();
        }
        agent.profile = agents.profile;
        agent.profile.id = id;
        agent.simulated = true;
        agent.simulated_online = agents.online;
        agent.draining = agents.draining;
        agent.complete_after = agents.complete_after;
        agent.sessions = agents.sessions;
        agent.forgotten = false;
        if (agents.online || !agent.last_seen) agent.last_seen = clock_.now();
    }
}

std::vector<std::string> Fleet::simulated_online() const
{
    const std::lock_guard lock(mutex_);
    std::vector<std::string> ids;
    for (const auto& [id, agent] : agents_)
        if (agent.simulated && connected_locked(agent)) ids.push_back(id);
    return ids;
}

void Fleet::touch_simulated()
{
    const std::lock_guard lock(mutex_);
    for (auto& [id, agent] : agents_) {
        if (!agent.simulated || !connected_locked(agent)) continue;
        agent.forgotten = false;
        agent.last_seen = clock_.now();
    }
}

std::optional<Agent> Fleet::find(const std::string& id) const
{
    const std::lock_guard lock(mutex_);
    const auto it = agents_.find(id);
    if (it == agents_.end() || (it->second.forgotten && !connected_locked(it->second))) return std::nullopt;
    return it->second;
}

bool Fleet::connected(const std::string& id) const
{
    const std::lock_guard lock(mutex_);
    const auto it = agents_.find(id);
    return it != agents_.end() && connected_locked(it->second);
}

std::vector<Agent> Fleet::page(const std::string& after, std::size_t limit) const
{
    const std::lock_guard lock(mutex_);
    std::vector<Agent> result;
    auto it = after.empty() ? agents_.begin() : agents_.upper_bound(after);
    for (; it != agents_.end() && result.size() < limit; ++it)
        if (!it->second.forgotten || connected_locked(it->second)) result.push_back(it->second);
    return result;
}

std::vector<std::shared_ptr<AgentLink>> Fleet::stale_links(std::chrono::seconds limit) const
{
    const auto oldest = std::chrono::steady_clock::now() - limit;
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<AgentLink>> result;
    for (const auto& [id, agent] : agents_)
        if (agent.link && agent.last_heard < oldest) result.push_back(agent.link);
    return result;
}

void Fleet::restart(bool keep_known, std::chrono::milliseconds refuse)
{
    std::vector<std::shared_ptr<AgentLink>> links;
    {
        const std::lock_guard lock(mutex_);
        refuse_until_ = std::chrono::steady_clock::now() + refuse;
        for (auto& [id, agent] : agents_) {
            if (agent.link) links.push_back(std::move(agent.link));
            agent.link.reset();
            agent.forgotten = agent.forgotten || !keep_known;
        }
        sessions_.clear();
        command_by_id_.clear();
        command_by_key_.clear();
        commands_.clear();
        due_ = {};
    }
    for (const auto& link : links) link->close();
}

bool Fleet::refuses_connections() const
{
    const std::lock_guard lock(mutex_);
    return std::chrono::steady_clock::now() < refuse_until_;
}

}  // namespace testhub
