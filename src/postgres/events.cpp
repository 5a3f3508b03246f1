#include "postgres/events.hpp"

namespace reconciler {
namespace {
bool retention_runs = false;
}

Retention::Retention() { retention_runs = true; }
Retention::~Retention() { retention_runs = false; }
bool Retention::running() { return retention_runs; }

std::int64_t write_events(const AttachedBinding& binding, std::optional<std::int64_t> pass_id, Time at, const std::string& actor,
                          const std::vector<Event>& events) {
  if (events.empty()) return 0;
  using Texts = std::vector<std::optional<std::string>>;
  Texts session, kind, from, to, reason, rule, evidence;
  std::vector<std::optional<Jsonb>> before, after;
  for (const Event& e : events) {
    session.push_back(e.session), kind.push_back(e.kind), from.push_back(e.from_state), to.push_back(e.to_state);
    reason.push_back(e.reason), rule.push_back(e.rule), evidence.push_back(e.evidence), before.push_back(e.before), after.push_back(e.after);
  }
  const Rows written = query(
      "WITH written AS (INSERT INTO reconciler.event (pass_id, at, schema_name, table_name, actor, session_id, kind, from_state, to_state, reason, rule, evidence, before, after)"
      " SELECT $1, $2, nullif($3, ''), nullif($4, ''), $5, t.* FROM unnest($6, $7, $8, $9, $10, $11, $12, $13, $14) AS t RETURNING id)"
      " SELECT min(id) AS first, max(id) AS last FROM written",
      {Param::integer(pass_id), Param::time(at), Param::text(binding.schema), Param::text(binding.table), Param::text(actor), Param::texts(session),
       Param::texts(kind), Param::texts(from), Param::texts(to), Param::texts(reason), Param::texts(rule), Param::jsonbs(evidence), Param::jsonbs(before),
       Param::jsonbs(after)});
  announce(binding, pass_id, written.only().integer("first"), written.only().integer("last"));
  return written.only().integer("first");
}

void announce(const AttachedBinding& binding, std::optional<std::int64_t> pass_id, std::int64_t first, std::int64_t last) {
  query("SELECT pg_notify('session_reconciler', json_build_object('table', nullif($1::text || '.' || $2::text, '.'), 'pass_id', $3::bigint, 'first', $4::bigint, 'last', $5::bigint)::text)",
        {Param::text(binding.schema), Param::text(binding.table), Param::integer(pass_id), Param::integer(first), Param::integer(last)});
}

void count(int binding_id, const std::string& name, const std::string& label, double add) {
  query("INSERT INTO reconciler.counter AS c (binding_id, name, label, value) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (binding_id, name, label) DO UPDATE SET value = c.value + excluded.value",
        {Param::integer(binding_id), Param::text(name), Param::text(label), Param::real(add)});
}

std::string acting_role() {
  return query("SELECT CASE current_setting('role') WHEN 'none' THEN session_user::text ELSE current_setting('role') END AS actor")
      .only()
      .text("actor");
}

}  // namespace reconciler
