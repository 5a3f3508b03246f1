// What the engine relies on in a Store, as cases that run on the simulated one (test/unit/store_contract_test.cpp) and
// on the real one in a server (test/tap/t/016_store_contract.pl). Each starts from an empty table with three policies:
// `terminating`, which users ask for, `running`, which is inferred, and `pending`, for which a start is sent; the budgets
// are two forces each.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/store.hpp"

namespace reconciler::contract {

// The world around two passes. Agents "a" and "b" exist; others do not.
class Bench {
 public:
  virtual ~Bench() = default;
  virtual Store& one() = 0;
  virtual Store& other() = 0;  // a second pass, with a memory of its own
  // The row is in that state since an hour; it is made where there is none.
  virtual void put(const std::string& key, const std::string& state, std::optional<std::string> agent = "a") = 0;
  virtual void remove(const std::string& key) = 0;
  virtual std::string state_of(const std::string& key) = 0;
  // The application's own, on record, each newer than the one before. A stop was completed, all others are pending.
  virtual void command(const std::string& key, const std::string& action, const std::string& agent = "a") = 0;
  virtual void hold(const std::string& key) = 0;
  virtual void pause(bool everything) = 0;
  virtual void reset_brake(int allow) = 0;
  // Agents "a" and "b" are of one pool, with room for five sessions each. Returns its number.
  virtual int pool() = 0;
  virtual void plan(const std::string& key, const std::string& from, const std::string& to) = 0;  // as rebalance_pool() does
  virtual void instance_grace(Duration) = 0;  // none, where nothing is said
  virtual void advance(Duration) = 0;
  struct Noted {
    std::string session, kind, reason;
    bool images = false, evidence = false;
  };
  virtual std::vector<Noted> events() = 0;  // oldest first
};

struct Case {
  const char* name;
  void (*run)(Bench&);
};
const std::vector<Case>& cases();

// A check that failed.
struct Broken : std::logic_error {
  using std::logic_error::logic_error;
};

}  // namespace reconciler::contract
