// Copies a result of SPI into Rows. For spi.cpp; includes the server's headers.
#pragma once

#include "postgres/spi.hpp"
#include "postgres/pg.hpp"

namespace reconciler {

class RowsWriter {
 public:
  explicit RowsWriter(Rows& rows) : rows_(rows) {}
  // Inside guarded(). The table may be null (no result set).
  void copy(SPITupleTable*, std::uint64_t processed);

 private:
  struct Reader;  // how one column is read
  void add(const Reader&, Datum);
  void add_real(double);
  void add_text(const char* data, std::size_t length);
  void add_list(Datum array, Oid element);

  Rows& rows_;
  bool convert_ = false;
};

}  // namespace reconciler
