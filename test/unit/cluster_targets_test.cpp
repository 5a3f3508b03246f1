// Where the API has things, and that no name leads elsewhere.
#include <gtest/gtest.h>

#include <stdexcept>

#include "cluster/http_cluster.hpp"
#include "cluster/targets.hpp"

namespace reconciler {
namespace {

const ResourceKind pods{"", "v1", "pods"}, deployments{"apps", "v1", "deployments"}, sandboxes{"agents.x-k8s.io", "v1alpha1", "sandboxes"};

TEST(ClusterTargets, OfTheCoreAndOfNamedGroups) {
  EXPECT_EQ(version_target(pods), "/api/v1");
  EXPECT_EQ(version_target(deployments), "/apis/apps/v1");
  EXPECT_EQ(collection_target(pods, "ws"), "/api/v1/namespaces/ws/pods");
  EXPECT_EQ(collection_target(sandboxes, ""), "/apis/agents.x-k8s.io/v1alpha1/sandboxes");
  EXPECT_EQ(object_target(deployments, "ws", "s-1"), "/apis/apps/v1/namespaces/ws/deployments/s-1");
  EXPECT_EQ(object_target({"", "v1", "namespaces"}, "", "ws"), "/api/v1/namespaces/ws") << "what belongs to no namespace";
}

TEST(ClusterTargets, OfAPage) {
  EXPECT_EQ(page_target(pods, "ws", "", 500, ""), "/api/v1/namespaces/ws/pods?limit=500");
  EXPECT_EQ(page_target(pods, "ws", "app=streamspace-session,a in (b)", 2, "a+/=&"),
            "/api/v1/namespaces/ws/pods?limit=2&labelSelector=app%3Dstreamspace-session%2Ca%20in%20%28b%29&continue=a%2B%2F%3D%26");
}

TEST(ClusterTargets, NoNameLeadsElsewhere) {
  for (const char* name : {"", ".", "..", "a/b", "../../secrets/x", "a%2Fb"}) EXPECT_THROW(object_target(pods, "ws", name), std::invalid_argument) << name;
  for (const char* name : {".", "..", "a/b"}) EXPECT_THROW(collection_target(pods, name), std::invalid_argument) << name;
  for (const char* name : {"", "Pods", "pods/log", "..", "-a", "pods?x"}) {
    EXPECT_THROW(collection_target({"", "v1", name}, "ws"), std::invalid_argument) << name;
    EXPECT_THROW(collection_target({"", name, "pods"}, "ws"), std::invalid_argument) << name;
    if (*name != '\0') EXPECT_THROW(collection_target({name, "v1", "pods"}, "ws"), std::invalid_argument) << name;
  }
  EXPECT_EQ(object_target(pods, "ws", "a?b#c d"), "/api/v1/namespaces/ws/pods/a%3Fb%23c%20d");
  EXPECT_THROW(object_target(pods, "ws", std::string(254, 'a')), std::invalid_argument);
}

TEST(ClusterTargets, AsAPodIsToldOfItsServer) {
  EXPECT_EQ(in_cluster_address("10.0.0.1", "6443"), "https://10.0.0.1:6443");
  EXPECT_EQ(in_cluster_address("fd00::1", "443"), "https://[fd00::1]:443");
  EXPECT_EQ(in_cluster_address("[fd00::1]", nullptr), "https://[fd00::1]:443");
  EXPECT_EQ(in_cluster_address(nullptr, "443"), "");
  EXPECT_EQ(in_cluster_address("", "443"), "");
}

}  // namespace
}  // namespace reconciler
