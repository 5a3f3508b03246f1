#include "postgres/statements.hpp"

#include <algorithm>

namespace reconciler {
namespace {

std::string doubled(std::string_view text, char quote) {
  std::string out;
  for (char c : text) {
    if (c == quote) out += quote;
    out += c;
  }
  return out;
}

std::string in(const std::string& alias, const Column& column) { return alias + "." + quote_identifier(column.name) + compared_as(column); }

// A type whose name has a schema is not the system's. Its casts may be functions of the table's owner, and would run with the
// rights of whoever looks at the table; its output and input are the system's.
bool foreign(const Column& column) { return column.type.find('.') != std::string::npos; }

std::string printed(const std::string& value, const Column& column) {
  return foreign(column) ? "CASE WHEN num_nonnulls(" + value + ") = 1 THEN format('%s', " + value + ") END" : value + "::text";
}

// Text as a value of the column's type, to compare with the column.
std::string read(const std::string& text, const Column& column) {
  if (!foreign(column)) return text + "::" + column.type;
  return "(SELECT r.v FROM json_to_record(json_build_object('v', " + text + ")) AS r(v " + column.type + "))";
}

std::string any_read(const std::string& texts, const Column& column) {
  if (!foreign(column)) return "ANY(" + texts + "::" + column.type + "[])";
  return "ANY(ARRAY(SELECT " + read("u.t", column) + " FROM unnest(" + texts + ") AS u(t)))";
}

// Text that depends on no setting: a timestamp's output would follow DateStyle and TimeZone.
std::string as_text(const std::string& alias, const Column& column) {
  const std::string value = in(alias, column);
  // to_char() of an infinite time is NULL.
  if (column.timestamp) return "coalesce(to_char(" + value + ", 'YYYY-MM-DD HH24:MI:SS.US'), " + value + "::text)";
  if (column.timestamptz) return "coalesce(to_char(" + value + " AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00', " + value + "::text)";
  return printed(value, column);
}

std::string as_text(const std::string& alias, const std::optional<Column>& column) {
  return column ? as_text(alias, *column) : "NULL::text";
}

// An empty text says nothing.
std::string said(const std::optional<Column>& column) { return "nullif(" + as_text("s", column) + ", '')"; }

// In what runs as the table's owner.
std::string cast(const std::string& value, const Column& column) { return value + "::" + column.type; }

bool textual(const Column& c) { return c.type == "text" || c.type == "character varying" || c.type == "bpchar"; }

std::string join(const std::vector<std::string>& parts, const char* separator) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : separator) + part;
  return out;
}

std::string literals(const std::vector<std::string>& values) {
  std::vector<std::string> quoted;
  for (const std::string& value : values) quoted.push_back(quote_literal(value));
  return join(quoted, ", ");
}

// A word of the column's own type: of another, = could be that of a type to which there is an implicit cast. Where there is
// one, the server finds = ambiguous now, which breaks the binding.
std::string word(const std::string& value, const Column& column) { return quote_literal(value) + (foreign(column) ? "::" + column.type : ""); }

std::string is(const std::string& alias, const Column& column, const std::string& value) { return in(alias, column) + " = " + word(value, column); }

}  // namespace

std::string quote_identifier(std::string_view name) { return '"' + doubled(name, '"') + '"'; }

std::string quote_literal(std::string_view text) {
  const bool escapes = text.find('\\') != std::string_view::npos;
  std::string out = doubled(text, '\'');
  if (escapes) out = doubled(out, '\\');
  return (escapes ? " E'" : "'") + out + "'";
}

std::string compared_as(const Column& column) { return column.enum_domain ? "::" + column.type : ""; }

std::string Statements::instant(const std::string& alias, const std::optional<Column>& column) const {
  if (!column) return "NULL::timestamptz";
  if (column->timestamp) return in(alias, *column) + " AT TIME ZONE " + quote_literal(m_.time_zone);
  return (foreign(*column) ? as_text(alias, *column) : in(alias, *column)) + "::timestamptz";
}

// Whether a column of a related table holds the key of the session `alias`.
std::string Statements::is_key(const std::string& related, const Column& column, const std::string& alias) const {
  const Column& key = m_.sessions.key;
  const bool comparable = column.type == key.type || (textual(column) && textual(key));
  return comparable ? in(related, column) + " = " + in(alias, key) : as_text(related, column) + " = " + as_text(alias, key);
}

bool Statements::shows_signs() const { return !m_.sessions.signs.empty() || m_.connections; }

// The newest sign of life, of the row itself or of what is connected to it.
std::string Statements::sign(const std::string& alias) const {
  std::vector<std::string> signs;
  for (const Column& column : m_.sessions.signs) signs.push_back(instant(alias, column));
  if (const auto& c = m_.connections)
    signs.push_back("(SELECT max(" + instant("c", c->seen) + ") FROM " + c->qualified + " AS c WHERE " + is_key("c", c->session, alias) + ")");
  return signs.empty() ? "NULL::timestamptz" : "greatest(" + join(signs, ", ") + ")";
}

// When the session was last given something to do, or somebody took that.
std::string Statements::asked(const std::string& alias) const {
  const auto& e = m_.executions;
  if (!e) return "NULL::timestamptz";
  const auto newest = [&](const Column& column) { return "(SELECT max(" + instant("e", column) + ") FROM " + e->qualified + " AS e WHERE " + is_key("e", e->session, alias) + ")"; };
  return e->claimed ? "greatest(" + newest(e->created) + ", " + newest(*e->claimed) + ")" : newest(e->created);
}

std::string Statements::quiet(const std::string& since) const { return " AND (" + sign("s") + " > " + since + ") IS NOT TRUE"; }

std::string Statements::session_list(const std::string& alias) const {
  const SessionsTable& t = m_.sessions;
  std::vector<std::string> list{as_text(alias, t.key) + " AS key",        as_text(alias, t.state) + " AS state",
                                as_text(alias, t.agent) + " AS agent",    as_text(alias, t.runtime) + " AS runtime",
                                as_text(alias, t.created) + " AS created", instant(alias, t.entered) + " AS entered",
                                as_text(alias, t.entered) + " AS age",
                                sign(alias) + " AS sign",                 as_text(alias, t.backend) + " AS backend",

                                as_text(alias, t.version) + " AS version", asked(alias) + " AS asked"};
  for (std::size_t i = 0; i < t.route.size(); ++i) list.push_back(as_text(alias, t.route[i]) + " AS route" + std::to_string(i));
  return join(list, ", ");
}

std::string Statements::scan(const std::string& state, bool started, bool nulls) const {
  const SessionsTable& t = m_.sessions;
  const std::string key = in("s", t.key);
  std::string where = is("s", t.state, state), order = key;
  if (t.entered) {
    const std::string age = in("s", *t.entered);
    if (nulls) {
      where += " AND " + age + " IS NULL";
      if (started) where += " AND " + key + " > " + read("$2::text", t.key);
    } else {
      where += " AND " + age + " IS NOT NULL";
      if (started) where += " AND (" + age + ", " + key + ") > (" + read("$1::text", *t.entered) + ", " + read("$2::text", t.key) + ")";
      order = age + ", " + key;
    }
  } else if (started) {
    where += " AND " + key + " > " + read("$2::text", t.key);
  }
  // Names all three parameters whatever the form, so that one call fits all.
  return "SELECT " + session_list("s") + " FROM " + t.qualified + " AS s WHERE " + where +
         " AND ($1::text IS NULL OR true) AND ($2::text IS NULL OR true) ORDER BY " + order + " LIMIT $3::bigint";
}

std::string Statements::occupied(const std::vector<std::string>& states) const {
  const SessionsTable& t = m_.sessions;
  std::string text = "SELECT NULL::text AS state, NULL::boolean AS found, clock_timestamp() AS at";
  // No EXISTS: that would leave the order to the planner, who may read a whole table for a state that was frequent once.
  for (const std::string& state : states)
    text += " UNION ALL SELECT " + quote_literal(state) + ", (SELECT true FROM " + t.qualified + " AS s WHERE " + is("s", t.state, state) +
            " ORDER BY " + (t.entered ? in("s", *t.entered) + ", " : "") + in("s", t.key) + " LIMIT 1), clock_timestamp()";
  return text;
}

std::string Statements::find() const {
  const SessionsTable& t = m_.sessions;
  return "SELECT " + session_list("s") + " FROM " + t.qualified + " AS s WHERE " + in("s", t.key) + " = " +
         read("$1::text", t.key) + " LIMIT 2";
}

std::string Statements::lock() const { return find() + " FOR NO KEY UPDATE OF s"; }

std::string Statements::sessions() const {
  const SessionsTable& t = m_.sessions;
  return "SELECT " + session_list("s") + " FROM " + t.qualified + " AS s WHERE " + in("s", t.key) + " = " + any_read("$1::text[]", t.key);
}

std::string Statements::scan_completed() const {
  const SessionsTable& t = m_.sessions;
  const CommandsTable& c = *m_.commands;
  const std::string done = c.completed ? "(" + in("c", *c.completed) + " IS NOT NULL OR " + is("c", c.status, "completed") + ")"
                                       : is("c", c.status, "completed");
  // Whatever text a command may carry, it must not fail the cast to the key's type.
  const bool comparable = c.session.type == t.key.type || (textual(c.session) && textual(t.key));
  // The column stands bare: the conversion of a column is served by no index on it.
  const std::string since = !c.created ? "$1::timestamptz IS NOT NULL"
                            : c.created->timestamp ? in("c", *c.created) + " > $1::timestamptz AT TIME ZONE " + quote_literal(m_.time_zone)
                                                   : instant("c", c.created) + " > $1::timestamptz";
  std::vector<std::string> excluded = m_.ending_states;
  excluded.insert(excluded.end(), m_.enabled_states.begin(), m_.enabled_states.end());
  return "SELECT " + session_list("s") + " FROM " + t.qualified + " AS s WHERE " + (comparable ? in("s", t.key) : as_text("s", t.key)) +
         " IN (SELECT " + (comparable ? (c.session.type == t.key.type ? in("c", c.session) : cast(in("c", c.session), t.key)) : as_text("c", c.session)) + " FROM " + c.qualified + " AS c WHERE " + is("c", c.action, "stop_session") + " AND " +
         done + " AND " + since + " AND " +
         in("c", c.session) + " IS NOT NULL) AND " + as_text("s", t.state) + " NOT IN (" + literals(excluded) +
         ") AND ($2::text IS NULL OR " + in("s", t.key) + " > " + read("$2::text", t.key) + ") ORDER BY " + in("s", t.key) +
         " LIMIT $3::bigint";
}

std::string Statements::leaving() const {
  const SessionsTable& t = m_.sessions;
  std::vector<std::string> excluded = m_.ending_states;
  excluded.insert(excluded.end(), m_.commanded_states.begin(), m_.commanded_states.end());
  return "SELECT " + session_list("s") + " FROM " + t.qualified + " AS s WHERE " + in("s", *t.agent) + " = " + any_read("$1::text[]", *t.agent) +
         " AND " + as_text("s", t.state) + " NOT IN (" + literals(excluded) + ") AND ($2::text IS NULL OR " + in("s", t.key) + " > " + read("$2::text", t.key) +
         ") ORDER BY " + in("s", t.key) + " LIMIT $3::bigint";
}

std::string Statements::commands() const {
  const CommandsTable& c = *m_.commands;
  const std::string session = in("c", c.session), stop = "(" + is("c", c.action, "stop_session") + ")";
  const std::string newest = c.created ? in("c", *c.created) + " DESC NULLS LAST, " : "";
  // Not joined: what a planner makes of two lists whose length it does not know varies.
  const std::string own = "coalesce(nullif(" + as_text("c", c.agent) + ", '') = ((SELECT jsonb_object($1::text[], $2::text[])) ->> " + as_text("c", c.session) + "), true)";
  return "SELECT DISTINCT ON (" + session + ", stop, own) " + as_text("c", c.session) + " AS session, " + stop + " AS stop, " + own + " AS own, " +
         as_text("c", c.id) + " AS id, " + as_text("c", c.action) + " AS action, coalesce(" + as_text("c", c.status) +
         ", '') AS status, " + instant("c", c.created) + " AS created, " + instant("c", c.sent) + " AS sent, " +
         instant("c", c.acknowledged) + " AS acknowledged, " + instant("c", c.completed) + " AS completed, coalesce(" +
         as_text("c", c.error) + ", '') AS error, " + (c.payload ? in("c", *c.payload) + " IS NOT NULL" : "true") + " AS sendable FROM " + c.qualified + " AS c WHERE " + (textual(c.session) || c.session.type == m_.sessions.key.type ? session + " = " + any_read("$1::text[]", c.session) : as_text("c", c.session) + " = ANY($1::text[])") +
         " AND " + in("c", c.action) + " IS NOT NULL ORDER BY " + session + ", stop, own, " + newest + in("c", c.id);
}

std::string Statements::payloads() const {
  const CommandsTable& c = *m_.commands;
  return "SELECT " + as_text("c", c.id) + " AS id, " + as_text("c", c.payload) + " AS payload FROM " + c.qualified + " AS c WHERE " + in("c", c.id) +
         " = " + any_read("$1::text[]", c.id);
}

std::string Statements::agents() const {
  const AgentsTable& a = *m_.agents;
  const std::string approved = a.approval ? "coalesce(" + as_text("a", *a.approval) + " = 'approved', false)" : "true";
  return "SELECT " + as_text("a", a.id) + " AS id, " + instant("a", a.heartbeat) + " AS heartbeat, " + approved + " AS approved FROM " +
         a.qualified + " AS a WHERE " + in("a", a.id) + " = " + any_read("$1::text[]", a.id);
}

std::string Statements::knows_agent() const {
  // Whatever was typed must not fail the cast to the column's type.
  const auto has = [](const std::string& table, const Column& column) {
    return "EXISTS (SELECT FROM " + table + " AS x WHERE " + (textual(column) ? in("x", column) + " = " + cast("$1::text", column) : as_text("x", column) + " = $1::text") + ")";
  };
  const std::string sessions = has(m_.sessions.qualified, *m_.sessions.agent);
  return "SELECT " + (m_.agents ? has(m_.agents->qualified, m_.agents->id) + " OR " + sessions : sessions);
}

std::string Statements::agent_namespaces() const {
  const AgentsTable& a = *m_.agents;
  return "SELECT " + as_text("a", a.id) + " AS id, " + in("a", *a.metadata) + "->>'namespace' AS namespace FROM " + a.qualified +
         " AS a WHERE " + in("a", a.id) + " = " + any_read("$1::text[]", a.id);
}

std::string Statements::agents_page() const {
  const AgentsTable& a = *m_.agents;
  const auto text = [&](const std::optional<Column>& column) { return column ? as_text("a", *column) : std::string("NULL::text"); };
  const auto document = [](const Column& column) { return column.type == "json" || column.type == "jsonb"; };
  const std::string name_space = a.metadata ? in("a", *a.metadata) + "->>'namespace'" : "NULL::text";
  const std::string capacity = a.capacity && document(*a.capacity) ? in("a", *a.capacity) + "->>'maxSessions'" : text(a.capacity);
  const std::string approved = a.approval ? "coalesce(" + as_text("a", *a.approval) + " = 'approved', false)" : "true";
  return "SELECT " + as_text("a", a.id) + " AS id, " + approved + " AS approved, " + instant("a", a.heartbeat) + " AS heartbeat, " + text(a.platform) + " AS platform, " + text(a.region) +
         " AS region, " + name_space + " AS namespace, " + text(a.pool) + " AS pool, CASE WHEN (" + capacity + ") ~ '^[0-9]{1,9}$' THEN least((" + capacity + ")::bigint, 1000000) END AS capacity, " +
         text(a.incarnation) + " AS incarnation, coalesce(" + text(a.draining) + " IN ('true', 't', '1'), false) AS draining FROM " + a.qualified + " AS a WHERE ($1::text IS NULL OR " + in("a", a.id) +
         " > " + read("$1::text", a.id) + ") AND " + in("a", a.id) + " IS NOT NULL ORDER BY " + in("a", a.id) + " LIMIT $2::bigint";
}

// Not ended: what counts for an agent's load.
// Agent ids of other tables may be no values of this one's type.
std::string Statements::of_agent(const std::string& alias, const std::string& any_or_one) const {
  const Column& agent = *m_.sessions.agent;
  return (textual(agent) ? in(alias, agent) : as_text(alias, agent)) + " = " + any_or_one;
}

std::string Statements::sessions_by_agent() const {
  const SessionsTable& t = m_.sessions;
  return "SELECT nullif(" + as_text("s", *t.agent) + ", '') AS agent, count(*) AS n, count(*) FILTER (WHERE " + not_ended() + ") AS open FROM " + t.qualified + " AS s GROUP BY 1 ORDER BY 1";
}

std::string Statements::referenced() const {
  return "SELECT u.agent FROM unnest($1::text[]) AS u(agent) WHERE EXISTS (SELECT FROM " + m_.sessions.qualified + " AS s WHERE " + of_agent("s", "u.agent") + ")";
}

std::string Statements::sessions_of_agent(const std::vector<std::string>& states) const {
  const SessionsTable& t = m_.sessions;
  return "SELECT " + as_text("s", t.key) + " AS key FROM " + t.qualified + " AS s WHERE " + of_agent("s", "$1::text") + " AND " + as_text("s", t.state) + " IN (" + literals(states) + ") AND " +
         as_text("s", t.key) + " <> ALL ($2::text[]) ORDER BY " + in("s", t.key) + " LIMIT $3::bigint";
}

// A pool says '' of what nobody said: nothing is filled with that.
std::string Statements::unfilled() const {
  const SessionsTable& t = m_.sessions;
  std::vector<std::string> empty;
  const auto add = [&](const std::optional<Column>& column, const char* value) {
    if (column) empty.push_back("(" + in("o", *column) + " IS NULL AND " + value + " <> '')");
  };
  add(t.pool, "p.pool"), add(t.platform, "p.platform"), add(t.region, "p.region");
  return t.qualified + " AS o JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS p(agent, pool, platform, region) ON " + of_agent("o", "p.agent") + " WHERE " +
         (empty.empty() ? "false" : "(" + join(empty, " OR ") + ")");
}

std::string Statements::count_unfilled() const { return "SELECT count(*) FROM " + unfilled(); }

std::string Statements::fill_pools() const {
  const SessionsTable& t = m_.sessions;
  // Its pool follows from its agent: with another one by now it is left to the next call.
  std::string keys = in("o", t.key) + " AS key, " + in("o", *t.agent) + " AS agent", same = in("s", t.key) + " = t.key AND " + in("s", *t.agent) + " = t.agent";
  for (std::size_t i = 0; i < t.route.size(); ++i) {
    const std::string name = "route" + std::to_string(i);
    keys += ", " + in("o", t.route[i]) + " AS " + name, same += " AND " + in("s", t.route[i]) + " IS NOT DISTINCT FROM t." + name;
  }
  std::vector<std::string> set;
  const auto fill = [&](const std::optional<Column>& column, const char* value) {
    if (column) set.push_back(quote_identifier(column->name) + " = coalesce(" + in("s", *column) + ", " + cast("nullif(" + std::string(value) + ", '')", *column) + ")");
  };
  fill(t.pool, "t.pool"), fill(t.platform, "t.platform"), fill(t.region, "t.region");
  return "UPDATE " + t.qualified + " AS s SET " + join(set, ", ") + " FROM (SELECT " + keys + ", p.pool, p.platform, p.region FROM " + unfilled() + " ORDER BY " + in("o", t.key) +
         " LIMIT $5::bigint) AS t WHERE " + same;
}

std::string Statements::agents_of(const std::string& state) const {
  const SessionsTable& t = m_.sessions;
  return "SELECT DISTINCT " + as_text("s", t.agent) + " AS agent FROM " + t.qualified + " AS s WHERE " + is("s", t.state, state) +
         " AND " + in("s", *t.agent) + " IS NOT NULL LIMIT $1::bigint";
}

std::string Statements::in_none_of(const std::vector<std::string>& states) const { return "(" + as_text("s", m_.sessions.state) + " IN (" + literals(states) + ")) IS NOT TRUE"; }
std::string Statements::not_ended() const { return in_none_of(m_.ending_states); }

std::string Statements::by_agent(const std::string& which) const {
  return "SELECT " + as_text("s", *m_.sessions.agent) + " AS agent, count(*) AS n FROM " + m_.sessions.qualified + " AS s WHERE " + of_agent("s", "ANY($1::text[])") + " AND " + which + " GROUP BY 1";
}
std::string Statements::loads() const { return by_agent(in_none_of(m_.roomless_states)); }
std::string Statements::left_with() const { return by_agent(not_ended()); }

std::string Statements::population() const {
  const SessionsTable& t = m_.sessions;
  return "SELECT " + as_text("s", t.state) + " AS state, " + said(t.agent) + " AS agent, " + said(t.pool) + " AS pool, " + said(t.platform) + " AS platform, " + said(t.region) +
         " AS region, k.pool AS kept, count(*) AS n FROM " + t.qualified + " AS s LEFT JOIN unnest($1::text[], $2::bigint[]) AS k(key, pool) ON k.key = " + as_text("s", t.key) + " WHERE " + not_ended() +
         " GROUP BY 1, 2, 3, 4, 5, 6";
}

std::string Statements::pools() const {
  const SessionsTable& t = m_.sessions;
  return "SELECT " + as_text("s", t.key) + " AS key, " + said(t.agent) + " AS agent, " + said(t.pool) + " AS pool, " + said(t.platform) + " AS platform, " + said(t.region) +
         " AS region FROM " + t.qualified + " AS s WHERE " + in("s", t.key) + " = " + any_read("$1::text[]", t.key);
}

std::string Statements::shared_runtimes() const {
  const Column& runtime = *m_.sessions.runtime;
  return "SELECT " + as_text("s", runtime) + " AS runtime FROM " + m_.sessions.qualified + " AS s WHERE " + in("s", runtime) + " = " + any_read("$1::text[]", runtime) + " AND " + not_ended() +
         " GROUP BY 1 HAVING count(*) > 1";
}

std::string Statements::named_runtimes(const std::vector<std::string>& states) const {
  const SessionsTable& t = m_.sessions;
  std::vector<std::string> words;
  for (const std::string& state : states) words.push_back(word(state, t.state));
  return "SELECT " + as_text("s", t.key) + " AS key, " + as_text("s", *t.runtime) + " AS runtime FROM " + t.qualified + " AS s WHERE " + in("s", t.state) + " IN (" + join(words, ", ") + ") AND " +
         in("s", *t.runtime) + " IS NOT NULL AND ($1::text IS NULL OR " + in("s", t.key) + " > " + read("$1::text", t.key) + ") ORDER BY " + in("s", t.key) + " LIMIT $2::bigint";
}

std::string Statements::count_watched() const {
  std::vector<std::string> words;
  for (const std::string& state : m_.watched_states) words.push_back(word(state, m_.sessions.state));
  return "SELECT count(*) FROM " + m_.sessions.qualified + " AS s WHERE " + in("s", m_.sessions.state) + " IN (" + join(words, ", ") + ")";
}

std::string Statements::coverage() const {
  const SessionsTable& t = m_.sessions;
  const std::string since = instant("s", t.entered ? t.entered : t.created);
  return "SELECT " + as_text("s", t.state) + " AS state, count(*) AS n, min(" + since + ") AS since, count(*) FILTER (WHERE " + since +
         " < $4::timestamptz - coalesce(t.threshold::interval, $3::interval)) AS over FROM " + t.qualified +
         " AS s LEFT JOIN unnest($1::text[], $2::text[]) AS t(state, threshold) ON t.state = " + as_text("s", t.state) + " GROUP BY 1 ORDER BY 1";
}

std::string Statements::identities() const {
  const SessionsTable& t = m_.sessions;
  return "SELECT " + as_text("s", t.key) + " AS key, " + as_text("s", t.state) + " AS state, " + as_text("s", t.agent) + " AS agent, " +
         as_text("s", t.runtime) + " AS runtime, " + as_text("s", t.created) + " AS created FROM " + t.qualified + " AS s WHERE " +
         in("s", t.key) + " = " + any_read("$1::text[]", t.key);
}

namespace {

// Texts from outside as values of the column: what can't be one is none, instead of an error. A type without a pattern here is
// compared as text, which no index serves.
std::string any_of_foreign(const std::string& alias, const Column& column) {
  if (textual(column)) return in(alias, column) + " = " + any_read("$1::text[]", column);
  const char* pattern = column.type == "uuid" ? "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$" : column.type == "bigint" ? "^[1-9][0-9]{0,17}$" : column.type == "integer" ? "^[1-9][0-9]{0,8}$" : nullptr;
  if (!pattern) return as_text(alias, column) + " = ANY($1::text[])";
  return in(alias, column) + " = ANY(ARRAY(SELECT u.t::" + column.type + " FROM unnest($1::text[]) AS u(t) WHERE u.t ~ '" + pattern + "'))";
}

}  // namespace

std::string Statements::sessions_of_objects() const {
  const SessionsTable& t = m_.sessions;
  return "SELECT " + as_text("s", t.key) + " AS key, " + as_text("s", t.state) + " AS state, " + instant("s", t.closed) + " AS closed FROM " + t.qualified + " AS s WHERE " +
         any_of_foreign("s", t.key);
}

std::string Statements::sessions_by_runtime() const {
  const SessionsTable& t = m_.sessions;
  return "SELECT " + as_text("s", t.key) + " AS key, " + as_text("s", t.state) + " AS state, " + instant("s", t.closed) + " AS closed, " + as_text("s", t.runtime) + " AS runtime FROM " +
         t.qualified + " AS s WHERE " + any_of_foreign("s", *t.runtime);
}

std::string Statements::references(const ReferenceColumn& r) {
  return "SELECT DISTINCT " + as_text("r", r.column) + " AS value FROM " + r.qualified + " AS r WHERE " + any_of_foreign("r", r.column);
}

std::vector<Column> Statements::written() const {
  const SessionsTable& t = m_.sessions;
  std::vector<Column> columns{t.state};
  for (const auto& column : {t.reason, t.closed, t.updated})
    if (column) columns.push_back(*column);
  return columns;
}

namespace {

std::vector<Column> columns_of(const std::vector<Assignment>& set) {
  std::vector<Column> columns;
  for (const Assignment& a : set) columns.push_back(a.column);
  return columns;
}

std::string object_of(const std::string& alias, const std::vector<Column>& columns) {
  std::vector<std::string> members;
  for (const Column& column : columns) members.push_back(quote_literal(column.name) + ", " + in(alias, column));
  return "jsonb_build_object(" + join(members, ", ") + ")";
}

// The value that such an object has for the column. What is a document stands in it as one.
std::string value_in(const std::string& object, const Column& column) {
  const std::string name = quote_literal(column.name);
  if (column.type == "jsonb") return "nullif(" + object + "->" + name + ", 'null')";
  return cast("(" + object + "->>" + name + ")", column);
}

}  // namespace

// Key, guard and written columns, each once.
std::vector<Column> Statements::imaged(const std::vector<Column>& besides) const {
  const SessionsTable& t = m_.sessions;
  std::vector<Column> columns{t.key};
  const auto add = [&](const Column& column) {
    if (std::none_of(columns.begin(), columns.end(), [&](const Column& c) { return c.name == column.name; })) columns.push_back(column);
  };
  add(t.state);
  for (const auto& column : {t.agent, t.runtime, t.created})
    if (column) add(*column);
  for (const Column& column : written()) add(column);
  for (const auto* more : {&t.route, &besides})
    for (const Column& column : *more) add(column);
  return columns;
}

std::string Statements::image(const std::string& alias, const std::vector<Column>& besides) const { return object_of(alias, imaged(besides)); }

Statements::Compared Statements::columns_of_batch() const {
  Compared t{"t.key", "t.state", "t.agent", "t.runtime", "t.created", {}};
  for (std::size_t i = 0; i < m_.sessions.route.size(); ++i) t.route.push_back("t.route" + std::to_string(i));
  return t;
}

std::string Statements::predicate(const Compared& with) const {
  const SessionsTable& t = m_.sessions;
  std::vector<std::string> parts{in("s", t.key) + " = " + cast(with.key, t.key), in("s", t.state) + "::text = " + with.state};
  const auto same = [&](const std::optional<Column>& column, const std::string& value) {
    if (column) parts.push_back(in("s", *column) + " IS NOT DISTINCT FROM " + cast(value, *column));
  };
  // An empty agent id names nobody, and is scanned as NULL.
  if (t.agent && textual(*t.agent))
    parts.push_back("nullif(" + in("s", *t.agent) + "::text, '') IS NOT DISTINCT FROM " + with.agent);
  else
    same(t.agent, with.agent);
  same(t.runtime, with.runtime), same(t.created, with.created);
  for (std::size_t i = 0; i < t.route.size(); ++i) same(t.route[i], with.route[i]);
  return join(parts, " AND ");
}

std::string Statements::at(const Column& column, const std::string& parameter) const {
  const std::string value = parameter + "::timestamptz";
  return column.timestamp ? value + " AT TIME ZONE " + quote_literal(m_.time_zone) : cast(value, column);
}

std::string Statements::compare_and_set(const std::vector<std::string>& set, const std::vector<Column>& touched, const std::string& arrays, const std::string& names, std::size_t route,
                                        const std::string& besides) const {
  const SessionsTable& t = m_.sessions;
  std::string values = "$1::text[], $2::text[], $3::text[], $4::text[], $5::text[], " + arrays, called = "key, state, agent, runtime, created, " + names, unchanged = besides;
  for (std::size_t i = 0; i < t.route.size(); ++i) {
    const std::string name = "route" + std::to_string(i);
    values += ", $" + std::to_string(route + i) + "::text[]", called += ", " + name;
    unchanged += " AND " + in("o", t.route[i]) + " IS NOT DISTINCT FROM " + cast("t." + name, t.route[i]);
  }
  // The written columns are compared with the image too: what `before` says is exactly what was overwritten.
  for (const Column& column : touched) unchanged += " AND " + in("s", column) + " IS NOT DISTINCT FROM " + in("o", column);
  return "UPDATE " + t.qualified + " AS s SET " + join(set, ", ") + " FROM unnest(" + values + ") AS t(" + called + "), " + t.qualified + " AS o WHERE " +
         predicate(columns_of_batch()) + " AND " + in("o", t.key) + " = " + cast("t.key", t.key) + unchanged + " RETURNING t.key, " + image("o", touched) + " AS before, " +
         image("s", touched) + " AS after";
}

std::string Statements::assigned(const Assignment& a, const std::string& at_parameter) const {
  return quote_identifier(a.column.name) + " = " + (a.now ? at(a.column, at_parameter) : a.text ? cast(quote_literal(*a.text), a.column) : "NULL");
}

// The inner table has the same alias: it hides the outer one.
std::string Statements::is_alone() const {
  const SessionsTable& t = m_.sessions;
  return " AND " + in("s", *t.runtime) + " NOT IN (SELECT " + in("s", *t.runtime) + " FROM " + t.qualified + " AS s WHERE " + in("s", *t.runtime) + " IS NOT NULL AND " + not_ended() + " GROUP BY 1 HAVING count(*) > 1)";
}

std::string Statements::close(const Repair& repair, bool alone) const {
  const SessionsTable& t = m_.sessions;
  std::vector<std::string> set{quote_identifier(t.state.name) + " = " + cast("t.becomes", t.state)};
  // A session that got where it was going has not ended.
  const auto when_it_ends = [&](const Column& column, const std::string& value) {
    set.push_back(quote_identifier(column.name) + " = CASE WHEN t.becomes IN (" + literals(m_.ending_states) + ") THEN " + value + " ELSE " + in("s", column) + " END");
  };
  if (t.reason) when_it_ends(*t.reason, cast("t.reason", *t.reason));
  if (t.closed) when_it_ends(*t.closed, at(*t.closed, "$8"));
  if (t.updated) set.push_back(quote_identifier(t.updated->name) + " = " + at(*t.updated, "$8"));
  std::vector<Column> touched = written();
  for (const Assignment& a : repair.sets) set.push_back(assigned(a, "$8")), touched.push_back(a.column);
  return compare_and_set(set, touched, "$6::text[], $7::text[], $9::timestamptz[], $10::timestamptz[], $11::text[]", "becomes, reason, quiet_since, idle_since, version", 12,
                         unmoved("t.quiet_since", "t.idle_since", "t.version") + (alone ? is_alone() : ""));
}

// What a close compares besides: no sign of life since, nothing asked of the session since, and the row's version.
std::string Statements::unmoved(const std::string& quiet_since, const std::string& idle_since, const std::string& version) const {
  std::string text;
  if (shows_signs() && quiet_since != "NULL") text += quiet(quiet_since);
  if (m_.executions && idle_since != "NULL") text += " AND (" + asked("s") + " > " + idle_since + ") IS NOT TRUE";
  if (const auto& column = m_.sessions.version) text += " AND " + in("s", *column) + " IS NOT DISTINCT FROM " + cast(version, *column);
  return text;
}

// The rows that a step is about, whatever session they are of.
std::vector<std::string> Statements::chosen(const Step& step) const {
  std::vector<std::string> conditions;
  for (const auto& [column, values] : step.where) {
    std::vector<std::string> words;
    for (const std::string& value : values) words.push_back(cast(quote_literal(value), column));
    conditions.push_back(in("r", column) + " IN (" + join(words, ", ") + ")");
  }
  return conditions;
}

std::string Statements::orphaned(const Step& step) const { return "NOT EXISTS (SELECT FROM " + m_.sessions.qualified + " AS s WHERE " + is_key("r", step.session, "s") + ")"; }

std::string Statements::orphans(const Step& step) const {
  std::vector<std::string> conditions = chosen(step);
  conditions.push_back(orphaned(step)), conditions.push_back(in("r", *step.runtime) + " IS NOT NULL");
  return "SELECT " + as_text("r", step.session) + " AS key, " + as_text("r", *step.runtime) + " AS runtime FROM " + step.qualified + " AS r WHERE " + join(conditions, " AND ") + " AND ($1::text IS NULL OR " +
         as_text("r", step.session) + " > $1::text) ORDER BY 1 LIMIT $2::bigint";
}

std::string Statements::step(const Step& step, bool of_orphans) const {
  const SessionsTable& t = m_.sessions;
  // Text of a key may be no value of the column's type.
  const auto holds = [&](const Column& column, const Column& of, const char* value) {
    const bool comparable = column.type == of.type || (textual(column) && textual(of));
    return comparable ? in("r", column) + " = " + cast(value, column) : as_text("r", column) + " = " + value;
  };
  std::vector<Column> touched = columns_of(step.set), imaged = step.id;
  std::vector<std::string> set, conditions = chosen(step);
  conditions.push_back(holds(step.session, t.key, "t.key"));
  if (step.runtime) conditions.push_back(holds(*step.runtime, *t.runtime, "t.runtime"));
  if (of_orphans) conditions.push_back(orphaned(step));
  for (const Assignment& a : step.set) set.push_back(assigned(a, "$3"));
  for (const Column& column : step.id) conditions.push_back(in("o", column) + " = " + in("r", column));
  for (const Column& column : touched) conditions.push_back(in("r", column) + " IS NOT DISTINCT FROM " + in("o", column)), imaged.push_back(column);
  imaged.push_back(step.session);
  if (step.runtime) imaged.push_back(*step.runtime);
  std::vector<std::string> names;
  for (const Column& column : step.id) names.push_back(quote_literal(column.name));
  return "UPDATE " + step.qualified + " AS r SET " + join(set, ", ") + " FROM unnest($1::text[], $2::text[]) AS t(key, runtime), " + step.qualified + " AS o WHERE " + join(conditions, " AND ") +
         " AND $3::timestamptz IS NOT NULL RETURNING t.key, jsonb_build_object('table', " + quote_literal(step.qualified) + ", 'key', jsonb_build_array(" + join(names, ", ") + "), 'before', " +
         object_of("o", imaged) + ", 'after', " + object_of("r", imaged) + ")::text AS change";
}

std::string Statements::lock_like_application(bool wait) {
  return std::string("SELECT t.key FROM unnest($1::text[]) AS t(key) WHERE ") + (wait ? "pg_advisory_xact_lock(hashtext(t.key)) IS NOT NULL" : "pg_try_advisory_xact_lock(hashtext(t.key))");
}

// When a row was changed; not where that is from when its state counts.
void Statements::touch(std::vector<std::string>& set, std::vector<Column>& touched, const std::string& parameter) const {
  const SessionsTable& t = m_.sessions;
  if (!t.updated || (t.entered && t.entered->name == t.updated->name)) return;
  set.push_back(quote_identifier(t.updated->name) + " = " + at(*t.updated, parameter));
  touched.push_back(*t.updated);
}

std::string Statements::reassign() const {
  const SessionsTable& t = m_.sessions;
  std::vector<std::string> set{quote_identifier(t.agent->name) + " = " + cast("t.becomes", *t.agent)};
  std::vector<Column> touched{*t.agent};
  const auto where_nothing_is_said = [&](const std::optional<Column>& column, const std::string& value) {
    if (!column) return;
    set.push_back(quote_identifier(column->name) + " = " + cast("coalesce(nullif(" + as_text("s", *column) + ", ''), nullif(" + value + ", ''))", *column));
    touched.push_back(*column);
  };
  where_nothing_is_said(t.pool, "t.pool"), where_nothing_is_said(t.platform, "t.platform"), where_nothing_is_said(t.region, "t.region");
  touch(set, touched, "$10");
  return compare_and_set(set, touched, "$6::text[], $7::text[], $8::text[], $9::text[]", "becomes, pool, platform, region", 11, " AND $10::timestamptz IS NOT NULL");
}

std::string Statements::set_runtime() const {
  const SessionsTable& t = m_.sessions;
  std::vector<std::string> set{quote_identifier(t.runtime->name) + " = " + cast("t.becomes", *t.runtime)};
  std::vector<Column> touched{*t.runtime};
  touch(set, touched, "$7");
  return compare_and_set(set, touched, "$6::text[]", "becomes", 8, " AND $7::timestamptz IS NOT NULL");
}

std::string Statements::put_back(const std::string& table, const std::vector<Column>& key, const std::vector<Column>& changed, const std::vector<Column>& all) {
  std::vector<std::string> set, same;
  for (const Column& column : changed) set.push_back(quote_identifier(column.name) + " = " + value_in("$1::jsonb", column));
  for (const Column& column : key) same.push_back(in("s", column) + " = " + value_in("$2::jsonb", column));
  for (const Column& column : all) same.push_back(in("s", column) + " IS NOT DISTINCT FROM " + value_in("$2::jsonb", column));
  return "UPDATE " + table + " AS s SET " + join(set, ", ") + " WHERE " + join(same, " AND ") + " RETURNING " + object_of("s", all) + " AS after";
}

std::string Statements::set_state() const {
  const SessionsTable& t = m_.sessions;
  std::string set = quote_identifier(t.state.name) + " = " + cast("$3::text", t.state);
  if (t.updated)
    set += ", " + quote_identifier(t.updated->name) + " = " +
           (t.updated->timestamp ? "$4::timestamptz AT TIME ZONE " + quote_literal(m_.time_zone) : cast("$4::timestamptz", *t.updated));
  return "UPDATE " + t.qualified + " AS s SET " + set + " FROM " + t.qualified + " AS o WHERE " + in("s", t.key) + " = " +
         cast("$1::text", t.key) + " AND " + in("o", t.key) + " = " + cast("$1::text", t.key) + " AND " + in("s", t.state) +
         "::text = $2::text AND " + in("o", t.state) + "::text = $2::text AND $4::timestamptz IS NOT NULL RETURNING " +
         as_text("s", t.key) + " AS key, " + image("o") + " AS before, " + image("s") + " AS after";
}

std::string Statements::audit() const {
  const AuditTable& a = *m_.audit;
  std::vector<std::string> columns, values;
  const auto put = [&](const std::optional<Column>& column, const std::string& value) {
    if (column) columns.push_back(quote_identifier(column->name)), values.push_back(cast("(" + value + ")", *column));
  };
  put(a.actor, "$8::text"), put(a.action, "'UPDATE'"), put(a.resource_type, "$10::text"), put(a.resource_id, "t.key"), put(a.address, "''");
  put(a.changes, "jsonb_build_object('action', t.action, 'rule', t.rule, 'reason', t.reason, 'pass_id', t.pass_id, 'before', t.before, 'after', t.after)");
  if (a.at) put(a.at, a.at->timestamp ? "$9::timestamptz AT TIME ZONE " + quote_literal(m_.time_zone) : "$9::timestamptz");
  return "INSERT INTO " + a.qualified + " (" + join(columns, ", ") + ") SELECT " + join(values, ", ") +
         " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::jsonb[], $7::jsonb[]) AS t(key, action, rule, reason, pass_id, before, after)"
         " WHERE $8::text IS NOT NULL AND $9::timestamptz IS NOT NULL AND $10::text IS NOT NULL";
}

std::string Statements::where_of_close(const Session& session, const std::optional<std::string>& quiet_since, const std::optional<std::string>& idle_since, bool alone) const {
  const auto literal = [](const std::optional<std::string>& value) { return value ? quote_literal(*value) : std::string("NULL"); };
  Compared values{quote_literal(session.key), quote_literal(session.state), literal(session.agent), literal(session.runtime), literal(session.created), {}};
  for (const auto& value : session.route) values.route.push_back(literal(value));
  return predicate(values) + unmoved(literal(quiet_since), literal(idle_since), literal(session.version)) + (alone ? is_alone() : "");
}

}  // namespace reconciler
