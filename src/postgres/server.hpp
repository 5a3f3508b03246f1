// Which server and database this is: what a binding is armed for.
#pragma once

#include <cstdint>
#include <string>

#include "core/time.hpp"
#include "postgres/oid.hpp"

namespace reconciler {

struct Server {
  std::string system;         // system identifier, decimal
  Oid database = 0;
  std::string database_name;
  Time started{};             // of the postmaster
  std::int64_t timeline = 0;  // WAL timeline being written
  int pid = 0;                // of this process
};
Server this_server();         // inside a transaction

}  // namespace reconciler
