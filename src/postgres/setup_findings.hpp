// What is to be said of an attached table as it is now: to attach_sessions(), and to preflight() ever after.
#pragma once

#include "postgres/binding_store.hpp"
#include "postgres/setup_detect.hpp"
#include "postgres/setup_report.hpp"

namespace reconciler {

// Reads catalogs only. The items are: key, owner, row security, rights, triggers, labels, guard, time zone, index STATE,
// index agents, index commands, commands, foreign writers.
Findings table_findings(const AttachedBinding&, const TableLook&);

// Of every cluster, as preflight() says it.
void cluster_findings(Findings&);

// The schema that CREATE EXTENSION chose, quoted where needed.
std::string extension_schema();

}  // namespace reconciler
