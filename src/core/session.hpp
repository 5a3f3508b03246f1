// What is known of one session: its row as scanned, our own memory of its episode, and the commands that
// the application has on record for it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/time.hpp"

namespace reconciler {

// A row of the user's table. Every value is text as Postgres prints it; equality of text is equality of
// value for the column types that attach_sessions accepts.
struct Session {
  std::string key;
  std::string state;
  std::optional<std::string> agent;    // NULL, or the binding maps no agent column
  std::optional<std::string> runtime;  // the runtime id column, where mapped
  std::optional<std::string> created;  // created_at as text: part of the identity, not a time we compute with
  std::optional<Time> entered;         // the mapped "time in state" column, where mapped and not NULL
  std::vector<std::optional<std::string>> route;  // further columns that every WHERE repeats
  std::optional<Time> sign{};          // the newest of the mapped signs of life
  std::optional<std::string> backend{};  // where its runtime is, if a column says so
  std::optional<std::string> version{};  // the column that every write of the row changes, as text; compared where mapped
  std::optional<Time> asked{};         // when it was last given something to do, or somebody took that: it may be getting a runtime
};

// What is still to be done for a session that we closed while its agent was not there to end it.
enum class Owed { nothing, stop, readopt };
inline constexpr Duration owed_for = hours(24);  // an agent that comes back later gets nothing
// A start of ours may reach its agent for so long after it left: a stop that is to come after it waits.
inline constexpr Duration start_arrives_within = minutes(5);

// One stay of a session in a watched state. Another state, agent, runtime id or created_at is another
// episode. Attempts and idempotency keys belong to it. Source: table reconciler.episode.
struct Episode {
  Time first_seen{};                // our first sight of it
  Time entered{};                   // age counts from here: the column as first seen, never after first_seen
  int attempts = 0;                 // tries that count to the cap: accepted, or failed by the agent
  int accepted = 0;                 // tries the hub accepted
  int tries = 0;                    // all tries: the backoff's exponent
  std::optional<Time> first_accepted;
  std::optional<std::string> command_id;       // idempotency key of the try whose outcome is not yet known
  std::optional<std::string> hub_command_id;   // the hub's own id of that try, where it gives one
  std::optional<Time> accepted_at;  // the try above was accepted at; until command_timeout it is open
  std::optional<Time> lease_until;  // somebody is sending it now
  std::optional<Time> last_attempt;
  std::string last_result;          // '' = never tried
  std::optional<Time> next_attempt; // no try before this
  std::optional<Time> unreachable_since;  // every try since then reached nobody
  std::optional<Time> quarantined;
  std::optional<Time> write_failed;       // closing it raised an error; tried again an hour later
  std::string write_error;                // which
  std::optional<Time> handover_failed;    // giving it to another agent raised write_error; tried again an hour later
  std::optional<Time> write_locked;       // closing it was left to the next pass: somebody had locked the row
  std::optional<Time> completion_seen;    // first sight of a completion that carries no time of its own
  std::optional<Time> session_gone;       // the hub said so (410, or a 'gone' answer)
  std::optional<Time> retry_requested;    // retry_session(): due at once, past a backoff or a quarantine
  std::optional<std::string> last_command_seen;  // the newest stop in the command table when the open try was claimed
  std::string last_would;           // rule and action noted last: of observe mode, or a contradiction
  bool detected = false;            // counted as stuck
  std::string incarnation;          // of the agent that has it, as far as we saw it there; '' = not known
  std::optional<Time> session_running;  // the hub, or the agent by completing our start, said last that it runs
  std::optional<Time> start_failed;     // the agent failed our start; last_result has its words
  std::optional<std::string> sent_to;   // another agent of the pool that the last try went to; empty: its own
  int siblings = 0;                     // tries that went to other agents
  Owed owed = Owed::nothing;        // the session was closed by us, its agent comes back
  std::optional<Time> owed_until;   // … by then, or never
};

// A command of the application (or of the hub on our behalf) from its command table.
struct Command {
  std::string id;
  std::string action;  // stop_session, start_session, …
  std::string status;  // a hint: the times below overrule it
  std::optional<Time> created, sent, acknowledged, completed;
  std::string error;
  bool sendable = true;  // everything that sending it again takes is on record
};

// The newest commands of one session: those for the agent that it has, or for nobody by name. What another agent was told
// says nothing of what runs here.
struct CommandHistory {
  std::optional<Command> newest_stop;
  std::optional<Command> newest_other;  // the newest that is not a stop (start, wake, resume, hibernate)
  std::optional<Command> newest_elsewhere;  // … for another agent: somebody wants the session there, perhaps before its row says so
  const std::optional<Command>& newest_like(const std::string& action) const { return action == "stop_session" ? newest_stop : newest_other; }
};

// An operator's hold: nothing is done to the session until then.
struct Hold {
  Time until{};
  std::string reason;
  std::string actor;
};

}  // namespace reconciler
