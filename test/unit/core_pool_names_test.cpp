// Where an agent belongs: StreamSpace's ids hold the name of their pod, others do not.
#include "core/pool_names.hpp"

#include <gtest/gtest.h>

namespace reconciler {
namespace {

AgentOrigin agent(std::string id, std::string platform = "kubernetes", std::string region = "eu", std::string name_space = "streamspace") {
  return {.id = std::move(id), .platform = std::move(platform), .region = std::move(region), .name_space = std::move(name_space), .pool = {}};
}

TEST(PoolNames, PodsOfADeploymentAreOnePoolThroughEveryRollout) {
  const PoolName before = pool_of(agent("k8s-prod-cluster-streamspace-agent-7d9f8c6b5d-x2x4z"));
  const PoolName after = pool_of(agent("k8s-prod-cluster-streamspace-agent-5b8fd84c9-qm7tw"));
  EXPECT_EQ(before.name, "k8s-prod-cluster-streamspace-agent");
  EXPECT_EQ(after.name, before.name);
  EXPECT_EQ(before.platform, "kubernetes");
  EXPECT_EQ(before.region, "eu");
  EXPECT_EQ(before.name_space, "streamspace");
  EXPECT_TRUE(before.runtimes_outlive_agents);
  EXPECT_EQ(before.why_not, "");
}

TEST(PoolNames, PodsOfAStatefulSetToo) {
  EXPECT_EQ(pool_of(agent("agent-0")).name, "agent");
  EXPECT_EQ(pool_of(agent("k8s-agent-12")).name, "k8s-agent");
  EXPECT_EQ(without_pod("agent-012"), "agent-012") << "an ordinal has no leading zero";
  EXPECT_EQ(without_pod("agent-20261125"), "agent-20261125") << "a date is none";
}

TEST(PoolNames, WhatOnlyLooksLikeAPodIsNone) {
  EXPECT_EQ(without_pod("k8s-prod-cluster"), "k8s-prod-cluster");
  EXPECT_EQ(without_pod("agent-7d9f8c6b5d"), "agent-7d9f8c6b5d") << "no suffix";
  EXPECT_EQ(without_pod("agent-x2x4z"), "agent-x2x4z") << "no hash";
  EXPECT_EQ(without_pod("agent-7d9f8c6b5d-x2x4a"), "agent-7d9f8c6b5d-x2x4a") << "vowels are in neither";
  EXPECT_EQ(without_pod("agent-7d9f8c6-x2x4z"), "agent-7d9f8c6-x2x4z") << "too short";
  EXPECT_EQ(without_pod("agent-7d9f8c6b5d77-x2x4z"), "agent-7d9f8c6b5d77-x2x4z") << "too long";
  EXPECT_EQ(without_pod("7d9f8c6b5d-x2x4z"), "7d9f8c6b5d-x2x4z") << "nothing is left";
  EXPECT_EQ(without_pod("-0"), "-0");
  EXPECT_EQ(without_pod(""), "");
}

TEST(PoolNames, WithoutAPodTheNamespaceGroupsThem) {
  const PoolName one = pool_of(agent("k8s-east")), two = pool_of(agent("k8s-west"));
  EXPECT_EQ(one.name, "streamspace");
  EXPECT_EQ(two.name, one.name);
  EXPECT_EQ(pool_of(agent("k8s-east", "kubernetes", "eu", "")).name, "k8s-east") << "nothing groups it";
}

TEST(PoolNames, ElsewhereAnIdHoldsNoPod) {
  EXPECT_EQ(pool_of(agent("docker-1", "docker", "", "")).name, "docker-1") << "another host than docker-2";
  EXPECT_FALSE(pool_of(agent("docker-1", "docker")).runtimes_outlive_agents);
}

TEST(PoolNames, ANameThatWasGivenWins) {
  AgentOrigin given = agent("k8s-agent-0", "");
  given.pool = "blue";
  EXPECT_EQ(pool_of(given).name, "blue");
  EXPECT_EQ(pool_of(given).why_not, "");
}

TEST(PoolNames, NothingIsGuessed) {
  const PoolName none = pool_of(agent("k8s-agent-0", ""));
  EXPECT_EQ(none.name, "");
  EXPECT_EQ(none.why_not, "its platform is not known");
}

}  // namespace
}  // namespace reconciler
