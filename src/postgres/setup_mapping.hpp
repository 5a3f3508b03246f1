// Finds out which column is what: by the preset's names, overridden by the caller's options.
#pragma once

#include "core/json.hpp"
#include "postgres/setup_detect.hpp"
#include "postgres/setup_options.hpp"
#include "postgres/setup_report.hpp"

namespace reconciler {

// Refuses what no binding can be made of: a view, a temporary table, one whose owner can't see all of its rows.
void check_attachable(const TableLook&);

// Throws UserError 42804 where a column has got a type since that its role can't have. For a binding that loads; as the
// extension's owner.
void check_mapping(int binding_id);

class MappingFinder {
 public:
  MappingFinder(const TableLook& sessions, const Preset& preset, const Options& options) : sessions_(sessions), preset_(preset), options_(options) {}

  // Throws UserError where the table can't be attached so; nothing has been written then.
  void find();

  const nlohmann::json& columns() const { return columns_; }  // as reconciler.binding.columns
  const nlohmann::json& related() const { return related_; }  // as reconciler.binding.related
  const Findings& findings() const { return findings_; }
  bool records_completions() const { return records_completions_; }

 private:
  void find_key();
  void refuse_roles_of_others();
  void find_columns();
  void find_signs();
  void find_related(const WantedTable&);
  std::optional<TableLook> related_table(const WantedTable&);
  const ColumnLook* choose(const TableLook&, const WantedColumn&, const std::string& option);
  bool taken(const WantedColumn&, const std::string& option, const ColumnLook&);
  bool map_related(const WantedTable&, const TableLook&, bool asked, nlohmann::json& columns);
  void check_rights(const WantedTable&, const TableLook&, const std::vector<std::string>& columns);
  void check_unique_by_itself(const ColumnLook& key);
  void note(std::string item, std::string status, std::string detail, std::string hint = {});

  const TableLook& sessions_;
  const Preset& preset_;
  const Options& options_;
  nlohmann::json columns_ = nlohmann::json::object(), related_ = nlohmann::json::object();
  Findings findings_;
  bool records_completions_ = false;
};

}  // namespace reconciler
