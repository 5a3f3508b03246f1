// What the database says of objects that a cluster has listed: their sessions, and the rows that have them.
#include <algorithm>

#include "core/text.hpp"
#include "engine/cluster_json.hpp"
#include "postgres/collection_store.hpp"
#include "postgres/server.hpp"
#include "postgres/spi.hpp"
#include "postgres/statements.hpp"
#include "postgres/store.hpp"

namespace reconciler {
namespace {

constexpr const char* control_plane_label = "session-reconciler.io/control-plane";

bool says(const std::map<std::string, std::string>& words, const std::string& key, std::string_view value) {
  const auto found = words.find(key);
  return found != words.end() && found->second == value;
}

// Ids may be printed otherwise than they are written (a uuid): what differs by case alone is the same.
std::string folded(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

JudgedObject as_listed(const ClusterSetup& c, const Selected& selected, const ClusterObject& o, Time at) {
  JudgedObject j{o, c.limits, {}};
  LeftoverFacts& f = j.facts;
  if (const auto found = o.labels.find(control_plane_label); found != o.labels.end()) f.control_plane = found->second;
  f.opted_out = says(o.annotations, "session-reconciler.io/keep", "true") || says(o.annotations, "streamspace.io/gc", "keep");
  f.created = o.created, f.deleted = o.deleted;
  for (const std::string& finalizer : o.finalizers) f.finalizers += (f.finalizers.empty() ? "" : ", ") + finalizer;
  if (o.controller) f.controller = o.controller->kind + " " + o.controller->name;
  f.volume = selected.kind.group.empty() && selected.kind.resource == "persistentvolumeclaims";
  f.warm = !c.warm_label.empty() && says(o.labels, c.warm_label, "true");
  if (const auto found = o.labels.find(c.session_label); found != o.labels.end() && !found->second.empty()) f.session = found->second, f.says_so = true;
  f.now = at;
  return j;
}

bool another_control_plane(const LeftoverFacts& f) { return f.control_plane && *f.control_plane != f.our_control_plane; }

// Reads the rows, each question once for a page.
class Reader {
 public:
  Reader(const AttachedBinding& b, Time at) : b_(b), sql_(b_.mapping), at_(at) {}

  void read_sessions(std::vector<JudgedObject>& page) {
    std::vector<std::string> ids;
    for (const JudgedObject& j : page)
      if (!j.facts.session.empty()) ids.push_back(j.facts.session);
    if (ids.empty()) return;
    std::map<std::string, SessionRow> rows;
    for (Rows::Row row : theirs(sql_.sessions_of_objects(), ids)) add(rows[folded(row.text("key"))], row);
    for (JudgedObject& j : page)
      if (const auto found = rows.find(folded(j.facts.session)); !j.facts.session.empty() && found != rows.end()) j.facts.session = found->second.key, put(j.facts, found->second);
  }

  // Sessions whose runtime these are, and what else has them.
  void read_references(const std::vector<JudgedObject*>& page, const std::vector<ReferenceColumn>& references) {
    std::vector<std::string> ids;
    for (const JudgedObject* j : page) ids.push_back(j->object.name), ids.push_back(j->object.uid);
    if (ids.empty()) return;
    if (b_.mapping.sessions.runtime) {
      std::map<std::string, std::vector<SessionRow>> rows;
      for (Rows::Row row : theirs(sql_.sessions_by_runtime(), ids)) {
        SessionRow session;
        add(session, row);
        rows[folded(row.text("runtime"))].push_back(session);
      }
      for (JudgedObject* j : page)
        for (const std::string& id : {j->object.name, j->object.uid})
          if (const auto found = rows.find(folded(id)); found != rows.end())
            for (const SessionRow& session : found->second) put_runtime(j->facts, session);
    }
    for (const ReferenceColumn& reference : references) {
      std::set<std::string> named;
      for (Rows::Row row : theirs(sql_.references(reference), ids)) named.insert(folded(row.text("value")));
      for (JudgedObject* j : page)
        if (named.count(folded(j->object.name)) || named.count(folded(j->object.uid))) j->facts.referenced_by = reference.qualified + "." + quote_identifier(reference.column.name);
    }
  }

  // What is not done to a session is not done to what it has.
  void read_spared(std::vector<JudgedObject>& page) {
    std::vector<std::string> keys;
    for (const JudgedObject& j : page)
      if (j.facts.row && j.facts.ended) keys.push_back(j.facts.session);
    if (keys.empty()) return;
    std::map<std::string, std::string> why;
    as_extension_owner([&] {
      for (Rows::Row row : query_batch("SELECT h.session_id, h.actor, h.until FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t"
                                       " JOIN reconciler.hold h ON h.binding_id = t.binding AND h.session_id = t.key WHERE h.until > $3",
                                       {Param::integer(b_.binding.id), Param::texts(keys), Param::time(at_)}))
        why[row.text("session_id")] = "it is held by " + row.text("actor") + " until " + instant(row.time("until"));
      for (Rows::Row row : query_batch("SELECT e.session_id FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(key) OFFSET 0) AS t"
                                       " JOIN reconciler.episode e ON e.binding_id = t.binding AND e.session_id = t.key WHERE e.owed = 'readopt'",
                                       {Param::integer(b_.binding.id), Param::texts(keys)}))
        why[row.text("session_id")] = "its agent may come back with it";
    });
    for (JudgedObject& j : page)
      if (const auto found = why.find(j.facts.session); j.facts.row && found != why.end()) j.facts.spared = found->second;
  }

 private:
  struct SessionRow { std::string key, state; bool ended = false; std::optional<Time> closed; };

  Rows theirs(const std::string& statement, const std::vector<std::string>& ids) {
    return as_role(b_.mapping.sessions.owner, [&] { return query_batch(statement, {Param::texts(ids)}); });
  }
  void add(SessionRow& session, Rows::Row row) const {
    session.key = row.text("key"), session.state = row.maybe_text("state").value_or("");
    session.ended = b_.binding.terminal(session.state);
    // A time that lies ahead says nothing.
    if (const auto closed = row.maybe_time("closed"); closed && *closed <= at_) session.closed = closed;
  }
  static void put(LeftoverFacts& f, const SessionRow& session) { f.row = true, f.state = session.state, f.ended = session.ended, f.ended_at = session.closed; }

  void put_runtime(LeftoverFacts& f, const SessionRow& session) const {
    if (!session.ended) {
      f.referenced_by = "session " + in_quotes(session.key) + " of " + b_.binding.name + " is " + in_quotes(session.state);
    } else if (!f.row && f.session.empty()) {
      f.session = session.key;
      put(f, session);
    }
  }

  const AttachedBinding& b_;
  Statements sql_;
  const Time at_;
};

// What earlier collections found of them.
void recall(const std::string& cluster, std::vector<JudgedObject>& page) {
  std::vector<std::string> uids;
  for (const JudgedObject& j : page) uids.push_back(j.object.uid);
  struct Memory { std::optional<Time> ended_seen, absent_counted; int absent_looks; };
  std::map<std::string, Memory> memories;
  for (Rows::Row row : query_batch("SELECT r.uid, r.ended_seen, r.absent_looks, r.absent_counted FROM reconciler.resource r WHERE r.cluster = $1 AND r.uid = ANY ($2)",
                                   {Param::text(cluster), Param::texts(uids)}))
    memories[row.text("uid")] = {row.maybe_time("ended_seen"), row.maybe_time("absent_counted"), static_cast<int>(row.integer("absent_looks"))};
  for (JudgedObject& j : page) {
    const auto found = memories.find(j.object.uid);
    if (j.facts.row && j.facts.ended && !j.facts.ended_at) j.facts.ended_at = found != memories.end() && found->second.ended_seen ? found->second.ended_seen : j.facts.now;
    if (found != memories.end() && !j.facts.row) j.facts.absent_looks = found->second.absent_looks, j.facts.absent_counted = found->second.absent_counted;
  }
}

}  // namespace

std::vector<JudgedObject> PgCollectionStore::judge(const ClusterSetup& c, const Selected& selected, const std::vector<ClusterObject>& objects, Time at) {
  const AttachedBinding b = ours([&] { return load_binding(*c.binding); });
  std::vector<JudgedObject> page;
  for (const ClusterObject& o : objects) page.push_back(as_listed(c, selected, o, at));
  Reader reader(b, at);
  reader.read_sessions(page);
  // Where objects say whose they are, rows are asked only about those that nothing else keeps.
  std::vector<JudgedObject*> asked;
  for (JudgedObject& j : page)
    if (!another_control_plane(j.facts) && !(j.facts.row && !j.facts.ended)) asked.push_back(&j);
  reader.read_references(asked, c.references);
  reader.read_spared(page);
  ours([&] { recall(c.name, page); });
  const bool same_timeline = ours([&] {
    const Rows rows = query("SELECT timeline FROM reconciler.cluster_state WHERE cluster = $1", {Param::text(c.name)});
    return !rows.empty() && rows[0].integer("timeline") == this_server().timeline;
  });
  for (JudgedObject& j : page) {
    j.facts.absence_counts = same_timeline;
    j.verdict = judge_leftover(j.facts);
  }
  return page;
}

// What a living session has is not written down: there is nothing to say of it.
void PgCollectionStore::remember(const ClusterSetup& c, std::int64_t collection, const Selected& selected, const std::vector<JudgedObject>& page, Time at) {
  std::int64_t ours_among = 0, unlabelled = 0;
  using Texts = std::vector<std::optional<std::string>>;
  Texts uids, namespaces, names, objects, sessions, rules, verdicts, reasons;
  std::vector<std::optional<Time>> dues, ended;
  for (const JudgedObject& j : page) {
    const LeftoverFacts& f = j.facts;
    if (!f.control_plane) ++unlabelled;
    if (another_control_plane(f)) continue;
    if (f.control_plane || !f.label_required) ++ours_among;
    if (!f.referenced_by.empty() || (f.row && (!f.ended || !f.spared.empty()))) continue;
    uids.push_back(valid_text(j.object.uid)), namespaces.push_back(valid_text(j.object.namespace_name)), names.push_back(valid_text(j.object.name));
    objects.push_back(to_json(j.object).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    sessions.push_back(f.session.empty() ? std::nullopt : std::optional(valid_text(f.session)));
    rules.push_back(std::string(j.verdict.rule)), verdicts.push_back(to_string(j.verdict.verdict)), reasons.push_back(valid_text(j.verdict.text, 1000));
    dues.push_back(j.verdict.due), ended.push_back(f.row ? f.ended_at : std::nullopt);
  }
  query("UPDATE reconciler.collection SET ours = ours + $2, unlabelled = unlabelled + $3 WHERE id = $1", {Param::integer(collection), Param::integer(ours_among), Param::integer(unlabelled)});
  if (uids.empty()) return;
  // A list that began anew names some objects twice.
  query("INSERT INTO reconciler.resource AS r (cluster, api_group, api_version, resource, first_seen, last_seen, collection, uid, namespace, name, object, session_id, rule, verdict, reason, due, ended_seen)"
        " SELECT DISTINCT ON (t.uid) $1, $2, $3, $4, $5, $5, $6, t.* FROM unnest($7::text[], $8::text[], $9::text[], $10::jsonb[], $11::text[], $12::text[], $13::text[], $14::text[], $15::timestamptz[], $16::timestamptz[])"
        "   AS t(uid, namespace, name, object, session_id, rule, verdict, reason, due, ended_seen)"
        " ON CONFLICT (cluster, uid) DO UPDATE SET api_group = excluded.api_group, api_version = excluded.api_version, resource = excluded.resource, namespace = excluded.namespace, name = excluded.name,"
        "   object = excluded.object, session_id = excluded.session_id, rule = excluded.rule, verdict = excluded.verdict, reason = excluded.reason, due = excluded.due, last_seen = excluded.last_seen,"
        "   collection = excluded.collection, ended_seen = excluded.ended_seen, removed_at = CASE WHEN excluded.rule = 'in_deletion' THEN r.removed_at END,"
        "   absent_looks = CASE WHEN excluded.rule = 'session_unknown' THEN r.absent_looks ELSE 0 END, absent_counted = CASE WHEN excluded.rule = 'session_unknown' THEN r.absent_counted END",
        {Param::text(c.name), Param::text(selected.kind.group), Param::text(selected.kind.version), Param::text(selected.kind.resource), Param::time(at), Param::integer(collection),
         Param::texts(uids), Param::texts(namespaces), Param::texts(names), Param::jsonbs(objects), Param::texts(sessions), Param::texts(rules), Param::texts(verdicts), Param::texts(reasons),
         Param::times(dues), Param::times(ended)});
}

}  // namespace reconciler
