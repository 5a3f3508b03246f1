// A hub profile: how to ask a hub and what each of its answers proves, as data (reconciler.hub_profile).
// Pure: JSON text in, requests and meanings out. Every byte of an answer is foreign: what does not fit is
// `unknown`, whatever its status code.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/time.hpp"

namespace reconciler {

// What the hub says of one agent.
struct AgentAnswer {
  std::string id;
  enum class Status { connected, disconnected, unknown_agent, unclear } status = Status::unclear;
  std::string incarnation;
  std::optional<Time> heartbeat;
  std::string pool, platform, region;            // empty: not said, as below
  std::optional<std::int64_t> capacity, sessions;
  bool draining = false;                          // connected, and gets no new work
};

// Who answered an agents request.
struct HubIdentity {
  std::string instance;      // '' where the hub names none
  std::optional<bool> fleet; // scope: true fleet, false instance; empty: not said
  bool complete = false;     // the list names every agent the hub knows
};

// What an answer to a command means. Only accepted and failed tries count to the cap.
enum class CommandMeaning {
  accepted, not_connected, unknown_agent, session_gone,
  busy,          // 429 or 503 with Retry-After: nothing was done
  unauthorized,  // 401, 403
  rejected,      // the hub understood and refused (another 4xx)
  unclear        // nothing is proven: 5xx, a body that does not fit
};
const char* to_string(CommandMeaning);

enum class CommandProgress { open, completed, failed, unclear };
enum class SessionAnswer { running, suspended, gone, unclear };

struct HttpRequest {  // relative to a hub address
  std::string method, target;  // target: path and query, percent-encoded
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

struct CommandRequest {
  std::string command_id;  // idempotency key
  std::string agent, action, session, runtime, reason;
  int attempt = 1;
  std::string payload{};   // a start: what the application sent with it, as JSON; '' = not known
};

struct ProfileDefinition;  // core/profile_definition.hpp; nobody else's

class Profile {
 public:
  // Throws std::invalid_argument with a sentence that names the member that is wrong.
  explicit Profile(std::string_view name, std::string_view definition_json);
  Profile(Profile&&) noexcept;
  Profile& operator=(Profile&&) noexcept;
  ~Profile();

  const std::string& name() const;
  bool authoritative() const;     // answers prove connection; otherwise the heartbeat is judged
  bool idempotent() const;        // the hub honours Idempotency-Key
  bool pulls() const;             // there is no hub to call: agents fetch their commands from this database
  bool knows_agents() const;      // they can be asked about, and commands go to them; otherwise it knows of sessions alone
  bool can_list() const;          // one request (paged) for all agents; otherwise one per agent
  bool can_ask_command() const;   // progress of a command
  bool can_ask_session() const;

  HttpRequest list_agents(const std::optional<std::string>& next) const;  // next: as read from the last page
  HttpRequest ask_agent(std::string_view agent) const;
  HttpRequest send(const CommandRequest&) const;
  HttpRequest ask_command(std::string_view command_id) const;
  HttpRequest ask_session(std::string_view session) const;

  struct AgentsPage { HubIdentity hub; std::vector<AgentAnswer> agents; std::optional<std::string> next; };
  // Empty when the answer is not proper: nothing is known then.
  std::optional<AgentsPage> read_agents(long status, std::string_view body) const;
  struct OneAgent { HubIdentity hub; AgentAnswer agent; };
  std::optional<OneAgent> read_agent(std::string_view asked, long status, std::string_view body) const;
  struct CommandAnswer { CommandMeaning meaning; std::string hub_command_id; std::string detail; };
  CommandAnswer read_send(const CommandRequest&, long status, bool retry_after, std::string_view body) const;
  struct CommandState { CommandProgress progress; std::string error; };
  CommandState read_command(std::string_view command_id, long status, std::string_view body) const;
  // runtime: that it speaks of, '' = not said; proper: the hub answered, if only that it can't tell.
  struct SessionState { SessionAnswer answer; std::string runtime; bool proper = false; };
  SessionState read_session(long status, std::string_view body) const;

 private:
  std::unique_ptr<const ProfileDefinition> def_;
};

std::string percent_encode(std::string_view);  // RFC 3986 unreserved stay, every other byte is %XX

}  // namespace reconciler
