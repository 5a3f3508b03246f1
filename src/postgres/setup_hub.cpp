// set_hub(): where a hub is and how to speak to it. No secret comes in here: those are in the credentials file, by
// origin, and an address that could carry one is refused without being shown.

#include "core/json.hpp"
#include "http/credentials.hpp"
#include "postgres/clock.hpp"
#include "postgres/events.hpp"
#include "postgres/hub_factory.hpp"
#include "postgres/role.hpp"
#include "postgres/settings.hpp"
#include "postgres/setup_change.hpp"
#include "postgres/setup_detach.hpp"
#include "postgres/setup_options.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/user_error.hpp"

#include "postgres/sql_entry.hpp"

namespace reconciler {
namespace {

// Every option of set_hub(): docs/reference lists the same.
constexpr OptionSpec hub_options[] = {
    {"connect_timeout", OptionKind::interval, "2 s", "longest wait for a connection"},
    {"total_timeout", OptionKind::interval, "5 s", "longest wait for a whole answer"},
    {"command_spacing", OptionKind::interval, "500 ms", "least distance of two commands to one agent"},
    {"max_in_flight", OptionKind::integer, "session_reconciler.max_in_flight", "requests at once"},
    {"sessions", OptionKind::text, "the only attached table, if it has no hub yet", "the attached table whose hub this is"},
};

// As the server would take them, one after the other. Throws ConfigError, which names no secret.
void check_addresses(const std::vector<std::string>& addresses, bool pulls) {
  if (pulls && !addresses.empty())
    throw UserError("22023", "a hub of this profile has no address", "Agents fetch their commands from this database: let base_url be NULL.");
  if (pulls) return;
  if (addresses.empty()) throw UserError("22023", "a hub needs at least one address", "For instance 'https://hub.example.com'.");
  http::Credentials credentials(settings::credentials_file());
  credentials.refresh();
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (addresses[i].starts_with('{') || addresses[i].find(',') != std::string::npos)
      throw UserError("22023", "a hub address must be a single URL", "Several addresses are an array: ARRAY['https://hub-0:8443', 'https://hub-1:8443'].");
    for (std::size_t j = 0; j < i; ++j)
      if (addresses[i] == addresses[j]) throw UserError("22023", "a hub address is given twice", "Name each replica once.");
    credentials.check(http::parse_address(addresses[i]));
  }
}

bool pulls(const std::string& profile) {
  const Rows rows = query("SELECT definition::text AS definition FROM reconciler.hub_profile WHERE name = $1", {Param::text(profile)});
  if (rows.empty()) {
    const Rows names = query("SELECT string_agg(name, ', ' ORDER BY name) AS names FROM reconciler.hub_profile");
    throw UserError("22023", "there is no hub profile \"" + profile + "\"", "Valid profiles: " + names[0].maybe_text("names").value_or("none") + ".");
  }
  return usable_profile(profile, rows[0].text("definition")).pulls();
}

std::optional<std::string> image(const std::string& name) {
  const Rows rows = query("SELECT to_jsonb(h)::text AS hub FROM reconciler.hub h WHERE name = $1 FOR NO KEY UPDATE", {Param::text(name)});
  if (rows.empty()) return std::nullopt;
  return rows[0].text("hub");
}

// Options that are not given stay as they are.
void write_hub(const std::string& name, const std::vector<std::string>& addresses, const std::string& profile, const Options& options) {
  query("INSERT INTO reconciler.hub (name, base_urls, profile) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET base_urls = excluded.base_urls, profile = excluded.profile",
        {Param::text(name), Param::texts(addresses), Param::text(profile)});
  for (const OptionSpec& spec : hub_options) {
    if (!options.given(spec.name) || spec.kind == OptionKind::text) continue;
    const bool number = spec.kind == OptionKind::integer;
    const std::string value = number ? std::to_string(*options.integer(spec.name)) : *options.text(spec.name);
    explaining_checks(std::string("option \"") + spec.name + "\"", [&] {
      query_once(std::string("UPDATE reconciler.hub SET ") + spec.name + " = $2::" + (number ? "bigint" : "interval") + " WHERE name = $1", {Param::text(name), Param::text(value)});
    });
  }
  // What other addresses answered says nothing of these.
  query("DELETE FROM reconciler.hub_address WHERE hub = $1 AND address <> ALL ($2)", {Param::text(name), Param::texts(addresses)});
}

// The binding named in the option; else the only one, if it has no hub. Returns its table's name, or ''.
std::string link(const std::string& name, const Options& options) {
  std::optional<int> id;
  if (const auto sessions = options.text("sessions")) {
    id = binding_named(*sessions);
  } else {
    const Rows rows = query("SELECT binding_id, hub IS NULL AS free FROM reconciler.binding LIMIT 2");
    if (rows.size() == 1 && rows[0].boolean("free")) id = static_cast<int>(rows[0].integer("binding_id"));
  }
  if (!id) return "";
  return query("UPDATE reconciler.binding SET hub = $2 WHERE binding_id = $1 RETURNING format('%I.%I', schema_name, table_name) AS name", {Param::integer(*id), Param::text(name)}).only().text("name");
}

// Who asks it already; else what a person who wanted to link a table may have left out.
std::string say_unlinked(const std::string& hub) {
  std::vector<std::string> users;
  for (Rows::Row row : query("SELECT format('%I.%I', schema_name, table_name) AS name FROM reconciler.binding WHERE hub = $1 ORDER BY binding_id", {Param::text(hub)})) users.push_back(row.text("name"));
  if (!users.empty()) return "; " + comma_list(users) + (users.size() == 1 ? " asks it" : " ask it");
  const Rows free = query("SELECT format('%I.%I', schema_name, table_name) AS name FROM reconciler.binding WHERE hub IS NULL ORDER BY binding_id");
  if (free.empty()) return "; no attached table uses it by this call";
  std::vector<std::string> names;
  for (Rows::Row row : free) names.push_back(row.text("name"));
  return "; no attached table uses it by this call; option {\"sessions\": " + nlohmann::json(names[0]).dump() + "} links one without a hub (" + comma_list(names) + ")";
}

void write_event(const std::string& actor, const std::string& name, const std::optional<std::string>& before, const std::string& table) {
  query("WITH written AS (INSERT INTO reconciler.event (at, schema_name, table_name, kind, rule, actor, evidence)"
        "   SELECT $1, b.schema_name, b.table_name, 'policy_changed', 'set_hub', $2, jsonb_build_object('hub', $3, 'old', $4, 'new', to_jsonb(h))"
        "   FROM reconciler.hub h LEFT JOIN reconciler.binding b ON format('%I.%I', b.schema_name, b.table_name) = $5 WHERE h.name = $3 RETURNING id)"
        " SELECT pg_notify('session_reconciler', json_build_object('table', nullif($5, ''), 'pass_id', NULL, 'first', id, 'last', id)::text) FROM written",
        {Param::time(database_now()), Param::text(actor), Param::text(name), Param::jsonb(before), Param::text(table)});
}

Datum set_hub(FunctionCallInfo fcinfo, const std::vector<std::string>& addresses) {
  const std::string name = sql_text(fcinfo, 0), profile = sql_text(fcinfo, 2);
  if (name.find_first_not_of(" \t\n") == std::string::npos) throw UserError("22023", "a hub needs a name", "For instance 'main'.");
  const Options options(sql_maybe_text(fcinfo, 3).value_or("{}"), hub_options, "set_hub()");
  const bool pulled = as_extension_owner([&] { return pulls(profile); });
  if (!pulled && sql_is_null(fcinfo, 1)) throw UserError("22004", "base_url must not be null", "Only a hub of profile pull has no address.");
  check_addresses(addresses, pulled);
  const std::string actor = acting_role();
  const OwnChange quiet;
  std::optional<std::string> before;
  std::string table, linked;
  as_extension_owner([&] {
    before = image(name);
    write_hub(name, addresses, profile, options);
    table = link(name, options);
    linked = table.empty() ? say_unlinked(name) : "; " + table + " asks it";
    write_event(actor, name, before, table);
  });
  std::string sentence = "hub \"" + name + "\" " + (before ? "changed" : "set") + ": profile " + profile;
  const std::string was = before ? nlohmann::json::parse(*before).value("profile", profile) : profile;
  if (was != profile) sentence += " (was " + was + ")";
  sentence += pulled ? ", agents fetch their commands" : ", " + std::to_string(addresses.size()) + (addresses.size() == 1 ? " address" : " addresses");
  sentence += linked;
  sentence += pulled || settings::outbound() ? "" : "; session_reconciler.outbound is off: it is not asked";
  shared::wake_worker_at_commit();
  return sql_text_datum(sentence);
}

}  // namespace

RECONCILER_SQL_FUNCTION(set_hub) {
  const auto address = sql_maybe_text(fcinfo, 1);
  return set_hub(fcinfo, address ? std::vector{*address} : std::vector<std::string>{});
}

RECONCILER_SQL_FUNCTION(set_hub_addresses) {
  const Rows rows = query("SELECT address FROM unnest($1::text[]) AS address", {Param::text(sql_maybe_text(fcinfo, 1))});
  std::vector<std::string> addresses;
  for (Rows::Row row : rows) {
    if (row.null("address")) throw UserError("22004", "a hub address must not be null");
    addresses.push_back(row.text("address"));
  }
  return set_hub(fcinfo, addresses);
}

}  // namespace reconciler
