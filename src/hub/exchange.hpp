// Requests to the addresses of one hub, run side by side. Knows addresses, credentials and waiting; what is
// asked and what an answer means is the callers' business.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "hub/http_hub.hpp"

namespace reconciler {

class Exchange {
 public:
  struct Ask {
    std::size_t address = 0;  // index into HubOptions::addresses
    HttpRequest request;
    bool fresh_connection = false;
    Duration not_before{0};  // from begin()
  };
  struct Reply {
    http::Response response;
    bool refused = false;  // our own configuration forbids the request: response.error says why
    bool asked = true;     // false: known without asking, since this call has heard it before
    bool answered() const { return response.result == http::Response::Result::answered; }
    bool unanswered = false;  // not asked: it took others of this call and did not answer them
    // Somebody took the request, or our own configuration does not let us know.
    bool somebody() const { return refused || unanswered || response.result != http::Response::Result::not_sent; }
    bool unauthorized() const { return refused || (answered() && (response.status == 401 || response.status == 403)); }
  };
  using Then = std::function<void(const Reply&)>;  // may ask() more

  Exchange(const HubOptions&, http::Credentials&, Waiter&);
  ~Exchange();

  void begin();  // of one call of AgentHub: looks at the credentials again, gives every address another chance
  void ask(Ask, Then);
  // Until everything asked has been replied to. `refill` is called when a connection is free and nothing else is
  // due, to ask() more, until it says that there is no more. Throws what the waiter, a Then or refill throws;
  // whatever was in flight is dropped then, and the next begin() starts afresh.
  using Refill = std::function<bool()>;
  void run(Refill refill = {});
  Duration now() const { return waiter_.uptime() - start_; }

  std::size_t addresses() const { return addresses_.size(); }
  const std::string& address(std::size_t index) const { return addresses_[index].text; }
  // Whether an answer was proper is the caller's verdict.
  void note(std::size_t address, const Reply&, bool proper);
  const AgentHub::Totals& totals() const { return totals_; }
  const std::vector<std::string>& answered() const { return answered_; }

 private:
  struct Address {
    std::string text;
    std::optional<http::Address> parsed;
    std::string trouble;                   // why it may not be talked to; '' = it may
    int unreached = 0, unanswered = 0;     // in a row, since begin()
    std::string given_up;                  // the failure after which it was left alone; '' = it was not
    std::optional<http::Response> denied;  // a 401 that new credentials did not cure
  };
  struct Flight {
    Ask ask;
    Then then;
    int credentials = 0;  // the generation it was sent with
    bool again = false;   // sent once more after a 401
    std::string token{};  // what must not be read back: a body that repeats it is none
  };

  void judge_addresses();
  void open_client();
  void renew_credentials();
  void start_due();
  void start(Flight);
  std::optional<Reply> reply_without_asking(const Flight&) const;
  http::Request prepare(const Ask&) const;
  void deliver();
  bool send_again(Flight&, const http::Response&);
  void watch_health(const http::Response&, Address&);
  bool is_hungry() const;
  Duration time_to_next() const;
  void abandon();

  const HubOptions& options_;
  http::Credentials& credentials_;
  Waiter& waiter_;
  std::unique_ptr<http::Client> client_;
  std::vector<Address> addresses_;
  std::map<std::pair<Duration, std::uint64_t>, Flight> waiting_;  // by time, then in the order of asking
  std::unordered_map<std::uint64_t, Flight> flying_;
  std::uint64_t sequence_ = 0;
  Duration start_{0};
  std::string trouble_;  // of the credentials file or of the client; '' = none
  int generation_ = 0;
  bool renewed_ = false;  // in this call
  AgentHub::Totals totals_;
  std::vector<std::string> answered_;
};

// Asks every id at one address after the other until heard(id, address, reply) says that is enough.
void ask_each(Exchange&, const std::vector<std::string>& ids,
              const std::function<HttpRequest(const std::string&)>& question,
              const std::function<bool(std::size_t, std::size_t, const Exchange::Reply&)>& heard);

}  // namespace reconciler
