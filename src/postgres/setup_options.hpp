// Options that come as one JSON object: of attach_sessions(), set_hub() and set_cluster(). Each is declared once, in a table that
// checks the values, writes the errors, and that docs/reference is compared with.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/json.hpp"

namespace reconciler {

enum class OptionKind {
  text,       // "UTC"
  name,       // "agent_id"; null or false: none, even where one would be found
  list,       // ["a", "b"]
  boolean,
  integer,
  interval,   // "90 s", as the type interval takes it
  object,
  objects     // [{…}, {…}]
};

struct OptionSpec {
  const char* name;
  OptionKind kind;
  const char* standard;  // what holds without it, in words
  const char* meaning;
};

class Options {
 public:
  // Throws UserError 22023: no object, an unknown name (the hint lists the known ones), a value of another kind.
  Options(const std::string& json, std::span<const OptionSpec> known, const char* function);

  bool given(const std::string& name) const { return values_.contains(name); }
  bool refused(const std::string& name) const;  // given as null or false
  std::optional<std::string> text(const std::string& name) const;  // also of a name or an interval
  std::vector<std::string> list(const std::string& name) const;
  bool flag(const std::string& name) const;     // false where not given
  std::optional<std::int64_t> integer(const std::string& name) const;
  const nlohmann::json& object(const std::string& name) const;  // also a list of them; empty where not given
  const nlohmann::json& all() const { return values_; }

 private:
  nlohmann::json values_;
};

// "a, b, c"
std::string comma_list(const std::vector<std::string>&);

// Runs a cast in the server: the value as the type prints it. UserError 22023 names `what`: 'option "hub_grace"'.
std::string checked_value(const std::string& value, const char* type, const std::string& what, const char* example);

// Runs `write` and turns a violated rule of the configuration into UserError 22023 that names `what`.
void with_explained_checks(const std::string& what, void (*write)(void*), void* arg);
template <class Write>
void explaining_checks(const std::string& what, Write&& write) {
  with_explained_checks(what, [](void* p) { (*static_cast<std::remove_reference_t<Write>*>(p))(); }, &write);
}

}  // namespace reconciler
