// Whether the library in memory and the objects that CREATE or ALTER EXTENSION made belong together.
#include <cstdlib>

#include "postgres/boundary.hpp"
#include "postgres/worker.hpp"
#include "postgres/pg.hpp"

#ifndef RECONCILER_VERSION
#error "the Makefile passes -DRECONCILER_VERSION, from the control file"
#endif

namespace reconciler {

namespace {

// 1.10 is newer than 1.9; a part that is no number counts as 0.
int compare_versions(const std::string& a, const std::string& b) {
  const char* x = a.c_str();
  const char* y = b.c_str();
  while (*x || *y) {
    char* end;
    const long left = std::strtol(x, &end, 10);
    x = *end ? end + 1 : end;
    const long right = std::strtol(y, &end, 10);
    y = *end ? end + 1 : end;
    if (left != right) return left < right ? -1 : 1;
  }
  return 0;
}

}  // namespace

const char* library_version() { return RECONCILER_VERSION; }

std::string extension_version() {
  std::string version;
  guarded([&] {
    Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("session_reconciler"));
    SysScanDesc scan = systable_beginscan(extensions, ExtensionNameIndexId, true, nullptr, 1, &key);
    HeapTuple tuple = systable_getnext(scan);
    if (HeapTupleIsValid(tuple)) {
      bool null;
      Datum value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(extensions), &null);
      if (!null) version = text_to_cstring(DatumGetTextPP(value));
    }
    systable_endscan(scan);
    table_close(extensions, AccessShareLock);
  });
  return version;
}

std::string version_advice(const std::string& extension, const std::string& library) {
  if (extension == library) return {};
  return compare_versions(extension, library) < 0
             ? "Run ALTER EXTENSION session_reconciler UPDATE in this database."
             : "The server has an older library in memory than is installed: restart the server.";
}

}  // namespace reconciler
