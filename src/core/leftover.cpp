#include "core/leftover.hpp"

#include <algorithm>
#include <array>

#include "core/text.hpp"

namespace reconciler {
namespace {

using Answer = std::optional<LeftoverVerdict>;

LeftoverVerdict keep(std::string text) { return {{}, Keeping::keep, {}, std::move(text)}; }
LeftoverVerdict wait(std::optional<Time> due, std::string text) { return {{}, Keeping::wait, due, std::move(text)}; }
LeftoverVerdict remove(std::string text) { return {{}, Keeping::remove, {}, std::move(text)}; }

// Each fills `why` with the inputs it looked at, whether it matches or not.

Answer not_ours(const LeftoverFacts& f, std::string& why) {
  if (!f.control_plane) {
    why = f.label_required ? "no label says to which control plane it belongs" : "no label says to which control plane it belongs; none is required";
    if (!f.label_required) return {};
    return keep(why);
  }
  why = cat({"its control plane is ", in_quotes(*f.control_plane), ", ours is ", in_quotes(f.our_control_plane)});
  if (*f.control_plane == f.our_control_plane) return {};
  return keep(why);
}

Answer referenced(const LeftoverFacts& f, std::string& why) {
  why = f.referenced_by.empty() ? std::string("no row has it") : cat({"it is in use: ", f.referenced_by});
  if (f.referenced_by.empty()) return {};
  return keep(why);
}

Answer opted_out(const LeftoverFacts& f, std::string& why) {
  why = f.opted_out ? "an annotation says that it is to be kept" : "no annotation says that it is to be kept";
  if (!f.opted_out) return {};
  return keep(why);
}

Answer in_deletion(const LeftoverFacts& f, std::string& why) {
  if (!f.deleted) {
    why = "nobody has asked for its end";
    return {};
  }
  const Duration since = elapsed(*f.deleted, f.now);
  why = cat({"its end was requested ", span(since), " ago"});
  if (since > ends_within)
    why += cat({"; it hangs", f.finalizers.empty() ? std::string_view() : std::string_view(" on its finalizers: "), f.finalizers});
  return keep(why);
}

Answer too_young(const LeftoverFacts& f, std::string& why) {
  const Duration limit = f.warm ? f.warm_young : f.young;
  if (!f.created) {
    why = "it does not say when it was created";
    return keep(why);
  }
  const Duration age = elapsed(*f.created, f.now);
  why = cat({"it is ", span(age), " old; left alone for ", span(limit), f.warm ? " (warm)" : ""});
  if (age >= limit) return {};
  return keep(why);
}

Answer controlled(const LeftoverFacts& f, std::string& why) {
  why = f.controller.empty() ? std::string("nothing controls it") : cat({"it belongs to ", f.controller, " and goes with it"});
  if (f.controller.empty()) return {};
  return keep(why);
}

Answer session_alive(const LeftoverFacts& f, std::string& why) {
  if (!f.row) {
    why = f.session.empty() ? std::string("no session is known to have it") : cat({"session ", in_quotes(f.session), " has no row"});
    return {};
  }
  why = cat({"session ", in_quotes(f.session), " is ", in_quotes(f.state)});
  if (f.ended && f.spared.empty()) return {};
  if (f.ended) why += "; " + f.spared;
  return keep(why);
}

Answer unlabelled(const LeftoverFacts& f, std::string& why) {
  if (f.ownership_by_label && f.session.empty()) {
    why = "no label says whose it is";
    return keep(why);
  }
  // Without the control plane's label another database's objects look like ours, but for its sessions: they have no row here.
  if (!f.control_plane && !(f.row && f.says_so)) {
    why = f.row ? "neither it nor a label says whose it is: only a row does" : "no label says that it is ours, and no row here either";
    return keep(why);
  }
  why = f.says_so ? "it says whose it is" : "rows say whose it is";
  return {};
}

Answer volume(const LeftoverFacts& f, std::string& why) {
  if (!f.volume) {
    why = "it holds no user's data";
    return {};
  }
  why = "it holds a user's data";
  if (!f.volumes_after || !f.row) return keep(why + (f.volumes_after ? ", and its session has no row: never deleted" : ": never deleted (delete_volumes is not set)"));
  const Duration since = f.ended_at ? elapsed(*f.ended_at, f.now) : Duration(0);
  why += cat({"; its session ended ", span(since), " ago, delete_volumes ", span(*f.volumes_after)});
  if (since >= *f.volumes_after) return {};
  return wait(plus(f.ended_at.value_or(f.now), *f.volumes_after), why);
}

Answer session_closed(const LeftoverFacts& f, std::string& why) {
  if (!f.row) {
    why = "it has no session with a row";
    return {};
  }
  const Duration since = f.ended_at ? elapsed(*f.ended_at, f.now) : Duration(0);
  why = cat({"session ", in_quotes(f.session), " is ", in_quotes(f.state), ", for ", span(since), "; grace ", span(f.grace)});
  if (since >= f.grace) return remove(why);
  return wait(plus(f.ended_at.value_or(f.now), f.grace), why);
}

Answer session_unknown(const LeftoverFacts& f, std::string& why) {
  why = f.session.empty() ? std::string("no session has it") : cat({"session ", in_quotes(f.session), " has no row"});
  why += cat({"; complete collections before this one that found none: ", std::to_string(f.absent_looks), "; with this one it takes ", std::to_string(absent_looks_needed)});
  if (!f.absence_counts) {
    why += "; the database was restored or promoted since, and confirm_identity() has not been called";
    return wait({}, why);
  }
  const bool counts_now = !f.absent_counted || elapsed(*f.absent_counted, f.now) >= f.look_spacing;
  if (f.absent_looks + (counts_now ? 1 : 0) >= absent_looks_needed) return remove(why);
  return wait(plus(f.absent_counted && !counts_now ? *f.absent_counted : f.now, f.look_spacing), why);
}

struct Rule {
  std::string_view name, title;
  Answer (*ask)(const LeftoverFacts&, std::string& why);
};

// The first that matches decides: whatever is for keeping comes before what is for removing.
constexpr std::array table{
    Rule{"not_ours", "it belongs to another control plane, or does not say to which", not_ours},
    Rule{"referenced", "a row has it", referenced},
    Rule{"opted_out", "it says that it is to be kept", opted_out},
    Rule{"in_deletion", "its end is requested already", in_deletion},
    Rule{"too_young", "it is young", too_young},
    Rule{"controlled", "it goes with what controls it", controlled},
    Rule{"session_alive", "its session has not ended", session_alive},
    Rule{"unlabelled", "it does not say whose it is", unlabelled},
    Rule{"volume", "it holds a user's data", volume},
    Rule{"session_closed", "its session has ended", session_closed},
    Rule{"session_unknown", "it has no session", session_unknown},
};

}  // namespace

const char* to_string(Keeping verdict) {
  switch (verdict) {
    case Keeping::keep: return "keep";
    case Keeping::wait: return "wait";
    case Keeping::remove: return "delete";
  }
  return "keep";
}

LeftoverVerdict judge_leftover(const LeftoverFacts& facts, std::vector<TraceStep>* trace) {
  Answer decided;
  for (const Rule& rule : table) {
    if (decided && !trace) break;
    std::string why;
    Answer answer = rule.ask(facts, why);
    const bool decides = answer && !decided;
    if (decided) why = "not reached; " + why;
    if (decides) {
      answer->rule = rule.name;
      decided = std::move(answer);
    }
    if (trace) trace->push_back({rule.name, decides, std::move(why)});
  }
  return *decided;  // session_closed or session_unknown at the latest
}

const std::vector<RuleName>& leftover_rule_names() {
  static const std::vector<RuleName> names = [] {
    std::vector<RuleName> all;
    for (const Rule& rule : table) all.push_back({rule.name, rule.title});
    return all;
  }();
  return names;
}

std::int64_t removal_budget(std::int64_t ours) { return std::max<std::int64_t>(20, ours / 10); }

}  // namespace reconciler
