// Every difference between PostgreSQL 13 and 18 that this extension meets, as inline functions. The only file
// that looks at PG_VERSION_NUM. Included by pg.hpp after the server's headers, never alone.
#pragma once

#ifndef RECONCILER_PG_HPP
#error "include postgres/pg.hpp instead"
#endif

#if PG_VERSION_NUM < 130000
#error "PostgreSQL 13 or newer is needed"
#endif

extern "C" {
#if PG_VERSION_NUM >= 140000
#include "utils/backend_status.h"
#include "utils/wait_event.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
}

// [[noreturn]] works in every version; pg_attribute_noreturn() is gone in 18 and pg_noreturn new there.

#if PG_VERSION_NUM >= 180000
#define RECONCILER_MODULE_MAGIC(module, module_version) PG_MODULE_MAGIC_EXT(.name = module, .version = module_version)
#else
#define RECONCILER_MODULE_MAGIC(module, module_version) PG_MODULE_MAGIC
#endif

namespace reconciler::compat {

// Shared memory must be asked for in shmem_request_hook since 15, and in _PG_init before.
inline void on_shmem_request(void (*request)()) {
#if PG_VERSION_NUM >= 150000
  static shmem_request_hook_type previous;
  static void (*ours)();
  previous = shmem_request_hook;
  ours = request;
  shmem_request_hook = [] {
    if (previous) previous();
    ours();
  };
#else
  request();
#endif
}

// Names that a typo in postgresql.conf would otherwise turn into silent placeholders.
inline void reserve_setting_prefix(const char* prefix) {
#if PG_VERSION_NUM >= 150000
  MarkGUCPrefixReserved(prefix);
#else
  EmitWarningsOnPlaceholders(prefix);
#endif
}

// What pg_stat_activity shows while we wait: a name of our own since 17, "Extension" before.
inline uint32 wait_event(const char* name [[maybe_unused]], uint32* cache [[maybe_unused]]) {
#if PG_VERSION_NUM >= 170000
  if (*cache == 0) *cache = WaitEventExtensionNew(name);
  return *cache;
#else
  return PG_WAIT_EXTENSION;
#endif
}

// A wait set that lives as long as the process.
inline WaitEventSet* create_wait_set(int events) {
#if PG_VERSION_NUM >= 170000
  return CreateWaitEventSet(nullptr, events);
#else
  return CreateWaitEventSet(TopMemoryContext, events);
#endif
}

// The timeline that this server writes, to notice a promotion.
inline TimeLineID timeline() {
#if PG_VERSION_NUM >= 140000
  return GetWALInsertionTimeLine();
#else
  return ThisTimeLineID;
#endif
}

// Armed by StartTransaction since 17, for workers too, and FATAL when it fires: our transactions have their own
// limits (lock_timeout, statement_timeout), so a worker does without.
inline void disable_transaction_timeout() {
#if PG_VERSION_NUM >= 170000
  SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

// Left behind by an interrupted DROP DATABASE (marked so since the releases of May 2023; nothing to see before).
inline bool database_is_invalid(const FormData_pg_database* database) {
#ifdef DATCONNLIMIT_INVALID_DB
  return database->datconnlimit == DATCONNLIMIT_INVALID_DB;
#else
  return database->datconnlimit < -1;
#endif
}

// What was counted goes to the cumulative statistics: at most once a second, or, before a long sleep, all of it.
// (The function returns void before 15, a number since.)
inline void report_stat() { pgstat_report_stat(false); }
inline void flush_stat() { pgstat_report_stat(true); }

// Whether any snapshot is alive in this backend.
inline bool holds_snapshot() {
#if PG_VERSION_NUM >= 140000
  return HaveRegisteredOrActiveSnapshot();
#else
  return ActiveSnapshotSet() || TransactionIdIsValid(MyPgXact->xmin);
#endif
}

inline TransactionId oldest_xmin_of_this_backend() {
#if PG_VERSION_NUM >= 140000
  return MyProc->xmin;
#else
  return MyPgXact->xmin;
#endif
}

// A set-returning function that fills a tuplestore. One call since 15; spelled out before.
inline void begin_materialized_result(FunctionCallInfo fcinfo) {
#if PG_VERSION_NUM >= 160000
  InitMaterializedSRF(fcinfo, 0);
#elif PG_VERSION_NUM >= 150000
  SetSingleFuncCall(fcinfo, 0);
#else
  ReturnSetInfo* info = (ReturnSetInfo*)fcinfo->resultinfo;
  if (info == nullptr || !IsA(info, ReturnSetInfo))
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("set-valued function called in context that cannot accept a set")));
  if (!(info->allowedModes & SFRM_Materialize))
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("materialize mode required, but it is not allowed in this context")));
  MemoryContext outer = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);
  TupleDesc shape;
  if (get_call_result_type(fcinfo, nullptr, &shape) != TYPEFUNC_COMPOSITE) elog(ERROR, "return type must be a row type");
  info->returnMode = SFRM_Materialize;
  info->setResult = tuplestore_begin_heap((info->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
  info->setDesc = shape;
  MemoryContextSwitchTo(outer);
#endif
}

}  // namespace reconciler::compat
