#include "postgres/role.hpp"

#include "postgres/pg.hpp"

namespace reconciler {

namespace {

// What a user's functions, and our reading of values, must not depend on. As autovacuum and pg_dump do. The session's
// TimeZone stays: defaults and triggers of the table may rest on it.
constexpr struct { const char* name; const char* value; } pinned[] = {
    {"search_path", "pg_catalog, pg_temp"},
    {"row_security", "off"},  // an error instead of rows silently left out
    {"DateStyle", "ISO"},
    {"IntervalStyle", "postgres"},
    {"extra_float_digits", "1"},
    {"bytea_output", "hex"},
};

int owners_blocks = 0;

void set_constraints_immediate() {
  ConstraintsSetStmt statement{};
  statement.type = T_ConstraintsSetStmt;
  statement.constraints = NIL;  // ALL
  statement.deferred = false;
  AfterTriggerSetState(&statement);
}

}  // namespace

detail::OwnersBlock::OwnersBlock() { ++owners_blocks; }
detail::OwnersBlock::~OwnersBlock() { --owners_blocks; }
bool in_owners_block() { return owners_blocks > 0; }

Oid extension_owner() {
  Oid owner = InvalidOid;
  guarded([&] {
    Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("session_reconciler"));
    SysScanDesc scan = systable_beginscan(extensions, ExtensionNameIndexId, true, nullptr, 1, &key);
    HeapTuple tuple = systable_getnext(scan);
    if (HeapTupleIsValid(tuple)) owner = reinterpret_cast<Form_pg_extension>(GETSTRUCT(tuple))->extowner;
    systable_endscan(scan);
    table_close(extensions, AccessShareLock);
  });
  if (!OidIsValid(owner)) throw ExtensionMissing();
  return owner;
}

detail::RoleBlock detail::enter_role(Oid role, bool restricted) {
  RoleBlock block;
  GetUserIdAndSecContext(&block.saved_user, &block.saved_context);
  bool switched = false;
  try {
    guarded([&] {
      if (restricted) set_constraints_immediate();
      SetUserIdAndSecContext(role, block.saved_context | SECURITY_LOCAL_USERID_CHANGE |
                                       (restricted ? SECURITY_RESTRICTED_OPERATION : 0));
      block.guc_level = NewGUCNestLevel();
      switched = true;
      for (const auto& setting : pinned)
        (void)set_config_option(setting.name, setting.value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
      // Our own tables are narrow and hot: a batch finds its rows by key, not by walking the table.
      if (!restricted) (void)set_config_option("random_page_cost", "1", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    });
  } catch (...) {
    if (switched) leave_role_after_error(block);
    throw;
  }
  return block;
}

void detail::leave_role(const RoleBlock& block) {
  guarded([&] {
    AtEOXact_GUC(false, block.guc_level);
    SetUserIdAndSecContext(block.saved_user, block.saved_context);
  });
}

// The abort of the (sub)transaction does the same; but code may catch the error inside of it.
void detail::leave_role_after_error(const RoleBlock& block) noexcept {
  try {
    leave_role(block);
  } catch (const std::exception& e) {
    report(LogLevel::warning, "could not leave a role", e);
  }
}

}  // namespace reconciler
