// set_cluster(): where sessions leave resources behind, and how they are told. No secret comes in here, as in set_hub().

#include <set>

#include "core/json.hpp"
#include "engine/cluster_json.hpp"
#include "http/credentials.hpp"
#include "postgres/binding_store.hpp"
#include "postgres/clock.hpp"
#include "postgres/collection_store.hpp"
#include "postgres/events.hpp"
#include "postgres/role.hpp"
#include "postgres/server.hpp"
#include "postgres/settings.hpp"
#include "postgres/setup_change.hpp"
#include "postgres/setup_detach.hpp"
#include "postgres/setup_detect.hpp"
#include "postgres/setup_options.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/user_error.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

// Every option of set_cluster(): docs/reference lists the same.
constexpr OptionSpec cluster_options[] = {
    {"preset", OptionKind::text, "that of the attached table", "kinds and labels: standard, streamspace, centaur or centaur-api-rs"},
    {"sessions", OptionKind::text, "the only attached table", "the attached table whose sessions' resources these are"},
    {"mode", OptionKind::text, "report", "report or enforce"},
    {"namespaces", OptionKind::list, "that of the preset's leftovers, else default", "the namespaces to look into; \"\" is all of them"},
    {"kinds", OptionKind::objects, "of the preset", "what to look at, in the order of deletion: group, version, resource, namespaces, selector"},
    {"control_plane", OptionKind::text, "system identifier and oid of the database", "what the label session-reconciler.io/control-plane of our objects says"},
    {"require_control_plane_label", OptionKind::boolean, "true", "objects without that label are never touched"},
    {"session_label", OptionKind::name, "of the preset", "the label that holds the session's id; null: rows alone decide"},
    {"warm_label", OptionKind::name, "of the preset", "the label that is true on what has no session yet"},
    {"references", OptionKind::objects, "none", "further columns whose values name objects that are in use: table, column"},
    {"interval", OptionKind::interval, "15 min", "the worker collects that often"},
    {"young", OptionKind::interval, "1 hour", "younger objects are left alone"},
    {"warm_young", OptionKind::interval, "2 hours", "the same for those with the warm label"},
    {"grace", OptionKind::interval, "15 min", "a session must have ended for that long"},
    {"absent_spacing", OptionKind::interval, "10 min", "least distance of the two collections that find no row of a session"},
    {"delete_volumes", OptionKind::interval, "never", "persistent volume claims are deleted when their session has ended for so long"},
    {"dry_run", OptionKind::boolean, "false", "in mode report the API server is asked to check deletions without doing them"},
};

// Those that are written as they are, with their columns.
struct Written { const char* option; const char* column; const char* type; };
constexpr Written written_options[] = {
    {"mode", "mode", "text"}, {"control_plane", "control_plane", "text"}, {"require_control_plane_label", "require_control_plane_label", "boolean"},
    {"session_label", "session_label", "text"}, {"warm_label", "warm_label", "text"}, {"interval", "collect_every", "interval"}, {"young", "young", "interval"},
    {"warm_young", "warm_young", "interval"}, {"grace", "grace", "interval"}, {"absent_spacing", "absent_spacing", "interval"},
    {"delete_volumes", "delete_volumes", "interval"}, {"dry_run", "dry_run", "boolean"},
};

struct ClusterPreset { const char* name; const char* kinds; const char* session_label; const char* warm_label; };
// Owners before what they own, what a user may miss last.
constexpr ClusterPreset presets[] = {
    {"standard",
     R"([{"group": "apps", "version": "v1", "resource": "deployments", "selector": "session-reconciler.io/session"},
         {"group": "", "version": "v1", "resource": "services", "selector": "session-reconciler.io/session"},
         {"group": "", "version": "v1", "resource": "pods", "selector": "session-reconciler.io/session"},
         {"group": "", "version": "v1", "resource": "persistentvolumeclaims", "selector": "session-reconciler.io/session"}])",
     "session-reconciler.io/session", nullptr},
    {"streamspace",
     R"([{"group": "apps", "version": "v1", "resource": "deployments", "selector": "app=streamspace-session"},
         {"group": "", "version": "v1", "resource": "services", "selector": "app=streamspace-session"},
         {"group": "stream.space", "version": "v1alpha1", "resource": "sessions", "selector": "app=streamspace-session"},
         {"group": "", "version": "v1", "resource": "persistentvolumeclaims", "selector": "app=streamspace-session"}])",
     "session", nullptr},
    // A workflow run has no session; a warm pod keeps its label when a session takes it, so rows alone say whose one is.
    {"centaur", R"([{"group": "", "version": "v1", "resource": "pods", "selector": "centaur.ai/managed=true,centaur.ai/component!=workflow-run"}])", nullptr, "centaur.ai/warm"},
    {"centaur-api-rs", R"([{"group": "agents.x-k8s.io", "version": "v1alpha1", "resource": "sandboxes", "selector": "centaur.ai/managed-by=api-rs,centaur.ai/component!=workflow-run"}])",
     nullptr, "centaur.ai/warm"},
};

const ClusterPreset* preset_called(const std::string& name) {
  for (const ClusterPreset& preset : presets)
    if (name == preset.name) return &preset;
  return nullptr;
}

const ClusterPreset& chosen_preset(const Options& options, const AttachedBinding& b) {
  const auto asked = options.text("preset");
  if (const ClusterPreset* preset = preset_called(asked.value_or(b.preset))) return *preset;
  if (!asked) return presets[0];
  std::vector<std::string> names;
  for (const ClusterPreset& preset : presets) names.emplace_back(preset.name);
  throw UserError("22023", "there is no preset \"" + *asked + "\"", "Valid presets: " + comma_list(names) + ".");
}

std::string usual_namespace(const AttachedBinding& b) { return json::parse(b.leftover_json).value("namespace", "default"); }

// Those of all kinds.
json namespaces_of(const json& kinds) {
  std::set<std::string> names;
  for (const json& kind : kinds)
    for (const json& name : kind.at("namespaces")) names.insert(name.get<std::string>());
  return json(names);
}

// A selector that asks for the label of sessions asks for the one that they have from now on.
json with_session_label(json kinds, const std::optional<std::string>& was, const std::optional<std::string>& is) {
  for (json& kind : kinds)
    if (was && is && kind.value("selector", "") == *was) kind["selector"] = *is;
  return kinds;
}

// Each kind with the namespaces that are asked for, else its own, else those that the cluster has, else the usual one.
json kinds_of(const json& wanted, const Options& options, const AttachedBinding& b, const std::optional<json>& before) {
  const json usual = options.given("namespaces") ? json(options.list("namespaces")) : before ? namespaces_of(before->at("kinds")) : json::array({usual_namespace(b)});
  if (usual.empty()) throw UserError("22023", "option \"namespaces\" names none", "Name one, or \"\" for all of them.");
  json kinds = json::array();
  for (json kind : wanted) {
    if (options.given("namespaces") || !kind.contains("namespaces")) kind["namespaces"] = usual;
    for (const auto& [name, value] : kind.items())
      if (name != "group" && name != "version" && name != "resource" && name != "namespaces" && name != "selector")
        throw UserError("22023", "a kind has no \"" + name + "\"", "Valid: group, version, resource, namespaces, selector.");
    try {
      kinds.push_back(to_json(selected_from(kind)));
    } catch (const std::invalid_argument& e) {
      throw UserError("22023", std::string("option \"kinds\" can't be used: ") + e.what(), R"(For instance {"group": "apps", "version": "v1", "resource": "deployments", "selector": "app=sessions"}.)");
    }
  }
  if (kinds.empty()) throw UserError("22023", "option \"kinds\" names none", "Leave it out for those of the preset.");
  return kinds;
}

// The statements run as the owner of the sessions table.
void check_reference(const json& reference, const AttachedBinding& b) {
  if (reference.size() != 2 || !reference.value("table", json()).is_string() || !reference.value("column", json()).is_string())
    throw UserError("22023", "an entry of option \"references\" must name a table and a column", R"(For instance {"table": "session_warm_sandboxes", "column": "sandbox_id"}.)");
  const std::string name = reference.at("table"), column = reference.at("column");
  const auto oid = table_named(name, b.schema);
  if (!oid) throw UserError("42P01", "table \"" + name + "\" does not exist", "Option \"references\" names it. Without a schema it is looked for in that of the sessions table, " + b.schema + ".");
  const TableLook table = look_at(*oid);
  if (table.kind != "r" && table.kind != "p") throw UserError("42809", table.qualified + " is no table", "Option \"references\" names it; a view or foreign table won't do.");
  if (!table.column(column)) throw UserError("42703", "column \"" + column + "\" of table " + table.qualified + " does not exist", "Option \"references\" names it.");
  const Oid owner = b.mapping.sessions.owner;
  const std::string role = query("SELECT quote_ident(rolname) AS name FROM pg_roles WHERE oid = $1", {Param::oid(owner)}).only().text("name");
  if (!may_use_schema(table, owner) || !columns_without(table, owner, "SELECT", {column}).empty())
    throw UserError("42501", "the owner of " + b.binding.name + " may not read " + table.qualified, "GRANT SELECT ON " + table.qualified + " TO " + role + "; and USAGE on its schema.");
  if (hides_rows(table, owner)) throw UserError("55000", "row-level security hides rows of " + table.qualified + " from the owner of " + b.binding.name, "ALTER ROLE " + role + " BYPASSRLS.");
}

json references_of(const Options& options, const AttachedBinding& b) {
  json references = json::array();
  for (const json& reference : options.object("references")) {
    check_reference(reference, b);
    const TableLook table = look_at(*table_named(reference.at("table"), b.schema));
    references.push_back({{"table", quoted_identifier(table.schema) + "." + quoted_identifier(table.name)}, {"column", reference.at("column")}});
  }
  return references;
}

std::optional<std::string> image(const std::string& name) {
  const Rows rows = query("SELECT to_jsonb(c)::text AS cluster FROM reconciler.cluster c WHERE name = $1 FOR NO KEY UPDATE", {Param::text(name)});
  return rows.empty() ? std::nullopt : std::optional(rows[0].text("cluster"));
}

std::string own_control_plane() {
  const Server here = this_server();
  return here.system + "-" + std::to_string(here.database);
}

void write_cluster(const std::string& name, const std::optional<std::string>& address, const Options& options, const AttachedBinding& b, const std::optional<json>& before) {
  const bool anew = !before || options.given("preset");
  const ClusterPreset& preset = chosen_preset(options, b);
  const auto word = [](const char* text) { return text ? std::optional<std::string>(text) : std::nullopt; };
  const auto label_before = anew ? word(preset.session_label) : before->at("session_label").is_string() ? std::optional(before->at("session_label").get<std::string>()) : std::nullopt;
  const json wanted = options.given("kinds") ? options.object("kinds")
                                             : with_session_label(anew ? json::parse(preset.kinds) : before->at("kinds"), label_before, options.text("session_label"));
  query("INSERT INTO reconciler.cluster AS c (name, api_url, binding_id, kinds, control_plane, session_label, warm_label, reference_columns) VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7, $8::jsonb)"
        " ON CONFLICT (name) DO UPDATE SET api_url = coalesce(excluded.api_url, c.api_url), binding_id = excluded.binding_id, kinds = excluded.kinds,"
        " session_label = CASE WHEN $9 THEN excluded.session_label ELSE c.session_label END, warm_label = CASE WHEN $9 THEN excluded.warm_label ELSE c.warm_label END,"
        " reference_columns = CASE WHEN $10 THEN excluded.reference_columns ELSE c.reference_columns END",
        {Param::text(name), Param::text(address), Param::integer(b.binding.id), Param::jsonb(kinds_of(wanted, options, b, before).dump()), Param::text(own_control_plane()), Param::text(word(preset.session_label)),
         Param::text(word(preset.warm_label)), Param::jsonb(references_of(options, b).dump()), Param::boolean(anew), Param::boolean(options.given("references"))});
  for (const Written& w : written_options) {
    if (!options.given(w.option)) continue;
    const json& value = options.all()[w.option];
    const std::optional<std::string> text = value.is_null() || (value == json(false) && std::string_view(w.type) == "text") ? std::nullopt
                                            : value.is_boolean()                                                              ? std::optional<std::string>(value.get<bool>() ? "true" : "false")
                                                                                                                              : value.get<std::string>();
    explaining_checks(std::string("option \"") + w.option + "\"", [&] {
      query_once(std::string("UPDATE reconciler.cluster SET ") + w.column + " = $2::text::" + w.type + " WHERE name = $1", {Param::text(name), Param::text(text)});
    });
  }
  // One that is new was in no dump: a row that is absent from now on never was there. Of one that has no state nobody knows.
  query("INSERT INTO reconciler.cluster_state (cluster, timeline) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        {Param::text(name), Param::integer(before ? 0 : this_server().timeline)});
}

// As the server would connect: a token goes to its own origin only.
void check_address(const std::string& address) {
  http::Credentials credentials(settings::credentials_file());
  credentials.refresh();
  credentials.check(http::parse_address(address, "cluster address"), "cluster");
}

AttachedBinding binding_for(const std::string& name, const Options& options) {
  if (const auto sessions = options.text("sessions")) return as_extension_owner([&] { return load_binding(binding_named(*sessions)); });
  return as_extension_owner([&] {
    const Rows rows = query("SELECT binding_id FROM reconciler.cluster WHERE name = $1 AND binding_id IS NOT NULL", {Param::text(name)});
    return load_binding(rows.empty() ? one_binding(std::nullopt) : static_cast<int>(rows[0].integer("binding_id")));
  });
}

std::string sentence_of(const std::string& name, bool changed, const AttachedBinding& b) {
  const ClusterSetup c = load_cluster(name);
  std::vector<std::string> kinds;
  for (const Selected& s : c.kinds) kinds.push_back(kind_name(s.kind));
  std::string text = "cluster \"" + name + "\" " + (changed ? "changed" : "set") + " for " + b.binding.name + ": mode " + (c.enforce ? "enforce" : "report") + ", " + comma_list(kinds) +
                     "; " + (c.limits.label_required ? "only objects with the label" : "objects of ours have the label") + " session-reconciler.io/control-plane=" + c.limits.our_control_plane +
                     (c.limits.label_required ? " are ours" : "");
  if (c.enforce && b.mode != Mode::enforce) text += "; nothing is deleted while the mode of " + b.binding.name + " is " + to_string(b.mode);
  if (!c.api_url) text += "; the server connects to none, session-reconciler-gc does";
  else if (!settings::outbound()) text += "; session_reconciler.outbound is off: it is not asked";
  return text;
}

}  // namespace

RECONCILER_SQL_FUNCTION(set_cluster) {
  const std::string name = sql_text(fcinfo, 0);
  if (name.find_first_not_of(" \t\n") == std::string::npos) throw UserError("22023", "a cluster needs a name", "For instance 'main'.");
  const std::optional<std::string> address = sql_maybe_text(fcinfo, 1);
  const Options options(sql_maybe_text(fcinfo, 2).value_or("{}"), cluster_options, "set_cluster()");
  if (address) check_address(*address);
  const AttachedBinding b = binding_for(name, options);
  const std::string actor = acting_role();
  const OwnChange quiet;
  const std::string sentence = as_extension_owner([&] {
    const std::optional<std::string> before = image(name);
    write_cluster(name, address, options, b, before ? std::optional(json::parse(*before)) : std::nullopt);
    write_events(b, std::nullopt, database_now(), actor,
                 {{.session = {}, .kind = "policy_changed", .from_state = {}, .to_state = {}, .reason = {}, .rule = "set_cluster",
                   .evidence = json{{"cluster", name}, {"old", before ? json::parse(*before) : json()}, {"new", json::parse(*image(name))}}.dump(), .before = {}, .after = {}}});
    return sentence_of(name, before.has_value(), b);
  });
  shared::wake_worker_at_commit();
  return sql_text_datum(sentence);
}

}  // namespace reconciler
