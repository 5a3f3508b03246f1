// The profile of a hub that knows of sessions alone: what each of its answers proves.
#include <gtest/gtest.h>

#include "support/profiles.hpp"

using namespace reconciler;

namespace {

Profile centaur() { return profiles::load("centaur"); }
SessionAnswer said(long status, const std::string& body) { return centaur().read_session(status, body).answer; }
std::string wrong(const std::string& definition) {
  try {
    Profile("mine", definition);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "nothing is";
}

}  // namespace

TEST(Centaur, KnowsOfSessionsAlone) {
  const Profile hub = centaur();
  EXPECT_FALSE(hub.knows_agents());
  EXPECT_FALSE(hub.can_list());
  EXPECT_FALSE(hub.authoritative());
  EXPECT_TRUE(hub.can_ask_session());
  EXPECT_EQ(hub.ask_session("slack:C0A87:1780331325.008179").target, "/agent/status?key=slack%3AC0A87%3A1780331325.008179");
}

TEST(Centaur, WhatItsAnswersProve) {
  EXPECT_EQ(said(200, R"({"status":"running","sandbox_id":"centaur-cent"})"), SessionAnswer::running);
  EXPECT_EQ(said(200, R"({"status":"created"})"), SessionAnswer::running);
  EXPECT_EQ(said(200, R"({"status":"suspended","active_assignment":null})"), SessionAnswer::suspended);
  EXPECT_EQ(said(200, R"({"status":"gone"})"), SessionAnswer::gone);
  EXPECT_EQ(said(500, R"({"status":"gone"})"), SessionAnswer::unclear) << "it could not ask Kubernetes";
  EXPECT_EQ(said(404, R"({"status":"gone"})"), SessionAnswer::unclear);
  EXPECT_EQ(said(200, R"({"status":"stopped"})"), SessionAnswer::unclear) << "ended, or being removed";
  EXPECT_EQ(centaur().read_session(200, R"({"status":"gone","active_assignment":{"runtime_id":"pod-1"}})").runtime, "pod-1");
}

TEST(Centaur, NotToKnowASessionIsAProperAnswer) {
  EXPECT_TRUE(centaur().read_session(200, R"({"status":"not_found"})").proper);
  EXPECT_FALSE(centaur().read_session(500, R"({"detail":"Internal Server Error"})").proper);
  EXPECT_FALSE(centaur().read_session(200, "<html>").proper);
}

TEST(Centaur, WithoutAgentsNothingElseIsOfAgents) {
  const std::string session = R"("ask_session": {"method": "GET", "path": "/s/{session_id}", "answers": [{"status": 200, "means": "running"}]})";
  EXPECT_EQ(wrong(R"({"authoritative": false, "idempotent": false, )" + session + "}"), "nothing is");
  EXPECT_EQ(wrong(R"({"authoritative": false, "idempotent": false})"), "hub profile \"mine\" needs agent, or ask_session where the hub knows of sessions alone");
  EXPECT_EQ(wrong(R"({"authoritative": true, "idempotent": false, )" + session + "}"), "hub profile \"mine\" can't be authoritative without agent");
  EXPECT_EQ(wrong(R"({"authoritative": false, "idempotent": false, "send": {}, )" + session + "}"), "hub profile \"mine\".agent is missing");
}
