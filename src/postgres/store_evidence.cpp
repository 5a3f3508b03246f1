// What is known of agents: the attached agents table, our own records, the hub's instances.
#include <algorithm>

#include "postgres/store.hpp"

namespace reconciler {

std::map<std::string, HeartbeatLook> PgStore::agents(const std::vector<std::string>& ids) {
  std::map<std::string, HeartbeatLook> looks;
  if (!b_.mapping.agents || ids.empty()) return looks;
  return transactions_.run("reading agents", [&] {
    const Rows rows = theirs([&] { return query_batch(sql_.agents(), {Param::texts(ids)}); });
    for (Rows::Row row : rows) {
      HeartbeatLook& look = looks[row.text("id")];
      look.row_readable = true;
      look.approved = row.boolean("approved");
      look.heartbeat = row.maybe_time("heartbeat");
    }
    return looks;
  });
}

std::map<std::string, Evidence> PgStore::read_evidence(const std::vector<std::string>& ids, bool lock) {
  std::map<std::string, Evidence> found;
  const std::string text = "SELECT a.*, " + max_age_of("a.source", "a.stated_at") + " AS max_age FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(agent) OFFSET 0) AS t JOIN reconciler.agent_evidence a ON a.binding_id = t.binding AND a.agent_id = t.agent ORDER BY a.agent_id";
  for (Rows::Row row : query_batch(lock ? text + " FOR UPDATE OF a" : text, {Param::integer(b_.binding.id), Param::texts(ids)})) {
    Evidence e;
    e.last.presence = presence_from(row.text("presence")).value_or(Presence::unknown);
    e.last.provisional = row.boolean("provisional"), e.last.at = row.time("observed_at");
    e.last.source = row.text("source"), e.last.instance = row.text("instance"), e.last.incarnation = row.text("incarnation");
    e.last.unauthorized = row.boolean("unauthorized"), e.last.detail = row.text("detail");
    e.last.heartbeat = row.maybe_time("heartbeat"), e.last.heartbeat_seen = row.maybe_time("heartbeat_seen");
    e.last.heartbeat_changed = row.boolean("heartbeat_changed");
    e.gone_time = row.span("gone_time"), e.gone_observations = static_cast<int>(row.integer("gone_observations"));
    e.last_gone_counted = row.maybe_time("last_gone_counted"), e.unknown_since = row.maybe_time("unknown_since");
    e.last_present = row.maybe_time("last_present");
    e.last.stated = row.maybe_time("stated_at"), e.max_age = row.maybe_span("max_age");
    e.ignored = static_cast<int>(row.integer("ignored")), e.suspect_since = row.maybe_time("suspect_since");
    found[row.text("agent_id")] = e;
  }
  return found;
}

std::map<std::string, Evidence> PgStore::evidence(const std::vector<std::string>& ids) {
  return transactions_.run("reading evidence", [&] { return ours([&] { return read_evidence(ids, false); }); });
}

std::map<std::string, Evidence> PgStore::update_evidence(const std::vector<std::string>& ids, const NextEvidence& next) {
  return transactions_.run("recording evidence", [&] {
    return ours([&] {
      auto before = read_evidence(ids, true);
      std::vector<std::string> fresh;
      for (const std::string& id : ids)
        if (!before.contains(id)) fresh.push_back(id);
      // Somebody else may be about to write the first word of one: whoever comes second has to see it.
      if (!fresh.empty()) {
        std::sort(fresh.begin(), fresh.end());
        query_batch("INSERT INTO reconciler.agent_evidence (binding_id, agent_id, presence, provisional, observed_at, source, instance, incarnation, unauthorized, detail, heartbeat_changed, gone_time, gone_observations)"
                    " SELECT $1, u.agent, 'unknown', false, '-infinity', '', '', '', false, '', false, '0', 0 FROM unnest($2) AS u(agent) ON CONFLICT DO NOTHING",
                    {Param::integer(b_.binding.id), Param::texts(fresh)});
        for (auto& [id, record] : read_evidence(fresh, true))
          if (record.last.at != Time::min()) before.emplace(id, std::move(record));
      }
      std::map<std::string, Evidence> after;
      using Texts = std::vector<std::optional<std::string>>;
      using Times = std::vector<std::optional<Time>>;
      Texts id, presence, source, instance, incarnation, detail;
      std::vector<std::optional<bool>> provisional, unauthorized, changed;
      Times at, heartbeat, seen, counted, unknown, present, suspect, stated;
      std::vector<std::int64_t> gone, observations, ignored;
      for (const std::string& agent : ids) {
        const auto found = before.find(agent);
        const Evidence e = after[agent] = next(agent, found == before.end() ? std::nullopt : std::optional(found->second));
        id.push_back(agent), presence.push_back(to_string(e.last.presence)), source.push_back(e.last.source), instance.push_back(valid_text(e.last.instance, 200));
        incarnation.push_back(valid_text(e.last.incarnation, 200)), detail.push_back(valid_text(e.last.detail, 500));
        provisional.push_back(e.last.provisional), unauthorized.push_back(e.last.unauthorized), changed.push_back(e.last.heartbeat_changed);
        at.push_back(e.last.at), heartbeat.push_back(e.last.heartbeat), seen.push_back(e.last.heartbeat_seen), counted.push_back(e.last_gone_counted);
        unknown.push_back(e.unknown_since), present.push_back(e.last_present);
        gone.push_back(e.gone_time.count()), observations.push_back(e.gone_observations);
        ignored.push_back(e.ignored), suspect.push_back(e.suspect_since), stated.push_back(e.last.stated);
      }
      query_batch("INSERT INTO reconciler.agent_evidence AS a (binding_id, agent_id, presence, source, instance, incarnation, detail, provisional, unauthorized, heartbeat_changed,"
            " observed_at, heartbeat, heartbeat_seen, last_gone_counted, unknown_since, last_present, gone_time, gone_observations, ignored, suspect_since, stated_at)"
            " SELECT $1, t.id, t.presence, t.source, t.instance, t.incarnation, t.detail, t.provisional, t.unauthorized, t.changed, t.at, t.heartbeat, t.seen, t.counted,"
            " t.unknown, t.present, t.gone * interval '1 microsecond', t.observations, t.ignored, t.suspect, t.stated"
            " FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)"
            " AS t(id, presence, source, instance, incarnation, detail, provisional, unauthorized, changed, at, heartbeat, seen, counted, unknown, present, gone, observations, ignored, suspect, stated)"
            " ON CONFLICT (binding_id, agent_id) DO UPDATE SET presence = excluded.presence, source = excluded.source, instance = excluded.instance,"
            " incarnation = excluded.incarnation, detail = excluded.detail, provisional = excluded.provisional, unauthorized = excluded.unauthorized,"
            " heartbeat_changed = excluded.heartbeat_changed, observed_at = excluded.observed_at, heartbeat = excluded.heartbeat, heartbeat_seen = excluded.heartbeat_seen,"
            " last_gone_counted = excluded.last_gone_counted, unknown_since = excluded.unknown_since, last_present = excluded.last_present,"
            " gone_time = excluded.gone_time, gone_observations = excluded.gone_observations, ignored = excluded.ignored, suspect_since = excluded.suspect_since, stated_at = excluded.stated_at",
            {Param::integer(b_.binding.id), Param::texts(id), Param::texts(presence), Param::texts(source), Param::texts(instance), Param::texts(incarnation),
             Param::texts(detail), Param::booleans(provisional), Param::booleans(unauthorized), Param::booleans(changed), Param::times(at), Param::times(heartbeat),
             Param::times(seen), Param::times(counted), Param::times(unknown), Param::times(present), Param::integers(gone), Param::integers(observations),
             Param::integers(ignored), Param::times(suspect), Param::times(stated)});
      return after;
    });
  });
}

std::map<std::string, std::string> PgStore::agents_to_tell(const std::set<std::string>& named) {
  std::map<std::string, std::string> agents;
  for (const std::string& agent : named) agents.emplace(agent, agent);
  for (const std::string& state : b_.mapping.enabled_states)
    for (const std::string& agent : agents_of(state, 100000)) agents.emplace(agent, agent);
  return transactions_.run("listing agents", [&] {
    return ours([&] {
      for (Rows::Row row : query("SELECT agent_id FROM reconciler.agent_evidence WHERE binding_id = $1", {Param::integer(b_.binding.id)})) agents.emplace(row.text(0), row.text(0));
      return agents;
    });
  });
}

// At the end of a pass, in a transaction of its own: others lock agents before sessions' episodes.
void PgStore::note_acted() {
  if (acted_.empty()) return;
  const std::vector<std::string> agents(acted_.begin(), acted_.end());
  acted_.clear();
  transactions_.run("recording which agents act", [&] {
    ours([&] {
      for (Rows::Row row : query_batch("WITH was AS (SELECT a.* FROM (SELECT $1::int AS binding, u.* FROM unnest($2) AS u(agent) OFFSET 0) AS t JOIN reconciler.agent_evidence a ON a.binding_id = t.binding AND a.agent_id = t.agent WHERE a.ignored > 0 ORDER BY a.agent_id FOR UPDATE OF a)"
                                       " UPDATE reconciler.agent_evidence a SET ignored = 0, suspect_since = NULL FROM was WHERE a.binding_id = was.binding_id AND a.agent_id = was.agent_id RETURNING a.agent_id, was.suspect_since IS NOT NULL AS suspect",
                                       {Param::integer(b_.binding.id), Param::texts(agents)}))
        if (row.boolean("suspect")) report(LogLevel::log, "agent \"" + row.text("agent_id") + "\" of " + b_.binding.name + " acts again: it is no longer suspect");
    });
  });
}

Time PgStore::note_instance(const std::string& instance, Time at) {
  if (!b_.binding.hub) return Time::min();
  return transactions_.run("recording the hub's instance", [&] {
    return ours([&] {
      const std::string id = valid_text(instance, 200);
      const Rows rows = query("INSERT INTO reconciler.hub_instance AS i (hub, instance, since, last_answer) VALUES ($1, $2, $3, $3)"
                              // An answer of later than now was recorded before the clock was set back: how long ago is not known.
                              " ON CONFLICT (hub, instance) DO UPDATE SET last_answer = CASE WHEN i.last_answer - $3 > interval '1 minute' THEN $3 ELSE greatest(i.last_answer, $3) END,"
                              " since = CASE WHEN $3 - i.last_answer > interval '10 minutes' OR i.last_answer - $3 > interval '1 minute' THEN $3 ELSE i.since END RETURNING since",
                              {Param::text(b_.binding.hub), Param::text(id), Param::time(at)});
      const Time since = rows.only().time("since");
      if (since == at) query("DELETE FROM reconciler.hub_instance WHERE hub = $1 AND last_answer < $2", {Param::text(b_.binding.hub), Param::time(at - hours(24))});
      return since;
    });
  });
}

}  // namespace reconciler
