-- What operators and monitoring look at: the last recorded state of each binding, without HTTP and without a
-- statement on a user's table. Without JIT: the planner has no statistics of tables this small, and compiling takes
-- a hundred times as long as running.

CREATE FUNCTION reconciler_status()
  RETURNS TABLE (table_name text, mode text, mode_reason text, worker_pid integer, last_pass_at timestamptz, last_pass_took interval,
                 last_scanned bigint, last_acted bigint, last_error text, next_wake_up timestamptz, stuck bigint, stuck_by_state jsonb,
                 held bigint, quarantined bigint, brake_tripped_at timestamptz, brake_why text, brake_due bigint, brake_waiting text[],
                 brake_details jsonb, brake_allowance bigint, brake_used bigint, brake_budget bigint, brake_left bigint, paused_at timestamptz, paused_by text,
                 pause_reason text, pause_everything boolean, hub text, hub_state text, hub_unknown_since timestamptz, hub_instance text,
                 identity_confirmed boolean, safe_mode_since timestamptz, library_version text, extension_version text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
  WITH here AS MATERIALIZED (
    SELECT reconciler.clock() AS at, reconciler.worker_pid() AS worker, reconciler.library_version() AS library,
           (SELECT e.extversion FROM pg_extension AS e WHERE e.extname = 'session_reconciler') AS extension,
           coalesce(current_setting('session_reconciler.interval', true)::interval, '60 s') AS longest_sleep
  )
  SELECT format('%I.%I', b.schema_name, b.table_name), b.mode, b.mode_reason, h.worker,
         s.last_pass_at, s.last_pass_took, s.last_scanned, s.last_acted, coalesce(s.last_error, ''),
         CASE WHEN h.worker IS NOT NULL AND b.mode IN ('observe', 'enforce')
              THEN greatest(least(s.next_due, s.last_pass_at + s.last_pass_took + h.longest_sleep), s.no_pass_before) END,
         (SELECT coalesce(sum(n.value::bigint), 0)::bigint FROM jsonb_each_text(s.stuck) AS n), coalesce(s.stuck, '{}'),
         (SELECT count(*) FROM reconciler.hold AS x WHERE x.binding_id = b.binding_id AND x.until > h.at),
         (SELECT count(*) FROM reconciler.episode AS e WHERE e.binding_id = b.binding_id AND e.quarantined IS NOT NULL),
         k.tripped, nullif(CASE WHEN k.tripped IS NULL THEN k.slowed ELSE k.tripped_why END, ''), CASE WHEN k.tripped IS NOT NULL THEN k.tripped_due END,
         CASE WHEN k.tripped IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(v.evidence->'samples')) END,
         CASE WHEN k.tripped IS NOT NULL THEN v.evidence - 'samples' END,
         coalesce(k.allowance, 0), w.used, b.brake_floor::bigint,
         CASE WHEN k.tripped IS NULL THEN greatest(b.brake_floor - w.used, 0) ELSE k.allowance END,
         b.paused_at, b.paused_by, b.pause_reason, b.pause_everything,
         b.hub, CASE WHEN b.hub IS NULL THEN 'none' WHEN s.hub_unauthorized THEN 'auth_failed' WHEN s.hub_up IS NULL THEN 'never_asked'
                     WHEN s.hub_up THEN 'up' ELSE 'unknown' END,
         s.hub_unknown_since,
         (SELECT nullif(i.instance, '') FROM reconciler.hub_instance AS i WHERE i.hub = b.hub ORDER BY i.last_answer DESC LIMIT 1),
         reconciler.armed_here(b.binding_id), s.safe_mode_since, h.library, h.extension
  FROM reconciler.binding AS b CROSS JOIN here AS h
  LEFT JOIN reconciler.binding_state AS s USING (binding_id)
  LEFT JOIN reconciler.brake AS k USING (binding_id)
  LEFT JOIN LATERAL (SELECT v.evidence FROM reconciler.event AS v
                      WHERE v.at = k.tripped AND v.kind = 'brake_tripped' AND (v.schema_name, v.table_name) = (b.schema_name, b.table_name)
                      ORDER BY v.id DESC LIMIT 1) AS v ON true
  -- As Window::total() in src/core/brake.cpp: the buckets of the last 10 minutes.
  CROSS JOIN LATERAL (SELECT coalesce(sum(u.n), 0)::bigint AS used FROM unnest(k.inferred) WITH ORDINALITY AS u(n, i)
                      WHERE k.minute - (u.i - 1) > floor(extract(epoch FROM h.at) / 60) - 10) AS w
  ORDER BY b.binding_id
$$;
REVOKE ALL ON FUNCTION reconciler_status() FROM PUBLIC;
COMMENT ON FUNCTION reconciler_status() IS
  'One row per attached table: what the last pass did and when the next comes, what is stuck, brake, pause, hub and identity. worker_pid: NULL: no worker runs here, and next_wake_up is NULL. brake_why: why it is tripped, or why inferred forces are slowed down. brake_waiting: ten of the sessions that it holds back. brake_details: how many, by state, reason and agent, and how to go on. brake_budget and brake_left: inferred forces per 10 minutes, at least; the share of large tables comes on top and is counted when it matters. hub_state: up, unknown (no proper answer since hub_unknown_since), auth_failed, never_asked, none. identity_confirmed: false in a copy, until confirm_identity().';

CREATE FUNCTION reconciler_metrics()
  RETURNS TABLE (name text, type text, help text, labels jsonb, value double precision)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
  WITH families (rank, name, type, help) AS (VALUES
    (1, 'sessions_stuck_terminating', 'gauge', 'Sessions that a user asked to end and that were stuck at the last pass.'),
    (2, 'sessions_stuck_terminating_total', 'counter', 'Sessions that a user asked to end and that were found stuck.'),
    (3, 'sessions_stuck', 'gauge', 'Stuck sessions by state at the last pass.'),
    (4, 'sessions_stuck_total', 'counter', 'Sessions found stuck, by state.'),
    (5, 'reconciler_forced_total', 'counter', 'Orphaned sessions closed by inference or by an operator, by reason.'),
    (6, 'reconciler_finalized_total', 'counter', 'Sessions closed because they were proven to have ended, by reason.'),
    (7, 'reconciler_retries_total', 'counter', 'Outcomes of commands sent again, and of their execution.'),
    (8, 'reconciler_quarantined', 'gauge', 'Sessions in quarantine.'),
    (9, 'reconciler_quarantined_total', 'counter', 'Sessions put in quarantine.'),
    (10, 'reconciler_brake_tripped', 'gauge', '1: the brake is tripped, nothing is closed by inference until reset_brake().'),
    (11, 'reconciler_brake_slowed', 'gauge', '1: most agents seen lately are gone, inferred forces go at a tenth of their pace.'),
    (12, 'reconciler_brake_waiting', 'gauge', 'Sessions that were due when the brake tripped; 0: it is not tripped.'),
    (13, 'reconciler_paused', 'gauge', '1: paused by an operator.'),
    (14, 'reconciler_safe_mode', 'gauge', '1: stopped because passes crashed the server.'),
    (15, 'reconciler_mode', 'gauge', '1 for the mode of the table.'),
    (16, 'reconciler_identity_confirmed', 'gauge', '0: a copy that only observes until confirm_identity().'),
    (17, 'reconciler_worker_up', 'gauge', '1: a worker runs in this database.'),
    (18, 'reconciler_last_success_timestamp_seconds', 'gauge', 'End of the last pass that ended well, Unix time; 0: none yet.'),
    (19, 'reconciler_detection_lag_seconds_sum', 'summary', 'Time from when a session was stuck to its detection.'),
    (20, 'reconciler_detection_lag_seconds_count', 'summary', 'Time from when a session was stuck to its detection.'),
    (21, 'reconciler_hub_up', 'gauge', '1: the hub answered properly when last asked; NaN: never asked.'),
    (22, 'reconciler_hub_request_seconds_sum', 'summary', 'Duration of requests to the hub.'),
    (23, 'reconciler_hub_request_seconds_count', 'summary', 'Duration of requests to the hub.'),
    (24, 'reconciler_hub_requests_failed_total', 'counter', 'Requests to the hub without a proper answer.'),
    (25, 'reconciler_agents_suspect', 'gauge', 'Agents that accept commands and end none of them.'),
    (26, 'reconciler_guarded_total', 'counter', 'Late writes that the guard refused; one that is repeated counts once until its agent has got a stop.'),
    (27, 'reconciler_reassigned_total', 'counter', 'Sessions that passes gave to another agent of their pool.'),
    (28, 'reconciler_resources_orphaned', 'gauge', 'Resources in a cluster that are to be deleted, as the last collection found them.'),
    (29, 'reconciler_resources_deleted_total', 'counter', 'Resources in a cluster that were deleted.'),
    (30, 'reconciler_cluster_brake_tripped', 'gauge', '1: more was due to be deleted than a collection may, and nothing is.'),
    (31, 'reconciler_collection_last_success_timestamp_seconds', 'gauge', 'When the last collection that listed everything ended; 0: none yet.')
  ), tables AS MATERIALIZED (
    SELECT b.*, jsonb_build_object('table', format('%I.%I', b.schema_name, b.table_name)) AS label, s.stuck, s.hub_up, s.safe_mode_since,
           s.last_success_at, k.tripped, k.tripped_due, k.slowed, reconciler.armed_here(b.binding_id) AS armed, reconciler.worker_pid() IS NOT NULL AS worker
    FROM reconciler.binding AS b LEFT JOIN reconciler.binding_state AS s USING (binding_id) LEFT JOIN reconciler.brake AS k USING (binding_id)
  ), reasons AS (  -- whatever else an event carries must not become a label: operators write sentences
    SELECT t.binding_id, r.reason FROM tables AS t CROSS JOIN unnest(ARRAY['user_requested', 'agent_unavailable', 'agent_disconnected',
      'no_agent', 'timeout', 'error', 'runtime_gone', 'stop_unconfirmed']) AS r(reason)
    UNION SELECT p.binding_id, p.reason FROM reconciler.policy AS p
  ), states AS (
    SELECT p.binding_id, p.state, p.user_requested OR p.state = 'terminating' AS users_wish FROM reconciler.policy AS p
    UNION SELECT t.binding_id, n.key, n.key = 'terminating' FROM tables AS t CROSS JOIN jsonb_each_text(t.stuck) AS n
      WHERE NOT EXISTS (SELECT FROM reconciler.policy AS p WHERE (p.binding_id, p.state) = (t.binding_id, n.key))
    UNION SELECT c.binding_id, c.label, c.label = 'terminating' FROM reconciler.counter AS c
      WHERE c.name = 'sessions_stuck_total' AND NOT EXISTS (SELECT FROM reconciler.policy AS p WHERE (p.binding_id, p.state) = (c.binding_id, c.label))
  ), known (binding_id, name, key, label) AS (  -- so that a counter is there, and zero, before it first counts
    SELECT r.binding_id, n.name, 'reason', r.reason FROM reasons AS r CROSS JOIN (VALUES ('reconciler_forced_total'), ('reconciler_finalized_total')) AS n(name)
    UNION ALL SELECT s.binding_id, 'sessions_stuck_total', 'state', s.state FROM states AS s
    UNION ALL SELECT c.binding_id, 'reconciler_resources_deleted_total', 'cluster', c.name FROM reconciler.cluster AS c WHERE c.binding_id IS NOT NULL
    UNION ALL SELECT t.binding_id, 'reconciler_retries_total', 'outcome', o.outcome FROM tables AS t
      CROSS JOIN unnest(ARRAY['accepted', 'completed', 'failed', 'rejected', 'session_gone', 'not_connected', 'unknown_agent', 'busy',
                              'unauthorized', 'unclear', 'unreachable', 'unknown']) AS o(outcome)
    UNION ALL SELECT t.binding_id, n.name, NULL, '' FROM tables AS t CROSS JOIN (VALUES ('reconciler_quarantined_total'), ('reconciler_guarded_total'), ('reconciler_reassigned_total'),
      ('reconciler_detection_lag_seconds_sum'), ('reconciler_detection_lag_seconds_count'), ('reconciler_hub_request_seconds_sum'),
      ('reconciler_hub_requests_total'), ('reconciler_hub_requests_failed_total')) AS n(name)
  ), counted (binding_id, name, label, value) AS (
    SELECT c.binding_id, c.name, CASE WHEN c.name = 'reconciler_guarded_total' THEN '' WHEN c.name NOT IN ('reconciler_forced_total', 'reconciler_finalized_total')
        OR EXISTS (SELECT FROM reasons AS r WHERE (r.binding_id, r.reason) = (c.binding_id, c.label)) THEN c.label ELSE 'other' END AS shown, sum(c.value)
    FROM reconciler.counter AS c GROUP BY c.binding_id, c.name, shown
  ), counters (binding_id, name, labels, value) AS (
    SELECT t.binding_id, x.name, t.label || CASE WHEN x.key IS NULL THEN '{}' ELSE jsonb_build_object(x.key, x.label) END, x.value
    FROM (SELECT binding_id, name, label, coalesce(k.key, CASE WHEN name IN ('reconciler_forced_total', 'reconciler_finalized_total') THEN 'reason'
                   WHEN name = 'reconciler_retries_total' THEN 'outcome' WHEN name = 'reconciler_resources_deleted_total' THEN 'cluster' END) AS key, coalesce(c.value, 0) AS value
          FROM known AS k FULL JOIN counted AS c USING (binding_id, name, label)) AS x
    JOIN tables AS t USING (binding_id)
  ), samples (name, labels, value) AS (
    SELECT CASE c.name WHEN 'reconciler_hub_requests_total' THEN 'reconciler_hub_request_seconds_count' ELSE c.name END, c.labels, c.value FROM counters AS c
    UNION ALL SELECT 'sessions_stuck_terminating_total', t.label,
      (SELECT coalesce(sum(c.value), 0) FROM reconciler.counter AS c JOIN states AS s ON (s.binding_id, s.state) = (c.binding_id, c.label)
        WHERE c.binding_id = t.binding_id AND c.name = 'sessions_stuck_total' AND s.users_wish) FROM tables AS t
    UNION ALL SELECT 'sessions_stuck_terminating', t.label,
      (SELECT coalesce(sum((t.stuck->>s.state)::float8), 0) FROM states AS s WHERE s.binding_id = t.binding_id AND s.users_wish) FROM tables AS t
    UNION ALL SELECT 'sessions_stuck', t.label || jsonb_build_object('state', s.state), coalesce((t.stuck->>s.state)::float8, 0)
      FROM tables AS t JOIN states AS s USING (binding_id)
    UNION ALL SELECT 'reconciler_quarantined', t.label,
      (SELECT count(*) FROM reconciler.episode AS e WHERE e.binding_id = t.binding_id AND e.quarantined IS NOT NULL) FROM tables AS t
    UNION ALL SELECT 'reconciler_agents_suspect', t.label,
      (SELECT count(*) FROM reconciler.agent_evidence AS e WHERE e.binding_id = t.binding_id AND e.suspect_since IS NOT NULL) FROM tables AS t
    UNION ALL SELECT 'reconciler_brake_tripped', t.label, (t.tripped IS NOT NULL)::int FROM tables AS t
    UNION ALL SELECT 'reconciler_brake_slowed', t.label, (t.tripped IS NULL AND coalesce(t.slowed, '') <> '')::int FROM tables AS t
    UNION ALL SELECT 'reconciler_brake_waiting', t.label, CASE WHEN t.tripped IS NULL THEN 0 ELSE t.tripped_due END FROM tables AS t
    UNION ALL SELECT 'reconciler_paused', t.label, (t.paused_at IS NOT NULL)::int FROM tables AS t
    UNION ALL SELECT 'reconciler_safe_mode', t.label, (t.safe_mode_since IS NOT NULL)::int FROM tables AS t
    UNION ALL SELECT 'reconciler_mode', t.label || jsonb_build_object('mode', m.mode), (t.mode = m.mode)::int
      FROM tables AS t CROSS JOIN unnest(ARRAY['observe', 'enforce', 'off', 'broken']) AS m(mode)
    UNION ALL SELECT 'reconciler_identity_confirmed', t.label, t.armed::int FROM tables AS t
    UNION ALL SELECT m.name, t.label || jsonb_build_object('cluster', c.name), m.value FROM tables AS t JOIN reconciler.cluster AS c ON c.binding_id = t.binding_id
      LEFT JOIN reconciler.cluster_state AS s ON s.cluster = c.name CROSS JOIN LATERAL (VALUES
        ('reconciler_resources_orphaned', (SELECT count(*) FROM reconciler.resource AS r WHERE r.cluster = c.name AND r.verdict = 'delete' AND r.removed_at IS NULL)::float8),
        ('reconciler_cluster_brake_tripped', (s.tripped IS NOT NULL)::int::float8),
        ('reconciler_collection_last_success_timestamp_seconds', coalesce((SELECT extract(epoch FROM max(n.ended_at)) FROM reconciler.collection AS n WHERE n.cluster = c.name AND n.complete)::float8, 0))) AS m(name, value)
    UNION ALL SELECT 'reconciler_worker_up', t.label, t.worker::int FROM tables AS t
    UNION ALL SELECT 'reconciler_last_success_timestamp_seconds', t.label, coalesce(extract(epoch FROM t.last_success_at)::float8, 0) FROM tables AS t
    UNION ALL SELECT 'reconciler_hub_up', t.label || jsonb_build_object('hub', t.hub), coalesce(t.hub_up::int::float8, 'NaN') FROM tables AS t WHERE t.hub IS NOT NULL
  )
  SELECT f.name, f.type, f.help, s.labels, s.value FROM samples AS s JOIN families AS f USING (name) ORDER BY f.rank, s.labels::text
$$;
REVOKE ALL ON FUNCTION reconciler_metrics() FROM PUBLIC;
COMMENT ON FUNCTION reconciler_metrics() IS
  'Metrics of every attached table, one row per sample; each has the label table. Counters are exact and start at attach_sessions(); those that never counted are there as 0. A reason that is neither built in nor in a policy counts as other. Units: seconds.';

-- Families in order, HELP and TYPE once each: exposition format 0.0.4.
CREATE FUNCTION reconciler_metrics_text() RETURNS text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET extra_float_digits = 1 AS $$
  WITH samples AS (
    SELECT m.ordinality AS rank, m.type, m.help,
           CASE m.type WHEN 'summary' THEN regexp_replace(m.name, '_(sum|count)$', '') ELSE m.name END AS family,
           m.name || '{' || (SELECT string_agg(l.key || '="' || replace(replace(replace(l.value, '\', '\\'), '"', '\"'), E'\n', '\n') || '"', ',' ORDER BY l.ordinality)
                             FROM jsonb_each_text(m.labels) WITH ORDINALITY AS l) || '} ' ||
             CASE m.value WHEN 'Infinity' THEN '+Inf' WHEN '-Infinity' THEN '-Inf' ELSE m.value::text END AS line
    FROM @extschema@.reconciler_metrics() WITH ORDINALITY AS m
  ), families AS (
    SELECT min(s.rank) AS rank, '# HELP ' || s.family || ' ' || replace(replace(min(s.help), '\', '\\'), E'\n', '\n') || E'\n# TYPE ' || s.family || ' ' ||
           min(s.type) || E'\n' || string_agg(s.line, E'\n' ORDER BY s.rank) || E'\n' AS text
    FROM samples AS s GROUP BY s.family
  )
  SELECT coalesce(string_agg(f.text, '' ORDER BY f.rank), '') FROM families AS f
$$;
REVOKE ALL ON FUNCTION reconciler_metrics_text() FROM PUBLIC;
COMMENT ON FUNCTION reconciler_metrics_text() IS
  'reconciler_metrics() in Prometheus'' text exposition format 0.0.4, for an exporter or textfile collector to pass on as it is. Empty while no table is attached.';
