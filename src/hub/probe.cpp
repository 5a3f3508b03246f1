#include "hub/probe.hpp"

#include <chrono>

#include "hub/look.hpp"

namespace reconciler {
namespace {

// No agent is called like this, so that a proper answer is that it is not known.
const char* const kNobody = "session-reconciler-probe-of-no-agent";
const char* const kNoSession = "session-reconciler-probe-of-no-session";

struct Verdict {
  bool ok = false;
  HubIdentity hub;
  std::string detail;
};

Verdict read_list(const Profile& profile, const http::Response& response) {
  auto page = profile.read_agents(response.status, response.body);
  if (!page) return {};
  std::string count = std::to_string(page->agents.size()) + (page->next ? " agents on the first page" : " agents");
  return {true, page->hub, "answered properly: " + count};
}

Verdict read_no_session(const Profile& profile, const http::Response& response) {
  if (!profile.read_session(response.status, response.body).proper) return {};
  return {true, {}, "answered properly: it can't tell anything of a session that cannot exist"};
}

Verdict read_nobody(const Profile& profile, const http::Response& response) {
  auto answer = profile.read_agent(kNobody, response.status, response.body);
  if (!answer || answer->agent.status != AgentAnswer::Status::unknown_agent) return {};
  return {true, answer->hub, "answered properly: it does not know an agent that cannot exist"};
}

// The one place in this room that reads a clock: what is measured is the hub's clock against this machine's,
// which is the database's. Date has whole seconds, so that less than two is no difference.
Duration clock_offset(Time date) {
  return std::chrono::duration_cast<Duration>(date - std::chrono::system_clock::now());
}

}  // namespace

std::vector<HttpHub::Probe> probe_addresses(Exchange& exchange, const Profile& profile) {
  std::vector<HttpHub::Probe> probes(exchange.addresses());
  const bool list = profile.can_list(), agents = profile.knows_agents();
  for (std::size_t address = 0; address < probes.size(); ++address) {
    probes[address] = {exchange.address(address), false, {}, "", Duration(0), {}};
    Exchange::Ask ask;
    ask.address = address;
    ask.request = list ? profile.list_agents({}) : agents ? profile.ask_agent(kNobody) : profile.ask_session(kNoSession);
    exchange.ask(std::move(ask), [&, address](const Exchange::Reply& reply) {
      HttpHub::Probe& probe = probes[address];
      Verdict verdict;
      if (reply.answered() && !reply.unauthorized())
        verdict = list ? read_list(profile, reply.response) : agents ? read_nobody(profile, reply.response) : read_no_session(profile, reply.response);
      exchange.note(address, reply, verdict.ok);
      probe.ok = verdict.ok;
      probe.hub = verdict.hub;
      probe.detail = verdict.ok ? verdict.detail : why_not_heard(exchange, address, reply);
      probe.took = reply.response.took;
      if (auto date = http::http_date(reply.response.date)) probe.clock_offset = clock_offset(*date);
    });
  }
  exchange.run();
  return probes;
}

}  // namespace reconciler
