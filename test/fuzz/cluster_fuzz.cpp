// Answers of a Kubernetes API server: pages of metadata, statuses, what it serves.
#include <algorithm>

#include "cluster/answers.hpp"
#include "fuzz.hpp"

using namespace fuzz;
using namespace reconciler;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body = text(data, size);
  if (const auto page = read_page(body, "ws"))
    for (const ClusterObject& object : page->objects) {
      expect(!object.name.empty() && !object.uid.empty() && !object.resource_version.empty(), "an object that is read is named fully");
      expect(object.namespace_name == "ws", "only objects of the namespace that was asked for");
      expect(!object.annotations.contains("kubectl.kubernetes.io/last-applied-configuration"), "no copy of the whole object");
    }
  const auto status = read_status(body);
  if (status)
    expect(status->message.size() < 500 && std::none_of(status->message.begin(), status->message.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }),
           "what is said of an answer is short and printable");
  expect(!confirms_removal(body, "") || (status && status->success), "without its uid only a Status confirms that an object is removed");
  expect(!lists_resource(body, "pods").value_or(false) || body.find("pods") != body.npos || body.find('\\') != body.npos, "a kind that is served is named");
  if (const auto versions = group_versions(body)) expect(versions->size() < body.size(), "no more versions than were named");
  return 0;
}
