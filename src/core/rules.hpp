// Inside core/ only: the rules behind the verdict table, and what they share. A rule looks at the facts and
// answers with a verdict or with nothing; the next one is asked then. `why`, where given, receives the inputs
// it looked at, whether it matched or not. rule names are filled in by the table.
#pragma once

#include "core/text.hpp"
#include "core/verdict.hpp"

namespace reconciler::rules {

using Answer = std::optional<Verdict>;

// verdict.cpp
Answer terminal(const Facts&, std::string* why);
Answer held(const Facts&, std::string* why);
// late.cpp
Answer late_agent(const Facts&, std::string* why);
// verdict.cpp
Answer policy_off(const Facts&, std::string* why);
Answer fresh(const Facts&, std::string* why);
// sibling.cpp
Answer agent_replaced(const Facts&, std::string* why);
Answer planned_move(const Facts&, std::string* why);
Answer sibling_due(const Facts&, std::string* why);
// completion.cpp
Answer completion_proven(const Facts&, std::string* why);
// orphan.cpp
Answer no_agent(const Facts&, std::string* why);
Answer agent_gone(const Facts&, std::string* why);
Answer agent_gone_waiting(const Facts&, std::string* why);
// runtime.cpp
Answer runtime_shared(const Facts&, std::string* why);
Answer runtime_gone(const Facts&, std::string* why);
Answer runtime_gone_waiting(const Facts&, std::string* why);
Answer runtime_unknown(const Facts&, std::string* why);
Answer runtime_present(const Facts&, std::string* why);
Answer row_alone(const Facts&, std::string* why);
// start.cpp
Answer start_acknowledged(const Facts&, std::string* why);
// retry.cpp
Answer command_open(const Facts&, std::string* why);
Answer agent_unknown(const Facts&, std::string* why);
Answer tries_spent(const Facts&, std::string* why);
Answer retry_due(const Facts&, std::string* why);
Answer other_incarnation(const Facts&, std::string* why);
Answer alive(const Facts&, std::string* why);

// Verdicts.
Verdict wait(Action next, std::optional<Time> due, Blocked by, std::string text);
Verdict close(Action force_or_finalize, const Policy*, std::string reason, std::string text);

// What the evidence says of the session's agent now; unknown where nobody ever asked.
Presence agent_presence(const Facts&);
bool is_held(const Facts&);
// The agent that is there now is not the one that the session was given to: its name is, its process is not.
bool came_back_as_another(const Facts&);
bool has_agent(const Facts&);
std::string agent_name(const Facts&);            // agent "k8s-1"
std::string describe_evidence(const Facts&);     // for traces: source, age, instance, detail
bool judged_by(const Facts&, JudgedBy);          // it has a policy, and that says so
bool has_runtime(const Facts&);
// What the evidence says of the session's runtime now; none: it names none.
Presence runtime_presence(const Facts&);
// What is said of an agent and of a runtime alike, `who` being its name. The session has a policy.
std::string describe_record(const std::string& who, const Evidence&, const Facts&);
std::string gone_so_far(const std::string& who, const Evidence&, const Facts&);
bool gone_long_enough(const Evidence&, const Facts&);
std::string how_long(const Facts&);              // it has to be gone, as the end of an inputs line
Verdict gone_not_yet(const std::string& who, const Evidence&, const Facts&);
Verdict not_known(const std::string& who, const Evidence&, Action next, const Facts&);
// life.cpp
// The time after which a sign of life speaks against an end that is known for that long; empty: it is heard no more.
std::optional<Time> quiet_since(const Facts&, Duration known_for);
bool shows_life(const Facts&, Duration known_for);
// When the sign has spoken long enough.
Time quiet_at(const Facts&, Duration known_for);
// An end that is inferred for that long: the force, or what it waits for.
Verdict inferred(const Facts&, Duration known_for, Verdict force);

// Another agent of its pool that gets the stop which is owed for it.
std::optional<std::string> takes_what_is_owed(const Facts&);
// An open command, until when, and who sent it.
struct Open { Time until; std::string text; };
std::optional<Open> open_command(const Facts&);
// No try before this.
Time not_before(const Facts&);
// retry_session() was called and no try, and no quarantine, has come since.
bool retry_requested(const Facts&);
// Since when the session is in its state; never after now.
Duration state_age(const Facts&);

// What a command on record says. Times overrule the status.
enum class CommandFate { undelivered, open, failed, completed };
CommandFate fate_of(const Command&);
// What an inputs line says of it.
std::string describe(const Command&, Time now);
// Proof that the session has ended, or has reached the state it was on its way to; and when its rest began.
struct Completion { Time since{}; std::string proof, becomes, reason; Owed owes = Owed::nothing; bool ends = true; };
std::optional<Completion> completion_of(const Facts&, std::string* why);
// Whether what is on record proves something and carries no time of its own, or one that lies ahead: it rests from
// our first sight of it.
bool rests_from_sight(const Policy*, const CommandHistory&, Time now);

// The start that is the session's newest command; nullptr: there is none, or another one came after.
const Command* newest_start(const Facts&);
// Since when the start is with the agent, or on its way there.
std::optional<Time> start_taken_over(const Facts&);
// It was taken over, has had its time, and the agent is there.
bool start_timed_out(const Facts&);
// What its agent may still have of a session that is closed without it.
Owed owed_by(const Facts&);
// "the hub accepted our stop_session"; where agents fetch, no more was done than to put it down for them.
std::string sent(const Facts&, const std::string& command);
// When the agent took it over; empty: it never did, as far as is on record.
std::optional<Time> acknowledged(const Command&);

}  // namespace reconciler::rules
