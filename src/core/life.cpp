// What speaks for a session that is about to be closed: signs of life that the application writes, and a runtime that is
// new. They are foreign: they make us wait, within limits of ours, and never do more.
#include <algorithm>

#include "core/rules.hpp"

namespace reconciler::rules {

std::optional<Time> quiet_since(const Facts& f, Duration known_for) {
  if (known_for >= f.limits.sign_ceiling) return {};
  return plus(f.now, -f.limits.sign_fresh_for);
}

bool shows_life(const Facts& f, Duration known_for) {
  const auto quiet = quiet_since(f, known_for);
  return quiet && f.session.sign && *f.session.sign > *quiet;
}

Time quiet_at(const Facts& f, Duration known_for) {
  return std::min(plus(std::min(*f.session.sign, f.now), f.limits.sign_fresh_for), plus(f.now, f.limits.sign_ceiling - known_for));
}

namespace {

// A lease lies ahead.
std::string shown_life(const Facts& f) {
  const Time sign = *f.session.sign;
  return cat({"the session showed a sign of life ", sign > f.now ? "until " + instant(sign) : span(elapsed(sign, f.now)) + " ago"});
}

// One that lies further ahead than that is no time of this clock: it is heard as a sign of life is, up to the ceiling.
bool is_being_replaced(const Facts& f, Duration known_for) {
  if (!f.session.asked || *f.session.asked <= plus(f.now, -f.limits.replacement_grace)) return false;
  return *f.session.asked <= plus(f.now, f.limits.replacement_grace) || known_for < f.limits.sign_ceiling;
}

}  // namespace

Verdict inferred(const Facts& f, Duration known_for, Verdict force) {
  const Duration known = elapsed(f.episode.first_seen, f.now);
  if (f.session.runtime && known < f.limits.replacement_grace)
    return wait(Action::force, plus(f.now, f.limits.replacement_grace - known), Blocked::replacement_grace,
                cat({force.text, "; its runtime is known for ", span(known), " of ", span(f.limits.replacement_grace), " only"}));
  if (is_being_replaced(f, known_for))
    return wait(Action::force, plus(std::min(*f.session.asked, f.now), f.limits.replacement_grace), Blocked::replacement_grace,
                cat({force.text, "; but something was asked of it ", span(elapsed(*f.session.asked, f.now)), " ago, and for ", span(f.limits.replacement_grace), " it may be getting another runtime"}));
  if (shows_life(f, known_for))
    return wait(Action::force, quiet_at(f, known_for), Blocked::sign_of_life,
                cat({force.text, "; but ", shown_life(f), ", which speaks for ", span(f.limits.sign_fresh_for)}));
  force.quiet_since = quiet_since(f, known_for);
  if (known_for < f.limits.sign_ceiling || !f.session.asked || *f.session.asked <= f.now) force.idle_since = plus(f.now, -f.limits.replacement_grace);
  return force;
}

}  // namespace reconciler::rules
