// From a row of reconciler.hub to something that can be asked. A token goes to its own origin only; that is
// checked before the first connection.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/binding.hpp"
#include "engine/wait.hpp"
#include "hub/http_hub.hpp"
#include "postgres/transaction.hpp"

namespace reconciler {

// A hub with the credentials it may use. Not movable: the hub refers to the credentials.
class ConnectedHub {
 public:
  ConnectedHub(std::string name, Profile profile, HubOptions options, Waiter& waiter);
  explicit ConnectedHub(std::unique_ptr<AgentHub> pulled) : hub_(std::move(pulled)) {}
  ConnectedHub(const ConnectedHub&) = delete;
  AgentHub& hub() { return *hub_; }
  HttpHub* http() { return http_; }  // nullptr: there is nobody to connect to, agents fetch their commands
  // Remembers which addresses answered: with several, `gone` needs all that did lately.
  void note_answers(Transactions&);

 private:
  std::string name_;
  std::optional<http::Credentials> credentials_;
  std::unique_ptr<AgentHub> hub_;
  HttpHub* http_ = nullptr;
};

// A row of reconciler.hub_profile. Throws UserError 22023 when it can't be used, with the parser's words.
Profile usable_profile(const std::string& name, const std::string& definition);

// For the sessions of a binding, or for nobody's: then it can be probed. Throws UserError 42704 when there is no such hub,
// 22023 for its profile, ConfigError for its credentials.
std::unique_ptr<ConnectedHub> connect_hub(const std::string& name, const Binding&, Transactions&, Waiter&);

}  // namespace reconciler
