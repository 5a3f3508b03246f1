// session-reconciler-gc: one collection of what sessions left behind, from outside of the database server. It has the
// rights in the cluster and none in the database but to ask what may go; decisions and audit are the database's.
#include <poll.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <algorithm>

#include "cluster/http_cluster.hpp"
#include "collector/database.hpp"
#include "collector/log.hpp"
#include "collector/options.hpp"
#include "collector/sql_store.hpp"

namespace reconciler {
namespace {

enum ExitStatus { all_done = 0, something_failed = 1, wrong_usage = 2, may_not_begin = 3, error_ended_it = 4, signal_ended_it = 5 };

volatile std::sig_atomic_t stop_asked = 0;

struct Interrupted {};

class PollingWaiter final : public Waiter {
 public:
  void wait(int fd, Duration timeout) override {
    if (stop_asked) throw Interrupted();
    pollfd one{fd, POLLIN, 0};
    // Never long: a signal that comes right before poll() is seen after it.
    const auto span = std::chrono::ceil<milliseconds>(std::clamp<Duration>(timeout, Duration(0), seconds(1)));
    ::poll(&one, fd < 0 ? 0 : 1, static_cast<int>(span.count()));
    if (stop_asked) throw Interrupted();
  }
  Duration uptime() const override { return std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()); }
};

void watch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { stop_asked = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // TLS libraries write without MSG_NOSIGNAL
}

http::Credentials credentials_of(const CollectorOptions& options) {
  const http::Address address = http::parse_address(options.api_url, "--api-url");
  http::Credentials credentials(http::CredentialFiles{"cluster", address.origin, options.token_file, {options.ca_file, "", ""}});
  credentials.refresh();  // what is wrong with the files is said before anything begins
  credentials.check(address, "API server");
  return credentials;
}

ExitStatus collect(SqlStore& store, const CollectorOptions& options, http::Credentials& credentials) {
  PollingWaiter waiter;
  ClusterOptions to;
  to.address = options.api_url;
  HttpCluster cluster(to, credentials, waiter);
  Collection collection(store, cluster, waiter);
  const CollectionEnd end = collection.run(options.most);
  if (collection.start().id == 0) {
    log_line("not begun", {{"cluster", options.cluster}, {"detail", collection.start().why_not}});
    return may_not_begin;
  }
  return end.complete && end.failed == 0 ? all_done : something_failed;
}

ExitStatus run(const CollectorOptions& options) {
  http::Credentials credentials = credentials_of(options);
  Database database(options.dsn);
  SqlStore store(database, options.cluster, options.dry_run);
  try {
    return collect(store, options, credentials);
  } catch (const Interrupted&) {
    store.give_up("interrupted");
    log_line("interrupted", {{"cluster", options.cluster}});
    return signal_ended_it;
  }
}

ExitStatus main_of(int argc, const char* const* argv) {
  try {
    const CollectorOptions options = parse_options(argc, argv);
    if (options.help) return std::fputs(collector_usage, stdout), all_done;
    if (options.version) return std::puts("session-reconciler-gc " RECONCILER_VERSION), all_done;
    watch_signals();
    return run(options);
  } catch (const UsageError& error) {
    std::fprintf(stderr, "session-reconciler-gc: %s (see --help)\n", error.what());
    return wrong_usage;
  } catch (const http::ConfigError& error) {
    log_line("error", {{"detail", error.what()}, {"hint", error.hint}});
  } catch (const DatabaseError& error) {
    log_line("error", {{"detail", error.what()}, {"sqlstate", error.sqlstate}});
  } catch (const std::exception& error) {
    log_line("error", {{"detail", error.what()}});
  }
  return error_ended_it;
}

}  // namespace
}  // namespace reconciler

int main(int argc, char** argv) { return reconciler::main_of(argc, argv); }
