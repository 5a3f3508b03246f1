// What stands between a verdict and the deed: the binding as a whole may not act, or may not force yet.
#pragma once

#include <optional>
#include <string>

#include "core/verdict.hpp"

namespace reconciler {

enum class Mode { observe, enforce, off, broken };
const char* to_string(Mode);
std::optional<Mode> mode_from(const std::string&);

struct Gates {
  Mode mode = Mode::observe;
  std::string mode_reason;          // why it is broken
  bool identity_confirmed = true;   // this server and database are the ones the binding was armed for
  bool safe_mode = false;           // passes of this binding have crashed the server
  bool version_fits = true;         // library and extension agree
  bool paused = false;              // retries and forces
  bool paused_everything = false;   // finalize too
  std::optional<Time> grace_until;  // no force before
  bool brake_tripped = false;       // inferred forces only
  std::int64_t allowance = 0;       // forces let through although it is tripped
  bool brake_slowed = false;        // inferred forces go at a tenth of their pace
};

// none: it may be done. Otherwise what holds it, the first that applies; `until` is set where a time ends it, `text`
// where the word alone would not tell a person enough.
struct Gated { Blocked by = Blocked::none; std::optional<Time> until; std::string text; };
Gated gate(const Verdict&, const Policy*, const Episode&, const Gates&, Time now);

}  // namespace reconciler
