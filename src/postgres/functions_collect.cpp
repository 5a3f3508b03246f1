// CALL collect_garbage(), and the steps of one collection for session-reconciler-gc.
#include <exception>
#include <limits>

#include "engine/cluster_json.hpp"
#include "postgres/collection_store.hpp"
#include "postgres/events.hpp"
#include "postgres/role.hpp"
#include "postgres/run_collection.hpp"
#include "postgres/settings.hpp"
#include "postgres/spi.hpp"
#include "postgres/waiter.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

void say(const std::string& cluster, const CollectionReport& r) {
  const std::string which = "cluster \"" + cluster + "\"";
  if (r.start.id == 0) return notice(which + " was not collected: " + r.start.why_not);
  const auto left = as_extension_owner([&] {
    return query("SELECT due, tripped_why FROM reconciler.collection n LEFT JOIN reconciler.cluster_state s USING (cluster) WHERE n.id = $1", {Param::integer(r.start.id)});
  });
  std::string text = which + ": " + std::to_string(r.end.objects) + " objects, " + left.only().text("due") + " to be deleted, " + std::to_string(r.end.removed) + " deleted";
  if (!r.start.removes) text += "; nothing is deleted: it is only reported";
  else if (const std::string why = left[0].maybe_text("tripped_why").value_or(""); !why.empty()) text += "; the brake has tripped: " + why;
  if (r.end.detail.empty()) notice(text, "See orphaned_resources().");
  else warn_client(text + "; " + r.end.detail, "See reconciler.collection.");
}

// A collection by its number, as the collector names it.
PgCollectionStore store_of(std::int64_t collection) {
  const std::string actor = acting_role();
  const Rows rows = as_extension_owner([&] { return query("SELECT cluster FROM reconciler.collection WHERE id = $1", {Param::integer(collection)}); });
  if (rows.empty()) throw UserError("42704", "there is no collection " + std::to_string(collection), "Begin one with gc_begin().");
  return PgCollectionStore(rows[0].text("cluster"), TransactionMode::caller, actor);
}

CollectionStart known_by(std::int64_t collection) {
  CollectionStart start;
  start.id = collection;
  return start;
}

// What a client sends: a mistake in it is his.
template <class Read>
auto from_client(const char* argument, Read&& read) -> std::invoke_result_t<Read&> {
  try {
    return read();
  } catch (const std::invalid_argument& e) {
    throw UserError("22023", std::string(argument) + ": " + e.what(), "docs/reference.md has the form.");
  } catch (const json::exception& e) {
    throw UserError("22023", std::string(argument) + " can't be read", "docs/reference.md has the form.", e.what());
  }
}

Selected kind_argument(FunctionCallInfo fcinfo) {
  return from_client("kind", [&] { return selected_from(json::parse(sql_text(fcinfo, 1))); });
}

template <class Outcome>
Outcome known(const std::optional<Outcome>& outcome, const std::string& text) {
  if (!outcome) throw UserError("22023", "there is no outcome \"" + text + "\"", "docs/reference.md has those there are.");
  return *outcome;
}

}  // namespace

RECONCILER_SQL_FUNCTION(collect_garbage) {
  const std::optional<std::string> name = sql_maybe_text(fcinfo, 0);
  const std::string actor = acting_role();
  Procedure procedure(fcinfo->context, "CALL collect_garbage()");
  if (!settings::outbound()) throw UserError("55000", "session_reconciler.outbound is off", "Run session-reconciler-gc, or turn it on and reload.");
  BackendWaiter waiter;
  const std::vector<std::string> clusters = clusters_to_collect(TransactionMode::procedure, name);
  if (clusters.empty()) notice("no cluster with an address is set", "Set one with set_cluster().");
  std::exception_ptr failure;
  for (const std::string& cluster : clusters) try {
      const CollectionReport report = run_collection(cluster, TransactionMode::procedure, waiter, actor, std::numeric_limits<std::int64_t>::max());
      Transactions(TransactionMode::procedure).run("reading the collection", [&] { say(cluster, report); });
    } catch (const PostgresError& e) {
      if (e.cancelled()) throw;
      // One cluster's failure must not keep the others from their collection.
      if (!failure) failure = std::current_exception();
    } catch (const std::exception&) {
      if (!failure) failure = std::current_exception();
    }
  if (failure) std::rethrow_exception(failure);
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(gc_begin) {
  PgCollectionStore store(sql_text(fcinfo, 0), TransactionMode::caller, acting_role(), sql_bool(fcinfo, 1));
  const CollectionStart start = store.begin();
  SqlTable out(fcinfo);
  if (start.id == 0) {
    out.add({SqlCell(), SqlCell(), SqlCell(), start.why_not});
    return sql_null(fcinfo);
  }
  json kinds = json::array();
  for (const Selected& kind : start.kinds) kinds.push_back(to_json(kind));
  out.add({std::to_string(start.id), kinds.dump(), std::string(start.removes ? "enforce" : "report"), SqlCell()});
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(gc_classify) {
  const std::int64_t id = sql_int(fcinfo, 0);
  const Selected kind = kind_argument(fcinfo);
  const std::vector<ClusterObject> page = from_client("objects", [&] {
    const json documents = json::parse(sql_text(fcinfo, 2));
    if (!documents.is_array()) throw std::invalid_argument("it must be a list of objects");
    std::vector<ClusterObject> objects;
    for (const json& document : documents) objects.push_back(object_from(document));
    return objects;
  });
  SqlTable out(fcinfo);
  for (const JudgedObject& j : store_of(id).judge_page(id, kind, page))
    out.add({j.object.uid, std::string(to_string(j.verdict.verdict)), std::string(j.verdict.rule), j.verdict.text});
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(gc_listed) {
  const std::int64_t id = sql_int(fcinfo, 0);
  const std::string outcome = sql_text(fcinfo, 2);
  Listed listed;
  listed.outcome = known(listed_outcome_from(outcome), outcome);
  listed.objects = sql_int(fcinfo, 3), listed.detail = sql_maybe_text(fcinfo, 4).value_or("");
  store_of(id).listed(known_by(id), kind_argument(fcinfo), listed);
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(gc_deletions) {
  const std::int64_t id = sql_int(fcinfo, 0);
  SqlTable out(fcinfo);
  for (const Deletion& d : store_of(id).deletions(known_by(id), sql_int(fcinfo, 1))) {
    const Removal& r = d.removal;
    out.add({std::to_string(d.resource), r.kind.group, r.kind.version, r.kind.resource, r.namespace_name, r.name, r.uid, r.resource_version, std::string(r.dry_run ? "true" : "false")});
  }
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(gc_report) {
  const std::int64_t id = sql_int(fcinfo, 0);
  Deletion deletion;
  deletion.resource = sql_int(fcinfo, 1);
  const std::string outcome = sql_text(fcinfo, 2);
  Removed removed;
  removed.outcome = known(removed_outcome_from(outcome), outcome), removed.detail = sql_maybe_text(fcinfo, 3).value_or("");
  store_of(id).report(known_by(id), deletion, removed);
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(gc_end) {
  const std::int64_t id = sql_int(fcinfo, 0);
  CollectionEnd end;
  end.detail = sql_maybe_text(fcinfo, 1).value_or("");
  store_of(id).end(known_by(id), end);
  return sql_null(fcinfo);
}

}  // namespace reconciler
