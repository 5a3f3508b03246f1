// How a binding's tables look: names and types of the mapped columns. Read from reconciler.binding and the
// server's catalog by load_mapping(); statements.hpp turns it into SQL.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "postgres/oid.hpp"

namespace reconciler {

struct Column {
  std::string name;  // unquoted
  std::string type;  // fit for a cast; without a length, since a cast to varchar(5) would cut a key to another one
  bool timestamp = false;    // timestamp without time zone
  bool timestamptz = false;
  bool enum_domain = false;  // a domain over an enum, of which = is not defined
};

struct SessionsTable {
  std::string qualified;  // quoted
  Oid relation = 0, owner = 0;
  Column key, state;
  std::optional<Column> agent, runtime, created, entered, updated, reason, closed, version;
  std::optional<Column> pool, platform, region, backend;
  std::vector<Column> route;
  std::vector<Column> signs;  // of life
};

struct AgentsTable {
  std::string qualified;
  Column id;
  std::optional<Column> heartbeat, approval, metadata, platform, region, pool, capacity, incarnation, draining;
};

struct CommandsTable {
  std::string qualified;
  Column id, session, action, status;
  std::optional<Column> agent, created, sent, acknowledged, completed, error, payload;
};

struct AuditTable {
  std::string qualified;
  std::optional<Column> actor, action, resource_type, resource_id, changes, at, address;
};

// What is connected to a session, or holds a lease of it: several rows a session.
struct ConnectionsTable {
  std::string qualified;
  Column session, seen;
};

// A column whose values name what is in use.
struct ReferenceColumn {
  std::string qualified;
  Column column;
};

// What a session was last asked to do, several rows a session: a new one may be giving it a new runtime right now.
struct ExecutionsTable {
  std::string qualified;
  Column session, created;
  std::optional<Column> claimed;
};

// What is written to a column: NULL, text that its type reads, or the time of the write.
struct Assignment {
  Column column;
  std::optional<std::string> text;
  bool now = false;
};

// Rows of another table that change together with a session's.
struct Step {
  std::string qualified;
  std::vector<Column> id;                  // unique by itself: which row it was
  Column session;                          // holds the session's key …
  std::optional<Column> runtime;           // … and this its runtime
  std::vector<std::pair<Column, std::vector<std::string>>> where;  // one of these
  std::vector<Assignment> set;
};

// What the end that a policy writes means for the rest of the row, and for rows that hang on it.
struct Repair {
  std::vector<Assignment> sets;
  std::vector<Step> steps;
  bool empty() const { return sets.empty() && steps.empty(); }
};

struct Mapping {
  SessionsTable sessions;
  std::optional<AgentsTable> agents;
  std::optional<CommandsTable> commands;
  std::optional<AuditTable> audit;
  std::optional<ConnectionsTable> connections;
  std::optional<ExecutionsTable> executions;
  std::map<std::string, Repair> repairs;      // by state; left out: nothing but the state is written
  bool locks_like_application = false;        // by an advisory lock on hashtext(key)
  std::string time_zone = "UTC";
  std::vector<std::string> ending_states;   // terminal, or what a policy makes of an orphan
  std::vector<std::string> roomless_states; // … or users ask for the end in it: a session takes no place of its agent's
  std::vector<std::string> watched_states;  // with a policy
  std::vector<std::string> enabled_states;  // with a policy that is on
  std::vector<std::string> commanded_states;  // with a policy that sends or awaits a command
};

}  // namespace reconciler
