#include "hub/deliver.hpp"

#include <algorithm>
#include <deque>

#include "hub/look.hpp"

namespace reconciler {
namespace {

using Outcome = Delivery::Outcome;

// A load balancer spreads new connections; asking it again within a millisecond would only meet the same
// replica's queue.
constexpr Duration kPause = milliseconds(50);

// Answers that prove that nothing was done, by how much they say: with another address or connection to
// try they are not the end.
enum class Rank { final, not_sent, unauthorized, unknown_agent, not_connected };

Rank rank_of(const Delivery& delivery) {
  if (delivery.outcome == Outcome::not_sent) return Rank::not_sent;
  if (delivery.outcome != Outcome::answered) return Rank::final;
  switch (delivery.meaning) {
    case CommandMeaning::unauthorized: return Rank::unauthorized;
    case CommandMeaning::unknown_agent: return Rank::unknown_agent;
    case CommandMeaning::not_connected: return Rank::not_connected;
    default: return Rank::final;
  }
}

class Courier {
 public:
  Courier(Exchange& exchange, const Profile& profile, const DeliverySettings& settings,
          const AgentHub::Next& next, const AgentHub::Done& done)
      : exchange_(exchange), profile_(profile), settings_(settings), next_(next), done_(done) {}

  void run() {
    exchange_.run([this] { return fetch(); });
  }

 private:
  struct Trip {
    Dispatch dispatch;
    std::vector<std::size_t> route;          // addresses, in the order to try
    std::size_t stop = 0;                    // position in it
    std::vector<std::size_t> not_connected;  // addresses that said so: worth a new connection
    int fresh = 0;                           // tries on new connections
    Delivery best;                           // what it comes to if nothing better follows
    Rank rank = Rank::final;                 // of it; final: there is none yet
    Duration took{0};
  };

  bool fetch() {
    std::vector<Dispatch> more = next_();
    for (Dispatch& dispatch : more) {
      const std::size_t index = trips_.size();
      Trip& trip = trips_.emplace_back();
      trip.dispatch = std::move(dispatch);
      trip.route = route_of(trip.dispatch.command.agent);
      send(index, trip.route.front(), false, exchange_.now() + trip.dispatch.not_before);
    }
    return !more.empty();
  }

  std::vector<std::size_t> route_of(const std::string& agent) const {
    std::vector<std::size_t> route(exchange_.addresses());
    for (std::size_t i = 0; i < route.size(); ++i) route[i] = i;
    auto home = settings_.home.find(agent);
    if (home != settings_.home.end() && home->second < route.size())
      std::rotate(route.begin(), route.begin() + static_cast<std::ptrdiff_t>(home->second), route.end());
    return route;
  }

  void send(std::size_t index, std::size_t address, bool fresh, Duration not_before) {
    Exchange::Ask ask;
    ask.address = address;
    ask.request = profile_.send(trips_[index].dispatch.command);
    // libcurl sends again by itself when a kept connection turns out closed, though the hub may have acted
    // on the first: harmless with idempotency keys only. On a new connection it never does.
    ask.fresh_connection = fresh || !profile_.idempotent();
    ask.not_before = not_before;
    exchange_.ask(std::move(ask),
                  [this, index, address](const Exchange::Reply& reply) { returned(index, address, reply); });
  }

  void returned(std::size_t index, std::size_t address, const Exchange::Reply& reply) {
    Trip& trip = trips_[index];
    trip.took += reply.response.took;
    Delivery delivery = read(index, address, reply);
    Rank rank = rank_of(delivery);
    if (rank == Rank::final) return finish(index, std::move(delivery));

    bool first_here = trip.fresh == 0;
    if (first_here && rank == Rank::not_connected) trip.not_connected.push_back(address);
    if (rank > trip.rank) {
      trip.rank = rank;
      trip.best = std::move(delivery);
    }
    if (first_here && ++trip.stop < trip.route.size()) return send(index, trip.route[trip.stop], false, Duration(0));
    try_new_connection(index);
  }

  // The agent is known to be present: another replica behind the same address may hold its connection.
  void try_new_connection(std::size_t index) {
    Trip& trip = trips_[index];
    if (!trip.dispatch.agent_present || trip.not_connected.empty() ||
        trip.fresh >= settings_.fresh_connection_tries)
      return finish(index, std::move(trip.best));
    std::size_t address = trip.not_connected[static_cast<std::size_t>(trip.fresh++) % trip.not_connected.size()];
    send(index, address, true, exchange_.now() + kPause);
  }

  Delivery read(std::size_t index, std::size_t address, const Exchange::Reply& reply) {
    const http::Response& response = reply.response;
    Delivery delivery;
    if (!reply.answered()) {
      delivery.outcome =
          response.result == http::Response::Result::not_sent ? Outcome::not_sent : Outcome::unknown;
      delivery.detail = response.error;
      exchange_.note(address, reply, false);
      return delivery;
    }
    auto answer = profile_.read_send(trips_[index].dispatch.command, response.status, response.retry_after.has_value(),
                                     response.body);
    delivery.outcome = Outcome::answered;
    delivery.meaning = answer.meaning;
    delivery.hub_command_id = std::move(answer.hub_command_id);
    delivery.retry_after = response.retry_after;
    delivery.detail = std::move(answer.detail);
    if (delivery.detail.empty() && reply.unauthorized()) delivery.detail = why_not_heard(exchange_, address, reply);
    exchange_.note(address, reply,
                   answer.meaning != CommandMeaning::unclear && answer.meaning != CommandMeaning::unauthorized);
    return delivery;
  }

  void finish(std::size_t index, Delivery delivery) {
    delivery.took = trips_[index].took;
    done_(index, delivery);
  }

  Exchange& exchange_;
  const Profile& profile_;
  const DeliverySettings& settings_;
  const AgentHub::Next& next_;
  const AgentHub::Done& done_;
  std::deque<Trip> trips_;
};

}  // namespace

void deliver_commands(Exchange& exchange, const Profile& profile, const DeliverySettings& settings,
                      const AgentHub::Next& next, const AgentHub::Done& done) {
  Courier(exchange, profile, settings, next, done).run();
}

}  // namespace reconciler
