#include "collector/options.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>

#include "cluster/http_cluster.hpp"

namespace reconciler {

const char* const collector_usage =
    R"(session-reconciler-gc: deletes what sessions left behind in a Kubernetes cluster

It lists the kinds that set_cluster() names, lets the database judge each object, deletes what has been left
behind where the cluster is in mode enforce, and reports back. One collection, then it ends.

  --cluster NAME      as set_cluster() has it (required)
  --dsn CONNINFO      the control plane's database; what it does not say comes from PGHOST, PGPASSFILE, ...
                      Its role wants: SELECT reconciler_grant('ROLE', 'collector')
  --api-url URL       of the API server; in a pod it is known, with the files of its service account
  --token-file FILE   bearer token, read again when it changes
  --ca-file FILE      certificates that the API server's must lead to
  --most N            deletions at most (1000); the next run goes on
  --once              one collection (this is all it does)
  --dry-run           the API server checks every deletion and does none; nothing is recorded as deleted
  --version, --help

The log goes to standard output, one JSON object a line. Exit status: 0 all kinds were listed and nothing failed; 1 something
of it failed, the rest was done; 2 wrong usage; 3 the database does not let a collection begin; 4 an error ended it; 5 a signal did.
)";

namespace {

std::int64_t number(const std::string& name, const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    throw UsageError("--" + name + " needs a number that is not negative, not \"" + text + "\"");
  return value;
}

void find_api_server(CollectorOptions& options) {
  if (!options.api_url.empty()) return;
  options.api_url = in_cluster_address(std::getenv("KUBERNETES_SERVICE_HOST"), std::getenv("KUBERNETES_SERVICE_PORT"));
  if (options.api_url.empty()) throw UsageError("--api-url is missing, and this is no pod of a cluster");
  if (options.token_file.empty()) options.token_file = in_cluster_token_file;
  if (options.ca_file.empty()) options.ca_file = in_cluster_ca_file;
}

}  // namespace

CollectorOptions parse_options(int argc, const char* const* argv) {
  CollectorOptions options;
  bool once = true;
  const std::map<std::string, bool*> switches{
      {"once", &once}, {"dry-run", &options.dry_run}, {"help", &options.help}, {"version", &options.version}};
  std::string most;
  const std::map<std::string, std::string*> values{{"cluster", &options.cluster},       {"dsn", &options.dsn},         {"api-url", &options.api_url},
                                                   {"token-file", &options.token_file}, {"ca-file", &options.ca_file}, {"most", &most}};
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word.rfind("--", 0) != 0) throw UsageError("unexpected argument \"" + word + "\"");
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(2, equals == word.npos ? equals : equals - 2);
    if (auto found = switches.find(name); found != switches.end() && equals == word.npos) {
      *found->second = true;
    } else if (auto valued = values.find(name); valued == values.end()) {
      throw UsageError("unknown option --" + name);
    } else if (equals != word.npos) {
      *valued->second = word.substr(equals + 1);
    } else if (++i < argc) {
      *valued->second = argv[i];
    } else {
      throw UsageError("--" + name + " needs a value");
    }
  }
  if (options.help || options.version) return options;
  if (options.cluster.empty()) throw UsageError("--cluster is missing");
  if (!most.empty()) options.most = number("most", most);
  find_api_server(options);
  return options;
}

}  // namespace reconciler
