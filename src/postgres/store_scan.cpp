#include <set>

#include "postgres/cells.hpp"
#include "postgres/clock.hpp"
#include "postgres/store.hpp"

namespace reconciler {
namespace {

Session read_session(Rows::Row row, std::size_t route) {
  Session s;
  s.key = row.text("key");
  s.state = row.maybe_text("state").value_or("");
  s.agent = row.maybe_text("agent"), s.runtime = row.maybe_text("runtime"), s.created = row.maybe_text("created");
  // An empty agent id names nobody, whatever the column says.
  if (s.agent && s.agent->empty()) s.agent.reset();
  s.entered = row.maybe_time("entered"), s.sign = row.maybe_time("sign");
  s.backend = row.maybe_text("backend");
  if (s.backend && s.backend->empty()) s.backend.reset();
  s.version = row.maybe_text("version"), s.asked = row.maybe_time("asked");
  for (std::size_t i = 0; i < route; ++i) s.route.push_back(row.maybe_text(static_cast<int>(Statements::session_columns + i)));
  return s;
}

Command read_command(Rows::Row row) {
  return {row.maybe_text("id").value_or(""), row.text("action"), row.text("status"), row.maybe_time("created"),
          row.maybe_time("sent"), row.maybe_time("acknowledged"), row.maybe_time("completed"), row.text("error"), row.boolean("sendable")};
}

// Text that the key's type does not take (22P02, 22003, …) is the key of no session.
bool no_key(const PostgresError& e) { return std::string_view(e.sqlstate).starts_with("22"); }

std::vector<std::string> keys_of(const std::vector<Tracked>& batch) {
  std::vector<std::string> keys;
  for (const Tracked& tracked : batch) keys.push_back(tracked.session.key);
  return keys;
}

}  // namespace

std::string how_ids_compare(const AttachedBinding& b) {
  const Column& key = b.mapping.sessions.key;
  const bool cased = key.type == "text" || key.type == "character varying" || key.type == "bpchar";
  return "Ids are compared as " + key.type + ", the type of column \"" + key.name + "\"" + (cased ? ", with case." : ".");
}

std::string rights_hint(const AttachedBinding& b) {
  std::string tables = b.binding.name;
  if (b.mapping.agents) tables += ", " + b.mapping.agents->qualified;
  if (b.mapping.commands) tables += ", " + b.mapping.commands->qualified;
  return "Look functions read with the rights of who calls them: GRANT SELECT ON " + tables + " TO " + quoted_identifier(acting_role()) + ", and USAGE on the schema.";
}

UserError unknown_session(const AttachedBinding& b, const std::string& key) {
  return UserError("P0002", "session \"" + key + "\" does not exist in " + b.binding.name, how_ids_compare(b));
}

Time PgStore::now() { return frozen_ ? *frozen_ : database_now(); }

std::set<std::string> PgStore::occupied() {
  return transactions_.run("looking for sessions", [&] {
    std::set<std::string> states;
    const Rows rows = theirs([&] { return query(sql_.occupied(b_.mapping.enabled_states)); });
    for (std::size_t i = 1; i < rows.size(); ++i) {
      const std::string state = rows[i].text("state");
      if (!rows[i].null("found")) states.insert(state);
      scans_[state] += rows[i].time("at") - rows[i - 1].time("at");
    }
    return states;
  });
}

std::vector<Tracked> PgStore::scan(const std::string& state, Cursor& cursor) {
  return transactions_.run("scanning sessions", [&] {
    const std::int64_t limit = b_.binding.batch_size;
    const bool aged = b_.mapping.sessions.entered.has_value();
    std::vector<Tracked> batch = theirs([&] {
      const Time begun = database_now();
      const Rows rows = query(sql_.scan(state, cursor.started, cursor.nulls), {Param::text(cursor.age), Param::text(cursor.key), Param::integer(limit)});
      scans_[state] += database_now() - begun;
      cursor.started = true;
      if (!rows.empty()) {
        cursor.age = rows[rows.size() - 1].maybe_text("age");
        cursor.key = rows[rows.size() - 1].text("key");
      }
      if (static_cast<std::int64_t>(rows.size()) < limit) {
        // Rows without an age come last, in an order of their own.
        if (aged && !cursor.nulls)
          cursor.nulls = true, cursor.started = false, cursor.key.reset();
        else
          cursor.done = true;
      }
      return track(rows);
    });
    load_episodes(batch);
    return batch;
  });
}

std::vector<Tracked> PgStore::scan_completed(Cursor& cursor) {
  return transactions_.run("scanning completed commands", [&] {
    const std::int64_t limit = b_.binding.batch_size;
    std::vector<Tracked> batch = theirs([&] {
      const Time begun = database_now();
      const Rows rows = query(sql_.scan_completed(), {Param::time(now() - hours(24)), Param::text(cursor.key), Param::integer(limit)});
      scans_[""] += database_now() - begun;
      if (!rows.empty()) cursor.key = rows[rows.size() - 1].text("key");
      cursor.done = static_cast<std::int64_t>(rows.size()) < limit;
      return track(rows);
    });
    load_episodes(batch);
    return batch;
  });
}

std::optional<Tracked> PgStore::find(const std::string& key) {
  return transactions_.run("finding a session", [&]() -> std::optional<Tracked> {
    std::vector<Tracked> batch = matching(key);
    if (batch.empty()) return std::nullopt;
    load_episodes(batch);
    if (b_.binding.pools && batch[0].session.agent) batch[0].leaves = !emptied(batch[0].session.agent).empty();
    return batch[0];
  });
}

std::optional<Session> PgStore::look(const std::string& typed) {
  return transactions_.run("finding a session", [&]() -> std::optional<Session> {
    const std::vector<Tracked> batch = matching(typed);
    if (batch.empty()) return std::nullopt;
    return batch[0].session;
  });
}

std::optional<Session> PgStore::lock(const std::string& typed) {
  std::optional<Session> found;
  try {
    Transactions::subtransaction([&] {
      const Rows rows = theirs([&] { return query(sql_.lock(), {Param::text(typed)}); });
      if (rows.size() == 1) found = read_session(rows[0], b_.mapping.sessions.route.size());
    });
  } catch (const PostgresError& e) {
    if (!no_key(e)) throw;
  }
  return found;
}

std::vector<Tracked> PgStore::matching(const std::string& key) {
  std::vector<Tracked> batch;
  try {
    Transactions::subtransaction([&] { batch = theirs([&] { return track(query(sql_.find(), {Param::text(key)})); }); });
  } catch (const PostgresError& e) {
    if (!no_key(e)) throw;
  }
  return batch;
}

// A key that two rows share (partitions, inheritance) names neither: both are left alone, and the log says so.
void PgStore::leave_out_doubles(std::vector<Tracked>& batch) const {
  std::map<std::string, int> rows;
  for (const Tracked& tracked : batch) ++rows[tracked.session.key];
  if (rows.size() == batch.size()) return;
  std::erase_if(batch, [&](const Tracked& tracked) { return rows.at(tracked.session.key) > 1; });
  for (const auto& [key, n] : rows)
    if (n > 1)
      report(LogLevel::warning, "session_reconciler: key \"" + key + "\" stands in " + std::to_string(n) + " rows of " + b_.binding.name, "They are left alone.",
             "The key_column must be unique by itself.");
}

// Sessions with their commands; inside the block of the table's owner.
std::vector<Tracked> PgStore::track(const Rows& rows) {
  std::vector<Tracked> batch;
  batch.reserve(rows.size());
  for (Rows::Row row : rows) batch.push_back({read_session(row, b_.mapping.sessions.route.size()), {}, {}, {}});
  leave_out_doubles(batch);
  if (!b_.mapping.commands || batch.empty()) return batch;
  std::map<std::string_view, Tracked*> by_key;
  std::vector<std::optional<std::string>> agents;
  for (Tracked& tracked : batch) by_key[tracked.session.key] = &tracked, agents.push_back(tracked.session.agent);
  for (Rows::Row row : query_batch(sql_.commands(), {Param::texts(keys_of(batch)), Param::texts(agents)})) {
    const auto found = by_key.find(row.view("session"));
    if (found == by_key.end()) continue;
    CommandHistory& known = found->second->commands;
    const bool stop = row.boolean("stop");
    if (row.boolean("own")) (stop ? known.newest_stop : known.newest_other) = read_command(row);
    else if (!stop) known.newest_elsewhere = read_command(row);
  }
  return batch;
}

std::vector<std::string> PgStore::agents_of(const std::string& state, std::int64_t limit) {
  std::vector<std::string> ids;
  if (!b_.mapping.sessions.agent) return ids;
  return transactions_.run("listing agents", [&] {
    const Rows rows = theirs([&] { return query(sql_.agents_of(state), {Param::integer(limit)}); });
    for (Rows::Row row : rows)
      if (!row.view("agent").empty()) ids.push_back(row.text("agent"));
    return ids;
  });
}

bool PgStore::knows(const std::string& agent) {
  return transactions_.run("looking for an agent", [&] {
    const bool looked_at = ours([&] {
      return !query("SELECT FROM reconciler.agent_evidence WHERE binding_id = $1 AND agent_id = $2 AND source <> 'event'", {Param::integer(b_.binding.id), Param::text(agent)}).empty();
    });
    return looked_at || theirs([&] { return query(sql_.knows_agent(), {Param::text(agent)}).only().boolean(0); });
  });
}

std::vector<PgStore::Covered> PgStore::coverage(Duration otherwise) {
  std::vector<std::string> states, thresholds;
  for (const Policy& policy : b_.binding.policies)
    if (policy.enabled && policy.stuck_after) states.push_back(policy.state), thresholds.push_back(interval_cell(*policy.stuck_after));
  return transactions_.run("counting sessions by state", [&] {
    return theirs([&] {
      std::vector<Covered> covered;
      for (Rows::Row row : query(sql_.coverage(), {Param::texts(states), Param::texts(thresholds), Param::text(interval_cell(otherwise)), Param::time(now())}))
        covered.push_back({row.maybe_text("state"), row.integer("n"), row.integer("over"), row.maybe_time("since")});
      return covered;
    });
  });
}

std::int64_t PgStore::watched() {
  if (!watched_ && !b_.mapping.watched_states.empty())
    watched_ = transactions_.run("counting watched sessions", [&] { return theirs([&] { return query(sql_.count_watched()).only().integer(0); }); });
  return watched_.value_or(0);
}

}  // namespace reconciler
