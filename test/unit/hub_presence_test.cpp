// What several addresses' words about one agent add up to (specification 4.1 and 6).
#include "hub/presence.hpp"

#include <gtest/gtest.h>

namespace reconciler {
namespace {

using Status = AgentAnswer::Status;
using Kind = Sighting::Kind;

struct Says {
  Voice voice;
  Says(const std::string& address, Status status) {
    voice.address = address;
    voice.kind = Voice::Kind::answered;
    voice.agent.status = status;
    voice.hub.instance = "at-" + address;
  }
  Says& fleet(bool yes) { return voice.hub.fleet = yes, *this; }
  Says& complete() { return voice.hub.complete = true, *this; }
  Says& recent() { return voice.recent = true, *this; }
  operator Voice() const { return voice; }
};

Voice silent(const std::string& address, bool recent = false) {
  Voice voice;
  voice.address = address;
  voice.recent = recent;
  voice.detail = address + " is down";
  return voice;
}

Voice denied(const std::string& address) {
  Voice voice = silent(address);
  voice.kind = Voice::Kind::unauthorized;
  voice.detail = address + " refuses";
  return voice;
}

Presence of(const std::vector<Voice>& voices) { return judge_connection("k8s", voices).presence; }

constexpr auto connected = Status::connected;
constexpr auto lost = Status::disconnected;
constexpr auto never = Status::unknown_agent;
constexpr auto unclear = Status::unclear;

TEST(HubPresence, OneAddressSpeaksForTheFleet) {
  EXPECT_EQ(of({Says("a", connected)}), Presence::present);
  EXPECT_EQ(of({Says("a", lost)}), Presence::gone);
  EXPECT_EQ(of({Says("a", never).complete()}), Presence::gone);
  EXPECT_EQ(of({Says("a", never)}), Presence::unknown) << "unknown to a hub that is not complete";
  EXPECT_EQ(of({Says("a", never).complete().fleet(false)}), Presence::unknown) << "complete needs scope fleet";
  EXPECT_EQ(of({Says("a", lost).fleet(false)}), Presence::gone) << "known and not connected, and no other address";
  EXPECT_EQ(of({Says("a", unclear)}), Presence::unknown);
  EXPECT_EQ(of({silent("a")}), Presence::unknown);
  EXPECT_EQ(of({denied("a")}), Presence::unknown);
  EXPECT_EQ(of({}), Presence::unknown);
}

TEST(HubPresence, ConnectedAnywhereIsPresent) {
  EXPECT_EQ(of({Says("a", lost).fleet(true), Says("b", connected)}), Presence::present);
  EXPECT_EQ(of({silent("a", true), Says("b", connected)}), Presence::present);
  EXPECT_EQ(judge_connection("k8s", {silent("a"), Says("b", connected)}).hub.instance, "at-b");
}

TEST(HubPresence, SeveralInstancesMustAgreeThatItIsGone) {
  EXPECT_EQ(of({Says("a", lost), Says("b", lost)}), Presence::gone);
  EXPECT_EQ(of({Says("a", lost), Says("b", never)}), Presence::gone) << "b never had it";
  EXPECT_EQ(of({Says("a", never).complete(), Says("b", never).complete()}), Presence::unknown) << "nobody knows it";
  EXPECT_EQ(of({Says("a", lost), Says("b", unclear)}), Presence::unknown);
  EXPECT_EQ(of({Says("a", lost), silent("b", true)}), Presence::unknown) << "b was there lately, and so may be the agent";
  EXPECT_EQ(of({Says("a", lost), silent("b")}), Presence::gone) << "b did not answer in 10 minutes";
}

TEST(HubPresence, ScopeFleetNeedsNoOther) {
  EXPECT_EQ(of({Says("a", lost).fleet(true), silent("b", true)}), Presence::gone);
  EXPECT_EQ(of({silent("a", true), Says("b", never).fleet(true).complete()}), Presence::gone);
  EXPECT_EQ(of({silent("a", true), Says("b", never).fleet(true)}), Presence::unknown);
}

TEST(HubPresence, TheVerdictNamesEveryInstanceItRestsOn) {
  EXPECT_EQ(judge_connection("k8s", {Says("b", lost), Says("a", lost)}).hub.instance, "at-a,at-b");
  EXPECT_EQ(judge_connection("k8s", {Says("a", lost).fleet(true), Says("b", lost)}).hub.instance, "at-a");
  EXPECT_EQ(judge_connection("k8s", {Says("a", lost), silent("b", true)}).hub.instance, "") << "it rests on none";
}

TEST(HubPresence, KindsAndDetails) {
  Sighting down = judge_connection("k8s", {silent("a"), silent("b")});
  EXPECT_EQ(down.kind, Kind::unknown);
  EXPECT_EQ(down.detail, "a is down");
  Sighting refused = judge_connection("k8s", {silent("a"), denied("b")});
  EXPECT_EQ(refused.kind, Kind::unauthorized);
  EXPECT_EQ(refused.detail, "b refuses");
  Sighting half = judge_connection("k8s", {Says("a", lost), silent("b", true)});
  EXPECT_EQ(half.kind, Kind::answered);
  EXPECT_NE(half.detail.find("b is down"), std::string::npos);
  EXPECT_EQ(half.agent.id, "k8s");
  EXPECT_EQ(judge_connection("k8s", {}).detail, "the hub has no address");
}

TEST(HubPresence, AHeartbeatHubIsOnlyHeard) {
  auto kind = [](const std::vector<Voice>& voices) { return first_known("k8s", voices).kind; };
  EXPECT_EQ(kind({Says("a", unclear)}), Kind::answered);
  EXPECT_EQ(first_known("k8s", {Says("a", connected)}).presence, Presence::unknown);
  EXPECT_EQ(kind({Says("a", never)}), Kind::other_hub);
  EXPECT_EQ(kind({Says("a", never), Says("b", never)}), Kind::other_hub);
  EXPECT_EQ(kind({Says("a", never), Says("b", unclear)}), Kind::answered);
  EXPECT_EQ(kind({Says("a", never), silent("b")}), Kind::unknown);
  EXPECT_EQ(kind({Says("a", never), denied("b")}), Kind::unauthorized);
  EXPECT_EQ(kind({denied("a"), silent("b")}), Kind::unauthorized);
  EXPECT_EQ(kind({}), Kind::unknown);
}

}  // namespace
}  // namespace reconciler
