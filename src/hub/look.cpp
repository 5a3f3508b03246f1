#include "hub/look.hpp"

#include <set>

namespace reconciler {
namespace {

using Status = AgentAnswer::Status;

constexpr int kMostPages = 1000;
constexpr std::size_t kMostListed = 100000;

// The list of one address. It counts only when it was read to its end.
struct Listing {
  std::map<std::string, AgentAnswer> agents;  // only those asked for, however long the list is; or all
  HubIdentity hub;
  int pages = 0;
  std::optional<std::string> next;
  Voice::Kind outcome = Voice::Kind::silent;
  bool somebody = true;  // not answered: whether somebody took the request
  std::string detail;
};

class ListReader {
 public:
  ListReader(Exchange& exchange, const Profile& profile, const std::vector<std::string>& agents)
      : exchange_(exchange), profile_(profile), wanted_(std::in_place, agents.begin(), agents.end()), lists_(exchange.addresses()) {}
  ListReader(Exchange& exchange, const Profile& profile) : exchange_(exchange), profile_(profile), lists_(exchange.addresses()) {}

  const std::vector<Listing>& read() {
    for (std::size_t address = 0; address < lists_.size(); ++address) ask_page(address);
    exchange_.run();
    return lists_;
  }

 private:
  void ask_page(std::size_t address) {
    Exchange::Ask ask;
    ask.address = address;
    ask.request = profile_.list_agents(lists_[address].next);
    exchange_.ask(std::move(ask), [this, address](const Exchange::Reply& reply) { take_page(address, reply); });
  }

  void take_page(std::size_t address, const Exchange::Reply& reply) {
    Listing& list = lists_[address];
    if (!reply.answered() || reply.unauthorized())
      return break_off(address, reply, why_not_heard(exchange_, address, reply));
    auto page = profile_.read_agents(reply.response.status, reply.response.body);
    if (!page) return break_off(address, reply, why_not_heard(exchange_, address, reply));
    if (list.pages == 0)
      list.hub = page->hub;
    else if (page->hub.instance != list.hub.instance || page->hub.fleet != list.hub.fleet)
      return break_off(address, reply, "another hub instance answered in the middle of the list of " + exchange_.address(address));
    list.hub.complete = list.hub.complete && page->hub.complete;
    merge(list, *page);
    exchange_.note(address, reply, true);
    if (!page->next) {
      list.outcome = Voice::Kind::answered;
      return;
    }
    if (++list.pages >= kMostPages || page->next == list.next)
      return break_off(address, reply, "the list of " + exchange_.address(address) + " does not end");
    list.next = std::move(page->next);
    ask_page(address);
  }

  // Twice in the list is a list that changed while it was read: connected is what was true at some moment.
  void merge(Listing& list, const Profile::AgentsPage& page) const {
    for (const AgentAnswer& agent : page.agents) {
      if (wanted_ ? !wanted_->contains(agent.id) : list.agents.size() >= kMostListed) continue;
      auto [at, fresh] = list.agents.emplace(agent.id, agent);
      if (!fresh && at->second.status != Status::connected) at->second = agent;
    }
  }

  // A part of a list proves nothing, not even for the agents it names: it may not be of one moment.
  void break_off(std::size_t address, const Exchange::Reply& reply, std::string why) {
    Listing& list = lists_[address];
    list.outcome = reply.unauthorized() ? Voice::Kind::unauthorized : Voice::Kind::silent;
    list.somebody = reply.somebody();
    list.detail = std::move(why);
    exchange_.note(address, reply, false);
  }

  Exchange& exchange_;
  const Profile& profile_;
  std::optional<std::set<std::string>> wanted_;  // empty: all
  std::vector<Listing> lists_;
};

Voice voice_of(const Listing& list, const std::string& address, const std::string& agent, bool authoritative) {
  Voice voice;
  voice.address = address;
  voice.kind = list.outcome;
  voice.recent = list.somebody;
  voice.detail = list.detail;
  if (voice.kind != Voice::Kind::answered) return voice;
  voice.hub = list.hub;
  auto found = list.agents.find(agent);
  if (found != list.agents.end()) {
    voice.agent = found->second;
  } else if (list.hub.complete) {
    voice.agent.status = Status::unknown_agent;
  } else if (!authoritative) {
    // Where only the heartbeat counts, an answer without the agent is none.
    voice.kind = Voice::Kind::silent;
    voice.detail = "the list of " + address + " does not name the agent, and is not complete";
  }
  return voice;
}

// Whether the other addresses need not be asked any more.
bool decides(const Voice& voice, bool authoritative, std::size_t addresses) {
  if (voice.kind != Voice::Kind::answered) return false;
  if (!authoritative) return voice.agent.status != Status::unknown_agent;
  if (voice.agent.status == Status::connected) return true;
  return voice.agent.status == Status::disconnected && voice.hub.fleet.value_or(addresses == 1);
}

}  // namespace

std::string why_not_heard(const Exchange& exchange, std::size_t address, const Exchange::Reply& reply) {
  if (!reply.answered()) return reply.response.error;
  const std::string& name = exchange.address(address);
  std::string status = std::to_string(reply.response.status);
  if (reply.unauthorized()) return name + " refuses our credential (status " + status + ")";
  return name + " gave an answer that is not understood (status " + status + ")";
}

Voices ask_lists(Exchange& exchange, const Profile& profile, const std::vector<std::string>& agents) {
  ListReader reader(exchange, profile, agents);
  const std::vector<Listing>& lists = reader.read();
  Voices voices;
  for (const std::string& agent : agents) {
    std::vector<Voice>& about = voices[agent];
    if (!about.empty()) continue;  // asked for twice
    for (std::size_t address = 0; address < lists.size(); ++address)
      about.push_back(voice_of(lists[address], exchange.address(address), agent, profile.authoritative()));
  }
  return voices;
}

std::vector<AgentAnswer> list_agents(Exchange& exchange, const Profile& profile) {
  ListReader reader(exchange, profile);
  std::map<std::string, AgentAnswer> all;
  for (const Listing& list : reader.read()) {
    if (list.outcome != Voice::Kind::answered) continue;
    for (const auto& [id, agent] : list.agents)
      if (auto [at, fresh] = all.emplace(id, agent); !fresh && at->second.status != Status::connected) at->second = agent;
  }
  std::vector<AgentAnswer> agents;
  for (auto& [id, agent] : all) agents.push_back(std::move(agent));
  return agents;
}

Voices ask_one_by_one(Exchange& exchange, const Profile& profile, const std::vector<std::string>& agents) {
  Voices voices;
  for (const std::string& agent : agents) voices[agent];
  std::vector<std::string> ids;
  for (const auto& [agent, none] : voices) ids.push_back(agent);

  auto heard = [&](std::size_t id, std::size_t address, const Exchange::Reply& reply) {
    Voice voice;
    voice.address = exchange.address(address);
    voice.recent = reply.somebody();
    std::optional<Profile::OneAgent> answer;
    if (reply.answered() && !reply.unauthorized())
      answer = profile.read_agent(ids[id], reply.response.status, reply.response.body);
    exchange.note(address, reply, answer.has_value());
    if (answer) {
      voice.kind = Voice::Kind::answered;
      voice.agent = answer->agent;
      voice.hub = answer->hub;
    } else {
      voice.kind = reply.unauthorized() ? Voice::Kind::unauthorized : Voice::Kind::silent;
      voice.detail = why_not_heard(exchange, address, reply);
    }
    bool enough = decides(voice, profile.authoritative(), exchange.addresses());
    voices[ids[id]].push_back(std::move(voice));
    return enough;
  };
  ask_each(exchange, ids, [&](const std::string& agent) { return profile.ask_agent(agent); }, heard);
  return voices;
}

}  // namespace reconciler
