#include "postgres/setup_options.hpp"

#include <algorithm>

#include "postgres/spi.hpp"
#include "postgres/transaction.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

const char* shape_of(OptionKind kind) {
  switch (kind) {
    case OptionKind::text: return "a string";
    case OptionKind::name: return "a name as a string, or null for none";
    case OptionKind::list: return "a list of strings";
    case OptionKind::boolean: return "true or false";
    case OptionKind::integer: return "a whole number";
    case OptionKind::interval: return "an interval as a string";
    case OptionKind::object: return "an object";
    case OptionKind::objects: return "a list of objects";
  }
  return "";
}

const char* example_of(OptionKind kind) {
  switch (kind) {
    case OptionKind::text: return "\"text\"";
    case OptionKind::name: return "\"name\"";
    case OptionKind::list: return "[\"one\", \"two\"]";
    case OptionKind::boolean: return "true";
    case OptionKind::integer: return "500";
    case OptionKind::interval: return "\"90 s\"";
    case OptionKind::object: return "{…}";
    case OptionKind::objects: return "[{…}]";
  }
  return "";
}

bool fits(OptionKind kind, const json& value) {
  switch (kind) {
    case OptionKind::text:
    case OptionKind::interval: return value.is_string();
    case OptionKind::name: return value.is_string() || value.is_null() || value == json(false);
    case OptionKind::list:
      return value.is_array() && std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_string(); });
    case OptionKind::boolean: return value.is_boolean();
    case OptionKind::integer: return value.is_number_integer() && (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
    case OptionKind::object: return value.is_object();
    case OptionKind::objects: return value.is_array() && std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_object(); });
  }
  return false;
}

std::string known_names(std::span<const OptionSpec> known) {
  std::vector<std::string> names;
  for (const OptionSpec& spec : known) names.emplace_back(spec.name);
  return comma_list(names);
}

// jsonb holds numbers that are larger than any double.
json read(const std::string& text, const char* function) {
  try {
    return json::parse(text);
  } catch (const json::out_of_range&) {
    throw UserError("22023", std::string("options of ") + function + " hold a number that is out of range", "Numbers are whole and have at most 18 digits.");
  }
}

}  // namespace

std::string comma_list(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ", ") + part;
  return out;
}

Options::Options(const std::string& text, std::span<const OptionSpec> known, const char* function) : values_(read(text, function)) {
  if (!values_.is_object())
    throw UserError("22023", std::string("options of ") + function + " must be a JSON object", "Valid options: " + known_names(known) + ".");
  for (const auto& [name, value] : values_.items()) {
    const auto spec = std::find_if(known.begin(), known.end(), [&](const OptionSpec& s) { return name == s.name; });
    if (spec == known.end())
      throw UserError("22023", std::string(function) + " has no option \"" + name + "\"", "Valid options: " + known_names(known) + ".");
    if (!fits(spec->kind, value))
      throw UserError("22023", "option \"" + name + "\" must be " + shape_of(spec->kind),
                      "For instance {\"" + name + "\": " + example_of(spec->kind) + "}. It is: " + spec->meaning + ".");
    if (spec->kind == OptionKind::interval) checked_value(value.get<std::string>(), "interval", "option \"" + name + "\"", example_of(spec->kind));
  }
}

bool Options::refused(const std::string& name) const {
  return given(name) && (values_[name].is_null() || values_[name] == json(false));
}

std::optional<std::string> Options::text(const std::string& name) const {
  if (!given(name) || refused(name)) return std::nullopt;
  return values_[name].get<std::string>();
}

std::vector<std::string> Options::list(const std::string& name) const {
  return given(name) ? values_[name].get<std::vector<std::string>>() : std::vector<std::string>();
}

bool Options::flag(const std::string& name) const { return given(name) && values_[name].get<bool>(); }

std::optional<std::int64_t> Options::integer(const std::string& name) const {
  if (!given(name)) return std::nullopt;
  return values_[name].get<std::int64_t>();
}

const json& Options::object(const std::string& name) const {
  static const json none = json::object();
  return given(name) ? values_[name] : none;
}

std::string checked_value(const std::string& value, const char* type, const std::string& what, const char* example) {
  try {
    return Transactions::subtransaction([&] {
      return query(std::string("SELECT ($1::") + type + ")::text AS value", {Param::text(value)}).only().text("value");
    });
  } catch (const PostgresError& e) {
    if (e.cancelled() || std::string(e.sqlstate).substr(0, 2) != "22") throw;
    throw UserError("22023", what + " is no valid " + type + ": \"" + value + "\"", std::string("For instance ") + example + ".");
  }
}

// reconciler.check_row() has said what rule it is; which option broke it is for us to say.
void with_explained_checks(const std::string& what, void (*write)(void*), void* arg) {
  try {
    Transactions::subtransaction([&] { write(arg); });
  } catch (const PostgresError& e) {
    if (!e.is("23514")) throw;
    throw UserError("22023", what + " is not valid", e.hint, e.detail);
  }
}

}  // namespace reconciler
