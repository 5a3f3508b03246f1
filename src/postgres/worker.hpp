// The worker of one database: an endless loop around run_due_passes().
#pragma once

#include <string>

#include "core/time.hpp"
#include "engine/wait.hpp"

namespace reconciler {

// worker_pass.cpp: runs what is due, and says how long to sleep (at most the setting interval is slept). Throws
// when a pass failed as a whole.
Duration run_due_passes(Waiter&);

// The version this library was built as, and the one CREATE/ALTER EXTENSION left in this database ('' = none).
const char* library_version();
std::string extension_version();
// '' when they fit; else the sentence that says which statement is due.
std::string version_advice(const std::string& extension, const std::string& library);

void register_launcher();  // in _PG_init while preloading

}  // namespace reconciler
