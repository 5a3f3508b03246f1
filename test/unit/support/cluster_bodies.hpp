// Bodies as an API server writes them.
#pragma once

#include <string>
#include <vector>

namespace reconciler::testing {

inline std::string metadata_of(const std::string& name, const std::string& more = "") {
  return R"({"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":")" + name + R"(","namespace":"ws","uid":"uid-)" + name +
         R"(","resourceVersion":"7","creationTimestamp":"2025-12-05T10:00:00Z")" + more + "}}";
}

// items: "" is null, as a Go server writes an empty list
inline std::string list_of(const std::vector<std::string>& names, const std::string& next = "") {
  std::string items;
  for (const std::string& name : names) items += (items.empty() ? "[" : ",") + metadata_of(name);
  return R"({"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"99")" +
         (next.empty() ? "" : R"(,"continue":")" + next + R"(","remainingItemCount":1)") + R"(},"items":)" + (items.empty() ? "null" : items + "]") + "}\n";
}

inline std::string status_of(int code, const std::string& reason, const std::string& message, const std::string& details = "{}") {
  return R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":")" + std::string(code < 300 ? "Success" : "Failure") + R"(","message":")" + message +
         R"(","reason":")" + reason + R"(","details":)" + details + R"(,"code":)" + std::to_string(code) + "}\n";
}

}  // namespace reconciler::testing
