#include "collector/sql_store.hpp"

#include "collector/log.hpp"
#include "engine/cluster_json.hpp"

namespace reconciler {

using nlohmann::json;

namespace {

// Names that are not UTF-8 can't be; where they are, the database gets to see that they are not.
std::string text_of(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace

CollectionStart SqlStore::begin() {
  const DatabaseRows row = database_.run("SELECT * FROM {gc_begin}($1, $2)", {cluster_, dry_run_ ? "true" : "false"});
  CollectionStart start;
  if (row.null(0, "collection_id")) {
    start.why_not = row.text(0, "why_not");
    return start;
  }
  start.id = open_ = std::stoll(row.text(0, "collection_id"));
  start.removes = row.text(0, "mode") == "enforce";
  for (const json& kind : json::parse(row.text(0, "kinds"))) start.kinds.push_back(selected_from(kind));
  log_line("begun", {{"collection", start.id}, {"cluster", cluster_}, {"mode", row.text(0, "mode")}, {"dry_run", dry_run_}});
  return start;
}

void SqlStore::classify(const CollectionStart& start, const Selected& selected, const std::vector<ClusterObject>& objects) {
  json page = json::array();
  for (const ClusterObject& object : objects) page.push_back(to_json(object));
  database_.run("SELECT count(*) FROM {gc_classify}($1, $2, $3)", {std::to_string(start.id), text_of(to_json(selected)), text_of(page)});
}

void SqlStore::listed(const CollectionStart& start, const Selected& selected, const Listed& listed) {
  database_.run("SELECT {gc_listed}($1, $2, $3, $4, $5)",
                {std::to_string(start.id), text_of(to_json(selected)), to_string(listed.outcome), std::to_string(listed.objects), listed.detail});
  log_line("listed", {{"group", selected.kind.group}, {"resource", selected.kind.resource}, {"outcome", to_string(listed.outcome)}, {"objects", listed.objects}, {"detail", listed.detail}});
}

std::vector<Deletion> SqlStore::deletions(const CollectionStart& start, std::int64_t limit) {
  const DatabaseRows rows = database_.run("SELECT * FROM {gc_deletions}($1, $2)", {std::to_string(start.id), std::to_string(limit)});
  std::vector<Deletion> deletions;
  for (int row = 0; row < rows.size(); ++row) {
    auto text = [&](const char* column) { return rows.text(row, column); };
    Deletion deletion;
    deletion.resource = std::stoll(text("resource_id"));
    deletion.removal = {{text("api_group"), text("version"), text("resource")}, text("namespace"), text("name"), text("uid"), text("resource_version"),
                        text("dry_run") == "t"};
    deletions.push_back(std::move(deletion));
  }
  return deletions;
}

void SqlStore::report(const CollectionStart& start, const Deletion& deletion, const Removed& removed) {
  const Removal& removal = deletion.removal;
  database_.run("SELECT {gc_report}($1, $2, $3, $4)", {std::to_string(start.id), std::to_string(deletion.resource), to_string(removed.outcome), removed.detail});
  log_line(removal.dry_run ? "checked" : "deleted", {{"group", removal.kind.group}, {"resource", removal.kind.resource}, {"namespace", removal.namespace_name}, {"name", removal.name},
                                                     {"uid", removal.uid}, {"outcome", to_string(removed.outcome)}, {"detail", removed.detail}});
}

void SqlStore::end(const CollectionStart& start, const CollectionEnd& end) {
  finish(start.id, end.detail);
  log_line("ended", {{"collection", start.id}, {"objects", end.objects}, {"deleted", end.removed}, {"failed", end.failed}, {"complete", end.complete}, {"detail", end.detail}});
}

void SqlStore::give_up(const std::string& why) {
  if (open_ != 0) finish(open_, why);
}

void SqlStore::finish(std::int64_t id, const std::string& detail) {
  open_ = 0;
  database_.run("SELECT {gc_end}($1, $2)", {std::to_string(id), detail});
}

}  // namespace reconciler
