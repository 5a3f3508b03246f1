// The policies of a new binding: the preset's, changed by the caller's options, checked against the state column.
#pragma once

#include "core/json.hpp"
#include "postgres/setup_detect.hpp"
#include "postgres/setup_options.hpp"
#include "postgres/setup_report.hpp"

namespace reconciler {

class PolicyFinder {
 public:
  PolicyFinder(const TableLook& sessions, const std::string& state_column, const Preset& preset, const Options& options, bool records_completions);

  // Throws UserError 22023 for what can't be a policy of this table.
  void find();
  void insert(int binding_id) const;  // as the extension's owner

  const std::vector<std::string>& terminal_states() const { return terminal_; }
  const Findings& findings() const { return findings_; }

 private:
  struct Row {
    std::string state;
    nlohmann::json columns;
    bool asked = false;  // by an option
  };
  void start_from_preset(bool records_completions);
  void override_by_options();
  void override_one(const std::string& state, const nlohmann::json& changes);
  void fit_repair(nlohmann::json& columns);
  void qualify(nlohmann::json& steps) const;
  void note_once(const std::string& item, const std::string& detail);
  void find_terminal_states();
  bool watchable(const Row&);
  void check_ends(const Row&) const;
  void check_written(const Row&, const char* column) const;
  void check_thresholds(const Row&) const;
  std::optional<std::string> refused(const std::string& state) const;
  bool has_label(const std::string& state) const;

  const TableLook& sessions_;
  const ColumnLook& state_;
  const Preset& preset_;
  const Options& options_;
  bool records_completions_;
  std::vector<std::string> labels_;  // of an enum
  std::vector<std::string> terminal_;
  std::vector<Row> rows_;
  Findings findings_;
};

}  // namespace reconciler
