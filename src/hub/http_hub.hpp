// AgentHub over HTTP, driven by a profile.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/hub.hpp"
#include "engine/wait.hpp"
#include "http/client.hpp"
#include "http/credentials.hpp"

namespace reconciler {

struct HubOptions {
  std::vector<std::string> addresses;  // base URLs
  int max_in_flight = 64;
  Duration connect_timeout = seconds(2), total_timeout = seconds(5);
  int fresh_connection_tries = 6;      // 'not connected' for an agent that is present
  bool outbound = true;                // false: no connection attempt at all, every answer is unknown
  std::vector<std::string> answered_recently;  // addresses that answered in the last 10 minutes
};

class HttpHub final : public AgentHub {
 public:
  HttpHub(Profile, HubOptions, http::Credentials&, Waiter&);
  ~HttpHub() override;
  const Profile& profile() const override;
  std::map<std::string, Sighting> look(const std::vector<std::string>& ids) override;
  std::vector<AgentAnswer> list() override;
  void dispatch(const Next&, const Done&) override;
  Duration longest_delivery(std::size_t commands) const override;
  std::map<std::string, Profile::CommandState> command_progress(const std::vector<std::string>&) override;
  std::map<std::string, SessionSaid> session_status(const std::vector<std::string>&) override;
  Totals totals() const override;

  // What one address said when asked for its agents (probe_hub and preflight).
  struct Probe { std::string address; bool ok; HubIdentity hub; std::string detail; Duration took; std::optional<Duration> clock_offset; };
  std::vector<Probe> probe();
  // Addresses that answered properly since construction.
  const std::vector<std::string>& answered() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reconciler
