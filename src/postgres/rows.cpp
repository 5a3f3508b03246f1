// Rows as a plain value: no server in here.
#include <cstring>
#include <stdexcept>

#include "postgres/spi.hpp"

namespace reconciler {

namespace {
std::string column_name(const std::vector<std::string>& columns, Rows::Column c) {
  if (c.name) return c.name;
  return c.number >= 0 && c.number < static_cast<int>(columns.size()) ? columns[c.number] : std::to_string(c.number);
}
}  // namespace

const Rows::Cell& Rows::cell(std::size_t row, Column column) const {
  int number = column.number;
  const int count = static_cast<int>(columns_.size());
  if (column.name) {
    number = after_last_ < count && columns_[after_last_] == column.name ? after_last_ : 0;
    while (number < count && columns_[number] != column.name) ++number;
    after_last_ = number + 1;
  }
  if (row >= rows_ || number < 0 || number >= count)
    throw std::logic_error("no column " + column_name(columns_, column) + " in the result");
  return cells_[row * columns_.size() + number];
}

const Rows::Cell& Rows::typed(std::size_t row, Column column, Kind kind, const char* wanted) const {
  const Cell& c = cell(row, column);
  if (c.kind != kind)
    throw std::logic_error("column " + column_name(columns_, column) +
                           (c.kind == Kind::null ? " is null" : std::string(" is no ") + wanted));
  return c;
}

Rows::Row Rows::only() const {
  if (rows_ != 1) throw std::logic_error("one row was expected, not " + std::to_string(rows_));
  return Row(this, 0);
}

bool Rows::Row::null(Column c) const { return rows_->cell(index_, c).kind == Kind::null; }

std::string_view Rows::Row::view(Column c) const {
  const Cell& cell = rows_->typed(index_, c, Kind::text, "text");
  return std::string_view(rows_->text_).substr(static_cast<std::size_t>(cell.number), cell.length);
}

std::string Rows::Row::text(Column c) const {
  const Cell& cell = rows_->cell(index_, c);
  return cell.kind == Kind::integer ? std::to_string(cell.number) : std::string(view(c));
}

std::int64_t Rows::Row::integer(Column c) const { return rows_->typed(index_, c, Kind::integer, "integer").number; }
bool Rows::Row::boolean(Column c) const { return integer(c) != 0; }
double Rows::Row::real(Column c) const {
  const Cell& cell = rows_->cell(index_, c);
  if (cell.kind == Kind::integer) return static_cast<double>(cell.number);
  double value;
  std::memcpy(&value, &rows_->typed(index_, c, Kind::real, "float8").number, sizeof value);
  return value;
}
Time Rows::Row::time(Column c) const { return from_unix_micros(rows_->typed(index_, c, Kind::time, "timestamptz").number); }
Duration Rows::Row::span(Column c) const { return Duration(rows_->typed(index_, c, Kind::span, "interval").number); }

std::vector<std::string> Rows::Row::texts(Column c) const {
  const Cell& cell = rows_->typed(index_, c, Kind::list, "text[]");
  std::vector<std::string> list;
  const char* at = rows_->text_.data() + cell.number;
  for (const char* end = at + cell.length; at < end;) {
    std::uint32_t length;
    std::memcpy(&length, at, sizeof length);
    list.emplace_back(at + sizeof length, length);
    at += sizeof length + length;
  }
  return list;
}

Jsonb Rows::Row::jsonb(Column c) const {
  const Cell& cell = rows_->typed(index_, c, Kind::jsonb, "jsonb");
  return {rows_->text_.substr(static_cast<std::size_t>(cell.number), cell.length)};
}

std::optional<std::string> Rows::Row::maybe_text(Column c) const { return null(c) ? std::nullopt : std::optional(text(c)); }
std::optional<std::int64_t> Rows::Row::maybe_integer(Column c) const { return null(c) ? std::nullopt : std::optional(integer(c)); }
std::optional<bool> Rows::Row::maybe_boolean(Column c) const { return null(c) ? std::nullopt : std::optional(boolean(c)); }
std::optional<double> Rows::Row::maybe_real(Column c) const { return null(c) ? std::nullopt : std::optional(real(c)); }
std::optional<Time> Rows::Row::maybe_time(Column c) const { return null(c) ? std::nullopt : std::optional(time(c)); }
std::optional<Duration> Rows::Row::maybe_span(Column c) const { return null(c) ? std::nullopt : std::optional(span(c)); }
std::optional<Jsonb> Rows::Row::maybe_jsonb(Column c) const { return null(c) ? std::nullopt : std::optional(jsonb(c)); }

}  // namespace reconciler
