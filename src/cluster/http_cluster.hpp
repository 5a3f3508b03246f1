// Cluster over the HTTP API of a Kubernetes API server.
#pragma once

#include <memory>
#include <string>

#include "engine/cluster.hpp"
#include "engine/wait.hpp"
#include "http/client.hpp"
#include "http/credentials.hpp"

namespace reconciler {

struct ClusterOptions {
  std::string address;                 // base URL of the API server
  int page_size = 500;                 // what the API's own clients ask for
  int most_pages = 10000;              // of a list that has no end
  std::size_t longest_page = 32 << 20; // bytes; a longer answer is none
  Duration connect_timeout = seconds(2), total_timeout = seconds(15);  // of a page or a removal
  int tries = 4;                       // of a page that the server is too busy for, or fails to give
  Duration first_pause = milliseconds(500), longest_pause = seconds(30);  // between them: doubled, or what the server says
  bool outbound = true;                // false: no connection attempt at all, every answer is unknown
};

// For one collection: a server that can't be reached with all tries is not asked again.
class HttpCluster final : public Cluster {
 public:
  HttpCluster(ClusterOptions, http::Credentials&, Waiter&);
  ~HttpCluster() override;
  Listed list(const ResourceKind&, const std::string& namespace_name, const std::string& selector, const Page&) override;
  Removed remove(const Removal&) override;

 private:
  struct Question { std::string method, target, accept, body; };

  http::Response ask(const Question&);
  http::Response ask_patiently(const Question&);
  http::Request prepare(const Question&, const http::Address&) const;
  http::Response exchange(http::Request);
  void pause(Duration);
  std::optional<bool> serves(const ResourceKind&);
  std::optional<bool> has_resource(const ResourceKind&);
  http::Response discover(const std::string& target);
  Listed not_listed(const http::Response&, const ResourceKind&, const std::string& namespace_name);

  const ClusterOptions options_;
  http::Credentials& credentials_;
  Waiter& waiter_;
  std::unique_ptr<http::Client> client_;
  std::string given_up_;  // why the server is not asked any more; '' = it is
};

// The address of the API server as pods are told it; IPv6 gets its brackets. '' = not in a pod.
std::string in_cluster_address(const char* service_host, const char* service_port);
inline constexpr const char* in_cluster_token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
inline constexpr const char* in_cluster_ca_file = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

}  // namespace reconciler
