// What attach_sessions() expects to find on each platform: names of columns and tables in the order they are tried,
// policies, terminal states, and what a closed session may leave behind. Data only; adding a platform is adding one.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace reconciler {

enum class ColumnUse {
  any,      // read or written as text
  compared, // by the type's own equality
  names,    // an agent or a runtime: so, too, and no time
  label,    // the state: text, varchar or an enum
  instant,  // timestamp with or without time zone
  words,    // text or varchar, written
  document  // json or jsonb
};

struct WantedColumn {
  const char* role;                // as binding_store.cpp reads it: "agent"
  std::vector<const char*> names;  // tried in this order
  ColumnUse use = ColumnUse::any;
  bool required = false;
  bool written = false;
  const char* without = "";        // what it means that there is none
  bool advised = false;            // its absence is something to mend
};

struct WantedTable {
  const char* role;         // "agents"; its option is agents_table
  const char* name;         // looked for in the schema of the sessions; "" = only by option
  std::vector<WantedColumn> columns;
  bool written = false;     // by INSERT
  const char* without = "";
};

struct Preset {
  const char* name;
  std::vector<WantedColumn> columns;  // without the key
  std::vector<const char*> keys;      // names tried for the key; none: the primary key
  std::vector<WantedTable> related;
  std::vector<const char*> terminal_states;
  std::vector<std::pair<const char*, const char*>> policies;  // state, columns of reconciler.policy as JSON
  const char* leftover;               // JSON, as events of kind leftover need it
  bool streamspace = false;           // its API has habits that advice depends on
  std::vector<const char*> signs = {};        // columns that are signs of life, where they are there
  const char* advisory_lock = nullptr;        // how its application locks a session: as in reconciler.binding
};

// UserError 22023 with the valid names for another one.
const Preset& preset_named(const std::string& name);

// What a policy for a state that the preset does not know starts from.
const char* policy_base();

}  // namespace reconciler
