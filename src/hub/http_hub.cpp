#include "hub/http_hub.hpp"

#include <algorithm>

#include "hub/deliver.hpp"
#include "hub/exchange.hpp"
#include "hub/look.hpp"
#include "hub/presence.hpp"
#include "hub/probe.hpp"

namespace reconciler {
namespace {

const char* const kOutboundOff = "outbound connections are switched off (session_reconciler.outbound)";
const char* const kNoAddress = "the hub has no address";
constexpr std::size_t kMostHomes = 10000;

}  // namespace

struct HttpHub::Impl {
  Impl(Profile p, HubOptions o, http::Credentials& credentials, Waiter& waiter)
      : profile(std::move(p)), options(std::move(o)), exchange(options, credentials, waiter) {
    delivery.fresh_connection_tries = options.fresh_connection_tries;
  }

  // '' = it may be asked.
  const char* silenced() const {
    if (!options.outbound) return kOutboundOff;
    return options.addresses.empty() ? kNoAddress : "";
  }
  bool may_ask() const { return *silenced() == '\0'; }

  bool recent(const std::string& address) const {
    const auto& list = options.answered_recently;
    return std::find(list.begin(), list.end(), address) != list.end();
  }

  // Where an agent was seen connected its commands go first.
  void remember_home(const std::string& agent, const std::vector<Voice>& voices) {
    auto connected = std::find_if(voices.begin(), voices.end(), [](const Voice& voice) {
      return voice.kind == Voice::Kind::answered && voice.agent.status == AgentAnswer::Status::connected;
    });
    if (connected == voices.end()) {
      delivery.home.erase(agent);
    } else {
      if (delivery.home.size() >= kMostHomes) delivery.home.clear();
      delivery.home[agent] = static_cast<std::size_t>(connected - voices.begin());
    }
  }

  const Profile profile;
  const HubOptions options;
  Exchange exchange;
  DeliverySettings delivery;
};

HttpHub::HttpHub(Profile profile, HubOptions options, http::Credentials& credentials, Waiter& waiter)
    : impl_(std::make_unique<Impl>(std::move(profile), std::move(options), credentials, waiter)) {}
HttpHub::~HttpHub() = default;

const Profile& HttpHub::profile() const { return impl_->profile; }
AgentHub::Totals HttpHub::totals() const { return impl_->exchange.totals(); }
const std::vector<std::string>& HttpHub::answered() const { return impl_->exchange.answered(); }

std::map<std::string, Sighting> HttpHub::look(const std::vector<std::string>& ids) {
  std::map<std::string, Sighting> sightings;
  if (ids.empty()) return sightings;
  if (!impl_->may_ask()) {
    for (const std::string& id : ids) {
      sightings[id].agent.id = id;
      sightings[id].detail = impl_->silenced();
    }
    return sightings;
  }
  impl_->exchange.begin();
  const Profile& profile = impl_->profile;
  Voices all = profile.can_list() ? ask_lists(impl_->exchange, profile, ids)
                                  : ask_one_by_one(impl_->exchange, profile, ids);
  for (auto& [id, voices] : all) {
    for (Voice& voice : voices) voice.recent = voice.recent || impl_->recent(voice.address);
    sightings[id] = profile.authoritative() ? judge_connection(id, voices) : first_known(id, voices);
    if (profile.authoritative()) impl_->remember_home(id, voices);
  }
  return sightings;
}

std::vector<AgentAnswer> HttpHub::list() {
  if (!impl_->may_ask() || !impl_->profile.can_list()) return {};
  impl_->exchange.begin();
  return list_agents(impl_->exchange, impl_->profile);
}

void HttpHub::dispatch(const Next& next, const Done& done) {
  if (!impl_->may_ask()) {
    Delivery none;
    none.detail = impl_->silenced();
    std::size_t index = 0;
    for (std::size_t more = next().size(); more > 0; more = next().size())
      for (; more > 0; --more) done(index++, none);
    return;
  }
  impl_->exchange.begin();
  deliver_commands(impl_->exchange, impl_->profile, impl_->delivery, next, done);
}

Duration HttpHub::longest_delivery(std::size_t commands) const {
  const HubOptions& o = impl_->options;
  const std::size_t tries = o.addresses.size() + static_cast<std::size_t>(o.fresh_connection_tries) + 1;  // and one after a 401
  const std::size_t rounds = commands / static_cast<std::size_t>(std::max(1, o.max_in_flight)) + 1;
  return (o.total_timeout + milliseconds(50)) * static_cast<std::int64_t>(tries * rounds) + seconds(5);
}

std::map<std::string, Profile::CommandState> HttpHub::command_progress(const std::vector<std::string>& ids) {
  std::map<std::string, Profile::CommandState> known;
  if (ids.empty() || !impl_->may_ask() || !impl_->profile.can_ask_command()) return known;
  Exchange& exchange = impl_->exchange;
  exchange.begin();
  ask_each(exchange, ids, [&](const std::string& id) { return impl_->profile.ask_command(id); },
           [&](std::size_t id, std::size_t address, const Exchange::Reply& reply) {
             Profile::CommandState state{CommandProgress::unclear, {}};
             if (reply.answered())
               state = impl_->profile.read_command(ids[id], reply.response.status, reply.response.body);
             bool proper = state.progress != CommandProgress::unclear;
             exchange.note(address, reply, proper);
             if (proper) known[ids[id]] = std::move(state);
             return proper;
           });
  return known;
}

std::map<std::string, SessionSaid> HttpHub::session_status(const std::vector<std::string>& ids) {
  std::map<std::string, SessionSaid> known;
  if (ids.empty() || !impl_->may_ask() || !impl_->profile.can_ask_session()) return known;
  Exchange& exchange = impl_->exchange;
  exchange.begin();
  ask_each(exchange, ids, [&](const std::string& id) { return impl_->profile.ask_session(id); },
           [&](std::size_t id, std::size_t address, const Exchange::Reply& reply) {
             Profile::SessionState state{SessionAnswer::unclear, {}};
             if (reply.answered() && !reply.unauthorized()) state = impl_->profile.read_session(reply.response.status, reply.response.body);
             exchange.note(address, reply, state.proper);
             const bool tells = state.answer != SessionAnswer::unclear;
             std::string detail = tells ? "" : state.proper ? exchange.address(address) + " can't tell" : why_not_heard(exchange, address, reply);
             known[ids[id]] = {state.answer, std::move(state.runtime), state.proper, reply.unauthorized(), std::move(detail)};
             return tells;
           });
  return known;
}

std::vector<HttpHub::Probe> HttpHub::probe() {
  if (impl_->may_ask()) {
    impl_->exchange.begin();
    return probe_addresses(impl_->exchange, impl_->profile);
  }
  std::vector<Probe> probes;
  for (const std::string& address : impl_->options.addresses)
    probes.push_back({address, false, {}, impl_->silenced(), Duration(0), {}});
  return probes;
}

}  // namespace reconciler
