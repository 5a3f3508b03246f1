#include "postgres/binding_store.hpp"

#include <algorithm>

#include "core/json.hpp"
#include "postgres/mapped_table.hpp"
#include "postgres/repairs.hpp"
#include "postgres/role.hpp"
#include "postgres/settings.hpp"
#include "postgres/statements.hpp"
#include "postgres/table_columns.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"
#include "postgres/worker.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

void load_related(Mapping& mapping, const json& related) {
  if (related.contains("agents")) {
    const MappedTable of(related.at("agents"));
    const json& columns = related.at("agents").at("columns");
    mapping.agents = AgentsTable{of.qualified(), of.named(columns.at("id")), of.mapped(columns, "heartbeat"), of.mapped(columns, "approval"), of.mapped(columns, "metadata"), of.mapped(columns, "platform"),
                                 of.mapped(columns, "region"), of.mapped(columns, "pool"), of.mapped(columns, "capacity"), of.mapped(columns, "incarnation"), of.mapped(columns, "draining")};
  }
  if (related.contains("commands")) {
    const MappedTable of(related.at("commands"));
    const json& columns = related.at("commands").at("columns");
    mapping.commands = CommandsTable{of.qualified(),
                                     of.named(columns.at("id")),
                                     of.named(columns.at("session")),
                                     of.named(columns.at("action")),
                                     of.named(columns.at("status")),
                                     of.mapped(columns, "agent"),
                                     of.mapped(columns, "created"),
                                     of.mapped(columns, "sent"),
                                     of.mapped(columns, "acknowledged"),
                                     of.mapped(columns, "completed"),
                                     of.mapped(columns, "error"),
                                     of.mapped(columns, "payload")};
  }
  if (related.contains("audit")) {
    const MappedTable of(related.at("audit"));
    const json& columns = related.at("audit").at("columns");
    mapping.audit = AuditTable{of.qualified(),
                               of.mapped(columns, "actor"),
                               of.mapped(columns, "action"),
                               of.mapped(columns, "resource_type"),
                               of.mapped(columns, "resource_id"),
                               of.mapped(columns, "changes"),
                               of.mapped(columns, "at"),
                               of.mapped(columns, "address")};
  }
  if (related.contains("connections")) {
    const MappedTable of(related.at("connections"));
    const json& columns = related.at("connections").at("columns");
    mapping.connections = ConnectionsTable{of.qualified(), of.named(columns.at("session")), of.named(columns.at("seen"))};
  }
  if (related.contains("executions")) {
    const MappedTable of(related.at("executions"));
    const json& columns = related.at("executions").at("columns");
    mapping.executions = ExecutionsTable{of.qualified(), of.named(columns.at("session")), of.named(columns.at("created")), of.mapped(columns, "claimed")};
  }
}

void load_sessions(SessionsTable& table, const json& columns) {
  const MappedTable of(table.relation);
  table.qualified = of.qualified();
  table.key = of.named(columns.at("key"));
  table.state = of.named(columns.at("state"));
  table.agent = of.mapped(columns, "agent");
  table.runtime = of.mapped(columns, "runtime");
  table.created = of.mapped(columns, "created");
  table.entered = of.mapped(columns, "entered");
  table.updated = of.mapped(columns, "updated");
  table.reason = of.mapped(columns, "reason");
  table.closed = of.mapped(columns, "closed");
  table.version = of.mapped(columns, "version");
  table.pool = of.mapped(columns, "pool");
  table.platform = of.mapped(columns, "platform");
  table.region = of.mapped(columns, "region");
  table.backend = of.mapped(columns, "backend");
  if (columns.contains("route"))
    for (const json& name : columns.at("route")) table.route.push_back(of.named(name));
  if (columns.contains("signs"))
    for (const json& name : columns.at("signs")) table.signs.push_back(of.named(name));
}

// What leftover events are made of; value() raises what is of another type.
void check_leftover(const json& leftover) {
  for (const char* list : {"resources", "user_data"}) (void)leftover.value(list, std::vector<std::string>());
  for (const char* word : {"namespace", "cleanup"}) (void)leftover.value(word, std::string());
}

// What-if questions name columns of some of them.
Rows policies(int binding, const std::string& overrides) {
  if (overrides.empty()) return query("SELECT *, sets::text AS sets_text, steps::text AS steps_text FROM reconciler.policy WHERE binding_id = $1 ORDER BY user_requested DESC, state", {Param::integer(binding)});
  return query("SELECT o.*, o.sets::text AS sets_text, o.steps::text AS steps_text FROM reconciler.policy p, jsonb_populate_record(p, coalesce($2 -> p.state, '{}')) o WHERE p.binding_id = $1"
               " ORDER BY o.user_requested DESC, p.state",
               {Param::integer(binding), Param::jsonb(std::string_view(overrides))});
}

Policy read_policy(Rows::Row row) {
  Policy p;
  p.state = row.text("state");
  p.enabled = row.boolean("enabled");
  p.stuck_after = row.maybe_span("stuck_after");
  p.gone_after = row.span("gone_after");
  p.becomes = row.text("becomes");
  p.reason = row.text("reason");
  p.user_requested = row.boolean("user_requested");
  p.no_agent = row.view("no_agent") == "close" ? NoAgent::close : NoAgent::show;
  p.infers = row.boolean("infers");
  p.judged_by = row.view("judged_by") == "agent" ? JudgedBy::agent : row.view("judged_by") == "runtime" ? JudgedBy::runtime : JudgedBy::row;
  p.awaits = row.maybe_text("awaits").value_or("");
  p.completed_becomes = row.maybe_text("completed_becomes").value_or("");
  p.acknowledged_timeout = row.span("acknowledged_timeout");
  p.late_return = row.view("late_return") == "readopt" ? LateReturn::readopt : LateReturn::keep_terminated;
  p.retry_action = row.maybe_text("retry_action").value_or("");
  p.max_attempts = static_cast<int>(row.integer("max_attempts"));
  p.retry_base = row.span("retry_base");
  p.retry_cap = row.span("retry_cap");
  p.command_timeout = row.span("command_timeout");
  p.unreachable_limit = row.span("unreachable_limit");
  p.finalize_after = row.span("finalize_after");
  p.when_spent = row.view("when_spent") == "close_unconfirmed" ? WhenSpent::close_unconfirmed : WhenSpent::quarantine;
  p.unconfirmed_stops = static_cast<int>(row.integer("unconfirmed_stops"));
  p.unconfirmed_after = row.span("unconfirmed_after");
  return p;
}

// How far apart passes really are: the median of the last three distances, so that one long gap (a server that
// was down) makes no old evidence look fresh; at most half an hour.
Duration observed_distance(const Rows::Row& row) {
  std::vector<Duration> distances;
  for (const char* name : {"distance1", "distance2", "distance3"})
    if (const auto span = row.maybe_span(name)) distances.push_back(*span);
  if (distances.size() < 3) return Duration(0);
  std::sort(distances.begin(), distances.end());
  return std::min<Duration>(distances[1], minutes(30));
}

}  // namespace

std::vector<int> binding_ids(std::optional<Oid> sessions) {
  std::vector<int> ids;
  const Rows rows = sessions ? query("SELECT binding_id FROM reconciler.binding WHERE sessions = $1::regclass", {Param::oid(*sessions)})
                             : query("SELECT binding_id FROM reconciler.binding ORDER BY binding_id");
  for (Rows::Row row : rows) ids.push_back(static_cast<int>(row.integer("binding_id")));
  if (sessions && ids.empty()) {
    const Rows table = query("SELECT $1::regclass::text AS name", {Param::oid(*sessions)});
    throw UserError("42704", "table " + table[0].text("name") + " is not attached", "Attach it with attach_sessions('" + table[0].text("name") + "').");
  }
  return ids;
}

int one_binding(std::optional<Oid> sessions) {
  const std::vector<int> ids = binding_ids(sessions);
  if (ids.empty()) throw UserError("55000", "no sessions table is attached", "Attach one with attach_sessions().");
  if (ids.size() > 1) {
    const Rows rows = query("SELECT string_agg(format('%I.%I', schema_name, table_name), ', ' ORDER BY binding_id) AS names FROM reconciler.binding");
    throw UserError("42725", "several sessions tables are attached and none was named",
                    "Name one in the argument \"sessions\".", "Attached: " + rows[0].text("names") + ".");
  }
  return ids[0];
}

void require_fitting_version() {
  const std::string extension = extension_version(), library = library_version();
  if (const std::string advice = version_advice(extension, library); !advice.empty())
    throw UserError("0A000", "the library in memory is of version " + library + ", the extension in this database of version " + extension, advice);
}

AttachedBinding load_binding(int id, const std::string& policy_overrides) {
  require_fitting_version();
  const Rows rows = query(
      "SELECT b.*, format('%I.%I', b.schema_name, b.table_name) AS display, b.sessions::oid AS relation, b.columns::text AS columns_text, b.related::text AS related_text, b.leftover::text AS leftover_text,"
      " b.armed_system::text AS system, h.command_spacing, coalesce(p.definition @> '{\"pull\": true}', false) AS pulled, c.relowner, s.pass_starts[1] - s.pass_starts[2] AS distance1,"
      " s.pass_starts[2] - s.pass_starts[3] AS distance2, s.pass_starts[3] - s.pass_starts[4] AS distance3,"
      " ARRAY(SELECT k.name FROM reconciler.backend k ORDER BY k.name) AS backends"
      " FROM reconciler.binding b LEFT JOIN reconciler.hub h ON h.name = b.hub LEFT JOIN reconciler.hub_profile p ON p.name = h.profile LEFT JOIN pg_class c ON c.oid = b.sessions"
      " LEFT JOIN reconciler.binding_state s USING (binding_id) WHERE b.binding_id = $1",
      {Param::integer(id)});
  if (rows.empty()) throw UserError("42704", "the sessions table was detached meanwhile");
  const Rows::Row row = rows[0];
  AttachedBinding out;
  Binding& b = out.binding;
  b.id = id;
  out.schema = row.text("schema_name"), out.table = row.text("table_name"), out.preset = row.text("preset");
  b.name = row.text("display");
  b.hub = row.maybe_text("hub"), b.pulled = row.boolean("pulled");
  out.mode = mode_from(row.text("mode")).value_or(Mode::broken), out.mode_reason = row.maybe_text("mode_reason").value_or("");
  out.paused = !row.null("paused_at"), out.paused_everything = out.paused && row.boolean("pause_everything");
  out.guard_terminal = row.boolean("guard_terminal");
  out.leftover_json = row.text("leftover_text");
  out.start_grace = row.span("start_grace"), out.instance_grace = row.span("instance_grace"), out.promotion_grace = row.span("promotion_grace");
  out.armed_system = row.text("system"), out.armed_name = row.text("armed_name");
  out.armed_database = static_cast<Oid>(row.integer("armed_database"));
  b.limits = {std::max(settings::interval(), observed_distance(row)), row.span("observation_spacing"), row.span("hub_grace"), row.span("heartbeat_fresh"),
              row.span("sign_fresh_for"), row.span("sign_ceiling"), row.span("replacement_grace")};
  b.brake = {.floor = row.integer("brake_floor"), .share = row.real("brake_share"), .user_floor = row.integer("user_rate_floor"), .user_share = row.real("user_rate_share"), .per_second = row.integer("brake_pace")};
  b.command_spacing = row.maybe_span("command_spacing").value_or(milliseconds(500));
  b.batch_size = static_cast<int>(row.integer("batch_size"));
  b.pools = row.boolean("pools");
  b.terminal_states = row.texts("terminal_states");
  b.backend = row.maybe_text("backend"), b.backends = row.texts("backends");

  if (row.null("relowner"))
    throw UserError("55000", "table " + b.name + " does not exist any more",
                    "Forget it with detach_sessions('" + out.schema + "." + out.table + "').");
  out.mapping.sessions.relation = static_cast<Oid>(row.integer("relation"));
  out.mapping.sessions.owner = static_cast<Oid>(row.integer("relowner"));
  out.mapping.time_zone = row.text("time_zone");
  out.mapping.locks_like_application = !row.null("advisory_lock");
  try {
    load_sessions(out.mapping.sessions, json::parse(row.text("columns_text")));
    load_related(out.mapping, json::parse(row.text("related_text")));
    check_leftover(json::parse(out.leftover_json));
  } catch (const json::exception& e) {
    throw UserError("22023", "columns, related or leftover of " + b.name + " in reconciler.binding is not of the form that attach_sessions() writes",
                    "Write it as it was; or detach_sessions() and attach again, with what is to be mapped as options.", e.what());
  }
  std::map<std::string, Repair> repairs;
  for (Rows::Row policy : policies(id, policy_overrides)) {
    b.policies.push_back(read_policy(policy));
    // Nearly always nothing; states that end alike have the same.
    const std::string said = policy.text("sets_text") + policy.text("steps_text");
    if (said == "{}[]") continue;
    if (!repairs.contains(said)) repairs[said] = read_repair(out.mapping.sessions, b.policies.back().state, json::parse(policy.text("sets_text")), json::parse(policy.text("steps_text")));
    out.mapping.repairs[b.policies.back().state] = repairs[said];
  }

  out.mapping.ending_states = b.terminal_states;
  for (const Policy& policy : b.policies) {
    out.mapping.ending_states.push_back(policy.becomes);
    out.mapping.watched_states.push_back(policy.state);
    if (policy.enabled) out.mapping.enabled_states.push_back(policy.state);
    if (!policy.retry_action.empty() || !policy.awaits.empty()) out.mapping.commanded_states.push_back(policy.state);
  }
  out.mapping.roomless_states = out.mapping.ending_states;
  for (const Policy& policy : b.policies)
    if (policy.user_requested) out.mapping.roomless_states.push_back(policy.state);
  b.agent_mapped = out.mapping.sessions.agent.has_value();
  b.pools = b.agent_mapped && row.boolean("pools");
  b.agents_table = out.mapping.agents.has_value();
  b.commands_table = out.mapping.commands.has_value();
  return out;
}

ReferenceColumn load_reference(const std::string& table, const std::string& column) {
  const MappedTable of(json{{"table", table}});
  return {of.qualified(), of.named(column)};
}

std::optional<Oid> owner_if_it_loads(int id, Transactions& transactions) {
  try {
    return transactions.run("reading a binding", [&] { return as_extension_owner([&] { return load_binding(id).mapping.sessions.owner; }); });
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::vector<AttachedBinding> bindings_to_show(std::optional<Oid> sessions) {
  require_fitting_version();  // no table's own fault, that would leave it out
  std::vector<AttachedBinding> shown;
  for (int id : as_extension_owner([&] { return binding_ids(sessions); })) try {
      shown.push_back(as_extension_owner([&] { return load_binding(id); }));
    } catch (const UserError& e) {
      if (sessions) throw;
      warn_client(std::string("an attached table is left out: ") + e.what(), e.hint);
    }
  return shown;
}

}  // namespace reconciler
