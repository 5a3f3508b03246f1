#include "postgres/hub_factory.hpp"

#include "postgres/clock.hpp"
#include "postgres/pull_hub.hpp"
#include "postgres/settings.hpp"
#include "postgres/spi.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {

ConnectedHub::ConnectedHub(std::string name, Profile profile, HubOptions options, Waiter& waiter)
    : name_(std::move(name)), credentials_(settings::credentials_file()) {
  auto hub = std::make_unique<HttpHub>(std::move(profile), std::move(options), *credentials_, waiter);
  http_ = hub.get();
  hub_ = std::move(hub);
}

void ConnectedHub::note_answers(Transactions& transactions) {
  if (!http_ || http_->answered().empty()) return;
  const std::vector<std::string> answered = http_->answered();
  transactions.run("recording the hub's answers", [&] {
    as_extension_owner([&] {
      query("INSERT INTO reconciler.hub_address AS a (hub, address, last_answer) SELECT h.name, address, $3 FROM unnest($2::text[]) AS address"
            " JOIN reconciler.hub h ON h.name = $1 ON CONFLICT (hub, address) DO UPDATE SET last_answer = excluded.last_answer",
            {Param::text(name_), Param::texts(answered), Param::time(database_now())});
    });
  });
}

Profile usable_profile(const std::string& name, const std::string& definition) {
  try {
    return Profile(name, definition);
  } catch (const std::invalid_argument& e) {
    throw UserError("22023", e.what(), "Mend its row in reconciler.hub_profile; docs/hub-profiles.md has its format.");
  }
}

std::unique_ptr<ConnectedHub> connect_hub(const std::string& name, const Binding& binding, Transactions& transactions, Waiter& waiter) {
  std::string profile, definition;
  HubOptions options;
  transactions.run("reading the hub", [&] {
    as_extension_owner([&] {
      const Rows rows = query("SELECT h.base_urls, h.profile, p.definition::text AS definition, h.connect_timeout, h.total_timeout, h.max_in_flight,"
                              " ARRAY(SELECT a.address FROM reconciler.hub_address a WHERE a.hub = h.name AND a.last_answer > $2) AS answered"
                              " FROM reconciler.hub h JOIN reconciler.hub_profile p ON p.name = h.profile WHERE h.name = $1",
                              {Param::text(name), Param::time(database_now() - minutes(10))});
      if (rows.empty()) throw UserError("42704", "hub \"" + name + "\" does not exist", "Create it with set_hub().");
      const Rows::Row row = rows[0];
      profile = row.text("profile"), definition = row.text("definition");
      options.addresses = row.texts("base_urls");
      options.connect_timeout = row.span("connect_timeout"), options.total_timeout = row.span("total_timeout");
      options.max_in_flight = static_cast<int>(row.maybe_integer("max_in_flight").value_or(settings::max_in_flight()));
      options.outbound = settings::outbound();
      options.answered_recently = row.texts("answered");
    });
  });
  Profile usable = usable_profile(profile, definition);
  if (usable.pulls()) return std::make_unique<ConnectedHub>(std::make_unique<PullHub>(std::move(usable), transactions.mode(), binding.id, binding.limits.heartbeat_fresh));
  return std::make_unique<ConnectedHub>(name, std::move(usable), std::move(options), waiter);
}

}  // namespace reconciler
