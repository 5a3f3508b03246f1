#include "postgres/acting.hpp"

#include "core/text.hpp"
#include "postgres/role.hpp"
#include "postgres/spi.hpp"

namespace reconciler {

AttachedBinding binding_of(std::optional<Oid> sessions) {
  return as_extension_owner([&] { return load_binding(one_binding(sessions)); });
}

void refuse_copy(const AttachedBinding& b) {
  as_extension_owner([&] { query("SELECT reconciler.refuse_copy($1::integer)", {Param::integer(b.binding.id)}); });
}

void refuse_terminal(const Binding& b, const Session& s) {
  if (s.state.empty()) throw UserError("55000", "session \"" + s.key + "\" has no state", "Set its state first; a session without one is never written.");
  if (b.terminal(s.state)) throw UserError("55000", "session \"" + s.key + "\" has ended already", {}, "Its state is " + s.state + ".");
}

UserError held(const std::string& key, const Hold& hold) {
  return UserError("55000", "session \"" + key + "\" is held", "Release it with release_session() first.", "Held by " + hold.actor + " " + until(hold.until) + ": " + hold.reason + ".");
}

void refuse_held(const AttachedBinding& b, const std::string& key, Time now) {
  const Rows rows = as_extension_owner([&] {
    return query("SELECT until, reason, actor FROM reconciler.hold WHERE binding_id = $1 AND session_id = $2 AND until > $3", {Param::integer(b.binding.id), Param::text(key), Param::time(now)});
  });
  if (!rows.empty()) throw held(key, {rows[0].time("until"), rows[0].text("reason"), rows[0].text("actor")});
}

}  // namespace reconciler
