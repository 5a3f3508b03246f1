// Every statement on a user's tables, generated from the mapping with quoted identifiers. Readable on purpose:
// attach_sessions() and explain_session() show them.
//
// Parameters are text or text[] and cast in the statement; states stand in it as literals, because a partial
// index on the state can serve a constant only.
#pragma once

#include <string>
#include <vector>

#include "core/session.hpp"
#include "postgres/mapping.hpp"

namespace reconciler {

std::string quote_identifier(std::string_view);
std::string quote_literal(std::string_view);
// What follows the name of a column that can't be compared as it is.
std::string compared_as(const Column&);

class Statements {
 public:
  explicit Statements(const Mapping& mapping) : m_(mapping) {}

  // $1 age, $2 key of the cursor (unused at the start), $3 limit. Columns: session columns, see session_list().
  std::string scan(const std::string& state, bool started, bool nulls) const;
  // Whether any session is in each of these states, and how long that look took. Columns: state, found, at (timestamptz);
  // the first row is the start. One row per state, the cost of the first row of its scan.
  std::string occupied(const std::vector<std::string>& states) const;
  // $1 key; one session in any state.
  std::string find() const;
  // The same, and nobody else changes it until the transaction ends.
  std::string lock() const;
  // $1 keys; those sessions in any state.
  std::string sessions() const;
  // $1 commands created after (timestamptz), $2 key of the cursor or NULL, $3 limit.
  std::string scan_completed() const;
  // $1 keys, $2 the sessions' agents. The newest of each kind, for the session's own agent (or nobody by name, on either side)
  // and for others. Columns: session, stop (bool), own (bool), id, action, status, created, sent, acknowledged, completed, error, sendable (bool).
  std::string commands() const;
  // $1 command ids; columns id, payload.
  std::string payloads() const;
  // $1 agent ids; columns id, heartbeat (timestamptz), approved (bool).
  std::string agents() const;
  // $1 agents, $2 key of the cursor or NULL, $3 limit; their sessions in states that no command is sent for.
  std::string leaving() const;
  // $1 agent id; one boolean: whether a row of the agents table or a session has it.
  std::string knows_agent() const;
  // $1 agent ids; columns id, namespace.
  std::string agent_namespaces() const;
  // Pages of the agents table: $1 id of the last one or NULL, $2 limit. Columns: id, approved (bool), heartbeat (timestamptz),
  // platform, region, namespace, pool, capacity (bigint), incarnation, draining (bool); NULL: not said.
  std::string agents_page() const;
  // Reads the whole table. Columns: agent (NULL: none), n sessions that name it, open: those that have not ended.
  std::string sessions_by_agent() const;
  // $1 agent ids. Columns agent, n: its sessions that take a place, or that have not ended. Left out: agents without one.
  std::string loads() const;
  std::string left_with() const;
  // $1 agent ids; column agent: those that any session names.
  std::string referenced() const;
  // $1 agent, $2 keys to leave out, $3 limit: its sessions in these states. Column key.
  std::string sessions_of_agent(const std::vector<std::string>& states) const;
  // $1 agents, $2 pools, $3 platforms, $4 regions: sessions whose own columns of these are empty. One bigint; or, with $5
  // limit, fills that many.
  std::string count_unfilled() const;
  std::string fill_pools() const;
  // $1 limit; column agent, distinct.
  std::string agents_of(const std::string& state) const;
  // $1 keys; columns key, agent, pool, platform, region. NULL where nothing is said.
  std::string pools() const;
  // $1 keys, $2 pools that are kept for them elsewhere. Sessions that have not ended, by columns state, agent, pool, platform,
  // region, kept; and how many, n.
  std::string population() const;
  // $1 runtimes; column runtime: those that more than one session names which has not ended. Reads the whole table where no
  // index is on that column.
  std::string shared_runtimes() const;
  // $1 key of the cursor or NULL, $2 limit. Sessions in these states that name a runtime; columns key, runtime.
  std::string named_runtimes(const std::vector<std::string>& states) const;
  std::string count_watched() const;
  // $1 states, $2 their thresholds (text[] of interval), $3 threshold of all others, $4 now. Columns: state, n, since
  // (timestamptz: of the oldest), over. One row per state; reads the whole table.
  std::string coverage() const;
  // $1 keys; columns key, state, agent, runtime, created. What a claim and the end of an episode compare with.
  std::string identities() const;

  // What a cluster's objects say, which may be no values of the column's type: $1 ids. Columns key, state, closed (timestamptz).
  std::string sessions_of_objects() const;
  // $1 names and uids of objects; the same and runtime.
  std::string sessions_by_runtime() const;
  // $1 names and uids of objects; column value: those that a row has.
  static std::string references(const ReferenceColumn&);

  // Compare and set. $1 keys, $2 states, $3 agents, $4 runtimes, $5 createds, $6 new states, $7 reasons, $8 at
  // (timestamptz), $9 no sign of life after, $10 nothing asked of it after (timestamptz[]), $11 versions, then one text[] per
  // route column. Columns: key, before, after (json). `repair`: what else is written;
  // `alone`: only rows whose runtime no other session names that has not ended.
  std::string close(const Repair& repair, bool alone) const;
  // Rows that hang on sessions which were just closed: $1 keys, $2 runtimes, $3 at (timestamptz). Columns: key, change (an object
  // with table, key, before and after, as text).
  // `of_orphans`: such rows whose session is no more.
  std::string step(const Step&, bool of_orphans = false) const;
  // $1 key of the cursor or NULL, $2 limit. Rows that a step with a runtime is about and whose session is no more. Columns: key, runtime.
  std::string orphans(const Step&) const;
  // $1 keys; column key: those whose lock the application does not hold, or, where we wait for it, all of them. Until the
  // transaction ends the locks are ours.
  static std::string lock_like_application(bool wait);
  // Compare and set. $1 to $5 as in close(), $6 new agents, $7 their pools, $8 platforms and $9 regions, written where the row
  // says nothing, $10 at, then one text[] per route column. Columns: key, before, after.
  std::string reassign() const;
  // The same for runtimes: $6 new ones, $7 at, then the route.
  std::string set_runtime() const;
  // Puts `changed` back to its before image where the row still is its after image. $1 before, $2 after (jsonb). Column: after.
  static std::string put_back(const std::string& table, const std::vector<Column>& key, const std::vector<Column>& changed, const std::vector<Column>& all);
  // $1 key, $2 state expected, $3 new state, $4 at. Columns: key, before, after.
  std::string set_state() const;
  // $1 keys, $2 changes (json text[]), $3 actor, $4 at, $5 resource type.
  std::string audit() const;

  // The WHERE of close() for one session, with its values, and the times after which a sign of life, or something that was asked
  // of it, speaks against it: for explain_session().
  std::string where_of_close(const Session&, const std::optional<std::string>& quiet_since, const std::optional<std::string>& idle_since, bool alone) const;

  static constexpr int session_columns = 11;  // key, state, agent, runtime, created, entered, age, sign, backend, version, asked; then the route

 private:
  std::string session_list(const std::string& alias) const;
  std::string of_agent(const std::string& alias, const std::string& any_or_one) const;
  std::string unfilled() const;
  // What a close compares with: text, each as SQL. NULL where nothing is there.
  struct Compared { std::string key, state, agent, runtime, created; std::vector<std::string> route; };
  Compared columns_of_batch() const;
  std::string predicate(const Compared&) const;
  // The rows of a batch t that are as they were read. Parameters $1 to $5: see close(); then `arrays`, called `names`, and from
  // $`route` on the route. `touched`: the columns that `set` writes; `besides`: a further condition.
  std::string compare_and_set(const std::vector<std::string>& set, const std::vector<Column>& touched, const std::string& arrays, const std::string& names, std::size_t route,
                              const std::string& besides = {}) const;
  std::string in_none_of(const std::vector<std::string>& states) const;
  std::string not_ended() const;
  std::string by_agent(const std::string& which) const;
  std::string is_alone() const;
  bool shows_signs() const;
  std::string sign(const std::string& alias) const;
  std::string quiet(const std::string& since) const;
  std::string is_key(const std::string& related, const Column&, const std::string& alias) const;
  std::string asked(const std::string& alias) const;
  std::string unmoved(const std::string& quiet_since, const std::string& idle_since, const std::string& version) const;
  std::vector<std::string> chosen(const Step&) const;
  std::string orphaned(const Step&) const;
  std::string assigned(const Assignment&, const std::string& at_parameter) const;
  std::string image(const std::string& alias, const std::vector<Column>& besides = {}) const;
  std::vector<Column> imaged(const std::vector<Column>& besides = {}) const;
  std::string at(const Column&, const std::string& parameter) const;
  void touch(std::vector<std::string>& set, std::vector<Column>& touched, const std::string& parameter) const;
  std::vector<Column> written() const;
  std::string instant(const std::string& alias, const std::optional<Column>&) const;

  const Mapping& m_;
};

}  // namespace reconciler
