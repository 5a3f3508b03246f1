#include "postgres/transaction.hpp"

#include <stdexcept>

#include "postgres/settings.hpp"
#include "postgres/user_error.hpp"
#include "postgres/pg.hpp"

namespace reconciler {

namespace {

constexpr const char* extension_name = "session_reconciler";

// DROP EXTENSION takes AccessExclusiveLock on the same object: it waits for this transaction, and we see its result.
Oid lock_extension() {
  const Oid before = get_extension_oid(extension_name, true);
  if (!OidIsValid(before)) return InvalidOid;
  LockDatabaseObject(ExtensionRelationId, before, 0, AccessShareLock);
  return get_extension_oid(extension_name, true) == before ? before : InvalidOid;
}

void set_for_this_transaction(const char* name, const char* value) {
  (void)set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

// A session that set a shorter lock_timeout keeps it.
void limit_lock_waits() {
  const int ours = static_cast<int>(settings::lock_timeout() / milliseconds(1));
  if (ours == 0 || (LockTimeout > 0 && LockTimeout < ours)) return;
  char value[32];
  pg_snprintf(value, sizeof value, "%d", ours);
  set_for_this_transaction("lock_timeout", value);
}

void begin_worker_transaction(const char* activity) {
  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  PushActiveSnapshot(GetTransactionSnapshot());
  pgstat_report_activity(STATE_RUNNING, activity);
}

// Only a client's command loop arms statement_timeout by itself, and that only where its session has one.
void arm_statement_timeout() {
  const int limit = static_cast<int>(settings::statement_timeout() / milliseconds(1));
  if (limit > 0) enable_timeout_after(STATEMENT_TIMEOUT, limit);
}

// The timer may have fired too late to matter: its cancel must not hit what comes next.
void disarm_statement_timeout() {
  disable_timeout(STATEMENT_TIMEOUT, true);
  if (get_timeout_indicator(STATEMENT_TIMEOUT, true)) QueryCancelPending = false;
}

void report_idle() {
  compat::report_stat();  // or autovacuum never hears of what was written
  pgstat_report_activity(STATE_IDLE, nullptr);
}

// Best effort on the way out of an error: the error itself is what counts.
template <class Fn>
void quietly(Fn fn) noexcept {
  try {
    guarded(fn);
  } catch (const std::exception& e) {
    report(LogLevel::warning, "could not roll back", e);
  } catch (...) {
  }
}

}  // namespace

bool Transactions::own_time_limit() const {
  return mode_ == TransactionMode::worker || (mode_ == TransactionMode::procedure && StatementTimeout == 0);
}

void Transactions::begin(const char* activity) {
  if (open_) throw std::logic_error("Transactions::run is not nestable");
  try {
    Oid extension = InvalidOid;
    if (mode_ == TransactionMode::worker) {
      savepoint_.context = CurrentMemoryContext;  // a commit would leave us in TopMemoryContext
      guarded([&] {
        begin_worker_transaction(activity);
        arm_statement_timeout();
        limit_lock_waits();
        extension = lock_extension();
      });
    } else if (mode_ == TransactionMode::procedure) {
      savepoint_ = begin_subtransaction();
      guarded([&] {
        if (own_time_limit()) arm_statement_timeout();
        limit_lock_waits();
        extension = lock_extension();
      });
    }
    open_ = true;
    if (mode_ != TransactionMode::caller && !OidIsValid(extension)) throw ExtensionMissing();
  } catch (...) {
    open_ = true;
    roll_back();
    throw;
  }
}

void Transactions::need_not_be_flushed() {
  guarded([] { set_for_this_transaction("synchronous_commit", "off"); });
}

void Transactions::commit() {
  switch (mode_) {
    case TransactionMode::worker:
      guarded([] {
        disarm_statement_timeout();  // before the commit, as the server's own command loop does
        PopActiveSnapshot();
        CommitTransactionCommand();
        report_idle();
      });
      MemoryContextSwitchTo(static_cast<MemoryContext>(savepoint_.context));
      break;
    case TransactionMode::procedure:
      if (own_time_limit()) guarded([] { disarm_statement_timeout(); });
      release(savepoint_);
      savepoint_ = {};
      guarded([] {
        SPI_commit();
        SPI_start_transaction();  // a no-op where SPI_commit does it
      });
      break;
    case TransactionMode::caller:
      break;
  }
  open_ = false;
}

void Transactions::roll_back() noexcept {
  if (!open_) return;
  open_ = false;
  switch (mode_) {
    case TransactionMode::worker:
      quietly([] {
        disable_timeout(STATEMENT_TIMEOUT, false);
        QueryCancelPending = false;
        AbortCurrentTransaction();
        report_idle();
      });
      MemoryContextSwitchTo(static_cast<MemoryContext>(savepoint_.context));
      break;
    case TransactionMode::procedure:
      if (own_time_limit()) quietly([] { disarm_statement_timeout(); });
      if (savepoint_.owner) roll_back_to(savepoint_);
      savepoint_ = {};
      quietly([] {
        SPI_rollback();
        SPI_start_transaction();
      });
      break;
    case TransactionMode::caller:
      break;
  }
}

Transactions::Savepoint Transactions::begin_subtransaction() {
  Savepoint savepoint{CurrentMemoryContext, CurrentResourceOwner};
  guarded([&] {
    BeginInternalSubTransaction(nullptr);
    // Values made inside live on after it, as in a PL's exception block.
    MemoryContextSwitchTo(static_cast<MemoryContext>(savepoint.context));
  });
  return savepoint;
}

void Transactions::release(const Savepoint& savepoint) {
  guarded([&] {
    ReleaseCurrentSubTransaction();
    MemoryContextSwitchTo(static_cast<MemoryContext>(savepoint.context));
    CurrentResourceOwner = static_cast<ResourceOwner>(savepoint.owner);
  });
}

void Transactions::roll_back_to(const Savepoint& savepoint) noexcept {
  quietly([&] {
    RollbackAndReleaseCurrentSubTransaction();
    MemoryContextSwitchTo(static_cast<MemoryContext>(savepoint.context));
    CurrentResourceOwner = static_cast<ResourceOwner>(savepoint.owner);
  });
}

Procedure::Procedure(const void* call_context, const char* statement) {
  const Node* context = static_cast<const Node*>(call_context);
  const bool may_commit = context && IsA(context, CallContext) && !castNode(CallContext, context)->atomic;
  if (!may_commit || IsSubTransaction())
    throw UserError("2D000", std::string(statement) + " cannot run inside a transaction block",
                    "Run it by itself, outside of BEGIN ... COMMIT, a function or a block with an EXCEPTION clause: it "
                    "commits on its way.");
  guarded([] {
    if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
    SPI_commit();
    SPI_start_transaction();
  });
}

Procedure::~Procedure() {
  // After an error the transaction's abort has to clean up, and does.
  if (std::uncaught_exceptions() == 0) quietly([] { SPI_finish(); });
}

}  // namespace reconciler
