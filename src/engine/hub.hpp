// The hub as one pass sees it. Implemented by hub/ over HTTP, and by the simulator.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/evidence.hpp"
#include "core/profile.hpp"
#include "core/time.hpp"

namespace reconciler {

// What came back from asking about agents. One Sighting per asked id, always.
struct Sighting {
  enum class Kind {
    answered,      // `agent` is what the hub says (an authoritative hub: its status counts)
    other_hub,     // a heartbeat-judged hub does not know an agent: another hub than ours
    unauthorized,  // 401, 403
    unknown        // down, slow, nonsense, incomplete
  } kind = Kind::unknown;
  Presence presence = Presence::unknown;  // authoritative hubs: the verdict, all addresses considered
  AgentAnswer agent;
  // Of the answer the verdict rests on. Where `gone` rests on several addresses, hub.instance names all their
  // instances ("A,B"), so that a restart of any of them counts as a new one; unknown among several rests on none.
  HubIdentity hub;
  std::string detail;    // one sentence for people, no secrets
};

// What became of a command that was to be sent.
struct Delivery {
  enum class Outcome {
    answered,      // `answer` says what it means
    not_sent,      // surely no byte of it arrived (no connection)
    unknown        // it may have arrived: timeout, reset, half an answer
  } outcome = Outcome::not_sent;
  CommandMeaning meaning = CommandMeaning::unclear;
  std::string hub_command_id;
  std::optional<Duration> retry_after;
  std::string detail;
  Duration took{0};
};

// What the hub said of a session.
struct SessionSaid {
  SessionAnswer answer = SessionAnswer::unclear;
  std::string runtime{};      // that it speaks of; '' = it does not say
  bool proper = false;        // it answered, if only that it can't tell
  bool unauthorized = false;  // it refused our credential
  std::string detail{};       // one sentence for people where it is unclear
};

struct Dispatch {
  CommandRequest command;
  Duration not_before{0};  // from when it is handed out: command_spacing between commands to one agent
  bool agent_present = true;  // 'not connected' is asked again on new connections then
};

class AgentHub {
 public:
  virtual ~AgentHub() = default;
  virtual const Profile& profile() const = 0;

  // Asks about all of `ids`. Waits, serving interrupts; throws only what the waiter throws (cancel, shutdown).
  virtual std::map<std::string, Sighting> look(const std::vector<std::string>& ids) = 0;

  // All agents that the hub names, asked once: no word on who is there, which look() has. Empty where it has no list.
  virtual std::vector<AgentAnswer> list() { return {}; }

  // Sends what `next` hands out, at most max_in_flight at once. It is asked for more when less than that is due and has
  // not left, until it hands out nothing. Calls `done(index, delivery)` once for each command, counted
  // in the order they were handed out, in any order, from inside the call. Waits as look() does.
  using Next = std::function<std::vector<Dispatch>()>;
  using Done = std::function<void(std::size_t, const Delivery&)>;
  virtual void dispatch(const Next& next, const Done& done) = 0;

  // The longest that dispatch() may take to answer the last of `commands` that are handed out, spacing aside.
  virtual Duration longest_delivery(std::size_t commands) const = 0;

  // Progress of accepted commands by the hub's command id; absent from the result: unknown.
  virtual std::map<std::string, Profile::CommandState> command_progress(const std::vector<std::string>& command_ids) = 0;
  // Of each session; of none where the hub can't be asked.
  virtual std::map<std::string, SessionSaid> session_status(const std::vector<std::string>& sessions) = 0;

  // Statistics since construction, for metrics.
  struct Totals { std::int64_t requests = 0, failed = 0; Duration time{0}; };
  virtual Totals totals() const = 0;
};

}  // namespace reconciler
