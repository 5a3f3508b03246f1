// session_reconciler.* in postgresql.conf, as C++ values.
#pragma once

#include <string>
#include <vector>

#include "core/time.hpp"

namespace reconciler::settings {

void define();  // in _PG_init

std::vector<std::string> databases();  // empty: every connectable database is looked at once
Duration interval();
std::string credentials_file();        // '' = none; absolute
bool outbound();
int max_in_flight();
Duration lock_timeout();
Duration statement_timeout();
Duration event_retention();            // zero: events are kept for ever
Duration clock_offset();               // developer option: added to the database clock

}  // namespace reconciler::settings
