#include "cluster/http_cluster.hpp"

#include <algorithm>
#include <stdexcept>

#include "cluster/answers.hpp"
#include "cluster/targets.hpp"
#include "core/json.hpp"
#include "core/text.hpp"

namespace reconciler {
namespace {

using http::Response;

// Metadata and nothing else. A server that can't has to say so (406), instead of sending whole objects.
constexpr const char* metadata_only = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
constexpr Duration longest_wait = seconds(60);

bool answered(const Response& response, long status) { return response.result == Response::Result::answered && response.status == status; }

// Worth asking again: the server did not answer, or says that it can't just now.
bool may_pass(const Response& response) {
  return response.result != Response::Result::answered || response.status == 429 || response.status >= 500;
}

Response not_asked(std::string why) {
  Response response;
  response.error = std::move(why);
  return response;
}

// What the server says of it, for people.
std::string words(const Response& response) {
  if (response.result != Response::Result::answered) return response.error;
  const auto status = read_status(response.body);
  return cat({"the API server answered ", std::to_string(response.status), status && !status->message.empty() ? ": " + status->message : ""});
}

// The right that is missing, in the words of a role: a server's own message need not name it.
std::string missing_right(const char* verb, const ResourceKind& kind, const std::string& namespace_name, const Response& response) {
  const std::string where = namespace_name.empty() ? "in all namespaces" : "in namespace " + in_quotes(one_line(namespace_name));
  return cat({"may not ", verb, " ", shown(kind), " ", where, ": ", words(response)});
}

std::string delete_options(const Removal& removal) {
  nlohmann::json body{{"kind", "DeleteOptions"},
                      {"apiVersion", "v1"},
                      {"propagationPolicy", "Background"},
                      {"preconditions", {{"uid", removal.uid}, {"resourceVersion", removal.resource_version}}}};
  if (removal.dry_run) body["dryRun"] = {"All"};
  return body.dump();
}

}  // namespace

HttpCluster::HttpCluster(ClusterOptions options, http::Credentials& credentials, Waiter& waiter)
    : options_(std::move(options)), credentials_(credentials), waiter_(waiter) {}

HttpCluster::~HttpCluster() = default;

Listed HttpCluster::list(const ResourceKind& kind, const std::string& namespace_name, const std::string& selector, const Page& page) {
  Listed listed;
  try {
    collection_target(kind, namespace_name);
  } catch (const std::invalid_argument& error) {
    listed.detail = error.what();
    return listed;
  }
  std::string next;
  bool expired = false;
  for (int pages = 0; pages < options_.most_pages; ++pages) {
    const Response response = ask_patiently({"GET", page_target(kind, namespace_name, selector, options_.page_size, next), metadata_only, {}});
    if (answered(response, 410) && !next.empty() && !expired) {
      // The snapshot that the pages are of is no longer there. What the server would go on with is another one: objects may
      // have been missed, so this begins again.
      expired = true;
      next.clear();
      listed.objects = 0;
      continue;
    }
    if (!answered(response, 200)) return not_listed(response, kind, namespace_name);
    const auto read = read_page(response.body, namespace_name);
    if (!read) {
      listed.detail = cat({"the answer to a list of ", shown(kind), " is not a list of metadata"});
      return listed;
    }
    listed.objects += static_cast<std::int64_t>(read->objects.size());
    if (!read->objects.empty()) page(read->objects);
    if (read->next.empty()) {
      listed.outcome = Listed::Outcome::complete;
      return listed;
    }
    next = read->next;
  }
  listed.detail = cat({"the list of ", shown(kind), " has no end"});
  return listed;
}

Listed HttpCluster::not_listed(const Response& response, const ResourceKind& kind, const std::string& namespace_name) {
  Listed listed;
  listed.detail = words(response);
  if (answered(response, 401)) {
    listed.outcome = Listed::Outcome::unauthorized;
  } else if (answered(response, 403)) {
    listed.outcome = Listed::Outcome::forbidden;
    listed.detail = missing_right("list", kind, namespace_name, response);
  } else if (answered(response, 404)) {
    // The same answer as that of a server which is not the right one.
    const auto served = serves(kind);
    if (served && !*served) {
      listed.outcome = Listed::Outcome::not_served;
      listed.detail = cat({"the API server has no ", shown(kind)});
    } else if (served) {
      listed.detail = cat({"the API server has ", shown(kind), ", but not of version ", kind.version});
    }
  }
  return listed;
}

// Whether the server has the kind, in whatever version: what is stored is the same in all of them. By discovery, which every
// account may read.
std::optional<bool> HttpCluster::serves(const ResourceKind& kind) {
  if (kind.group.empty()) return has_resource(kind);
  const Response group = discover("/apis/" + kind.group);
  if (answered(group, 404)) {
    // No such group; the core API shows that this is an API server at all.
    const auto core = has_resource({"", "v1", "pods"});
    return core && *core ? std::optional(false) : std::nullopt;
  }
  const auto versions = answered(group, 200) ? group_versions(group.body) : std::nullopt;
  if (!versions) return {};
  for (const std::string& version : *versions) {
    const auto has = has_resource({kind.group, version, kind.resource});
    if (!has || *has) return has;
  }
  return false;
}

std::optional<bool> HttpCluster::has_resource(const ResourceKind& kind) {
  try {
    const Response version = discover(version_target(kind));
    return answered(version, 200) ? lists_resource(version.body, kind.resource) : std::nullopt;
  } catch (const std::invalid_argument&) {  // the server named that version
    return {};
  }
}

Response HttpCluster::discover(const std::string& target) { return ask_patiently({"GET", target, "application/json", {}}); }

Removed HttpCluster::remove(const Removal& removal) {
  Removed removed;
  if (removal.uid.empty() || removal.resource_version.empty()) {
    removed.detail = "without its uid and resource version nothing is removed";
    return removed;
  }
  Response response;
  try {
    response = ask({"DELETE", object_target(removal.kind, removal.namespace_name, removal.name), "application/json", delete_options(removal)});
  } catch (const std::invalid_argument& error) {
    removed.detail = error.what();
    return removed;
  }
  removed.detail = words(response);
  if (response.result != Response::Result::answered) return removed;
  switch (response.status) {
    case 200:
    case 202:
      if (!confirms_removal(response.body, removal.uid)) break;
      removed.outcome = Removed::Outcome::accepted;
      removed.detail.clear();
      break;
    case 401:
      removed.outcome = Removed::Outcome::unauthorized;
      break;
    case 403:
      removed.outcome = Removed::Outcome::forbidden;
      removed.detail = missing_right("delete", removal.kind, removal.namespace_name, response);
      break;
    case 404: {
      // Of the object. One that does not name it is about the kind, or comes from somebody else.
      const auto status = read_status(response.body);
      if (status && status->named == removal.name) removed.outcome = Removed::Outcome::absent;
      break;
    }
    case 409:
      removed.outcome = Removed::Outcome::changed;
      break;
    case 429:
    case 503:
      removed.outcome = Removed::Outcome::busy;
      removed.retry_after = response.retry_after;
      break;
  }
  return removed;
}

// Tries again what may pass: reading twice does no harm.
Response HttpCluster::ask_patiently(const Question& question) {
  Duration pause_before_next = options_.first_pause;
  for (int left = options_.tries - 1;; --left, pause_before_next *= 2) {
    Response response = ask(question);
    if (!may_pass(response) || !given_up_.empty()) return response;
    const Duration wait = std::max(response.retry_after.value_or(Duration(0)), pause_before_next);
    if (left <= 0 || wait > options_.longest_pause) {
      if (response.result != Response::Result::answered) given_up_ = response.error;
      return response;
    }
    pause(wait);
  }
}

// Once; and once more with what the files hold now, where the server does not take the token: that did nothing.
Response HttpCluster::ask(const Question& question) {
  if (!given_up_.empty()) return not_asked(given_up_);
  if (!options_.outbound) return not_asked(given_up_ = "outbound connections are switched off");
  try {
    const http::Address address = http::parse_address(options_.address, "cluster address");
    credentials_.refresh();
    credentials_.check(address, "cluster");
    Response response = exchange(prepare(question, address));
    if (!answered(response, 401)) return response;
    credentials_.refresh(true);
    credentials_.check(address, "cluster");
    http::Request again = prepare(question, address);
    again.fresh_connection = !again.tls.cert_file.empty();  // a client certificate is shown when a connection begins
    return exchange(std::move(again));
  } catch (const http::ConfigError& error) {
    return not_asked(given_up_ = error.what());
  }
}

http::Request HttpCluster::prepare(const Question& question, const http::Address& address) const {
  http::Request request;
  request.method = question.method;
  request.url = address.origin.text() + address.prefix + question.target;
  request.headers.emplace_back("Accept", question.accept);
  if (!question.body.empty()) request.headers.emplace_back("Content-Type", "application/json");
  request.body = question.body;
  request.connect_timeout = options_.connect_timeout;
  request.total_timeout = options_.total_timeout;
  request.max_body = options_.longest_page;
  if (const http::Credential* credential = credentials_.find(address.origin)) http::authorize(request, *credential);
  return request;
}

Response HttpCluster::exchange(http::Request request) {
  if (!client_) {
    try {
      client_ = std::make_unique<http::Client>(1);
    } catch (const std::runtime_error& error) {
      return not_asked(std::string("could not set up HTTP: ") + error.what());
    }
  }
  try {
    client_->start(std::move(request));
    for (;;) {
      if (auto response = client_->finished()) return *std::move(response);
      waiter_.wait(client_->descriptor(), longest_wait);
      client_->drive();
    }
  } catch (...) {
    client_.reset();  // what is in flight is dropped
    throw;
  }
}

void HttpCluster::pause(Duration span) {
  const Duration end = waiter_.uptime() + span;
  for (Duration left = span; left > Duration(0); left = end - waiter_.uptime()) waiter_.wait(-1, left);
}

std::string in_cluster_address(const char* host, const char* port) {
  if (host == nullptr || *host == '\0') return {};
  const bool bare_ipv6 = std::string_view(host).find(':') != std::string_view::npos && *host != '[';
  return cat({"https://", bare_ipv6 ? "[" : "", host, bare_ipv6 ? "]" : "", ":", port == nullptr || *port == '\0' ? "443" : port});
}

}  // namespace reconciler
