// Lists of all that is there of a kind, as one source says. What such a list names is there, what it does not is gone: so one
// that may be a fault of who made it proves nothing until a person has looked at it.
#include <algorithm>

#include "core/inventory.hpp"
#include "postgres/clock.hpp"
#include "postgres/events.hpp"
#include "postgres/pushed.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

constexpr std::size_t at_once = 1000;  // records to a statement

// An inventory of a scope is a source of its own: another one of the same role says nothing of what this one has.
std::string source_of(const Inventory& inventory) { return inventory.scope.empty() ? inventory.source : inventory.source + "/" + inventory.scope; }

// What the list says of one subject; empty: nothing.
std::optional<Presence> said_of(const Inventory& inventory, ListedAs as, const std::string& subject) {
  if (as == ListedAs::rejected) return Presence::unknown;
  if (inventory.subjects.contains(subject)) return Presence::present;
  return as == ListedAs::accepted ? std::optional(Presence::gone) : std::nullopt;
}

std::string in_words(const Inventory& inventory, ListedAs as, Presence presence, std::int64_t id) {
  const std::string list = "inventory " + std::to_string(id) + " of " + source_of(inventory);
  if (as == ListedAs::rejected) return list + " was rejected";
  return list + (presence == Presence::present ? " names it" : " does not name it");
}

class Spread {
 public:
  Spread(const Inventory& inventory, ListedAs as, std::int64_t id, Time received)
      : inventory_(inventory), as_(as), id_(id), received_(received), source_(source_of(inventory)), config_(source_named(source_)) {}

  // Returns whether anything is otherwise than it was.
  bool over(int binding) {
    PgStore store(as_extension_owner([&] { return load_binding(binding); }), TransactionMode::caller);
    if (inventory_.kind == "agent") {
      if (store.binding().agent_mapped) tell(store, store.agents_to_tell(inventory_.subjects));
    } else if (store.attached().mapping.sessions.runtime) {
      tell(store, store.runtimes_judged(inventory_.kind == "session"));
    }
    return changed_;
  }

 private:
  // `subjects`: agent or runtime, and what the list calls it.
  void tell(PgStore& store, const std::map<std::string, std::string>& subjects) {
    std::vector<std::string> ids;
    for (auto next = subjects.begin(); next != subjects.end();) {
      for (ids.clear(); next != subjects.end() && ids.size() < at_once; ++next)
        if (said_of(inventory_, as_, next->second)) ids.push_back(next->first);
      if (ids.empty()) continue;
      const auto record = [&](const std::string& id, const std::optional<Evidence>& before) { return after(store, before, *said_of(inventory_, as_, subjects.at(id))); };
      if (inventory_.kind == "agent") store.update_evidence(ids, record);
      else store.update_runtime_evidence(source_, ids, record);
    }
  }

  Evidence after(const PgStore& store, const std::optional<Evidence>& before, Presence presence) {
    Observation seen;
    seen.presence = presence, seen.at = received_, seen.stated = std::min(inventory_.as_of, received_), seen.source = source_;
    seen.detail = in_words(inventory_, as_, presence, id_);
    if (before) seen.instance = before->last.instance;
    const auto next = heard(before, seen, config_.max_age, store.binding().limits);
    if (!next) return *before;
    changed_ = changed_ || !before || before->last.presence != next->last.presence;
    Evidence record = *next;
    record.backend = config_.backend;
    return record;
  }

  const Inventory& inventory_;
  const ListedAs as_;
  const std::int64_t id_;
  const Time received_;
  const std::string source_;
  const Source config_;
  bool changed_ = false;
};

// The last accepted one of the same source, kind and scope; nobody else takes one meanwhile.
struct Last { std::int64_t id = 0; ListedBefore list; };
std::optional<Last> last_accepted(const Inventory& inventory) {
  query("LOCK TABLE reconciler.inventory IN SHARE ROW EXCLUSIVE MODE");
  const Rows rows = query("SELECT inventory_id, as_of, subjects FROM reconciler.inventory WHERE source = $1 AND kind = $2 AND scope = $3 AND state = 'accepted'",
                          {Param::text(inventory.source), Param::text(inventory.kind), Param::text(inventory.scope)});
  if (rows.empty()) return std::nullopt;
  const std::vector<std::string> subjects = rows[0].texts("subjects");
  return Last{rows[0].integer("inventory_id"), {rows[0].time("as_of"), {subjects.begin(), subjects.end()}}};
}

// Of each source, kind and scope one of each state is kept: the last.
std::int64_t keep(const Inventory& inventory, ListedAs as, const std::string& why, Time received) {
  const std::vector<std::string> subjects(inventory.subjects.begin(), inventory.subjects.end());
  query("DELETE FROM reconciler.inventory WHERE source = $1 AND kind = $2 AND scope = $3 AND (state = $4 OR $4 = 'accepted')",
        {Param::text(inventory.source), Param::text(inventory.kind), Param::text(inventory.scope), Param::text(to_string(as))});
  return query("INSERT INTO reconciler.inventory (source, kind, scope, as_of, received_at, complete, state, why, listed, subjects)"
               " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, cardinality($9), CASE WHEN $6 THEN $9 ELSE '{}' END) RETURNING inventory_id",
               {Param::text(inventory.source), Param::text(inventory.kind), Param::text(inventory.scope), Param::time(inventory.as_of), Param::time(received), Param::boolean(inventory.complete),
                Param::text(to_string(as)), Param::text(why), Param::texts(subjects)})
      .only().integer("inventory_id");
}

void write_event(const char* kind, const char* rule, const std::string& reason, const std::string& actor, const json& evidence, Time at) {
  write_events({}, std::nullopt, at, actor,
               {{.session = {}, .kind = kind, .from_state = {}, .to_state = {}, .reason = reason, .rule = rule, .evidence = evidence.dump(-1, ' ', false, json::error_handler_t::replace), .before = {}, .after = {}}});
}

}  // namespace

InventoryTaken take_inventory(const Inventory& inventory) {
  check_kind(inventory.kind, "");
  const Time received = database_now();
  InventoryTaken taken;
  ListedAs as{};
  bool stands = false;  // one was rejected before, and nobody has looked at it
  as_extension_owner([&] {
    const auto last = last_accepted(inventory);
    if (last && last->list.as_of == inventory.as_of) {
      taken = {last->id, "ignored", "it was taken already"};
      return;
    }
    const auto [judged, why] = judge_inventory(inventory.complete, inventory.as_of, inventory.subjects, last ? std::optional(last->list) : std::nullopt);
    as = judged;
    stands = !query("SELECT FROM reconciler.inventory WHERE source = $1 AND kind = $2 AND scope = $3 AND state = 'rejected'",
                    {Param::text(inventory.source), Param::text(inventory.kind), Param::text(inventory.scope)}).empty();
    taken = {keep(inventory, as, why, received), to_string(as), why};
    if (as == ListedAs::rejected && !stands)
      write_event("inventory_rejected", "report_inventory", why, inventory.source,
                  {{"inventory_id", taken.id}, {"kind", inventory.kind}, {"scope", inventory.scope}, {"listed", inventory.subjects.size()}, {"last_accepted", last ? json(last->list.subjects.size()) : json()}}, received);
  });
  if (taken.outcome == "ignored") return taken;
  Spread spread(inventory, as, taken.id, received);
  bool changed = false;
  for (const int id : as_extension_owner([] { return binding_ids(std::nullopt); })) changed = spread.over(id) || changed;
  if (changed) shared::wake_worker_at_commit();
  return taken;
}

std::string accept_inventory(std::int64_t id, const std::string& reason) {
  const std::string actor = acting_role();
  return as_extension_owner([&] {
    query("LOCK TABLE reconciler.inventory IN SHARE ROW EXCLUSIVE MODE");
    const Rows rows = query("SELECT source, kind, scope, state, listed FROM reconciler.inventory WHERE inventory_id = $1", {Param::integer(id)});
    if (rows.empty()) throw UserError("P0002", "inventory " + std::to_string(id) + " does not exist any more", "A newer one has taken its place: SELECT * FROM reconciler.inventory.");
    const Rows::Row row = rows[0];
    if (row.text("state") == "accepted") return std::string("already accepted");
    if (row.text("state") == "incomplete") throw UserError("55000", "inventory " + std::to_string(id) + " is not complete", "What it does not name is not gone: there is nothing to accept.");
    query("DELETE FROM reconciler.inventory WHERE source = $1 AND kind = $2 AND scope = $3 AND inventory_id <> $4", {Param::text(row.text("source")), Param::text(row.text("kind")), Param::text(row.text("scope")), Param::integer(id)});
    query("UPDATE reconciler.inventory SET state = 'accepted', why = '' WHERE inventory_id = $1", {Param::integer(id)});
    write_event("policy_changed", "accept_inventory", reason, actor, {{"inventory_id", id}, {"source", row.text("source")}, {"kind", row.text("kind")}, {"scope", row.text("scope")}, {"listed", row.integer("listed")}}, database_now());
    return std::string("accepted: what its source says next is measured by it");
  });
}

}  // namespace reconciler
