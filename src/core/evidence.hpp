// What is known of an agent or a runtime, and how one more look changes it. Gone time is accumulated from our own looks,
// and from the receipt of what is pushed: no foreign timestamp can make anybody gone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/time.hpp"

namespace reconciler {

enum class Presence { present, gone, unknown, none };
const char* to_string(Presence);
std::optional<Presence> presence_from(const std::string&);

struct EvidenceLimits {
  Duration interval = seconds(60);  // the larger of the setting and the observed distance of passes
  Duration observation_spacing = seconds(10);
  Duration hub_grace = seconds(120);
  Duration heartbeat_fresh = seconds(90);
  Duration sign_fresh_for = seconds(120);     // a session's own sign of life speaks that long …
  Duration sign_ceiling = minutes(30);        // … and not at all once its end is inferred for so long
  Duration replacement_grace = seconds(120);  // no inference about a runtime that we have known for less
};

// One look at one agent or runtime.
struct Observation {
  Presence presence = Presence::unknown;
  bool provisional = false;     // `present` good for retries and vetoes, not for resetting what was gone
  Time at{};
  std::string source;           // "hub", "heartbeat", "event", or who pushed it
  std::string instance;         // the hub instance that answered, '' where it names none
  bool new_instance = false;    // that instance had not answered in the last 10 minutes
  std::string incarnation;      // of the agent, '' where unknown
  bool unauthorized = false;    // the hub refused our credential
  std::string detail;           // one sentence for people
  // Heartbeat-judged hubs only: the value last seen, when we first saw that value, and whether we saw it change.
  std::optional<Time> heartbeat;
  std::optional<Time> heartbeat_seen;
  bool heartbeat_changed = false;
  std::optional<Time> stated;   // pushed: when it was so by the clock of its source; orders the reports of that one only
};

// The accumulated record. Sources: table reconciler.agent_evidence, one row per agent; reconciler.runtime_evidence, one per
// runtime and source.
struct Evidence {
  Observation last;
  Duration gone_time{0};              // accumulated; 0 unless the agent is gone, or unknown since shortly
  int gone_observations = 0;          // looks that said gone, at least observation_spacing apart
  std::optional<Time> last_gone_counted;
  std::optional<Time> unknown_since;
  std::optional<Time> last_present;
  // Commands that it accepted and whose time passed without an end, since it last ended one. From suspect_after on it
  // is suspect: it is there, but does not act. Suspect is not gone.
  int ignored = 0;
  std::optional<Time> suspect_since;
  std::optional<Duration> max_age;  // pushed: worth unknown when older; empty: two intervals
  std::string backend;              // of a runtime: the one that is spoken of; '' = none by name
};
inline constexpr int suspect_after = 3;

// The record after one more look. `seen` older than the record is ignored.
Evidence accumulate(const std::optional<Evidence>& before, const Observation& seen, const EvidenceLimits&);

// The limits for what one source pushes: it is expected twice within its max_age.
EvidenceLimits pushed_within(EvidenceLimits, const std::optional<Duration>& max_age);

// What the record is worth at `now`: unknown once it is older than two intervals, or than its max_age.
Presence current(const Evidence&, Time now, const EvidenceLimits&);

// Hubs whose answers prove nothing about a connection (StreamSpace): the verdict comes from the heartbeat.
struct HeartbeatLook {
  bool row_readable = false;            // the attached agents table has the agent
  bool approved = true;                 // true where there is no such column
  std::optional<Time> heartbeat;        // newest of the table's and the hub's
  enum class Hub { proper, other_hub, unauthorized, unknown } hub = Hub::unknown;  // other_hub: 404 for an agent of the table
  std::string hub_detail;
};
Observation judge_heartbeat(const std::optional<Evidence>& before, const HeartbeatLook&, Time now, const EvidenceLimits&);

}  // namespace reconciler
