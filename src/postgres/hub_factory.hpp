// From a row of reconciler.hub to something that can be asked. A token goes to its own origin only; that is
// checked before the first connection.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/wait.hpp"
#include "hub/http_hub.hpp"
#include "postgres/transaction.hpp"

namespace reconciler {

// A hub with the credentials it may use. Not movable: the hub refers to the credentials.
class ConnectedHub {
 public:
  ConnectedHub(std::string name, Profile profile, HubOptions options, Waiter& waiter);
  ConnectedHub(const ConnectedHub&) = delete;
  HttpHub& hub() { return hub_; }
  // Remembers which addresses answered: with several, `gone` needs all that did lately.
  void note_answers(Transactions&);
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  http::Credentials credentials_;
  HttpHub hub_;
};

// A row of reconciler.hub_profile. Throws UserError 22023 when it can't be used, with the parser's words.
Profile usable_profile(const std::string& name, const std::string& definition);

// Throws UserError 42704 when there is no such hub, 22023 for its profile, ConfigError for its credentials.
std::unique_ptr<ConnectedHub> connect_hub(const std::string& name, Transactions&, Waiter&);

}  // namespace reconciler
