#include "hub/exchange.hpp"

#include <algorithm>
#include <string_view>

namespace reconciler {
namespace {

using http::Response;

// An address that nobody listens at, or that answers nothing, is left alone for the rest of a call: otherwise
// every one of a thousand questions would wait out its own timeout. The second number is high since a few
// slow answers in a row are no dead hub.
constexpr int kUnreachedToGiveUp = 3, kUnansweredToGiveUp = 32;
constexpr Duration kLongestWait = seconds(60);

bool same_name(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

bool has_header(const http::Request& request, std::string_view name) {
  return std::any_of(request.headers.begin(), request.headers.end(),
                     [&](const auto& header) { return same_name(header.first, name); });
}

// A path and a query, so that it stays at the address's origin wherever it comes from.
bool is_target(const std::string& target) {
  return !target.empty() && target.front() == '/' &&
         std::all_of(target.begin(), target.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

Exchange::Reply not_asked(std::string why, bool refused) {
  Exchange::Reply reply;
  reply.response.error = std::move(why);
  reply.refused = refused;
  reply.asked = false;
  return reply;
}

}  // namespace

Exchange::Exchange(const HubOptions& options, http::Credentials& credentials, Waiter& waiter)
    : options_(options), credentials_(credentials), waiter_(waiter) {
  for (const std::string& text : options.addresses) {
    addresses_.emplace_back();
    addresses_.back().text = text;
  }
}

Exchange::~Exchange() = default;

void Exchange::begin() {
  start_ = waiter_.uptime();
  renewed_ = false;
  trouble_.clear();
  for (Address& address : addresses_) {
    address.unreached = address.unanswered = 0;
    address.given_up.clear();
    address.denied.reset();
  }
  try {
    credentials_.refresh();
  } catch (const http::ConfigError& error) {
    trouble_ = error.what();
  }
  ++generation_;
  judge_addresses();
  open_client();
}

void Exchange::judge_addresses() {
  for (Address& address : addresses_) {
    address.trouble = trouble_;
    if (!trouble_.empty()) continue;
    try {
      if (!address.parsed) address.parsed = http::parse_address(address.text);
      credentials_.check(*address.parsed);
    } catch (const http::ConfigError& error) {
      address.trouble = error.what();
    }
  }
}

// Without descriptors to spare nothing can be asked; that is a hub that did not answer, not an error of the pass.
void Exchange::open_client() {
  if (client_) return;
  std::string why;
  try {
    client_ = std::make_unique<http::Client>(options_.max_in_flight);
  } catch (const std::runtime_error& error) {
    why = std::string("could not set up HTTP: ") + error.what();
  }
  if (!client_)
    for (Address& address : addresses_) address.given_up = why;
}

void Exchange::ask(Ask ask, Then then) {
  Duration due = ask.not_before;
  waiting_.emplace(std::pair(due, ++sequence_), Flight{std::move(ask), std::move(then)});
}

void Exchange::run(Refill refill) {
  try {
    for (;;) {
      start_due();
      if (refill && is_hungry() && !refill()) refill = {};
      if (waiting_.empty() && flying_.empty() && !refill) return;
      // Also when there is more to do at once: the wait is where a cancel is noticed.
      waiter_.wait(client_ ? client_->descriptor() : -1, time_to_next());
      if (client_) client_->drive();
      deliver();
    }
  } catch (...) {
    abandon();
    throw;
  }
}

// Before the connections run dry: what is asked for now takes its time to be made, and they work meanwhile.
bool Exchange::is_hungry() const {
  const Duration at = now();
  int due = 0;
  for (auto next = waiting_.begin(); next != waiting_.end() && next->first.first <= at; ++next)
    if (++due >= options_.max_in_flight) return false;
  return true;
}

// Bounded, since a hub on loopback may have answered before start() returns.
void Exchange::start_due() {
  for (int left = std::max(options_.max_in_flight, 1); left > 0; --left) {
    if (waiting_.empty() || waiting_.begin()->first.first > now() || (client_ && !client_->has_room())) return;
    auto first = waiting_.begin();
    Flight flight = std::move(first->second);
    waiting_.erase(first);
    start(std::move(flight));
  }
}

void Exchange::start(Flight flight) {
  if (auto reply = reply_without_asking(flight)) {
    flight.then(*reply);
    return;
  }
  http::Request request = prepare(flight.ask);
  if (const http::Credential* credential = credentials_.find(addresses_[flight.ask.address].parsed->origin)) flight.token = credential->token;
  request.tag = ++sequence_;
  flight.credentials = generation_;
  flying_.emplace(request.tag, std::move(flight));
  ++totals_.requests;
  client_->start(std::move(request));
}

std::optional<Exchange::Reply> Exchange::reply_without_asking(const Flight& flight) const {
  const Address& address = addresses_[flight.ask.address];
  if (!address.trouble.empty()) return not_asked(address.trouble, true);
  if (!address.given_up.empty()) {
    Reply reply = not_asked(address.given_up, false);
    reply.unanswered = address.unanswered > 0;
    return reply;
  }
  if (address.denied) return Reply{*address.denied, false, false};
  if (!is_target(flight.ask.request.target))
    return not_asked("the request to " + address.text + " would not go to a plain path", false);
  return {};
}

http::Request Exchange::prepare(const Ask& ask) const {
  const http::Address& address = *addresses_[ask.address].parsed;
  const http::Credential* credential = credentials_.find(address.origin);
  http::Request request;
  request.method = ask.request.method;
  request.url = address.origin.text() + address.prefix + ask.request.target;
  request.headers = ask.request.headers;
  request.body = ask.request.body;
  request.fresh_connection = ask.fresh_connection;
  request.connect_timeout = options_.connect_timeout;
  request.total_timeout = options_.total_timeout;
  if (!has_header(request, "accept")) request.headers.emplace_back("Accept", "application/json");
  if (!request.body.empty() && !has_header(request, "content-type"))
    request.headers.emplace_back("Content-Type", "application/json");
  if (credential != nullptr) http::authorize(request, *credential);
  return request;
}

void Exchange::deliver() {
  struct Answered {
    Flight flight;
    Response response;
  };
  std::vector<Answered> answered;
  while (client_) {
    auto response = client_->finished();
    if (!response) break;
    auto found = flying_.find(response->tag);
    if (found == flying_.end()) continue;
    Flight flight = std::move(found->second);
    flying_.erase(found);
    totals_.time += response->took;
    // A hub that repeats our token has said nothing.
    if (!flight.token.empty() && response->body.find(flight.token) != std::string::npos) response->body.clear();
    watch_health(*response, addresses_[flight.ask.address]);
    if (response->result == Response::Result::answered && response->status == 401 && send_again(flight, *response)) ++totals_.failed;
    else answered.push_back({std::move(flight), std::move(*response)});
  }
  if (!answered.empty()) start_due();  // the next ones are on their way while these are dealt with
  for (auto& [flight, response] : answered) flight.then(Reply{std::move(response), false, true});
}

// A 401 did nothing at the hub, so that any request can be sent again. The files are read once a call; what
// was sent with the older ones meanwhile gets its second chance too.
bool Exchange::send_again(Flight& flight, const Response& response) {
  Address& address = addresses_[flight.ask.address];
  if (flight.credentials == generation_ && !renewed_) renew_credentials();
  if (flight.again || flight.credentials == generation_) {
    address.denied = response;
    return false;
  }
  flight.again = true;
  flight.ask.not_before = Duration(0);
  // A client certificate is shown when a connection begins.
  const http::Credential* credential = address.parsed ? credentials_.find(address.parsed->origin) : nullptr;
  if (credential != nullptr && !credential->tls.cert_file.empty()) flight.ask.fresh_connection = true;
  waiting_.emplace(std::pair(flight.ask.not_before, ++sequence_), std::move(flight));
  return true;
}

void Exchange::renew_credentials() {
  renewed_ = true;
  ++generation_;
  try {
    credentials_.refresh(true);
  } catch (const http::ConfigError& error) {
    trouble_ = error.what();
  }
  judge_addresses();
}

void Exchange::watch_health(const Response& response, Address& address) {
  if (response.result == Response::Result::answered) {
    address.unreached = address.unanswered = 0;
    return;
  }
  int& failures = response.result == Response::Result::not_sent ? address.unreached : address.unanswered;
  int enough = response.result == Response::Result::not_sent ? kUnreachedToGiveUp : kUnansweredToGiveUp;
  if (++failures >= enough) address.given_up = response.error;
}

Duration Exchange::time_to_next() const {
  if (waiting_.empty() || (client_ && !client_->has_room())) return kLongestWait;
  return std::clamp(waiting_.begin()->first.first - now(), Duration(0), kLongestWait);
}

void Exchange::abandon() {
  waiting_.clear();
  flying_.clear();
  client_.reset();
}

void Exchange::note(std::size_t index, const Reply& reply, bool proper) {
  if (!proper) {
    if (reply.asked) ++totals_.failed;
    return;
  }
  const std::string& text = addresses_[index].text;
  if (std::find(answered_.begin(), answered_.end(), text) == answered_.end()) answered_.push_back(text);
}

namespace {

struct EachQuestion {
  Exchange& exchange;
  const std::vector<std::string>& ids;
  const std::function<HttpRequest(const std::string&)>& question;
  const std::function<bool(std::size_t, std::size_t, const Exchange::Reply&)>& heard;

  void ask(std::size_t id, std::size_t address) {
    Exchange::Ask ask;
    ask.address = address;
    ask.request = question(ids[id]);
    exchange.ask(std::move(ask), [this, id, address](const Exchange::Reply& reply) {
      if (!heard(id, address, reply) && address + 1 < exchange.addresses()) this->ask(id, address + 1);
    });
  }
};

}  // namespace

void ask_each(Exchange& exchange, const std::vector<std::string>& ids,
              const std::function<HttpRequest(const std::string&)>& question,
              const std::function<bool(std::size_t, std::size_t, const Exchange::Reply&)>& heard) {
  if (exchange.addresses() == 0) return;
  EachQuestion each{exchange, ids, question, heard};
  for (std::size_t id = 0; id < ids.size(); ++id) each.ask(id, 0);
  exchange.run();
}

}  // namespace reconciler
