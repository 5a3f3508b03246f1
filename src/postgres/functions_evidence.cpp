// Evidence that is pushed, for databases that may not connect out: report_evidence(), for one or many, and the backends that
// runtimes are in. A pushed word is one look of its source; it ages from its receipt.
#include <algorithm>

#include "core/json.hpp"
#include "postgres/clock.hpp"
#include "postgres/events.hpp"
#include "postgres/pushed.hpp"
#include "postgres/setup_change.hpp"
#include "postgres/setup_options.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

constexpr OptionSpec backend_options[] = {
    {"sources", OptionKind::list, "none", "who pushes evidence of it, as a source is named there: they get a row in reconciler.evidence_source"},
};

std::optional<Oid> table_named_by(const std::optional<std::string>& name) {
  if (!name) return std::nullopt;
  return static_cast<Oid>(query("SELECT $1::regclass::oid AS oid", {Param::text(*name)}).only().integer("oid"));
}

// One element of a batch; `which` names it in an error.
struct Element {
  const json& object;
  std::string which;

  UserError wrong(const std::string& what, const std::string& hint = {}) const { return UserError("22023", which + " " + what, hint); }
  std::optional<std::string> text(const char* member) const {
    const auto found = object.find(member);
    if (found == object.end() || found->is_null()) return std::nullopt;
    if (!found->is_string()) throw wrong(std::string("must have a string as \"") + member + "\"");
    return found->get<std::string>();
  }
  std::string required(const char* member) const {
    if (auto value = text(member)) return *value;
    throw wrong(std::string("lacks \"") + member + "\"", "An element looks like {\"kind\": \"resource\", \"subject\": \"pod-1\", \"verdict\": \"gone\"}.");
  }
};

// Attached before there was a backend: what is judged by runtimes is off by the preset.
void say_what_is_off() {
  for (Rows::Row row : as_extension_owner([] {
         return query("SELECT format('%I.%I', b.schema_name, b.table_name) AS name, b.binding_id, p.state FROM reconciler.policy p JOIN reconciler.binding b USING (binding_id)"
                      " WHERE p.judged_by = 'runtime' AND NOT p.enabled ORDER BY b.binding_id, p.state");
       }))
    notice("the policy of " + row.text("name") + " for state \"" + row.text("state") + "\", which judges by runtimes, is off",
           "UPDATE reconciler.policy SET enabled = true WHERE binding_id = " + std::to_string(row.integer("binding_id")) + " AND state = " + quoted_literal(row.text("state")) + ";");
}

const char* const members[] = {"kind", "subject", "verdict", "detail", "observed_at", "source", "sessions"};

Report read_element(const Element& element, const std::string& usual_source, Time usual_time) {
  if (!element.object.is_object()) throw element.wrong("is no object");
  for (const auto& [name, value] : element.object.items())
    if (std::none_of(std::begin(members), std::end(members), [&, &name = name](const char* known) { return name == known; }))
      throw element.wrong("has a member \"" + name + "\" that is not known", "Members are kind, subject, verdict, detail, observed_at, source and sessions.");
  Report report;
  report.kind = element.required("kind"), report.subject = element.required("subject"), report.verdict = element.required("verdict");
  const auto detail = element.object.find("detail");
  report.detail = detail == element.object.end() || detail->is_null() ? json::object() : *detail;
  const auto stated = element.text("observed_at");
  report.stated = stated ? query("SELECT $1::timestamptz AS at", {Param::text(checked_value(*stated, "timestamptz", element.which + ": observed_at", "\"2026-01-01 12:00:00+00\""))}).only().time("at") : usual_time;
  report.source = element.text("source").value_or(usual_source);
  report.sessions = table_named_by(element.text("sessions"));
  return report;
}

}  // namespace

RECONCILER_SQL_FUNCTION(report_evidence) {
  Report report{.kind = sql_text(fcinfo, 0), .subject = sql_text(fcinfo, 1), .verdict = sql_text(fcinfo, 2), .detail = read_json(sql_maybe_text(fcinfo, 3).value_or("{}"), "detail"),
                .stated = sql_maybe_time(fcinfo, 4).value_or(transaction_start()), .source = sql_text(fcinfo, 5), .sessions = {}};
  if (!sql_is_null(fcinfo, 6)) report.sessions = sql_oid(fcinfo, 6);
  check_report(report, "");
  return sql_text_datum(to_string(take_reports({report}).front()));
}

RECONCILER_SQL_FUNCTION(report_evidence_batch) {
  SqlTable table(fcinfo);
  const json batch = read_json(sql_text(fcinfo, 0), "batch");
  if (!batch.is_array()) throw UserError("22023", "a batch of evidence must be a JSON array", "For instance [{\"kind\": \"resource\", \"subject\": \"pod-1\", \"verdict\": \"gone\"}].");
  const std::string source = acting_role();
  const Time at = transaction_start();
  std::vector<Report> reports;
  for (const json& object : batch) {
    const Element element{object, "element " + std::to_string(reports.size() + 1) + " of the batch"};
    reports.push_back(read_element(element, source, at));
    check_report(reports.back(), element.which + ": ");
  }
  std::map<std::string, std::int64_t> counts;
  for (const Told told : take_reports(reports)) ++counts[to_string(told)];
  for (const auto& [outcome, n] : counts) table.add({outcome, std::to_string(n)});
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(report_inventory) {
  SqlTable table(fcinfo);
  Inventory inventory{.kind = sql_text(fcinfo, 0), .scope = sql_text(fcinfo, 1), .source = acting_role(), .as_of = std::min(sql_maybe_time(fcinfo, 2).value_or(transaction_start()), database_now()),
                      .complete = sql_bool(fcinfo, 3), .subjects = {}};
  sql_required(fcinfo, 2), sql_required(fcinfo, 3);
  const json subjects = read_json(sql_text(fcinfo, 4), "subjects");
  const UserError wrong("22023", "subjects must be a JSON array of strings", "For instance [\"pod-1\", \"pod-2\"]. One that names nobody is [].");
  if (!subjects.is_array()) throw wrong;
  for (const json& subject : subjects) {
    if (!subject.is_string() || subject.get_ref<const std::string&>().empty()) throw wrong;
    inventory.subjects.insert(subject.get<std::string>());
  }
  const InventoryTaken taken = take_inventory(inventory);
  table.add({std::to_string(taken.id), taken.outcome, taken.detail});
  return sql_null(fcinfo);
}

RECONCILER_SQL_FUNCTION(accept_inventory) {
  const std::int64_t id = sql_int(fcinfo, 0);
  const std::string reason = sql_text(fcinfo, 1);
  if (reason.find_first_not_of(" \t\n") == std::string::npos) throw UserError("22023", "a reason is required", "Say why, for the event.");
  return sql_text_datum(accept_inventory(id, reason));
}

RECONCILER_SQL_FUNCTION(declare_backend) {
  const std::string name = sql_text(fcinfo, 0);
  if (name.find_first_not_of(" \t\n") == std::string::npos) throw UserError("22023", "a backend needs a name", "It is what the sessions' backend column holds.");
  sql_required(fcinfo, 1);
  const bool pauses = sql_bool(fcinfo, 1);
  const Options options(sql_maybe_text(fcinfo, 2).value_or("{}"), backend_options, "declare_backend()");
  const std::string actor = acting_role();
  const OwnChange quiet;
  const bool fresh = as_extension_owner([&] {
    const Rows was = query("SELECT to_jsonb(k)::text AS backend FROM reconciler.backend k WHERE name = $1 FOR UPDATE", {Param::text(name)});
    query("INSERT INTO reconciler.backend (name, supports_pause) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET supports_pause = excluded.supports_pause", {Param::text(name), Param::boolean(pauses)});
    for (const std::string& source : options.list("sources"))
      query("INSERT INTO reconciler.evidence_source (name, backend) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET backend = excluded.backend", {Param::text(source), Param::text(name)});
    json evidence = {{"backend", name}, {"supports_pause", pauses}, {"options", options.all()}};
    if (!was.empty()) evidence["old"] = json::parse(was[0].text("backend"));
    write_events({}, std::nullopt, database_now(), actor,
                 {{.session = {}, .kind = "policy_changed", .from_state = {}, .to_state = {}, .reason = {}, .rule = "declare_backend", .evidence = evidence.dump(), .before = {}, .after = {}}});
    return was.empty();
  });
  if (fresh) say_what_is_off();
  shared::wake_worker_at_commit();
  return sql_text_datum(fresh ? "declared" : "changed");
}

}  // namespace reconciler
