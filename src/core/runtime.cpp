// Sessions that are judged by what they run in: a suspended one needs no agent, but the runtime that it comes back to. And
// those that nobody outside is asked about.
#include <algorithm>

#include "core/rules.hpp"

namespace reconciler::rules {

bool has_runtime(const Facts& f) { return f.session.runtime && !f.session.runtime->empty(); }

Presence runtime_presence(const Facts& f) {
  if (!has_runtime(f)) return Presence::none;
  return f.runtime ? current(*f.runtime, f.now, f.limits) : Presence::unknown;
}

namespace {

std::string runtime_name(const Facts& f) { return has_runtime(f) ? cat({"runtime ", in_quotes(*f.session.runtime)}) : std::string("no runtime"); }

std::string describe_runtime(const Facts& f) {
  if (!has_runtime(f)) return "the session names no runtime";
  return f.runtime ? describe_record(runtime_name(f), *f.runtime, f) : cat({runtime_name(f), ": nobody has said anything about it"});
}

void explain_gone(const Facts& f, std::string* why) {
  if (why) *why = cat({describe_runtime(f), how_long(f)});
}

}  // namespace

Answer runtime_shared(const Facts& f, std::string* why) {
  if (why) *why = cat({runtime_name(f), f.runtime_shared ? " is named by another session too" : runtime_presence(f) == Presence::gone ? " is named by no other session" : " is not gone: who else names it does not matter"});
  if (!f.runtime_shared || runtime_presence(f) != Presence::gone) return {};
  return wait(Action::wait, {}, Blocked::contradiction, cat({runtime_name(f), " is gone, but another session names it too: neither is written before a person has told them apart"}));
}

Answer runtime_gone(const Facts& f, std::string* why) {
  explain_gone(f, why);
  if (runtime_presence(f) != Presence::gone) return {};
  const std::string so_far = gone_so_far(runtime_name(f), *f.runtime, f);
  if (!f.policy->infers) return wait(Action::wait, {}, Blocked::none, cat({so_far, "; such sessions end by proof only: it is shown, never closed"}));
  if (!gone_long_enough(*f.runtime, f)) return {};
  return inferred(f, f.runtime->gone_time, close(Action::force, f.policy, "runtime_gone", so_far));
}

Answer runtime_gone_waiting(const Facts& f, std::string* why) {
  explain_gone(f, why);
  if (runtime_presence(f) != Presence::gone || !f.policy->infers || gone_long_enough(*f.runtime, f)) return {};
  return gone_not_yet(runtime_name(f), *f.runtime, f);
}

Answer runtime_unknown(const Facts& f, std::string* why) {
  if (why) *why = describe_runtime(f);
  if (!has_runtime(f)) return wait(Action::wait, {}, Blocked::none, "the session names no runtime, by which it would be judged; it is shown, never closed");
  if (runtime_presence(f) != Presence::unknown) return {};
  if (!f.runtime) return wait(Action::wait, {}, Blocked::hub_unknown, cat({"nobody has said anything about ", runtime_name(f)}));
  return not_known(runtime_name(f), *f.runtime, Action::wait, f);
}

Answer runtime_present(const Facts& f, std::string* why) {
  if (why) *why = describe_runtime(f);
  return wait(Action::wait, {}, Blocked::none, cat({runtime_name(f), " is there; nothing to do"}));
}

Answer row_alone(const Facts&, std::string* why) {
  if (why) *why = "nobody is asked about such a session (policy judged_by row)";
  return wait(Action::wait, {}, Blocked::none, "what stands in the database alone says what becomes of it, and that is nothing yet");
}

}  // namespace reconciler::rules
