// What preflight() says of clusters: whether they can be collected, and what the last collection found.
#include "core/text.hpp"
#include "http/credentials.hpp"
#include "postgres/clock.hpp"
#include "postgres/role.hpp"
#include "postgres/server.hpp"
#include "postgres/settings.hpp"
#include "postgres/setup_findings.hpp"
#include "postgres/spi.hpp"

namespace reconciler {
namespace {

class Cluster {
 public:
  Cluster(Findings& out, Rows::Row row) : out_(out), row_(row), name_(row.text("name")) {}

  void check() {
    check_setting();
    check_address();
    check_last();
    check_lists();
    if (row_.integer("unlabelled") > 0)
      add("warn", std::to_string(row_.integer("unlabelled")) + " objects do not say to which control plane they belong" + (row_.boolean("require_control_plane_label") ? ": they are left alone" : ""),
          "Let whoever creates them set the label session-reconciler.io/control-plane=" + row_.text("control_plane") + ".");
    if (!row_.null("tripped"))
      add("fail", "its brake has tripped at " + instant(row_.time("tripped")) + ": " + row_.text("tripped_why"),
          "Look at orphaned_resources(); SELECT reset_cluster_brake(" + quoted_literal(name_) + ", 'reason') lets them through.");
    if (const auto timeline = row_.maybe_integer("timeline"); timeline.value_or(0) != this_server().timeline)
      add("warn", "the database was restored or promoted since: that a session has no row proves nothing", "If no sessions were lost: SELECT confirm_identity('reason').");
  }

 private:
  void add(std::string status, std::string detail, std::string hint = {}) { out_.push_back({"cluster " + name_, std::move(status), std::move(detail), std::move(hint)}); }

  void check_setting() {
    const auto table = row_.maybe_text("table_name");
    if (!table) return add("fail", "its sessions table was detached: nothing is collected", "Attach it, then SELECT set_cluster(" + quoted_literal(name_) + ", …); or delete its row.");
    const bool enforce = row_.view("mode") == "enforce", held = enforce && row_.view("table_mode") != "enforce";
    add(held ? "warn" : "ok", "mode " + row_.text("mode") + ", for " + *table + (held ? ", whose mode is " + row_.text("table_mode") + ": nothing is deleted" : ""));
  }

  void check_address() {
    const auto address = row_.maybe_text("api_url");
    if (!address) return add("ok", "the server connects to none, session-reconciler-gc does");
    if (!settings::outbound()) return add("warn", "session_reconciler.outbound is off: it is not asked", "Let session-reconciler-gc do it.");
    try {
      http::Credentials credentials(settings::credentials_file());
      credentials.refresh();
      credentials.check(http::parse_address(*address));
    } catch (const http::ConfigError& e) {
      add("fail", e.what(), e.hint);
    }
  }

  void check_last() {
    if (row_.null("started_at")) return add("warn", "it was never collected", row_.null("api_url") ? "Run session-reconciler-gc." : "The worker does it by itself; or CALL collect_garbage(" + quoted_literal(name_) + ").");
    const Duration age = elapsed(row_.time("started_at"), database_now());
    const std::string detail = row_.maybe_text("detail").value_or("");
    add(row_.integer("failed") > 0 ? "fail" : age > 3 * row_.span("collect_every") ? "warn" : "ok",
        "last collected " + span(age) + " ago: " + std::to_string(row_.integer("objects")) + " objects, " + std::to_string(row_.maybe_integer("due").value_or(0)) + " to be deleted, " +
            std::to_string(row_.integer("removed")) + " deleted" + (detail.empty() ? "" : "; " + detail));
  }

  void check_lists() {
    for (Rows::Row list : as_extension_owner([&] {
           return query("SELECT l.key, l.value->>'outcome' AS outcome, l.value->>'detail' AS detail FROM reconciler.collection n, jsonb_each(n.lists) AS l WHERE n.id = $1 AND l.value->>'outcome' <> 'complete' ORDER BY l.key",
                        {Param::integer(row_.maybe_integer("collection"))});
         })) {
      const std::string outcome = list.text("outcome"), detail = list.maybe_text("detail").value_or("");
      if (outcome == "not_served") {
        add("ok", list.text("key") + ": " + (detail.empty() ? "the cluster has no such kind" : detail));
        continue;
      }
      add("fail", list.text("key") + " could not be listed: " + (detail.empty() ? outcome : detail),
          outcome == "forbidden" ? "Grant the right to the service account; packaging/kubernetes has a Role."
                                   : "Nothing of that kind is taken for gone meanwhile.");
    }
  }

  Findings& out_;
  Rows::Row row_;
  const std::string name_;
};

}  // namespace

void cluster_findings(Findings& out) {
  const Rows rows = as_extension_owner([] {
    return query("SELECT c.*, CASE WHEN b.binding_id IS NOT NULL THEN format('%I.%I', b.schema_name, b.table_name) END AS table_name, b.mode AS table_mode,"
                 " n.id AS collection, n.started_at, n.objects, n.due, n.removed, coalesce(n.failed, 0) AS failed, n.detail, coalesce(n.unlabelled, 0) AS unlabelled, s.tripped, s.tripped_why, s.timeline"
                 " FROM reconciler.cluster c LEFT JOIN reconciler.binding b USING (binding_id) LEFT JOIN reconciler.cluster_state s ON s.cluster = c.name"
                 " LEFT JOIN LATERAL (SELECT * FROM reconciler.collection n WHERE n.cluster = c.name AND n.ended_at IS NOT NULL ORDER BY n.id DESC LIMIT 1) AS n ON true ORDER BY c.name");
  });
  for (Rows::Row row : rows) Cluster(out, row).check();
}

}  // namespace reconciler
