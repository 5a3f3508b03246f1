// One store operation = one transaction. The three places from which the same store runs differ only here.
//
//   worker      StartTransactionCommand ... CommitTransactionCommand; an error aborts. Each transaction first takes
//               AccessShareLock on the extension (DROP EXTENSION waits for one operation, never for a pass) and
//               throws ExtensionMissing if it has gone.
//   procedure   CALL outside of a transaction block, inside Procedure (below). The operation runs in a
//               subtransaction, because only a subtransaction's abort cleans up behind an executor error; then
//               SPI_commit, after which no xid, snapshot or lock remains; an error ends in SPI_rollback.
//   caller      a SQL function: the caller's transaction, nothing is committed, errors propagate.
#pragma once

#include <type_traits>
#include <utility>

#include "postgres/boundary.hpp"
#include "postgres/role.hpp"

namespace reconciler {

enum class TransactionMode { worker, procedure, caller };

class Transactions {
 public:
  explicit Transactions(TransactionMode mode) : mode_(mode) {}
  TransactionMode mode() const { return mode_; }
  // Whether each run() has the time of session_reconciler.statement_timeout: not where the session of a CALL has a
  // statement_timeout, which is for the whole CALL.
  bool own_time_limit() const;

  // Runs `body`, which may use C++ freely and calls the server through Sql or guarded(). Commits when it returns;
  // rolls back and rethrows when it throws. Not nestable (std::logic_error). lock_timeout and
  // statement_timeout are those of the settings. `activity` is what pg_stat_activity shows for the
  // worker (a CALL stays what its user typed): a literal.
  template <class Body>
  auto run(const char* activity, Body&& body) -> std::invoke_result_t<Body&> {
    begin(activity);
    return finish_after(std::forward<Body>(body), [this] { commit(); }, [this] { roll_back(); });
  }

  // Inside run(): its commit does not wait for the disk, or for a synchronous standby. A crash within the next moments
  // (three times wal_writer_delay at most) takes it back.
  void need_not_be_flushed();

  // An internal subtransaction inside run() (or in the caller's transaction): the only way to go on after an error.
  template <class Body>
  static auto subtransaction(Body&& body) -> std::invoke_result_t<Body&> {
    Savepoint savepoint = begin_subtransaction();
    return finish_after(std::forward<Body>(body), [&] { release(savepoint); }, [&] { roll_back_to(savepoint); });
  }

 private:
  struct Savepoint { void* context; void* owner; };

  template <class Body, class Good, class Bad>
  static auto finish_after(Body&& body, Good good, Bad bad) -> std::invoke_result_t<Body&> {
    using Result = std::invoke_result_t<Body&>;
    try {
      if constexpr (std::is_void_v<Result>) {
        body();
        good();
      } else {
        Result result = body();
        good();
        return result;
      }
    } catch (...) {
      bad();  // never throws; what failed is what the caller hears of
      throw;
    }
  }

  void begin(const char* activity);
  void commit();
  void roll_back() noexcept;
  static Savepoint begin_subtransaction();
  static void release(const Savepoint&);
  static void roll_back_to(const Savepoint&) noexcept;

  const TransactionMode mode_;
  Savepoint savepoint_{};
  bool open_ = false;
};

// A CALLed procedure that commits. Construct first thing in it with fcinfo->context; throws UserError 2D000 with a
// hint inside a transaction block (also from a function, an atomic DO block or a subtransaction), before anything
// was done. Ends the CALL's own first transaction, so that no snapshot is left when the first wait comes.
class Procedure {
 public:
  explicit Procedure(const void* call_context, const char* statement);  // "CALL reconcile()"
  ~Procedure();
  Procedure(const Procedure&) = delete;
  Procedure& operator=(const Procedure&) = delete;
};

}  // namespace reconciler
