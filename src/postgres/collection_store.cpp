#include "postgres/collection_store.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "engine/cluster_json.hpp"
#include "postgres/clock.hpp"
#include "postgres/events.hpp"
#include "postgres/server.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"
#include "postgres/store.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

// Of which nobody has heard for so long has ended.
constexpr Duration given_up_after = minutes(10);

Param kind_group(const Selected& s) { return Param::text(s.kind.group); }
Param kind_resource(const Selected& s) { return Param::text(s.kind.resource); }

std::string counted(std::int64_t n, const char* what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

}  // namespace

std::string kind_name(const ResourceKind& kind) { return kind.group.empty() ? kind.resource : kind.resource + "." + kind.group; }

ClusterSetup load_cluster(const std::string& name) {
  const Rows rows = query("SELECT c.*, c.kinds::text AS kinds_text, c.reference_columns::text AS references_text FROM reconciler.cluster c WHERE name = $1", {Param::text(name)});
  if (rows.empty()) throw UserError("42704", "cluster \"" + name + "\" does not exist", "Create it with set_cluster().");
  const Rows::Row row = rows[0];
  ClusterSetup c;
  c.name = name, c.api_url = row.maybe_text("api_url");
  if (const auto id = row.maybe_integer("binding_id")) c.binding = static_cast<int>(*id);
  c.enforce = row.view("mode") == "enforce", c.dry_run = row.boolean("dry_run");
  c.session_label = row.maybe_text("session_label").value_or(""), c.warm_label = row.maybe_text("warm_label").value_or("");
  try {
    for (const json& kind : json::parse(row.text("kinds_text"))) c.kinds.push_back(selected_from(kind));
    for (const json& reference : json::parse(row.text("references_text"))) c.references.push_back(load_reference(reference.at("table"), reference.at("column")));
  } catch (const std::invalid_argument& e) {
    throw UserError("22023", "kinds of cluster \"" + name + "\" can't be used: " + e.what(), "Set them again with set_cluster().");
  } catch (const json::exception& e) {
    throw UserError("22023", "kinds or reference_columns of cluster \"" + name + "\" are not of the form that set_cluster() writes", "Set them again with set_cluster().", e.what());
  }
  LeftoverFacts& f = c.limits;
  f.our_control_plane = row.text("control_plane"), f.label_required = row.boolean("require_control_plane_label");
  f.ownership_by_label = !c.session_label.empty();
  f.young = row.span("young"), f.warm_young = row.span("warm_young"), f.grace = row.span("grace"), f.look_spacing = row.span("absent_spacing");
  f.volumes_after = row.maybe_span("delete_volumes");
  return c;
}

// Why no collection may begin; '' = it may.
std::string PgCollectionStore::why_not(const ClusterSetup& c, const std::optional<AttachedBinding>& b) {
  if (!b) return c.binding ? "its sessions table can't be read" : "its sessions table was detached";
  if (b->mode == Mode::off || b->mode == Mode::broken) return b->mode == Mode::off ? "the mode of " + b->binding.name + " is off" : b->binding.name + " is broken: " + b->mode_reason;
  const Server here = this_server();
  if (here.system != b->armed_system || here.database != b->armed_database || here.database_name != b->armed_name)
    return b->binding.name + " is attached for another server or database; confirm_identity() says that this one is to act";
  if (!query("SELECT 1 FROM reconciler.binding_state WHERE binding_id = $1 AND safe_mode_since IS NOT NULL", {Param::integer(b->binding.id)}).empty()) return b->binding.name + " is in safe mode";
  return {};
}

CollectionStart PgCollectionStore::begin() {
  return transactions_.run("beginning a collection", [&] {
    return ours([&] {
      const Time at = database_now();
      CollectionStart start;
      const ClusterSetup c = load_cluster(cluster_);
      std::optional<AttachedBinding> b;
      if (c.binding) try {
          b = load_binding(*c.binding);
        } catch (const UserError& e) {
          start.why_not = e.what();
          return start;
        }
      if (start.why_not = why_not(c, b); !start.why_not.empty()) return start;
      // A dump brings no state along: nothing is believed absent then, since no WAL is on timeline 0.
      query("INSERT INTO reconciler.cluster_state (cluster, timeline) VALUES ($1, 0) ON CONFLICT DO NOTHING", {Param::text(cluster_)});
      const Rows state = query("SELECT running, alive_at FROM reconciler.cluster_state WHERE cluster = $1 FOR UPDATE", {Param::text(cluster_)});
      const auto alive = state.only().maybe_time("alive_at");
      if (!state[0].null("running") && alive && elapsed(*alive, at) < given_up_after && *alive <= at + given_up_after) {
        const Rows other = query("SELECT started_at, actor FROM reconciler.collection WHERE id = $1", {Param::integer(state[0].integer("running"))});
        start.why_not = "collection " + std::to_string(state[0].integer("running")) + " runs" +
                        (other.empty() ? "" : ", begun at " + instant(other[0].time("started_at")) + " by " + other[0].text("actor")) + "; if nothing more is heard of it another one may begin at " +
                        instant(*alive + given_up_after);
        return start;
      }
      start.removes = c.enforce && b->mode == Mode::enforce && !b->paused && !dry_run_;
      start.kinds = c.kinds;
      start.id = query("INSERT INTO reconciler.collection (cluster, started_at, actor, removes, dry_run) VALUES ($1, $2, $3, $4, $5) RETURNING id",
                       {Param::text(cluster_), Param::time(at), Param::text(actor_), Param::boolean(start.removes), Param::boolean(dry_run_ || (!c.enforce && c.dry_run))})
                     .only()
                     .integer(0);
      query("UPDATE reconciler.cluster_state SET running = $2, alive_at = $3 WHERE cluster = $1", {Param::text(cluster_), Param::integer(start.id), Param::time(at)});
      return start;
    });
  });
}

// Every step says that it is alive; another one may have begun since it was last heard of.
ClusterSetup PgCollectionStore::still_running(std::int64_t collection, Time at) {
  if (query("UPDATE reconciler.cluster_state SET alive_at = $3 WHERE cluster = $1 AND running = $2 RETURNING 1", {Param::text(cluster_), Param::integer(collection), Param::time(at)}).empty())
    throw UserError("55000", "collection " + std::to_string(collection) + " of cluster \"" + cluster_ + "\" has ended", "Begin another one.");
  ClusterSetup c = load_cluster(cluster_);
  if (!c.binding) throw UserError("55000", "the sessions table of cluster \"" + cluster_ + "\" was detached", "Attach it, and set the cluster again.");
  return c;
}

std::vector<JudgedObject> PgCollectionStore::judge_page(std::int64_t collection, const Selected& selected, const std::vector<ClusterObject>& objects) {
  return transactions_.run("judging resources", [&] {
    const Time at = database_now();
    const ClusterSetup c = ours([&] { return still_running(collection, at); });
    std::vector<JudgedObject> page = judge(c, selected, objects, at);
    ours([&] { remember(c, collection, selected, page, at); });
    return page;
  });
}

void PgCollectionStore::classify(const CollectionStart& start, const Selected& selected, const std::vector<ClusterObject>& objects) { judge_page(start.id, selected, objects); }

void PgCollectionStore::listed(const CollectionStart& start, const Selected& selected, const Listed& l) {
  transactions_.run("recording a list", [&] {
    ours([&] {
      const Time at = database_now();
      const ClusterSetup c = still_running(start.id, at);
      const std::string outcome = json{{"outcome", to_string(l.outcome)}, {"objects", l.objects}, {"detail", valid_text(l.detail, 1000)}}.dump();
      query("UPDATE reconciler.collection SET lists = lists || jsonb_build_object($2::text, $3::jsonb), objects = objects + $4 WHERE id = $1",
            {Param::integer(start.id), Param::text(kind_name(selected.kind)), Param::jsonb(outcome), Param::integer(l.objects)});
      if (l.outcome != Listed::Outcome::complete) return;
      // Claimed, and no answer on record: it has gone since, so it was taken.
      std::vector<std::int64_t> taken;
      for (Rows::Row row : query("SELECT id FROM reconciler.resource WHERE cluster = $1 AND api_group = $2 AND resource = $3 AND collection <> $4 AND claimed_at IS NOT NULL AND removed_at IS NULL AND last_result = ''"
                                 " AND EXISTS (SELECT FROM reconciler.collection n WHERE n.id = claimed_by AND n.removes)",
                                 {Param::text(cluster_), kind_group(selected), kind_resource(selected), Param::integer(start.id)}))
        taken.push_back(row.integer("id"));
      note_removed(c, start.id, taken, "absent", at);
      query("DELETE FROM reconciler.resource WHERE cluster = $1 AND api_group = $2 AND resource = $3 AND collection <> $4",
            {Param::text(cluster_), kind_group(selected), kind_resource(selected), Param::integer(start.id)});
    });
  });
}

bool PgCollectionStore::may_remove(const ClusterSetup& c, std::int64_t collection) {
  return c.enforce && !query("SELECT 1 FROM reconciler.binding b, reconciler.collection n WHERE b.binding_id = $1 AND b.mode = 'enforce' AND b.paused_at IS NULL AND n.id = $2 AND n.removes",
                             {Param::integer(*c.binding), Param::integer(collection)})
                           .empty();
}

// Of collection n: every kind was listed to its end, or is not served: then there is nothing of it.
static std::string all_listed() {
  return "NOT EXISTS (SELECT FROM reconciler.cluster c, jsonb_array_elements(c.kinds) AS k WHERE c.name = n.cluster"
         " AND coalesce(n.lists #>> ARRAY[k->>'resource' || coalesce('.' || nullif(k->>'group', ''), ''), 'outcome'], '') NOT IN ('complete', 'not_served'))";
}

// What was found this time and is to be deleted. An absent row counts only where everything was listed: a list that was not
// may have named what has the session.
static std::string to_be_deleted() {
  return " FROM reconciler.resource r JOIN reconciler.collection n ON n.id = $2 WHERE r.cluster = $1 AND r.collection = $2 AND r.verdict = 'delete' AND (r.rule <> 'session_unknown' OR " + all_listed() + ")"
         " AND n.lists #>> ARRAY[r.resource || coalesce('.' || nullif(r.api_group, ''), ''), 'outcome'] = 'complete'";
}

// Once a collection, when all of its lists have ended: one more that found no row, and whether it is too much.
void PgCollectionStore::count_due(const ClusterSetup& c, std::int64_t collection, bool removes, Time at) {
  // A list that began anew has named some twice.
  const Rows first = query("SELECT least(ours, objects) AS ours FROM reconciler.collection WHERE id = $1 AND due IS NULL", {Param::integer(collection)});
  if (first.empty()) return;
  const std::int64_t due = query("SELECT count(*)" + to_be_deleted(), {Param::text(cluster_), Param::integer(collection)}).only().integer(0);
  query("UPDATE reconciler.collection SET due = $2 WHERE id = $1", {Param::integer(collection), Param::integer(due)});
  note_absent(c, collection, at);
  if (!removes) return;
  const std::int64_t budget = removal_budget(first[0].integer("ours"));
  const Rows state = query("SELECT allowance, tripped IS NOT NULL AS tripped FROM reconciler.cluster_state WHERE cluster = $1", {Param::text(cluster_)});
  if (state.only().boolean("tripped")) return;
  const std::int64_t allowance = state[0].integer("allowance");
  if (due <= budget + allowance) {
    if (due <= budget && allowance > 0) query("UPDATE reconciler.cluster_state SET allowance = 0 WHERE cluster = $1", {Param::text(cluster_)});
    return;
  }
  const std::string why = counted(due, "resource") + " due to be deleted, of " + std::to_string(first[0].integer("ours")) + " that are ours; a collection may delete " + std::to_string(budget) +
                          (allowance > 0 ? " and " + std::to_string(allowance) + " that were let through" : "");
  query("UPDATE reconciler.cluster_state SET tripped = $2, tripped_due = $3, tripped_why = $4, allowance = 0 WHERE cluster = $1",
        {Param::text(cluster_), Param::time(at), Param::integer(due), Param::text(why)});
  const AttachedBinding b = load_binding(*c.binding);
  write_events(b, std::nullopt, at, actor_,
               {{.session = {}, .kind = "brake_tripped", .from_state = {}, .to_state = {}, .reason = why, .rule = "collection",
                 .evidence = json{{"cluster", cluster_}, {"collection", collection}, {"due", due}, {"budget", budget}}.dump(), .before = {}, .after = {}}});
  reconciler::report(LogLevel::warning, "session_reconciler: the brake of cluster " + cluster_ + " has tripped: " + why, "Nothing is deleted there.",
                     "Look at orphaned_resources(); SELECT reset_cluster_brake(" + quoted_literal(cluster_) + ", 'reason') lets them through.");
}

void PgCollectionStore::note_absent(const ClusterSetup& c, std::int64_t collection, Time at) {
  if (query("SELECT 1 FROM reconciler.cluster_state WHERE cluster = $1 AND timeline = $2", {Param::text(cluster_), Param::integer(this_server().timeline)}).empty()) return;
  query("UPDATE reconciler.resource r SET absent_looks = absent_looks + 1, absent_counted = $3 FROM reconciler.collection n WHERE n.id = $2 AND r.cluster = $1 AND r.collection = $2 AND r.rule = 'session_unknown'"
        " AND (r.absent_counted IS NULL OR r.absent_counted <= $3 - $4::interval) AND " + all_listed(),
        {Param::text(cluster_), Param::integer(collection), Param::time(at), Param::interval(c.limits.look_spacing)});
}

// Roots before what would be missed by them: in the order of the kinds.
std::vector<PgCollectionStore::Candidate> PgCollectionStore::candidates(std::int64_t collection, std::int64_t limit, bool dry_run) {
  std::vector<Candidate> found;
  for (Rows::Row row : query("SELECT r.id, r.api_group, r.api_version, r.resource, r.object::text AS object" + to_be_deleted() +
                                 " AND r.claimed_by IS DISTINCT FROM $2 AND r.removed_at IS NULL"
                                 " ORDER BY (SELECT min(k.n) FROM reconciler.cluster c, jsonb_array_elements(c.kinds) WITH ORDINALITY AS k(kind, n) WHERE c.name = $1 AND k.kind->>'resource' = r.resource AND coalesce(k.kind->>'group', '') = r.api_group), r.id"
                                 " LIMIT $3 FOR UPDATE OF r",
                             {Param::text(cluster_), Param::integer(collection), Param::integer(limit)})) {
    Candidate one;
    one.object = object_from(json::parse(row.text("object")));
    one.selected.kind = {row.text("api_group"), row.text("api_version"), row.text("resource")};
    one.deletion = {row.integer("id"), {one.selected.kind, one.object.namespace_name, one.object.name, one.object.uid, one.object.resource_version, dry_run}};
    found.push_back(std::move(one));
  }
  return found;
}

std::vector<Deletion> PgCollectionStore::deletions(const CollectionStart& start, std::int64_t limit) {
  return transactions_.run("choosing what to delete", [&] {
    const Time at = database_now();
    std::vector<Candidate> due;
    bool removes = false;
    const ClusterSetup c = ours([&] {
      ClusterSetup setup = still_running(start.id, at);
      removes = may_remove(setup, start.id);
      count_due(setup, start.id, removes, at);
      const bool braked = !query("SELECT 1 FROM reconciler.cluster_state WHERE cluster = $1 AND tripped IS NOT NULL", {Param::text(cluster_)}).empty();
      const bool dry_run = query("SELECT dry_run FROM reconciler.collection WHERE id = $1", {Param::integer(start.id)}).only().boolean(0);
      if ((removes && !braked) || dry_run) due = candidates(start.id, limit, dry_run);
      return setup;
    });
    // The lists took their time: what has changed since is judged again, in the transaction of the claim.
    std::vector<Deletion> claimed;
    std::vector<std::int64_t> ids;
    for (const Candidate& one : due) {
      const JudgedObject j = judge(c, one.selected, {one.object}, at).at(0);
      if (j.verdict.verdict == Keeping::remove) {
        claimed.push_back(one.deletion), ids.push_back(one.deletion.resource);
        continue;
      }
      ours([&] {
        query("UPDATE reconciler.resource SET rule = $2, verdict = $3, reason = $4, due = $5 WHERE id = $1",
              {Param::integer(one.deletion.resource), Param::text(j.verdict.rule), Param::text(to_string(j.verdict.verdict)), Param::text(valid_text(j.verdict.text, 1000)), Param::time(j.verdict.due)});
      });
    }
    if (ids.empty()) return claimed;
    ours([&] {
      query("UPDATE reconciler.resource SET claimed_by = $2, claimed_at = $3, last_result = '' WHERE id = ANY ($1)", {Param::integers(ids), Param::integer(start.id), Param::time(at)});
      if (removes) query("UPDATE reconciler.cluster_state SET allowance = greatest(allowance - $2, 0) WHERE cluster = $1", {Param::text(cluster_), Param::integer(static_cast<std::int64_t>(ids.size()))});
    });
    return claimed;
  });
}

// The audit: one event for each, in the transaction that remembers it.
void PgCollectionStore::note_removed(const ClusterSetup& c, std::int64_t collection, const std::vector<std::int64_t>& resources, const std::string& outcome, Time at) {
  if (resources.empty()) return;
  std::vector<Event> events;
  for (Rows::Row row : query("UPDATE reconciler.resource SET removed_at = $2, last_result = $3 WHERE id = ANY ($1) RETURNING api_group, api_version, resource, namespace, name, uid, session_id, rule, reason",
                             {Param::integers(resources), Param::time(at), Param::text(outcome)})) {
    const ResourceKind kind{row.text("api_group"), row.text("api_version"), row.text("resource")};
    events.push_back({.session = row.maybe_text("session_id"), .kind = "resource_deleted", .from_state = {}, .to_state = {}, .reason = row.text("reason"), .rule = row.text("rule"),
                      .evidence = json{{"cluster", cluster_}, {"collection", collection}, {"kind", kind_name(kind)}, {"api_version", kind.api_version()}, {"namespace", row.text("namespace")},
                                       {"name", row.text("name")}, {"uid", row.text("uid")}, {"outcome", outcome}}
                                      .dump(),
                      .before = {}, .after = {}});
  }
  write_events(load_binding(*c.binding), std::nullopt, at, actor_, events);
  count(*c.binding, "reconciler_resources_deleted_total", cluster_, static_cast<double>(events.size()));
  query("UPDATE reconciler.collection SET removed = removed + $2 WHERE id = $1", {Param::integer(collection), Param::integer(static_cast<std::int64_t>(events.size()))});
}

void PgCollectionStore::report(const CollectionStart& start, const Deletion& deletion, const Removed& removed) {
  transactions_.run("recording a deletion", [&] {
    ours([&] {
      const Time at = database_now();
      const ClusterSetup c = still_running(start.id, at);
      const Rows claim = query("SELECT r.removed_at IS NOT NULL AS noted, n.dry_run FROM reconciler.resource r JOIN reconciler.collection n ON n.id = r.claimed_by WHERE r.id = $1 AND r.cluster = $2 AND n.id = $3 FOR UPDATE OF r",
                               {Param::integer(deletion.resource), Param::text(cluster_), Param::integer(start.id)});
      if (claim.empty()) throw UserError("55000", "resource " + std::to_string(deletion.resource) + " is not claimed by collection " + std::to_string(start.id), "Report what gc_deletions() of this collection handed out.");
      if (claim[0].boolean("noted")) return;
      const bool done = removed.outcome == Removed::Outcome::accepted || removed.outcome == Removed::Outcome::absent;
      const bool dry_run = claim[0].boolean("dry_run");
      if (done && !dry_run) return note_removed(c, start.id, {deletion.resource}, to_string(removed.outcome), at);
      // An answer that is not known is none: a later list tells.
      const std::string result = removed.outcome == Removed::Outcome::unknown ? "" : std::string(dry_run ? "dry run: " : "") + to_string(removed.outcome) + (removed.detail.empty() ? "" : ": " + removed.detail);
      query("UPDATE reconciler.resource SET last_result = $2 WHERE id = $1", {Param::integer(deletion.resource), Param::text(valid_text(result, 1000))});
      if (!done && removed.outcome != Removed::Outcome::changed) query("UPDATE reconciler.collection SET failed = failed + 1 WHERE id = $1", {Param::integer(start.id)});
    });
  });
}

void PgCollectionStore::end(const CollectionStart& start, const CollectionEnd& e) {
  transactions_.run("ending a collection", [&] {
    const Time at = database_now();
    const ClusterSetup c = ours([&] {
      ClusterSetup setup = still_running(start.id, at);
      count_due(setup, start.id, may_remove(setup, start.id), at);
      query("UPDATE reconciler.collection n SET ended_at = $2, detail = $3, complete = " + all_listed() + " WHERE n.id = $1",
            {Param::integer(start.id), Param::time(at), Param::text(valid_text(e.detail, 1000))});
      query("UPDATE reconciler.cluster_state SET running = NULL WHERE cluster = $1", {Param::text(cluster_)});
      query("DELETE FROM reconciler.resource r USING reconciler.cluster c WHERE c.name = $1 AND r.cluster = $1 AND NOT EXISTS (SELECT FROM jsonb_array_elements(c.kinds) AS k"
            "   WHERE k->>'resource' = r.resource AND coalesce(k->>'group', '') = r.api_group)", {Param::text(cluster_)});
      query("DELETE FROM reconciler.collection WHERE cluster = $1 AND id < (SELECT id FROM reconciler.collection WHERE cluster = $1 ORDER BY id DESC OFFSET 99 LIMIT 1)", {Param::text(cluster_)});
      return setup;
    });
    confirm(c, start.id, at);
  });
}

void PgCollectionStore::give_up(const CollectionStart& start) noexcept {
  if (start.id == 0) return;
  try {
    transactions_.run("giving a collection up", [&] {
      ours([&] { query("UPDATE reconciler.cluster_state SET running = NULL WHERE cluster = $1 AND running = $2", {Param::text(cluster_), Param::integer(start.id)}); });
    });
  } catch (const std::exception& e) {
    reconciler::report(LogLevel::warning, "session_reconciler: collection " + std::to_string(start.id) + " could not be given up", e);
  }
}

// A session that was closed without its agent has left nothing behind where complete collections that began after it, of every
// cluster of its table, have looked for what its event names and find nothing of it. A user's data may stay: the event names it apart.
void PgCollectionStore::confirm(const ClusterSetup& c, std::int64_t collection, Time at) {
  const AttachedBinding b = ours([&] { return load_binding(*c.binding); });
  const Rows open = ours([&] {
    return query("SELECT e.id, e.session_id, (SELECT jsonb_agg(concat_ws('/', r.namespace, r.name)) FROM reconciler.resource r JOIN reconciler.cluster k ON k.name = r.cluster"
                 "    WHERE r.session_id = e.session_id AND k.binding_id = $1)::text AS kept"
                 " FROM reconciler.event e WHERE e.kind = 'leftover' AND (e.schema_name, e.table_name) = ($2, $3)"
                 " AND NOT EXISTS (SELECT FROM reconciler.event d WHERE d.kind = 'resources_confirmed' AND d.session_id = e.session_id AND d.id > e.id AND (d.schema_name, d.table_name) = ($2, $3))"
                 " AND NOT EXISTS (SELECT FROM reconciler.resource r JOIN reconciler.cluster k ON k.name = r.cluster WHERE r.session_id = e.session_id AND k.binding_id = $1 AND NOT (r.api_group = '' AND r.resource = 'persistentvolumeclaims'))"
                 " AND NOT EXISTS (SELECT FROM reconciler.cluster k WHERE k.binding_id = $1 AND NOT EXISTS (SELECT FROM reconciler.collection n WHERE n.cluster = k.name AND n.complete AND n.started_at > e.at"
                 "   AND n.id = (SELECT max(m.id) FROM reconciler.collection m WHERE m.cluster = k.name AND m.ended_at IS NOT NULL)))"
                 // Somebody must have looked for each of them: where it would be, for things of its kind.
                 " AND NOT EXISTS (SELECT FROM jsonb_array_elements_text(e.evidence->'resources') AS x(resource) WHERE NOT EXISTS (SELECT FROM reconciler.cluster k, jsonb_array_elements(k.kinds) AS l"
                 "   WHERE k.binding_id = $1 AND l->'namespaces' ?| ARRAY['', coalesce(e.evidence->>'namespace', '')] AND split_part(x.resource, '/', 1) IN (l->>'resource', rtrim(l->>'resource', 's'),"
                 "     (l->>'resource') || '.' || (l->>'group'), rtrim(l->>'resource', 's') || '.' || (l->>'group'))))"
                 " ORDER BY e.id LIMIT 1000",
                 {Param::integer(b.binding.id), Param::text(b.schema), Param::text(b.table)});
  });
  if (open.empty()) return;
  std::vector<std::string> ids;
  for (Rows::Row row : open) ids.push_back(row.text("session_id"));
  // A session that lives again has its resources by right, and they are not written down.
  std::set<std::string> alive;
  for (Rows::Row row : as_role(b.mapping.sessions.owner, [&] { return query_batch(Statements(b.mapping).sessions_of_objects(), {Param::texts(ids)}); }))
    if (!b.binding.terminal(row.maybe_text("state").value_or(""))) alive.insert(row.text("key"));
  std::vector<Event> events;
  for (Rows::Row row : open) {
    if (alive.count(row.text("session_id"))) continue;
    json evidence = {{"leftover", row.integer("id")}, {"cluster", cluster_}, {"collection", collection}};
    if (const auto kept = row.maybe_text("kept")) evidence["user_data"] = json::parse(*kept);
    events.push_back({.session = row.text("session_id"), .kind = "resources_confirmed", .from_state = {}, .to_state = {}, .reason = "complete lists no longer name what it left behind", .rule = {},
                      .evidence = evidence.dump(), .before = {}, .after = {}});
  }
  ours([&] { write_events(b, std::nullopt, at, actor_, events); });
}

}  // namespace reconciler
