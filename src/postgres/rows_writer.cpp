#include "postgres/rows_writer.hpp"

#include <cstring>

#include "postgres/clock.hpp"
#include "postgres/parameters.hpp"

namespace reconciler {

// Trivially destructible, like everything that lives while the server is called.
struct RowsWriter::Reader {
  Oid type;            // the base type, under domains
  FmgrInfo output;     // where no case of add() knows the type
};

namespace {

bool read_directly(Oid type) {
  switch (type) {
    case INT2OID: case INT4OID: case INT8OID: case OIDOID: case BOOLOID: case FLOAT4OID: case FLOAT8OID:
    case TIMESTAMPTZOID: case INTERVALOID: case TEXTOID: case VARCHAROID: case NAMEOID: case JSONBOID: case TEXTARRAYOID:
    case 1015 /* _varchar */: case 1003 /* _name */:
      return true;
    default:
      return false;
  }
}

std::int64_t micros_of(const Interval& i) {
  return i.time + (static_cast<std::int64_t>(i.month) * DAYS_PER_MONTH + i.day) * USECS_PER_DAY;
}

}  // namespace

void RowsWriter::add_real(double value) {
  std::int64_t bits;  // std::bit_cast is not in g++ 10
  std::memcpy(&bits, &value, sizeof bits);
  rows_.cells_.push_back({Rows::Kind::real, 0, bits});
}

void RowsWriter::add_text(const char* data, std::size_t length) {
  if (convert_) {
    const char* converted = pg_server_to_any(data, static_cast<int>(length), PG_UTF8);
    if (converted != data) length = strlen(converted);
    data = converted;
  }
  rows_.cells_.push_back({Rows::Kind::text, static_cast<std::uint32_t>(length), static_cast<std::int64_t>(rows_.text_.size())});
  rows_.text_.append(data, length);
}

// Length and bytes of each element, one after the other.
void RowsWriter::add_list(Datum value, Oid element) {
  ArrayType* array = DatumGetArrayTypeP(value);
  Datum* elements = nullptr;
  bool* nulls = nullptr;
  int count = 0;
  if (element == NAMEOID) deconstruct_array(array, element, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, &nulls, &count);
  else deconstruct_array(array, element, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
  const std::size_t start = rows_.text_.size();
  for (int i = 0; i < count; ++i) {
    if (nulls[i]) continue;
    const char* item = element == NAMEOID ? NameStr(*DatumGetName(elements[i])) : TextDatumGetCString(elements[i]);
    if (convert_) item = pg_server_to_any(item, static_cast<int>(strlen(item)), PG_UTF8);
    const auto length = static_cast<std::uint32_t>(strlen(item));
    rows_.text_.append(reinterpret_cast<const char*>(&length), sizeof length);
    rows_.text_.append(item, length);
  }
  const std::size_t length = rows_.text_.size() - start;
  rows_.cells_.push_back({Rows::Kind::list, static_cast<std::uint32_t>(length), static_cast<std::int64_t>(start)});
}

void RowsWriter::add(const Reader& reader, Datum value) {
  using Kind = Rows::Kind;
  switch (reader.type) {
    case INT2OID: rows_.cells_.push_back({Kind::integer, 0, DatumGetInt16(value)}); return;
    case INT4OID: rows_.cells_.push_back({Kind::integer, 0, DatumGetInt32(value)}); return;
    case INT8OID: rows_.cells_.push_back({Kind::integer, 0, DatumGetInt64(value)}); return;
    case OIDOID: rows_.cells_.push_back({Kind::integer, 0, DatumGetObjectId(value)}); return;
    case BOOLOID: rows_.cells_.push_back({Kind::integer, 0, DatumGetBool(value)}); return;
    case FLOAT4OID: add_real(DatumGetFloat4(value)); return;
    case FLOAT8OID: add_real(DatumGetFloat8(value)); return;
    case TIMESTAMPTZOID:
      rows_.cells_.push_back({Kind::time, 0, unix_micros(time_from_timestamptz(DatumGetTimestampTz(value)))});
      return;
    case INTERVALOID: rows_.cells_.push_back({Kind::span, 0, micros_of(*DatumGetIntervalP(value))}); return;
    case NAMEOID: {
      const char* name = NameStr(*DatumGetName(value));
      add_text(name, strlen(name));
      return;
    }
    case TEXTOID:
    case VARCHAROID: {
      text* packed = DatumGetTextPP(value);
      add_text(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
      return;
    }
    case JSONBOID: {
      const struct varlena* stored = PG_DETOAST_DATUM(value);
      rows_.cells_.push_back({Kind::jsonb, static_cast<std::uint32_t>(VARSIZE(stored)), static_cast<std::int64_t>(rows_.text_.size())});
      rows_.text_.append(reinterpret_cast<const char*>(stored), VARSIZE(stored));
      return;
    }
    case TEXTARRAYOID: add_list(value, TEXTOID); return;
    case 1015 /* _varchar */: add_list(value, VARCHAROID); return;
    case 1003 /* _name */: add_list(value, NAMEOID); return;
    default: {
      const char* printed = OutputFunctionCall(const_cast<FmgrInfo*>(&reader.output), value);
      add_text(printed, strlen(printed));
    }
  }
}

void RowsWriter::copy(SPITupleTable* table, std::uint64_t processed) {
  rows_.affected_ = processed;
  if (!table) return;
  convert_ = encodings_differ();
  const TupleDesc shape = table->tupdesc;
  const int columns = shape->natts;
  Reader* readers = static_cast<Reader*>(palloc0(sizeof(Reader) * (columns + 1)));
  Datum* values = static_cast<Datum*>(palloc(sizeof(Datum) * (columns + 1)));
  bool* nulls = static_cast<bool*>(palloc(sizeof(bool) * (columns + 1)));
  for (int i = 0; i < columns; ++i) {
    readers[i].type = getBaseType(TupleDescAttr(shape, i)->atttypid);
    if (!read_directly(readers[i].type)) {
      Oid output;
      bool is_varlena;
      getTypeOutputInfo(readers[i].type, &output, &is_varlena);
      fmgr_info(output, &readers[i].output);
    }
    const char* name = NameStr(TupleDescAttr(shape, i)->attname);
    rows_.columns_.emplace_back(convert_ ? pg_server_to_any(name, static_cast<int>(strlen(name)), PG_UTF8) : name);
  }
  rows_.rows_ = processed;
  rows_.cells_.reserve(processed * columns);

  // What a value is printed or unpacked into is needed for the length of one row.
  MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "session_reconciler row", ALLOCSET_DEFAULT_SIZES);
  MemoryContext outer = MemoryContextSwitchTo(row_context);
  for (std::uint64_t r = 0; r < processed; ++r) {
    heap_deform_tuple(table->vals[r], shape, values, nulls);
    for (int i = 0; i < columns; ++i) {
      if (nulls[i]) rows_.cells_.push_back({});
      else add(readers[i], values[i]);
    }
    MemoryContextReset(row_context);
  }
  MemoryContextSwitchTo(outer);
}

}  // namespace reconciler
