// Runtimes that sessions are judged by: what the hub and others say of each, kept for each source by itself.
#include "postgres/store.hpp"

namespace reconciler {

std::string max_age_of(const std::string& source, const std::string& stated) {
  return "CASE WHEN " + stated + " IS NOT NULL THEN (SELECT v.max_age FROM reconciler.evidence_source v WHERE v.name IN (" + source + ", split_part(" + source + ", '/', 1)) ORDER BY length(v.name) DESC LIMIT 1) END";
}

namespace {

Evidence read_record(Rows::Row row) {
  Evidence e;
  e.last.presence = presence_from(row.text("presence")).value_or(Presence::unknown);
  e.last.at = row.time("observed_at"), e.last.stated = row.maybe_time("stated_at");
  e.last.source = row.text("source"), e.last.detail = row.text("detail"), e.last.unauthorized = row.boolean("unauthorized");
  e.backend = row.text("backend"), e.max_age = row.maybe_span("max_age");
  e.gone_time = row.span("gone_time"), e.gone_observations = static_cast<int>(row.integer("gone_observations"));
  e.last_gone_counted = row.maybe_time("last_gone_counted"), e.unknown_since = row.maybe_time("unknown_since");
  e.last_present = row.maybe_time("last_present");
  return e;
}

}  // namespace

// Inside a transaction, as the extension's owner.
std::map<std::string, std::vector<Evidence>> PgStore::read_runtime_evidence(const std::vector<std::string>& runtimes) {
  std::map<std::string, std::vector<Evidence>> said;
  static const std::string text = "SELECT e.*, " + max_age_of("e.source", "e.stated_at") + " AS max_age FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(runtime) OFFSET 0) AS t"
                                  " JOIN reconciler.runtime_evidence e ON e.binding_id = t.binding AND e.runtime_id = t.runtime ORDER BY e.runtime_id, e.source";
  for (Rows::Row row : query_batch(text, {Param::integer(b_.binding.id), Param::texts(runtimes)})) said[row.text("runtime_id")].push_back(read_record(row));
  return said;
}

std::map<std::string, std::vector<Evidence>> PgStore::runtime_evidence(const std::vector<std::string>& runtimes) {
  return transactions_.run("reading evidence of runtimes", [&] { return ours([&] { return read_runtime_evidence(runtimes); }); });
}

void PgStore::update_runtime_evidence(const std::string& source, const std::vector<std::string>& runtimes, const NextEvidence& next) {
  transactions_.run("recording evidence of runtimes", [&] {
    ours([&] {
      std::map<std::string, std::optional<Evidence>> records;  // in the order in which everybody locks them
      for (const std::string& runtime : runtimes) records[runtime];
      static const std::string text = "SELECT e.*, " + max_age_of("e.source", "e.stated_at") + " AS max_age FROM (SELECT $1::int AS binding, $2::text AS source, u.* FROM unnest($3) AS u(runtime) OFFSET 0) AS t"
                                      " JOIN reconciler.runtime_evidence e ON e.binding_id = t.binding AND e.runtime_id = t.runtime AND e.source = t.source ORDER BY e.runtime_id FOR UPDATE OF e";
      const auto lock = [&](const std::vector<std::string>& wanted) {
        for (Rows::Row row : query_batch(text, {Param::integer(b_.binding.id), Param::text(source), Param::texts(wanted)}))
          if (row.time("observed_at") != Time::min()) records[row.text("runtime_id")] = read_record(row);
      };
      lock(runtimes);
      std::vector<std::string> ids;
      for (const auto& [runtime, record] : records)
        if (!record) ids.push_back(runtime);
      // Somebody else may be about to write the first word of the same source: whoever comes second has to see it.
      if (!ids.empty()) {
        query_batch("INSERT INTO reconciler.runtime_evidence (binding_id, source, runtime_id, backend, presence, observed_at, unauthorized, detail, gone_time, gone_observations)"
                    " SELECT $1, $2, u.runtime, '', 'unknown', '-infinity', false, '', '0', 0 FROM unnest($3) AS u(runtime) ON CONFLICT DO NOTHING",
                    {Param::integer(b_.binding.id), Param::text(source), Param::texts(ids)});
        lock(ids);
        ids.clear();
      }
      std::vector<std::optional<std::string>> presence, detail, backend;
      std::vector<std::optional<bool>> unauthorized;
      std::vector<std::optional<Time>> at, stated, counted, unknown, present;
      std::vector<std::int64_t> gone, observations;
      for (const auto& [runtime, before] : records) {
        const Evidence e = next(runtime, before);
        ids.push_back(runtime), presence.push_back(to_string(e.last.presence)), detail.push_back(valid_text(e.last.detail, 500)), backend.push_back(e.backend);
        unauthorized.push_back(e.last.unauthorized), at.push_back(e.last.at), stated.push_back(e.last.stated), counted.push_back(e.last_gone_counted);
        unknown.push_back(e.unknown_since), present.push_back(e.last_present), gone.push_back(e.gone_time.count()), observations.push_back(e.gone_observations);
      }
      query_batch("INSERT INTO reconciler.runtime_evidence (binding_id, source, runtime_id, presence, detail, backend, unauthorized, observed_at, stated_at, last_gone_counted, unknown_since, last_present,"
                  " gone_time, gone_observations)"
                  " SELECT $1, $2, t.id, t.presence, t.detail, t.backend, t.unauthorized, t.at, t.stated, t.counted, t.unknown, t.present, t.gone * interval '1 microsecond', t.observations"
                  " FROM unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) AS t(id, presence, detail, backend, unauthorized, at, stated, counted, unknown, present, gone, observations)"
                  " ON CONFLICT (binding_id, runtime_id, source) DO UPDATE SET presence = excluded.presence, detail = excluded.detail, backend = excluded.backend, unauthorized = excluded.unauthorized,"
                  " observed_at = excluded.observed_at, stated_at = excluded.stated_at, last_gone_counted = excluded.last_gone_counted, unknown_since = excluded.unknown_since,"
                  " last_present = excluded.last_present, gone_time = excluded.gone_time, gone_observations = excluded.gone_observations",
                  {Param::integer(b_.binding.id), Param::text(source), Param::texts(ids), Param::texts(presence), Param::texts(detail), Param::texts(backend), Param::booleans(unauthorized), Param::times(at),
                   Param::times(stated), Param::times(counted), Param::times(unknown), Param::times(present), Param::integers(gone), Param::integers(observations)});
    });
  });
}

std::vector<Store::Judged> PgStore::runtimes_to_ask(std::int64_t limit) {
  std::vector<Judged> asked;
  if (!b_.binding.judges_by_runtime() || !b_.mapping.sessions.runtime) return asked;
  return transactions_.run("listing runtimes", [&] {
    return ours([&] {
      for (Rows::Row row : query("SELECT e.session_id, e.runtime_id FROM reconciler.episode e JOIN reconciler.policy p ON p.binding_id = e.binding_id AND p.state = e.state AND p.enabled AND p.judged_by = 'runtime'"
                                 " LEFT JOIN reconciler.runtime_evidence r ON r.binding_id = e.binding_id AND r.runtime_id = e.runtime_id AND r.source = $2"
                                 " WHERE e.binding_id = $1 AND e.runtime_id <> '' AND (p.stuck_after IS NULL OR e.entered + p.stuck_after <= $3)"
                                 " AND (r.observed_at + $4 <= $3 OR r.observed_at > $3) IS NOT FALSE ORDER BY r.observed_at NULLS FIRST, e.session_id LIMIT $5",
                                 {Param::integer(b_.binding.id), Param::text(hub_source), Param::time(now()), Param::interval(b_.binding.limits.observation_spacing), Param::integer(limit)}))
        asked.push_back({row.text("session_id"), row.text("runtime_id")});
      return asked;
    });
  });
}

std::set<std::string> PgStore::shared_runtimes(const std::vector<std::string>& runtimes) {
  return transactions_.run("looking who shares a runtime", [&] {
    return theirs([&] {
      std::set<std::string> shared;
      for (Rows::Row row : query_batch(sql_.shared_runtimes(), {Param::texts(runtimes)})) shared.insert(row.text("runtime"));
      return shared;
    });
  });
}

std::map<std::string, std::string> PgStore::runtimes_judged(bool by_session) {
  std::vector<std::string> states;
  for (const Policy& policy : b_.binding.policies)
    if (policy.enabled && policy.judged_by == JudgedBy::runtime) states.push_back(policy.state);
  std::map<std::string, std::string> judged;
  if (states.empty()) return judged;
  return transactions_.run("listing runtimes", [&] {
    return theirs([&] {
      std::optional<std::string> after;
      constexpr std::int64_t page = 10000;
      for (bool more = true; more;) {
        const Rows rows = query(sql_.named_runtimes(states), {Param::text(after), Param::integer(page)});
        for (Rows::Row row : rows)
          if (const std::string runtime = row.text("runtime"); !runtime.empty()) judged.emplace(runtime, by_session ? row.text("key") : runtime);
        more = static_cast<std::int64_t>(rows.size()) == page;
        if (more) after = rows[rows.size() - 1].text("key");
      }
      if (!by_session) add_orphans(judged);
      return judged;
    });
  });
}

// Of runtimes that no session is judged by any more. Inside a transaction, as the extension's owner.
void PgStore::forget_runtimes(Time at) {
  query("DELETE FROM reconciler.runtime_evidence r WHERE r.binding_id = $1 AND r.observed_at < $2"
        " AND NOT EXISTS (SELECT FROM reconciler.episode e WHERE e.binding_id = r.binding_id AND e.runtime_id = r.runtime_id)",
        {Param::integer(b_.binding.id), Param::time(at - hours(1))});
}

}  // namespace reconciler
