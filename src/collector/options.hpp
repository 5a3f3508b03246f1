// The command line of session-reconciler-gc.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace reconciler {

struct CollectorOptions {
  std::string cluster;   // by its name in set_cluster()
  std::string dsn;       // libpq's; what it does not say comes from PG* variables
  std::string api_url, token_file, ca_file;
  std::int64_t most = 1000;  // removals of this run
  bool dry_run = false;
  bool help = false, version = false;
};

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Where no API server is named, that of the cluster around this pod, with the pod's own service account. Throws UsageError.
CollectorOptions parse_options(int argc, const char* const* argv);

extern const char* const collector_usage;

}  // namespace reconciler
