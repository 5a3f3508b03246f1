#include "postgres/setup_presets.hpp"

#include "postgres/setup_options.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

const char* const no_agent = "no session's agent is known: nothing is retried, and nothing is closed because its agent has gone";
const char* const no_age = "a session's age counts from when the reconciler first sees it";
const char* const in_events = "kept in reconciler.event instead";

std::vector<WantedColumn> session_columns(std::vector<const char*> agent, std::vector<const char*> runtime, std::vector<const char*> created,
                                          std::vector<const char*> entered, const char* closing_advice, bool pools) {
  // Named so by other platforms too, and meant otherwise.
  const auto of_pools = [&](const char* name) { return pools ? std::vector<const char*>{name} : std::vector<const char*>{}; };
  return {{.role = "state", .names = {"state", "status"}, .use = ColumnUse::label, .required = true, .written = true},
          {.role = "agent", .names = std::move(agent), .use = ColumnUse::names, .without = no_agent, .advised = true},
          {.role = "runtime", .names = std::move(runtime), .use = ColumnUse::names, .without = "a session that got another runtime is told by its other columns"},
          {.role = "created", .names = std::move(created), .use = ColumnUse::compared, .without = "an id that is used again is told by its other columns"},
          {.role = "entered", .names = std::move(entered), .use = ColumnUse::instant, .without = no_age, .advised = true},
          {.role = "updated", .names = {"updated_at"}, .use = ColumnUse::instant, .written = true, .without = "nothing says in the row when it was changed"},
          {.role = "reason", .names = {"termination_reason"}, .use = ColumnUse::words, .written = true, .without = closing_advice},
          {.role = "closed", .names = {"terminated_at"}, .use = ColumnUse::instant, .written = true, .without = closing_advice},
          {.role = "version", .names = {}, .use = ColumnUse::compared},
          {.role = "pool", .names = of_pools("agent_pool"), .use = ColumnUse::words, .written = true},
          {.role = "platform", .names = of_pools("platform"), .use = ColumnUse::words, .written = true},
          {.role = "region", .names = of_pools("region"), .use = ColumnUse::words, .written = true},
          {.role = "backend", .names = of_pools("backend")}};
}

WantedTable agents() {
  return {.role = "agents",
          .name = "agents",
          .columns = {{.role = "id", .names = {"agent_id", "id"}, .use = ColumnUse::compared, .required = true},
                      {.role = "heartbeat", .names = {"last_heartbeat", "heartbeat_at", "last_seen_at"}, .use = ColumnUse::instant, .required = true},
                      {.role = "approval", .names = {"approval_status"}, .without = "every agent counts as approved"},
                      {.role = "metadata", .names = {"metadata"}, .use = ColumnUse::document, .without = "namespaces of leftover resources are those of the preset"},
                      {.role = "platform", .names = {"platform"}},
                      {.role = "region", .names = {"region"}},
                      {.role = "pool", .names = {"agent_pool"}},
                      {.role = "capacity", .names = {"capacity"}},
                      {.role = "incarnation", .names = {"incarnation"}},
                      {.role = "draining", .names = {"draining"}}},
          .written = false,
          .without = "agents are judged by the hub's answers alone"};
}

WantedTable commands() {
  return {.role = "commands",
          .name = "agent_commands",
          .columns = {{.role = "id", .names = {"command_id", "id"}, .use = ColumnUse::compared, .required = true},
                      {.role = "session", .names = {"session_id"}, .use = ColumnUse::compared, .required = true},
                      {.role = "action", .names = {"action"}, .use = ColumnUse::label, .required = true},
                      {.role = "status", .names = {"status"}, .use = ColumnUse::label, .required = true},
                      {.role = "agent", .names = {"agent_id"}, .use = ColumnUse::names, .without = "commands count for the agent that the session has, also those from before it had that one"},
                      {.role = "created", .names = {"created_at"}, .use = ColumnUse::instant, .without = "the newest command of a session is told by its id"},
                      {.role = "sent", .names = {"sent_at"}, .use = ColumnUse::instant, .without = "a failed command counts as not delivered"},
                      {.role = "acknowledged", .names = {"acknowledged_at"}, .use = ColumnUse::instant, .without = "acknowledgements are not seen"},
                      {.role = "completed", .names = {"completed_at"}, .use = ColumnUse::instant, .without = "the status alone tells a completed command"},
                      {.role = "error", .names = {"error_message", "error"}, .without = "an agent's error is not shown"},
                      {.role = "payload", .names = {"payload"}, .without = "a start is sent again without what the application sent with it"}},
          .written = false,
          .without = "the application's own commands, and what came of them, are not seen"};
}

WantedTable audit(const char* name) {
  return {.role = "audit",
          .name = name,
          .columns = {{.role = "actor", .names = {"user_id", "actor"}},
                      {.role = "action", .names = {"action"}, .required = true},
                      {.role = "resource_type", .names = {"resource_type"}},
                      {.role = "resource_id", .names = {"resource_id", "session_id"}, .required = true},
                      {.role = "changes", .names = {"changes", "details"}},
                      {.role = "at", .names = {"timestamp", "created_at", "at"}, .use = ColumnUse::instant},
                      {.role = "address", .names = {"ip_address"}}},
          .written = true,
          .without = "changes are audited in reconciler.event alone"};
}

WantedTable connections() {
  return {.role = "connections",
          .name = "",
          .columns = {{.role = "session", .names = {"session_id"}, .use = ColumnUse::compared, .required = true},
                      {.role = "seen", .names = {"last_heartbeat", "last_seen_at", "expires_at", "connected_at"}, .use = ColumnUse::instant, .required = true}},
          .written = false,
          .without = "who is connected to a session does not speak for it"};
}

WantedTable executions(const char* name, const char* session) {
  return {.role = "executions",
          .name = name,
          .columns = {{.role = "session", .names = {session}, .use = ColumnUse::compared, .required = true},
                      {.role = "created", .names = {"created_at"}, .use = ColumnUse::instant, .required = true},
                      {.role = "claimed", .names = {"claimed_at", "started_at"}, .use = ColumnUse::instant, .without = "that somebody took it up is not seen"}},
          .written = false,
          .without = "a session that was just asked to do something, and may be getting another runtime, is not told"};
}

// A user asked for the end; the others follow an agent's loss and are the operator's choice.
const char* const terminating =
    R"({"enabled": true, "stuck_after": "5 min", "gone_after": "10 min", "becomes": "terminated", "reason": "agent_unavailable",
        "user_requested": true, "no_agent": "close", "retry_action": "stop_session", "when_spent": "quarantine"})";
const char* const lost_agent =
    R"({"enabled": false, "stuck_after": null, "gone_after": "30 s", "becomes": "terminated", "reason": "agent_disconnected",
        "user_requested": false, "no_agent": "show", "retry_action": null, "when_spent": "quarantine"})";

const char* const starting =
    R"({"enabled": true, "stuck_after": "10 min", "gone_after": "10 min", "becomes": "failed", "reason": "agent_unavailable",
        "user_requested": false, "no_agent": "close", "retry_action": "start_session", "awaits": "start_session", "when_spent": "quarantine"})";
const char* const hibernating =
    R"({"enabled": true, "stuck_after": "10 min", "gone_after": "10 min", "becomes": "terminated", "reason": "agent_unavailable", "infers": false,
        "user_requested": false, "no_agent": "show", "retry_action": null, "awaits": "hibernate_session", "completed_becomes": "hibernated", "when_spent": "quarantine"})";
const char* const waking =
    R"({"enabled": true, "stuck_after": "10 min", "gone_after": "10 min", "becomes": "terminated", "reason": "agent_unavailable", "infers": false,
        "user_requested": false, "no_agent": "show", "retry_action": null, "awaits": "wake_session", "completed_becomes": "running", "when_spent": "quarantine"})";

// Without an agent: what it comes back to is there or not, wherever that is.
const char* const suspended =
    R"({"enabled": false, "stuck_after": null, "gone_after": "10 min", "becomes": "gone", "reason": "runtime_gone", "judged_by": "runtime",
        "user_requested": false, "no_agent": "show", "retry_action": null, "when_spent": "quarantine"})";

using Policies = std::vector<std::pair<const char*, const char*>>;
Policies with(Policies policies, const char* state, const char* columns) {
  policies.emplace_back(state, columns);
  return policies;
}

const Policies agent_policies = {{"terminating", terminating}, {"running", lost_agent}, {"hibernated", lost_agent},
                                                                         {"pending", starting},        {"starting", starting},
                                                                         {"hibernating", hibernating}, {"waking", waking}};

// The runtime of such a session was a pod, whatever its row says since. Its conversation lives in messages, not in the pod: with
// agent_thread_id goes the cursor into them, or the next agent would start without. Never idle: that would be suspended again.
const char* const lost_runtime =
    R"({"enabled": true, "stuck_after": null, "gone_after": "10 min", "becomes": "gone", "reason": "runtime_gone", "judged_by": "runtime",
        "user_requested": false, "no_agent": "show", "retry_action": null, "when_spent": "quarantine",
        "sets": {"agent_thread_id": null, "last_delivered_id": null, "wire_lease_id": null, "wire_connected_at": null, "wire_last_seen_at": null,
                 "inflight_turn_id": null, "inflight_turn_input": null, "inflight_started_at": null, "inflight_attempts": "0"},
        "steps": [{"table": "agent_runtime_assignments", "match": {"thread_key": "key", "runtime_id": "runtime"}, "where": {"state": ["active"]},
                   "set": {"state": "released", "released_at": {"now": true}, "updated_at": {"now": true}}}]})";

const std::vector<std::pair<const char*, const char*>> runtime_policies = {{"creating", lost_runtime}, {"running", lost_runtime}, {"idle", lost_runtime},
                                                                           {"delivering", lost_runtime}, {"error", lost_runtime}, {"suspended", lost_runtime}};

std::vector<WantedColumn> centaur_columns() {
  return {{.role = "state", .names = {"state"}, .use = ColumnUse::label, .required = true, .written = true},
          {.role = "agent", .names = {}, .use = ColumnUse::names},
          {.role = "runtime", .names = {"sandbox_id"}, .use = ColumnUse::names, .without = "nothing tells what a session runs in: it is shown, never closed", .advised = true},
          {.role = "created", .names = {"started_at"}, .use = ColumnUse::compared, .without = "an id that is used again is told by its other columns"},
          {.role = "entered", .names = {"updated_at"}, .use = ColumnUse::instant, .without = no_age, .advised = true},
          {.role = "updated", .names = {"updated_at"}, .use = ColumnUse::instant, .written = true, .without = "nothing says in the row when it was changed"},
          {.role = "reason", .names = {}, .use = ColumnUse::words, .written = true},
          {.role = "closed", .names = {}, .use = ColumnUse::instant, .written = true},
          {.role = "backend", .names = {}},
          {.role = "version", .names = {"updated_at"}, .use = ColumnUse::compared, .without = "a row that was written since it was looked at is told by its other columns", .advised = true}};
}

// Names, cleanup and what belongs to the user: the resources that StreamSpace's Kubernetes agent creates.
const char* const streamspace_leftover =
    R"({"namespace": "streamspace",
        "resources": ["deployment/{session_id}", "service/{session_id}", "sessions.stream.space/{session_id}"],
        "cleanup": "kubectl delete deployment,service -n {namespace} -l session={session_id} && kubectl delete sessions.stream.space -n {namespace} {session_id}",
        "user_data": ["pvc/{session_id}-home"]})";

const std::vector<Preset>& presets() {
  static const auto* all = new std::vector<Preset>{
      {.name = "standard",
       .columns = session_columns({"assigned_agent_id", "agent_id"}, {"platform_resource_id", "runtime_id", "sandbox_id"}, {"created_at"},
                                  {"state_changed_at", "state_entered_at", "updated_at"}, in_events, true),
       .keys = {},
       .related = {agents(), commands(), audit(""), connections(), executions("", "session_id")},
       .terminal_states = {"terminated", "failed", "gone", "deleted"},
       .policies = with(agent_policies, "suspended", suspended),
       .leftover = "{}"},
      {.name = "streamspace",
       .columns = session_columns({"agent_id"}, {}, {"created_at"}, {"updated_at"},
                                  "kept in reconciler.event instead; not recommended, since it would arm the API's own loop", false),
       .keys = {"id"},
       .related = {agents(), commands(), audit("audit_log"), connections(), executions("", "session_id")},
       .terminal_states = {"terminated", "failed", "deleted"},
       .policies = agent_policies,
       .leftover = streamspace_leftover,
       .streamspace = true},
      {.name = "centaur",
       .columns = centaur_columns(),
       .keys = {"thread_key"},
       .related = {audit(""), connections(), executions("agent_execution_requests", "thread_key")},
       .terminal_states = {"gone", "stopped"},
       .policies = runtime_policies,
       .leftover = "{}",
       .signs = {"wire_last_seen_at"},
       .advisory_lock = "hashtext"}};
  return *all;
}

}  // namespace

const Preset& preset_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Preset& preset : presets()) {
    if (name == preset.name) return preset;
    names.emplace_back(preset.name);
  }
  throw UserError("22023", "there is no preset \"" + name + "\"", "Valid presets: " + comma_list(names) + ".");
}

const char* policy_base() {
  return R"({"stuck_after": "5 min", "gone_after": "10 min", "becomes": "terminated", "reason": "agent_unavailable",
             "user_requested": false, "no_agent": "show", "retry_action": null, "when_spent": "quarantine"})";
}

}  // namespace reconciler
