// Whether an object of a cluster is what a session has left behind: an ordered table of named rules, first match wins.
// Pure, as the verdict table is. Everything that is not known is for keeping it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/time.hpp"
#include "core/verdict.hpp"

namespace reconciler {

enum class Keeping { keep, wait, remove };  // wait: it will be removed if nothing changes
const char* to_string(Keeping);             // keep, wait, delete

// Everything a rule may look at.
struct LeftoverFacts {
  // What the object says of itself.
  std::optional<std::string> control_plane;  // the label that names the database to whose sessions it belongs
  bool opted_out = false;                    // an annotation says that it is to be kept
  std::optional<Time> created, deleted;      // deleted: since when its end is requested
  std::string finalizers;                    // what its end waits for, for people
  std::string controller;                    // the owner that controls it, for people; '' = none
  bool volume = false;                       // holds a user's data
  bool warm = false;                         // of a warm pool: has no session yet
  std::string session;                       // whose it is; '' = it does not say, and no session's row does
  bool says_so = false;                      // by its own label or annotation; else a session's row names it

  // What the database says, as of after the list.
  std::string referenced_by;                 // a row that has it as its own, for people; '' = none
  bool row = false;                          // the session's row is there
  std::string state;
  bool ended = false;                        // in a terminal state
  std::string spared;                        // why nothing is done to an ended session (a hold, a return), for people; '' = nothing
  std::optional<Time> ended_at;              // by the row, by us, or as we first saw it
  bool absence_counts = true;                // false: the database is not what it was (restored, promoted), nobody has said that it is well
  int absent_looks = 0;                      // complete collections that found no row, before this one
  std::optional<Time> absent_counted;        // the last of them

  // How the cluster is set.
  std::string our_control_plane;
  bool label_required = true;
  bool ownership_by_label = true;            // an object without a session's label is nobody's; else rows alone decide
  Duration young = hours(1), warm_young = hours(2);
  Duration grace = minutes(15);              // after the end of its session
  Duration look_spacing = minutes(10);
  std::optional<Duration> volumes_after;     // after the end of its session; empty: never
  Time now{};
};

struct LeftoverVerdict {
  std::string_view rule;
  Keeping verdict = Keeping::keep;
  std::optional<Time> due;   // wait: when, as far as it is known
  std::string text;          // one sentence for people
};

// Never throws but bad_alloc. With a trace: every rule in order, also those after the one that matched.
LeftoverVerdict judge_leftover(const LeftoverFacts&, std::vector<TraceStep>* trace = nullptr);

const std::vector<RuleName>& leftover_rule_names();  // in the order they are asked; for the docs

// An end that was requested so long ago hangs: its finalizers are shown, and never touched.
inline constexpr Duration ends_within = minutes(30);
// Complete collections that must have found no row.
inline constexpr int absent_looks_needed = 2;

// Removals of one collection: more than that are due and none is done, until a person says so.
std::int64_t removal_budget(std::int64_t ours);

}  // namespace reconciler
