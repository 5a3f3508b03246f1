#include "postgres/settings.hpp"

#include "postgres/boundary.hpp"
#include "postgres/pg.hpp"

namespace reconciler::settings {

namespace {

constexpr const char* prefix = "session_reconciler";

char* databases_text;
int interval_s = 60;
char* credentials_file_text;
bool outbound_on = true;
int max_in_flight_count = 64;
int lock_timeout_ms = 2000;
int statement_timeout_ms = 60000;
int event_retention_min = 90 * 24 * 60;
int clock_offset_s = 0;

// A list of names; upper case is kept without quotes, since databases are named as their owners type them.
bool check_databases(char** value, void**, GucSource) {
  char* copy = pstrdup(*value);
  List* names = NIL;
  const bool fine = SplitGUCList(copy, ',', &names);
  list_free(names);
  pfree(copy);
  if (!fine) GUC_check_errdetail("List syntax is invalid.");
  return fine;
}

bool check_credentials_file(char** value, void**, GucSource) {
  if (**value == '\0' || is_absolute_path(*value)) return true;
  GUC_check_errdetail("It must be an absolute file name.");
  return false;
}

}  // namespace

void define() {
  DefineCustomStringVariable(
      "session_reconciler.databases", "Databases in which a worker may run.",
      "Empty: at server start each database that allows connections is looked at once, and later where CREATE EXTENSION "
      "or attach_sessions() tells it. A worker leaves a database that has no extension or no attached table.",
      &databases_text, "", PGC_SIGHUP, GUC_LIST_INPUT, check_databases, nullptr, nullptr);
  DefineCustomIntVariable(
      "session_reconciler.interval", "Longest time between two passes of the worker.",
      "The worker wakes up earlier when something falls due.", &interval_s, 60, 1, 3600, PGC_SIGHUP, GUC_UNIT_S, nullptr,
      nullptr, nullptr);
  DefineCustomStringVariable(
      "session_reconciler.credentials_file", "File that says which token and certificates go to which hub.",
      "A JSON array of objects with name, origin, token_file, ca_file, cert_file, key_file and allow_plaintext, readable "
      "by the server alone (mode 0600 or 0640). Without a file only hubs on loopback are talked to.",
      &credentials_file_text, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_credentials_file, nullptr, nullptr);
  DefineCustomBoolVariable(
      "session_reconciler.outbound", "Allows connections to hubs and clusters.",
      "Off: no connection is attempted at all; evidence has to be pushed.", &outbound_on, true, PGC_SIGHUP, 0, nullptr,
      nullptr, nullptr);
  DefineCustomIntVariable(
      "session_reconciler.max_in_flight", "Most HTTP requests of one pass that are under way at the same time.", nullptr,
      &max_in_flight_count, 64, 1, 1024, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "session_reconciler.lock_timeout", "Longest wait of a pass for a lock.",
      "A row or table that somebody else has locked is left for the next pass. Zero: no limit of its own.",
      &lock_timeout_ms, 2000, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "session_reconciler.statement_timeout", "Longest time for one transaction of a pass.",
      "In CALL reconcile() the statement_timeout of the session, if it has one, counts instead, for the whole CALL. Zero: no limit.",
      &statement_timeout_ms, 60000, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "session_reconciler.event_retention", "Age at which events are removed.",
      "Given without a unit it counts minutes: write 90d. Zero: events are kept for ever.", &event_retention_min,
      90 * 24 * 60, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "session_reconciler.clock_offset", "Moves the clock of the reconciler, in seconds.",
      "A developer option: tests let time pass with it. Never set it in production.", &clock_offset_s, 0, INT_MIN, INT_MAX,
      PGC_SUSET, GUC_UNIT_S | GUC_NOT_IN_SAMPLE, nullptr, nullptr, nullptr);
  compat::reserve_setting_prefix(prefix);
}

std::vector<std::string> databases() {
  std::vector<std::string> names;
  if (!databases_text || !*databases_text) return names;
  guarded([&] {
    List* list = NIL;
    char* copy = pstrdup(databases_text);
    if (SplitGUCList(copy, ',', &list)) {
      ListCell* cell;
      foreach (cell, list) names.emplace_back(static_cast<const char*>(lfirst(cell)));
    }
    list_free(list);
    pfree(copy);
  });
  return names;
}

Duration interval() { return seconds(interval_s); }
std::string credentials_file() { return credentials_file_text ? credentials_file_text : ""; }
bool outbound() { return outbound_on; }
int max_in_flight() { return max_in_flight_count; }
Duration lock_timeout() { return milliseconds(lock_timeout_ms); }
Duration statement_timeout() { return milliseconds(statement_timeout_ms); }
Duration event_retention() { return minutes(event_retention_min); }
Duration clock_offset() { return seconds(clock_offset_s); }

}  // namespace reconciler::settings
