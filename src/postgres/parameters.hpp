// Parameters as the server takes them. For spi.cpp; includes the server's headers.
#pragma once

#include "postgres/spi.hpp"
#include "postgres/pg.hpp"

namespace reconciler {

Oid type_of(const Param&);
// Inside guarded(), in a context that is reset. Not for a NULL.
Datum datum_of(const Param&);

// Between the UTF-8 of our strings and the encoding of the database. A database that declares none (SQL_ASCII) gets
// and gives its bytes as they are.
bool encodings_differ();
const char* to_server(const char* text);

}  // namespace reconciler
