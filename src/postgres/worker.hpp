// The worker of one database: an endless loop around DuePasses::run().
#pragma once

#include <exception>
#include <map>
#include <string>

#include "core/time.hpp"
#include "engine/wait.hpp"

namespace reconciler {

// What fails is tried again after a pause that doubles each time, from `shortest` up to the setting interval. The error
// is logged when it is new, not each time: a broken hour must not fill the log.
class Failures {
 public:
  static constexpr Duration shortest = seconds(5);
  Duration note(const std::string& what, const std::exception&);  // one more; how long to pause
  void end(const std::string& what);
  int count() const { return count_; }

 private:
  int count_ = 0;
  std::string last_error_;
};

// worker_pass.cpp: passes over the bindings. One whose passes fail pauses by itself and delays no other.
class DuePasses {
 public:
  explicit DuePasses(Waiter& waiter) : waiter_(waiter) {}
  // Runs what is due, and says how long to sleep (at most the setting interval is slept). `asked`: somebody woke the
  // worker, so what fails need not pause for longer than Failures::shortest.
  Duration run(bool asked);

 private:
  struct Failing { Failures failures; Duration failed{0}, next_try{0}; };  // by Waiter::uptime()
  Duration run_one(int id);

  Waiter& waiter_;
  std::map<int, Failing> failing_;
};

// worker_collect.cpp: collections of clusters, after the passes. One cluster that fails delays no other.
class DueCollections {
 public:
  explicit DueCollections(Waiter& waiter) : waiter_(waiter) {}
  // Runs what is due, and says when the next is.
  Duration run();

 private:
  struct Failing { Failures failures; Duration next_try{0}; std::string put_off; };  // by Waiter::uptime()
  Duration run_one(const std::string& cluster);
  Duration put_off(const std::string& cluster, const std::string& why);

  Waiter& waiter_;
  std::map<std::string, Failing> failing_;
};

// The version this library was built as, and the one CREATE/ALTER EXTENSION left in this database ('' = none).
const char* library_version();
std::string extension_version();
// '' when they fit; else the sentence that says which statement is due.
std::string version_advice(const std::string& extension, const std::string& library);

void register_launcher();  // in _PG_init while preloading

}  // namespace reconciler
