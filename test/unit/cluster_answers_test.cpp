// What is read of an API server's answers, and what proves nothing.
#include <gtest/gtest.h>

#include "cluster/answers.hpp"
#include "support/cluster_bodies.hpp"

namespace reconciler {
namespace {

using namespace reconciler::testing;

std::string page_with(const std::string& item) {
  return R"({"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[)" + item + "]}";
}

TEST(ClusterAnswers, AnObjectsMetadata) {
  const auto page = read_page(page_with(metadata_of("s-1", R"(,
    "labels":{"app":"streamspace-session","session":"s-1"},
    "annotations":{"session-reconciler.io/keep":"true","kubectl.kubernetes.io/last-applied-configuration":"{\"env\":\"SECRET\"}"},
    "deletionTimestamp":"2025-12-05T10:00:01+01:00","finalizers":["a/b","c"],
    "managedFields":[{"manager":"kubectl","fieldsV1":{"f:spec":{}}}],
    "ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u-n"},
                       {"apiVersion":"apps/v1","kind":"ReplicaSet","name":"rs","uid":"u-rs","controller":true,"blockOwnerDeletion":true}])")),
                              "ws");
  ASSERT_TRUE(page);
  ASSERT_EQ(page->objects.size(), 1u);
  const ClusterObject& object = page->objects[0];
  EXPECT_EQ(object.name, "s-1");
  EXPECT_EQ(object.namespace_name, "ws");
  EXPECT_EQ(object.uid, "uid-s-1");
  EXPECT_EQ(object.resource_version, "7");
  EXPECT_EQ(object.created, from_unix_micros(1764928800000000));
  EXPECT_EQ(object.deleted, from_unix_micros(1764925201000000));
  EXPECT_EQ(object.labels.at("session"), "s-1");
  EXPECT_EQ(object.annotations.size(), 1u) << "not the copy of the whole object, which may hold secrets";
  EXPECT_EQ(object.finalizers, (std::vector<std::string>{"a/b", "c"}));
  ASSERT_TRUE(object.controller);
  EXPECT_EQ(object.controller->kind, "ReplicaSet");
  EXPECT_EQ(object.controller->uid, "u-rs");
}

TEST(ClusterAnswers, Pages) {
  EXPECT_EQ(read_page(list_of({"a", "b"}, "token"), "ws")->objects.size(), 2u);
  EXPECT_EQ(read_page(list_of({"a", "b"}, "token"), "ws")->next, "token");
  EXPECT_EQ(read_page(list_of({"a"}), "")->next, "");
  const auto empty = read_page(list_of({}), "ws");
  ASSERT_TRUE(empty) << "items: null";
  EXPECT_TRUE(empty->objects.empty());
}

TEST(ClusterAnswers, WhatIsNoListProvesNothing) {
  EXPECT_FALSE(read_page("", ""));
  EXPECT_FALSE(read_page("null", ""));
  EXPECT_FALSE(read_page("<html></html>", ""));
  EXPECT_FALSE(read_page(R"({"kind":"DeploymentList","apiVersion":"apps/v1","metadata":{},"items":[]})", "")) << "whole objects";
  EXPECT_FALSE(read_page(R"({"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{}})", "")) << "no items";
  EXPECT_FALSE(read_page(R"({"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[]})", "")) << "no metadata: it may go on";
  EXPECT_FALSE(read_page(R"({"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"continue":5},"items":[]})", ""));
  EXPECT_FALSE(read_page(list_of({"a"}) + "x", "ws"));
  EXPECT_FALSE(read_page(list_of({"a"}).substr(0, 100), "ws")) << "half of it";
  EXPECT_FALSE(read_page(list_of({"a"}), "elsewhere")) << "of another namespace";
  EXPECT_FALSE(read_page(page_with(R"({"metadata":{"name":"a","namespace":"ws","uid":"u"}})"), "ws")) << "no resource version";
  EXPECT_FALSE(read_page(page_with(metadata_of("a", R"(,"labels":{"a":1})")), "ws"));
  EXPECT_FALSE(read_page(page_with(metadata_of("a", R"(,"deletionTimestamp":"soon")")), "ws"));
  EXPECT_FALSE(read_page(page_with("5"), ""));
}

TEST(ClusterAnswers, Statuses) {
  const auto status = read_status(status_of(404, "NotFound", "pods \\\"a\\\" not found", R"({"name":"a","kind":"pods"})"));
  ASSERT_TRUE(status);
  EXPECT_FALSE(status->success);
  EXPECT_EQ(status->message, "pods \"a\" not found");
  EXPECT_EQ(status->named, "a");
  EXPECT_FALSE(read_status("404 page not found"));
  EXPECT_FALSE(read_status(R"({"kind":"Pod","apiVersion":"v1"})"));
}

TEST(ClusterAnswers, RemovalsThatWereTaken) {
  EXPECT_TRUE(confirms_removal(status_of(200, "", "", R"({"name":"a","kind":"pods","uid":"u"})"), "u"));
  EXPECT_TRUE(confirms_removal(metadata_of("a"), "uid-a")) << "the object itself, which now ends";
  EXPECT_FALSE(confirms_removal(metadata_of("b"), "uid-a"));
  EXPECT_FALSE(confirms_removal(status_of(500, "InternalError", "no"), "u"));
  EXPECT_FALSE(confirms_removal("{}", "u"));
  EXPECT_FALSE(confirms_removal("{}", ""));
  EXPECT_FALSE(confirms_removal("ok", "u"));
}

TEST(ClusterAnswers, WhatAServerHas) {
  const std::string list = R"({"kind":"APIResourceList","apiVersion":"v1","groupVersion":"apps/v1","resources":[{"name":"deployments"},{"name":"deployments/scale"}]})";
  EXPECT_EQ(lists_resource(list, "deployments"), true);
  EXPECT_EQ(lists_resource(list, "sandboxes"), false);
  EXPECT_EQ(lists_resource(R"({"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods"}]})", "pods"), true) << "as /api/v1 has it";
  EXPECT_FALSE(lists_resource("{}", "deployments"));
  EXPECT_EQ(group_versions(R"({"kind":"APIGroup","apiVersion":"v1","name":"a","versions":[{"version":"v1"},{"version":"v2"}]})"), (std::vector<std::string>{"v1", "v2"}));
  EXPECT_FALSE(group_versions(list));
  EXPECT_FALSE(lists_resource("", "deployments"));
}

}  // namespace
}  // namespace reconciler
