#include "postgres/pushed.hpp"

#include <algorithm>
#include <map>

#include "postgres/clock.hpp"
#include "postgres/shmem.hpp"
#include "postgres/spi.hpp"
#include "postgres/store.hpp"
#include "postgres/user_error.hpp"

namespace reconciler {
namespace {

using nlohmann::json;

bool blank(const std::string& text) { return text.find_first_not_of(" \t\n") == std::string::npos; }

std::string member(const json& detail, const char* name) {
  const auto found = detail.find(name);
  return found != detail.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// Reports of one call for one attached table, by what they are about; each an index into all of them.
class Telling {
 public:
  Telling(int binding, const std::vector<Report>& reports, std::vector<Told>& told)
      : store_(as_extension_owner([&] { return load_binding(binding); }), TransactionMode::caller), reports_(reports), told_(told) {}

  void add(std::size_t i) {
    const Report& report = reports_[i];
    if (report.kind == "agent") {
      if (store_.binding().agent_mapped) agents_[report.subject].push_back(i);
    } else if (report.kind == "resource") {
      if (store_.attached().mapping.sessions.runtime) runtimes_[report.source][report.subject].push_back(i);
    } else {
      add_session(i);
    }
  }

  // Whether anything is otherwise than it was.
  bool record() {
    if (!agents_.empty())
      store_.update_evidence(ids(agents_), [&](const std::string& agent, const std::optional<Evidence>& before) { return after(before, agents_.at(agent)); });
    for (const auto& [source, runtimes] : runtimes_)
      store_.update_runtime_evidence(source, ids(runtimes), [&, &runtimes = runtimes](const std::string& runtime, const std::optional<Evidence>& before) { return after(before, runtimes.at(runtime)); });
    return changed_;
  }

 private:
  using About = std::map<std::string, std::vector<std::size_t>>;

  // It is worth as much as a word about the runtime that the row has now.
  void add_session(std::size_t i) {
    const Report& report = reports_[i];
    const auto row = store_.look(report.subject);
    const std::string runtime = row ? row->runtime.value_or("") : "", about = member(report.detail, "platform_resource_id");
    told_[i] = !row ? Told::unknown_session : runtime.empty() ? Told::no_runtime : Told::ignored;
    if (!runtime.empty() && (about.empty() || about == runtime)) runtimes_[report.source][runtime].push_back(i);
  }

  static std::vector<std::string> ids(const About& about) {
    std::vector<std::string> all;
    for (const auto& [id, unused] : about) all.push_back(id);
    return all;
  }

  Evidence after(const std::optional<Evidence>& before, const std::vector<std::size_t>& words) {
    std::optional<Evidence> record = before;
    for (const std::size_t i : words) {
      const Report& report = reports_[i];
      const Source& source = source_of(report.source);
      const auto next = heard(record, observation(report, record), source.max_age, store_.binding().limits);
      if (!next) continue;
      record = next, told_[i] = Told::recorded;
      const std::string named = member(report.detail, "backend");
      record->backend = named.empty() ? source.backend : named;
    }
    if (!record) record.emplace();  // not reached: the first word of a source is always heard
    changed_ = changed_ || !before || before->last.presence != record->last.presence;
    return *record;
  }

  Observation observation(const Report& report, const std::optional<Evidence>& before) {
    Observation seen;
    seen.presence = presence_from(report.verdict).value_or(Presence::unknown);
    seen.at = received_ = std::max(store_.now(), received_ + Duration(1));  // one after the other, also within a batch
    seen.stated = std::min(report.stated, seen.at);                         // a clock that is ahead must not silence it for long
    seen.source = report.source;
    seen.detail = report.source + " says so" + (report.detail.empty() ? "" : ": " + report.detail.dump(-1, ' ', false, json::error_handler_t::replace));
    if (before) seen.instance = before->last.instance;  // it is not the hub that says so
    return seen;
  }

  const Source& source_of(const std::string& name) {
    const auto [found, fresh] = sources_.try_emplace(name);
    if (fresh) found->second = source_named(name);
    return found->second;
  }

  PgStore store_;
  const std::vector<Report>& reports_;
  std::vector<Told>& told_;
  About agents_;
  std::map<std::string, About> runtimes_;  // by source
  std::map<std::string, Source> sources_;
  Time received_ = Time::min();
  bool changed_ = false;
};

}  // namespace

const char* to_string(Told told) {
  switch (told) {
    case Told::recorded: return "recorded";
    case Told::ignored: return "ignored";
    case Told::unknown_session: return "unknown_session";
    case Told::no_runtime: return "no_runtime";
  }
  return "ignored";
}

json read_json(const std::string& text, const char* what) {
  try {
    return json::parse(text);
  } catch (const json::exception&) {
    throw UserError("22023", std::string(what) + " holds a number that is out of range");  // jsonb takes larger ones
  }
}

Source source_named(const std::string& name) {
  const Rows rows = as_extension_owner([&] {
    return query("SELECT max_age, coalesce(backend, '') AS backend FROM reconciler.evidence_source WHERE name IN ($1, split_part($1, '/', 1)) ORDER BY length(name) DESC LIMIT 1", {Param::text(name)});
  });
  if (rows.empty()) return {};
  return {rows[0].maybe_span("max_age"), rows[0].text("backend")};
}

void check_kind(const std::string& kind, const std::string& which) {
  if (kind != "agent" && kind != "session" && kind != "resource")
    throw UserError("22023", which + "there is no kind of evidence \"" + kind + "\"", "Valid kinds are agent, session and resource.");
}

void check_report(const Report& report, const std::string& which) {
  check_kind(report.kind, which);
  if (blank(report.subject)) throw UserError("22023", which + "a subject is required", "An agent's id, a session's key, or the id of a runtime.");
  if (report.verdict != "present" && report.verdict != "gone" && report.verdict != "unknown")
    throw UserError("22023", which + "there is no verdict \"" + report.verdict + "\"", "Valid verdicts are present, gone and unknown.");
  if (!report.detail.is_object()) throw UserError("22023", which + "detail must be a JSON object", "For instance {\"backend\": \"pod\"}.");
  if (report.stated == Time::min() || report.stated == Time::max()) throw UserError("22023", which + "observed_at must be a finite time");
  if (blank(report.source)) throw UserError("22023", which + "a source is required", "Who says so; by default the role.");
  for (const char* ours : {"hub", "heartbeat", "event"})
    if (report.source == ours) throw UserError("22023", which + "\"" + report.source + "\" is what we see ourselves, and no source of others", "Name who says so; by default the role.");
}

std::vector<Told> take_reports(const std::vector<Report>& reports) {
  std::vector<Told> told(reports.size(), Told::ignored);
  const std::vector<int> all = as_extension_owner([] { return binding_ids(std::nullopt); });
  std::map<int, std::vector<std::size_t>> by_binding;
  for (std::size_t i = 0; i < reports.size(); ++i) {
    // A session is of one table, an agent or a runtime may be of several.
    const auto& table = reports[i].sessions;
    const bool one = table || reports[i].kind == "session";
    for (const int id : one ? std::vector<int>{as_extension_owner([&] { return one_binding(table); })} : all) by_binding[id].push_back(i);
  }
  bool changed = false;
  for (const auto& [id, indexes] : by_binding) {
    Telling telling(id, reports, told);
    for (const std::size_t i : indexes) telling.add(i);
    changed = telling.record() || changed;
  }
  if (changed) shared::wake_worker_at_commit();
  return told;
}

}  // namespace reconciler
