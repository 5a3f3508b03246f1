#include "postgres/parameters.hpp"

#include "postgres/clock.hpp"

namespace reconciler {

namespace {

Param null_param(Param::Kind kind) {
  Param p;
  p.kind = kind;
  p.null = true;
  return p;
}

Param scalar(Param::Kind kind, std::int64_t number) {
  Param p;
  p.kind = kind;
  p.number = number;
  return p;
}

template <class T>
Param list_param(Param::Kind kind, const std::vector<T>& elements, bool optional_elements) {
  Param p;
  p.kind = kind;
  p.array = true;
  p.optional_elements = optional_elements;
  p.elements = &elements;
  return p;
}

Param text_param(Param::Kind kind, std::string_view view) {
  Param p;
  p.kind = kind;
  p.view = view;
  return p;
}

}  // namespace

Param Param::text(std::string_view v) { return text_param(Kind::text, v); }
Param Param::text(const std::optional<std::string>& v) { return v ? text(*v) : null_param(Kind::text); }
Param Param::jsonb(std::string_view v) { return text_param(Kind::jsonb, v); }
Param Param::jsonb(const std::optional<std::string>& v) { return v ? jsonb(*v) : null_param(Kind::jsonb); }
Param Param::jsonb(const Jsonb& v) { return v.empty() ? null_param(Kind::jsonb) : text_param(Kind::stored_jsonb, v.stored); }
Param Param::integer(std::int64_t v) { return scalar(Kind::integer, v); }
Param Param::integer(const std::optional<std::int64_t>& v) { return v ? integer(*v) : null_param(Kind::integer); }
Param Param::boolean(bool v) { return scalar(Kind::boolean, v); }
Param Param::boolean(const std::optional<bool>& v) { return v ? boolean(*v) : null_param(Kind::boolean); }
Param Param::time(Time v) { return scalar(Kind::time, timestamptz_from_time(v)); }
Param Param::time(const std::optional<Time>& v) { return v ? time(*v) : null_param(Kind::time); }
Param Param::interval(Duration v) { return scalar(Kind::interval, v.count()); }
Param Param::interval(const std::optional<Duration>& v) { return v ? interval(*v) : null_param(Kind::interval); }
Param Param::oid(Oid v) { return scalar(Kind::oid, v); }
Param Param::real(double v) {
  Param p = scalar(Kind::real, 0);
  p.floating = v;
  return p;
}
Param Param::texts(const std::vector<std::string>& v) { return list_param(Kind::text, v, false); }
Param Param::texts(const std::vector<std::optional<std::string>>& v) { return list_param(Kind::text, v, true); }
Param Param::jsonbs(const std::vector<std::optional<std::string>>& v) { return list_param(Kind::jsonb, v, true); }
Param Param::jsonbs(const std::vector<std::optional<Jsonb>>& v) { return list_param(Kind::stored_jsonb, v, true); }
Param Param::integers(const std::vector<std::int64_t>& v) { return list_param(Kind::integer, v, false); }
Param Param::integers(const std::vector<std::optional<std::int64_t>>& v) { return list_param(Kind::integer, v, true); }
Param Param::times(const std::vector<std::optional<Time>>& v) { return list_param(Kind::time, v, true); }
Param Param::booleans(const std::vector<std::optional<bool>>& v) { return list_param(Kind::boolean, v, true); }

namespace {

struct TypeOfKind { Oid scalar, array; int length; bool by_value; char align; };

TypeOfKind type_of_kind(Param::Kind kind) {
  switch (kind) {
    case Param::Kind::text: return {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT};
    case Param::Kind::jsonb:
    case Param::Kind::stored_jsonb: return {JSONBOID, 3807 /* _jsonb */, -1, false, TYPALIGN_INT};
    case Param::Kind::integer: return {INT8OID, INT8ARRAYOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE};
    case Param::Kind::real: return {FLOAT8OID, FLOAT8ARRAYOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE};
    case Param::Kind::boolean: return {BOOLOID, 1000 /* _bool */, 1, true, TYPALIGN_CHAR};
    case Param::Kind::time: return {TIMESTAMPTZOID, 1185 /* _timestamptz */, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE};
    case Param::Kind::interval: return {INTERVALOID, 1187 /* _interval */, 16, false, TYPALIGN_DOUBLE};
    case Param::Kind::oid: return {OIDOID, OIDARRAYOID, 4, true, TYPALIGN_INT};
  }
  return {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT};
}

struct Bytes { const char* data; int length; };

// Checked and converted. A NUL or half a character from outside is an error here, not a broken row.
Bytes server_bytes(std::string_view text) {
  if (text.size() >= MaxAllocSize) ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("text value is too long")));
  const int length = static_cast<int>(text.size());
  const char* data = length ? text.data() : "";
  if (memchr(data, '\0', length))
    ereport(ERROR,
            (errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE), errmsg("invalid byte sequence: NUL in a text value")));
  if (GetDatabaseEncoding() == PG_SQL_ASCII) return {data, length};
  const char* converted = pg_any_to_server(data, length, PG_UTF8);
  return {converted, converted == data ? length : static_cast<int>(strlen(converted))};
}

// As it came from the server: memory of a std::string is aligned for it.
Datum stored_datum(std::string_view bytes) { return PointerGetDatum(bytes.data()); }

Datum text_datum(Param::Kind kind, std::string_view text) {
  const Bytes bytes = server_bytes(text);
  if (kind == Param::Kind::text) return PointerGetDatum(cstring_to_text_with_len(bytes.data, bytes.length));
  return DirectFunctionCall1(jsonb_in, CStringGetDatum(pnstrdup(bytes.data, bytes.length)));
}

Datum number_datum(Param::Kind kind, std::int64_t number) {
  switch (kind) {
    case Param::Kind::boolean: return BoolGetDatum(number != 0);
    case Param::Kind::oid: return ObjectIdGetDatum(static_cast<Oid>(number));
    case Param::Kind::interval: {
      Interval* interval = static_cast<Interval*>(palloc0(sizeof(Interval)));
      interval->time = number;
      return IntervalPGetDatum(interval);
    }
    default: return Int64GetDatum(number);
  }
}

// What Param's array forms point at.
template <class T>
const std::vector<T>& list(const Param& p) {
  return *static_cast<const std::vector<T>*>(p.elements);
}
using Text = std::string;
using Integer = std::int64_t;
template <class T>
using Maybe = std::optional<T>;

std::size_t element_count(const Param& p) {
  switch (p.kind) {
    case Param::Kind::integer: return p.optional_elements ? list<Maybe<Integer>>(p).size() : list<Integer>(p).size();
    case Param::Kind::time: return list<Maybe<Time>>(p).size();
    case Param::Kind::boolean: return list<Maybe<bool>>(p).size();
    case Param::Kind::stored_jsonb: return list<Maybe<Jsonb>>(p).size();
    default: return p.optional_elements ? list<Maybe<Text>>(p).size() : list<Text>(p).size();
  }
}

bool element_is_null(const Param& p, std::size_t i) {
  if (!p.optional_elements) return false;
  switch (p.kind) {
    case Param::Kind::integer: return !list<Maybe<Integer>>(p)[i];
    case Param::Kind::time: return !list<Maybe<Time>>(p)[i];
    case Param::Kind::boolean: return !list<Maybe<bool>>(p)[i];
    case Param::Kind::stored_jsonb: return !list<Maybe<Jsonb>>(p)[i] || list<Maybe<Jsonb>>(p)[i]->empty();
    default: return !list<Maybe<Text>>(p)[i];
  }
}

Datum element_datum(const Param& p, std::size_t i) {
  switch (p.kind) {
    case Param::Kind::integer: return number_datum(p.kind, p.optional_elements ? *list<Maybe<Integer>>(p)[i] : list<Integer>(p)[i]);
    case Param::Kind::time: return number_datum(p.kind, timestamptz_from_time(*list<Maybe<Time>>(p)[i]));
    case Param::Kind::boolean: return number_datum(p.kind, *list<Maybe<bool>>(p)[i]);
    case Param::Kind::stored_jsonb: return stored_datum(list<Maybe<Jsonb>>(p)[i]->stored);
    default: return text_datum(p.kind, p.optional_elements ? *list<Maybe<Text>>(p)[i] : list<Text>(p)[i]);
  }
}

Datum array_datum(const Param& p) {
  const TypeOfKind type = type_of_kind(p.kind);
  if (element_count(p) > MaxArraySize) ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("array is too long")));
  const int count = static_cast<int>(element_count(p));
  if (count == 0) return PointerGetDatum(construct_empty_array(type.scalar));
  Datum* values = static_cast<Datum*>(palloc(sizeof(Datum) * count));
  bool* nulls = static_cast<bool*>(palloc(sizeof(bool) * count));
  for (int i = 0; i < count; ++i) {
    nulls[i] = element_is_null(p, i);
    values[i] = nulls[i] ? static_cast<Datum>(0) : element_datum(p, i);
  }
  int dimensions[1] = {count}, lower_bounds[1] = {1};
  return PointerGetDatum(construct_md_array(values, nulls, 1, dimensions, lower_bounds, type.scalar, type.length, type.by_value,
                                            type.align));
}

}  // namespace

bool encodings_differ() {
  const int encoding = GetDatabaseEncoding();
  return encoding != PG_UTF8 && encoding != PG_SQL_ASCII;
}

const char* to_server(const char* text) {
  return encodings_differ() ? pg_any_to_server(text, static_cast<int>(strlen(text)), PG_UTF8) : text;
}

Oid type_of(const Param& p) {
  const TypeOfKind type = type_of_kind(p.kind);
  return p.array ? type.array : type.scalar;
}

Datum datum_of(const Param& p) {
  if (p.array) return array_datum(p);
  if (p.kind == Param::Kind::real) return Float8GetDatum(p.floating);
  if (p.kind == Param::Kind::stored_jsonb) return stored_datum(p.view);
  if (p.kind == Param::Kind::text || p.kind == Param::Kind::jsonb) return text_datum(p.kind, p.view);
  return number_datum(p.kind, p.number);
}

// A copy that any database takes. Works on bytes alone: never raises.
std::string valid_text(std::string_view text, std::size_t max_bytes) {
  const bool utf8 = GetDatabaseEncoding() == PG_UTF8;
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto* at = reinterpret_cast<const unsigned char*>(text.data()) + i;
    std::size_t length = 1;
    bool fine = *at != 0 && *at < 0x80;
    if (*at >= 0x80 && utf8) {
      length = static_cast<std::size_t>(pg_utf_mblen(at));
      fine = i + length <= text.size() && pg_utf8_islegal(at, static_cast<int>(length));
      if (!fine) length = 1;
    }
    if (out.size() + (fine ? length : 1) > max_bytes) break;
    if (fine) out.append(text.substr(i, length));
    else if (*at != 0) out += '?';
    i += length;
  }
  return out;
}

}  // namespace reconciler
