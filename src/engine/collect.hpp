// One collection of what sessions left behind in a cluster: begin → list and classify, kind by kind → remove → end. The
// worker, CALL collect_garbage() and the command line collector run this code; they differ in where the store is.
//
// The order is the proof. A session's row was committed before its objects were created; so the page comes first and the
// database is read after it, and an object without a row really has none.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/cluster.hpp"
#include "engine/wait.hpp"

namespace reconciler {

// What of a kind is looked at.
struct Selected {
  ResourceKind kind;
  std::vector<std::string> namespaces;  // '' is all of them; never empty
  std::string selector;                 // of labels, as the API takes it
};

struct CollectionStart {
  std::int64_t id = 0;           // 0: it must not begin
  std::string why_not;           // then: one sentence for people
  bool removes = false;          // objects may be removed; else they are only reported
  std::vector<Selected> kinds;   // in the order in which they are listed and removed
};

struct Deletion {
  std::int64_t resource = 0;     // number in reconciler.resource
  Removal removal;
};

struct CollectionEnd {
  std::int64_t objects = 0, removed = 0, failed = 0;
  bool complete = true;          // every kind was listed to its end, or is not served
  std::string detail;            // the first thing that went wrong, one sentence
};

// The database as one collection sees it. Every call is one short transaction of its own, committed when it returns.
// Implemented by postgres/, and by the collector over libpq with the SQL functions gc_begin() … gc_end(), one each.
class CollectionStore {
 public:
  virtual ~CollectionStore() = default;

  virtual CollectionStart begin() = 0;
  // One page, classified as of now, and remembered.
  virtual void classify(const CollectionStart&, const Selected&, const std::vector<ClusterObject>&) = 0;
  // The list of that kind has ended, in all of its namespaces: objects of a complete one that it no longer names are gone.
  virtual void listed(const CollectionStart&, const Selected&, const Listed&) = 0;
  // After all kinds: the next objects to remove, judged once more and claimed, at most `limit`. What the brake does not let
  // through is not among them. Empty: that was all.
  virtual std::vector<Deletion> deletions(const CollectionStart&, std::int64_t limit) = 0;
  virtual void report(const CollectionStart&, const Deletion&, const Removed&) = 0;
  virtual void end(const CollectionStart&, const CollectionEnd&) = 0;
};

class Collection {
 public:
  // They must outlive it.
  Collection(CollectionStore& store, Cluster& cluster, Waiter& waiter) : store_(store), cluster_(cluster), waiter_(waiter) {}

  // Removes `most` objects at most; the next collection goes on. Throws what the store and the waiter throw.
  CollectionEnd run(std::int64_t most);
  const CollectionStart& start() const { return start_; }  // after run()

  // Least distance of two removals.
  static constexpr Duration pace = milliseconds(200);

 private:
  void list(const Selected&);
  void remove(std::int64_t most);
  bool remove_one(const Deletion&);
  void note(bool good, const std::string& detail);
  void wait(Duration);

  CollectionStore& store_;
  Cluster& cluster_;
  Waiter& waiter_;
  CollectionStart start_;
  CollectionEnd end_;
};

}  // namespace reconciler
