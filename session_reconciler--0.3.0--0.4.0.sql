-- From 0.3.0 to 0.4.0. What is new in tables stands at their end in the install script too: both ways lead to the same.
\echo Use "ALTER EXTENSION session_reconciler UPDATE" to load this file. \quit

DO $$
BEGIN
  IF string_to_array(reconciler.library_version(), '.')::integer[] < '{0,4,0}' THEN
    RAISE EXCEPTION 'the library in memory is of version %, this is the upgrade to 0.4.0', reconciler.library_version() USING ERRCODE = 'feature_not_supported',
      HINT = 'Restart the server, or connect again where it does not preload the library; then repeat ALTER EXTENSION session_reconciler UPDATE.';
  END IF;
END $$;

COMMENT ON COLUMN reconciler.binding.related IS 'Related tables and their columns: agents, commands, audit, connections.';
COMMENT ON COLUMN reconciler.counter.label IS 'Value of its one label, or empty. reconciler_guarded_total: the event, until a pass adds it to the sum.';

CREATE OR REPLACE FUNCTION reconciler.check_terminal_states() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  clash record;
  edited text := to_jsonb(NEW)->>'state';  -- NULL: the binding's row. Only what is edited is judged:
  before text[] := ARRAY(SELECT o.value FROM jsonb_each_text(to_jsonb(OLD)) AS o WHERE to_jsonb(OLD)->>'enabled' = 'true' AND o.key IN ('state', 'becomes', 'completed_becomes') AND o.value IS NOT NULL);
BEGIN
  -- A state that the column's type does not have would end every pass with an error.
  SELECT s.state, format_type(l.type, NULL) AS type, array_to_string(l.labels, ', ') AS known INTO clash
    FROM reconciler.binding AS b,
         LATERAL (SELECT e.enumtypid AS type, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
                    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
                    JOIN pg_enum AS e ON e.enumtypid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
                    WHERE a.attrelid = b.sessions AND a.attname = b.columns->>'state' GROUP BY e.enumtypid) AS l,
         LATERAL (SELECT unnest(CASE WHEN p.enabled THEN ARRAY[p.state, p.becomes, p.completed_becomes] ELSE ARRAY[p.state] END)
                    FROM reconciler.policy AS p WHERE p.binding_id = b.binding_id AND p.state = edited) AS s(state)
    WHERE b.binding_id = NEW.binding_id AND s.state <> ALL (l.labels) AND s.state <> ALL (before)
    ORDER BY s.state LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '"%" is no label of type %', clash.state, clash.type USING ERRCODE = 'check_violation',
      DETAIL = format('Its labels: %s.', clash.known), HINT = format('Name one of them, or: ALTER TYPE %s ADD VALUE %L.', clash.type, clash.state);
  END IF;
  SELECT p.state, p.becomes, p.state = ANY (b.terminal_states) AS ended,
         format('Terminal states of %I.%I: %s.', b.schema_name, b.table_name, array_to_string(b.terminal_states, ', ')) AS known INTO clash
    FROM reconciler.binding AS b JOIN reconciler.policy AS p USING (binding_id)
    WHERE b.binding_id = NEW.binding_id AND (edited IS NULL OR p.state = edited) AND (p.state = ANY (b.terminal_states) OR (p.enabled AND p.becomes <> ALL (b.terminal_states)))
    ORDER BY p.state LIMIT 1;
  IF FOUND AND clash.ended THEN
    RAISE EXCEPTION 'state "%" is terminal and can''t have a policy', clash.state USING ERRCODE = 'check_violation',
      DETAIL = clash.known, HINT = 'Delete the policy, or take the state out of terminal_states in reconciler.binding.';
  ELSIF FOUND THEN
    RAISE EXCEPTION 'the policy of state "%" would write "%", in which no session has ended', clash.state, clash.becomes USING ERRCODE = 'check_violation',
      DETAIL = clash.known, HINT = 'Let becomes be one of them, or add the state to terminal_states in reconciler.binding first.';
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION reconciler.trust_dump() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('is_superuser') = 'off' THEN
    NULL;
  ELSIF TG_WHEN = 'BEFORE' AND current_setting('session_replication_role') = 'origin' THEN
    PERFORM set_config('session_replication_role', 'replica', true), set_config('reconciler.trusts_dump', 'on', true);
  ELSIF TG_WHEN = 'AFTER' AND current_setting('reconciler.trusts_dump', true) = 'on' THEN
    PERFORM set_config('session_replication_role', 'origin', true), set_config('reconciler.trusts_dump', '', true);
  END IF;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.trust_dump() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.trust_dump() IS 'Rows of a dump that a superuser restores may come before those that they refer to.';

CREATE FUNCTION reconciler.closing(about reconciler.binding, key text) RETURNS reconciler.event
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT moved FROM (
    SELECT e AS moved, e.to_state FROM reconciler.event AS e
      WHERE e.session_id = key AND (e.schema_name, e.table_name) = (about.schema_name, about.table_name)
        AND e.kind IN ('force', 'finalize', 'undo', 'late_report', 'guard', 'would_guard') AND e.to_state IS NOT NULL
      ORDER BY e.id DESC LIMIT 1) AS newest
    WHERE to_state = ANY (about.terminal_states)
$$;
COMMENT ON FUNCTION reconciler.closing(reconciler.binding, text) IS 'The event by which we closed a session whose end still is ours; NULL: it is the application''s, or open.';
REVOKE ALL ON FUNCTION reconciler.closing(reconciler.binding, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION reconciler.guard(binding integer, names text[], types oid[], was text[], becomes text[]) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  about reconciler.binding;
  closing reconciler.event;
  old_row jsonb;
  new_row jsonb;
  key text;
  agent text;
  runtime text;
  creation text;
  ends_in text;
  wanted text;
  missing text;
  why text;
  stops record;
BEGIN
  SELECT b.* INTO about FROM reconciler.binding AS b WHERE b.binding_id = guard.binding AND b.guard_terminal AND reconciler.armed_here(b.binding_id);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  SELECT m.value INTO missing FROM jsonb_each_text(about.columns) AS m
    WHERE m.key IN ('key', 'state', 'agent', 'runtime', 'created') AND m.value <> ALL (names) ORDER BY m.key LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'column "%" does not exist', missing USING ERRCODE = 'undefined_column',
      HINT = format('Give the column its name back, or detach_sessions(%L) and attach again.', format('%I.%I', about.schema_name, about.table_name));
  END IF;
  key := reconciler.plain_text(was[array_position(names, about.columns->>'key')], types[array_position(names, about.columns->>'key')]);
  ends_in := was[array_position(names, about.columns->>'state')];
  closing := reconciler.closing(about, key);
  IF closing.id IS NULL THEN
    RETURN false;
  END IF;

  SELECT jsonb_object_agg(c.name, reconciler.plain_text(c.was, c.type)), jsonb_object_agg(c.name, reconciler.plain_text(c.becomes, c.type)) INTO old_row, new_row
    FROM unnest(names, types, was, becomes) AS c(name, type, was, becomes)
    WHERE c.name IN (SELECT n.name FROM jsonb_each(about.columns) AS m(what, name),
                            jsonb_array_elements_text(CASE jsonb_typeof(m.name) WHEN 'array' THEN m.name ELSE jsonb_build_array(m.name) END) AS n(name)
                       WHERE m.what NOT IN ('entered', 'signs'));
  agent := nullif(old_row->>(about.columns->>'agent'), '');
  runtime := old_row->>(about.columns->>'runtime');
  creation := old_row->>(about.columns->>'created');
  wanted := new_row->>(about.columns->>'state');
  IF EXISTS (SELECT FROM unnest(names, types) AS c(name, type)
               WHERE c.name IN (about.columns->>'agent', about.columns->>'created')
                 AND reconciler.plain_text(closing.after->>c.name, c.type) IS DISTINCT FROM old_row->>c.name) THEN
    RETURN false;  -- another session of that id
  END IF;

  why := CASE
    WHEN agent IS DISTINCT FROM nullif(new_row->>(about.columns->>'agent'), '') OR creation IS DISTINCT FROM new_row->>(about.columns->>'created') THEN 'recreated'
    WHEN EXISTS (SELECT FROM reconciler.policy AS p WHERE p.binding_id = binding AND p.state = wanted AND p.awaits = 'start_session') THEN 'recreated'
    WHEN EXISTS (SELECT FROM reconciler.policy AS p WHERE p.binding_id = binding AND p.state = wanted AND p.user_requested) THEN 'user_requested'
    ELSE 'late_write' END;
  IF why <> 'late_write' OR about.mode <> 'enforce' OR about.paused_at IS NOT NULL
     OR EXISTS (SELECT FROM reconciler.hold AS h WHERE h.binding_id = binding AND h.session_id = key AND h.until > reconciler.clock())
     OR EXISTS (SELECT FROM reconciler.binding_state AS s WHERE s.binding_id = binding AND s.safe_mode_since IS NOT NULL) THEN
    PERFORM reconciler.note(binding, key, CASE why WHEN 'late_write' THEN 'would_guard' ELSE 'guard' END, why, jsonb_build_object('closed_by', closing.id),
                            ends_in, wanted, 'guard_terminal', old_row, new_row);
    RETURN false;
  END IF;

  -- An agent that goes on gets further stops, at the pace of every retry.
  SELECT count(*) AS n, max(e.id) AS last, max(e.at) + least(interval '15 min', interval '1 min' * 2 ^ least(count(*) - 1, 4)) AS next INTO stops
    FROM reconciler.event AS e
    WHERE e.session_id = key AND e.id > closing.id AND e.kind = 'late_report' AND (e.schema_name, e.table_name) = (about.schema_name, about.table_name);
  -- Who writes the same every second is noted once for each of them.
  IF NOT EXISTS (SELECT FROM reconciler.event AS e
                   WHERE e.session_id = key AND e.id > greatest(closing.id, stops.last) AND e.kind = 'guard' AND (e.schema_name, e.table_name) = (about.schema_name, about.table_name)
                     AND e.evidence->'attempted'->>(about.columns->>'state') IS NOT DISTINCT FROM wanted) THEN
    -- A counter of its own, which the next pass adds to the sum: writers don't wait for each other.
    INSERT INTO reconciler.counter (binding_id, name, value, label)
      VALUES (binding, 'reconciler_guarded_total', 1,
              reconciler.note(binding, key, 'guard', why, jsonb_build_object('closed_by', closing.id, 'attempted', new_row), ends_in, NULL, 'guard_terminal', old_row));
  END IF;
  -- What was refused is not taken back either: readopt is owed no more.
  IF agent IS NOT NULL
     AND NOT EXISTS (SELECT FROM reconciler.episode AS e WHERE e.binding_id = guard.binding AND e.session_id = key AND e.owed = 'stop' AND e.owed_until > reconciler.clock()
                       AND (e.state, e.agent_id) = (ends_in, agent) AND e.runtime_id IS NOT DISTINCT FROM runtime AND e.created IS NOT DISTINCT FROM creation) THEN
    DELETE FROM reconciler.episode AS e WHERE e.binding_id = guard.binding AND e.session_id = key;
    INSERT INTO reconciler.episode (binding_id, session_id, state, agent_id, runtime_id, created, first_seen, entered, owed, owed_since, owed_until, next_attempt)
      SELECT guard.binding, key, ends_in, agent, runtime, creation, c.at, c.at, 'stop', c.at, c.at + interval '24 hours', stops.next
        FROM reconciler.clock() AS c(at)
      ON CONFLICT DO NOTHING;
    PERFORM reconciler.wake_worker();
  END IF;
  RAISE NOTICE 'session "%" was closed by the reconciler: it stays "%"', key, ends_in
    USING DETAIL = format('The write of %s is refused by the guard of %I.%I; event %s closed the session.', coalesce('"' || wanted || '"', 'NULL'), about.schema_name, about.table_name, closing.id),
    HINT = format('undo_event(%s) brings it back; where its row was written since, hold_session(), the write, release_session().', closing.id);
  RETURN true;
END $$;

CREATE OR REPLACE FUNCTION reconciler.set_guard(about reconciler.binding, wanted boolean) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found record;
BEGIN
  FOR found IN
    SELECT t.tgrelid, format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) AS statement, c.relowner
      FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
      WHERE t.tgfoid = 'reconciler.guard_terminal()'::regprocedure AND t.tgparentid = 0
        AND (t.tgrelid = about.sessions OR encode(t.tgargs, 'escape') = about.binding_id || E'\\000')
  LOOP
    IF found.tgrelid <> about.sessions AND NOT pg_has_role(reconciler.acting_role(), found.relowner, 'USAGE') THEN
      RAISE WARNING 'a guard is left on table %', found.tgrelid::regclass
        USING DETAIL = 'It guards nothing. Its table is not the attached one, and belongs to somebody else.', HINT = found.statement || ';';
    ELSE
      EXECUTE found.statement;
    END IF;
  END LOOP;
  IF wanted THEN
    EXECUTE format('CREATE TRIGGER session_reconciler_guard BEFORE UPDATE ON %s FOR EACH ROW'
                   ' WHEN (OLD.%I::text = ANY (%L::text[]) AND (NEW.%2$I::text = ANY (%3$L::text[])) IS NOT TRUE) EXECUTE FUNCTION reconciler.guard_terminal(%L)',
                   about.sessions, about.columns->>'state', about.terminal_states, about.binding_id);
    EXECUTE format('ALTER TRIGGER session_reconciler_guard ON %s DEPENDS ON EXTENSION session_reconciler', about.sessions);
    EXECUTE format('COMMENT ON TRIGGER session_reconciler_guard ON %s IS %L', about.sessions,
                   'A session that session_reconciler closed stays closed: see guard_terminal in reconciler.binding.');
  END IF;
END $$;

CREATE OR REPLACE FUNCTION reconciler.guard_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  owner name;
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF NOT reconciler.own_change() THEN  -- detach_sessions() has done so
      PERFORM reconciler.set_guard(OLD, false);
    END IF;
    RETURN NULL;
  END IF;
  SELECT pg_get_userbyid(c.relowner) INTO owner FROM pg_class AS c WHERE c.oid = NEW.sessions;
  IF NOT FOUND THEN
    RETURN NULL;  -- a table that has vanished
  END IF;
  IF NOT pg_has_role(reconciler.acting_role(), owner, 'USAGE') THEN
    RAISE EXCEPTION 'must be owner of table %', NEW.sessions USING ERRCODE = 'insufficient_privilege',
      DETAIL = 'Its guard is a trigger on it.', HINT = format('Its owner is %I; a superuser may change the guard of any table.', owner);
  END IF;
  PERFORM reconciler.set_guard(NEW, NEW.guard_terminal);
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION reconciler_metrics()
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
    (26, 'reconciler_guarded_total', 'counter', 'Late writes that the guard refused; one that is repeated counts once until its agent has got a stop.')
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
    UNION ALL SELECT t.binding_id, 'reconciler_retries_total', 'outcome', o.outcome FROM tables AS t
      CROSS JOIN unnest(ARRAY['accepted', 'completed', 'failed', 'rejected', 'session_gone', 'not_connected', 'unknown_agent', 'busy',
                              'unauthorized', 'unclear', 'unreachable', 'unknown']) AS o(outcome)
    UNION ALL SELECT t.binding_id, n.name, NULL, '' FROM tables AS t CROSS JOIN (VALUES ('reconciler_quarantined_total'), ('reconciler_guarded_total'),
      ('reconciler_detection_lag_seconds_sum'), ('reconciler_detection_lag_seconds_count'), ('reconciler_hub_request_seconds_sum'),
      ('reconciler_hub_requests_total'), ('reconciler_hub_requests_failed_total')) AS n(name)
  ), counted (binding_id, name, label, value) AS (
    SELECT c.binding_id, c.name, CASE WHEN c.name = 'reconciler_guarded_total' THEN '' WHEN c.name NOT IN ('reconciler_forced_total', 'reconciler_finalized_total')
        OR EXISTS (SELECT FROM reasons AS r WHERE (r.binding_id, r.reason) = (c.binding_id, c.label)) THEN c.label ELSE 'other' END AS shown, sum(c.value)
    FROM reconciler.counter AS c GROUP BY c.binding_id, c.name, shown
  ), counters (binding_id, name, labels, value) AS (
    SELECT t.binding_id, x.name, t.label || CASE WHEN x.key IS NULL THEN '{}' ELSE jsonb_build_object(x.key, x.label) END, x.value
    FROM (SELECT binding_id, name, label, coalesce(k.key, CASE WHEN name IN ('reconciler_forced_total', 'reconciler_finalized_total') THEN 'reason'
                   WHEN name = 'reconciler_retries_total' THEN 'outcome' END) AS key, coalesce(c.value, 0) AS value
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
    UNION ALL SELECT 'reconciler_worker_up', t.label, t.worker::int FROM tables AS t
    UNION ALL SELECT 'reconciler_last_success_timestamp_seconds', t.label, coalesce(extract(epoch FROM t.last_success_at)::float8, 0) FROM tables AS t
    UNION ALL SELECT 'reconciler_hub_up', t.label || jsonb_build_object('hub', t.hub), coalesce(t.hub_up::int::float8, 'NaN') FROM tables AS t WHERE t.hub IS NOT NULL
  )
  SELECT f.name, f.type, f.help, s.labels, s.value FROM samples AS s JOIN families AS f USING (name) ORDER BY f.rank, s.labels::text
$$;

CREATE OR REPLACE FUNCTION reconciler.level_of(OUT function_name text, OUT level text) RETURNS SETOF record
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  VALUES
    -- looks
    ('stuck_sessions', 'viewer'), ('explain_session', 'viewer'), ('reconcile_plan', 'viewer'), ('session_coverage', 'viewer'), ('preflight', 'viewer'),
    ('reconciler_status', 'viewer'), ('reconciler_metrics', 'viewer'), ('reconciler_metrics_text', 'viewer'),
    -- acts, within what policies and brakes allow
    ('reconcile', 'operator'), ('probe_hub', 'operator'), ('pause_reconciler', 'operator'), ('unpause_reconciler', 'operator'),
    ('hold_session', 'operator'), ('release_session', 'operator'), ('retry_session', 'operator'),
    ('request_termination', 'operator'), ('undo_event', 'operator'), ('undo_pass', 'operator'),
    -- sets up, and acts past policies and brakes
    ('attach_sessions', 'admin'), ('detach_sessions', 'admin'), ('create_control_plane', 'admin'), ('set_hub', 'admin'),
    ('set_mode', 'admin'), ('reset_brake', 'admin'), ('force_terminate_session', 'admin'), ('confirm_identity', 'admin'),
    ('stop_worker', 'admin'),
    -- says what it knows of agents
    ('agent_connected', 'evidence'), ('agent_disconnected', 'evidence'),
    -- the extension's owner only
    ('reconciler_grant', 'owner'), ('reconciler_revoke', 'owner'),
    ('reconciler.level_of', 'owner'), ('reconciler.granted_functions', 'owner'), ('reconciler.grantee', 'owner'), ('reconciler.grant_tables', 'owner'),
    ('reconciler.event_is_append_only', 'owner'), ('reconciler.configuration_changed', 'owner'), ('reconciler.own_change', 'owner'), ('reconciler.refuse_credentials_in_urls', 'owner'),
    ('reconciler.check_row', 'owner'), ('reconciler.check_terminal_states', 'owner'), ('reconciler.trust_dump', 'owner'), ('reconciler.check_mapping', 'owner'), ('reconciler.check_hub_profile', 'owner'),
    ('reconciler.plain_text', 'owner'), ('reconciler.closing', 'owner'), ('reconciler.guard', 'owner'), ('reconciler.guard_terminal', 'owner'), ('reconciler.set_guard', 'owner'), ('reconciler.guard_changed', 'owner'),
    ('reconciler.clock', 'owner'), ('reconciler.acting_role', 'owner'), ('reconciler.library_version', 'owner'),
    ('reconciler.one_binding', 'owner'), ('reconciler.bindings', 'owner'), ('reconciler.check_binding', 'owner'), ('reconciler.check_profile', 'owner'),
    ('reconciler.change_binding', 'owner'), ('reconciler.session_key', 'owner'), ('reconciler.begin_episode', 'owner'),
    ('reconciler.wake_worker', 'owner'), ('reconciler.request_worker', 'owner'), ('reconciler.worker_pid', 'owner'),
    ('reconciler.server_identity', 'owner'), ('reconciler.armed_here', 'owner'), ('reconciler.refuse_copy', 'owner'), ('reconciler.required', 'owner'), ('reconciler.required_reason', 'owner'),
    ('reconciler.note', 'owner'), ('reconciler.existing_session', 'owner')
$$;

CREATE TRIGGER restored BEFORE INSERT ON reconciler.hub WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
CREATE TRIGGER restored_all AFTER INSERT ON reconciler.hub WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
ALTER TABLE reconciler.hub ENABLE ALWAYS TRIGGER restored_all;
CREATE TRIGGER restored BEFORE INSERT ON reconciler.binding WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
CREATE TRIGGER restored_all AFTER INSERT ON reconciler.binding WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
ALTER TABLE reconciler.binding ENABLE ALWAYS TRIGGER restored_all;
CREATE TRIGGER restored BEFORE INSERT ON reconciler.policy WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
CREATE TRIGGER restored_all AFTER INSERT ON reconciler.policy WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
ALTER TABLE reconciler.policy ENABLE ALWAYS TRIGGER restored_all;
CREATE TRIGGER restored BEFORE INSERT ON reconciler.hold WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
CREATE TRIGGER restored_all AFTER INSERT ON reconciler.hold WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
ALTER TABLE reconciler.hold ENABLE ALWAYS TRIGGER restored_all;

-- The agent of a command, where attach_sessions() would find it and the owner may read it. Before the trigger below: the upgrade
-- fails for no table that is broken, and needs no library of this very version.
UPDATE reconciler.binding AS b SET related = jsonb_set(b.related, '{commands,columns,agent}', '"agent_id"')
  FROM pg_class AS s, pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid JOIN pg_type AS t ON t.oid = a.atttypid
  WHERE s.oid = b.sessions AND jsonb_typeof(b.related->'commands'->'columns') = 'object' AND NOT b.related->'commands'->'columns' ? 'agent'
    AND b.related->'commands'->>'table' = format('%I.%I', n.nspname, c.relname)
    AND a.attname = 'agent_id' AND NOT a.attisdropped AND has_column_privilege(s.relowner, c.oid, a.attnum, 'SELECT')
    AND coalesce(nullif(t.typbasetype, 0), t.oid) NOT IN ('json'::regtype, 'jsonb'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype);

-- A mapping that no pass could load is refused where it is written.
CREATE FUNCTION reconciler.check_mapping() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM reconciler.check_binding(NEW.binding_id);
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.check_mapping() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.check_mapping() IS 'Raises what would break the next pass, when the mapping is edited (22023, 42703, 42804, 55000).';
CREATE TRIGGER checked_mapping AFTER UPDATE OF columns, related, leftover ON reconciler.binding
  FOR EACH ROW WHEN (OLD.columns <> NEW.columns OR OLD.related <> NEW.related OR OLD.leftover <> NEW.leftover) EXECUTE FUNCTION reconciler.check_mapping();

-- A start of ours may arrive after the session has ended.
ALTER TABLE reconciler.episode ADD COLUMN start_sent timestamptz;
COMMENT ON COLUMN reconciler.episode.start_sent IS 'We sent a start, in this stay or one before: it may arrive after the session has ended, so its end owes a stop. NULL: no, or so is owed already.';

-- A hub profile that can't be used would end every pass. What a dump brings along is believed, and found by preflight().
CREATE FUNCTION reconciler.check_profile(name text, definition jsonb) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_check_profile';
COMMENT ON FUNCTION reconciler.check_profile(text, jsonb) IS 'Raises what makes a hub profile one that can''t be used (22023).';
REVOKE ALL ON FUNCTION reconciler.check_profile(text, jsonb) FROM PUBLIC;
CREATE FUNCTION reconciler.check_hub_profile() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM reconciler.check_profile(NEW.name, NEW.definition);
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.check_hub_profile() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.check_hub_profile() IS 'Refuses a hub profile that can''t be used (22023).';
CREATE TRIGGER checked_profile AFTER INSERT OR UPDATE ON reconciler.hub_profile
  FOR EACH ROW WHEN (current_setting('check_function_bodies') = 'on') EXECUTE FUNCTION reconciler.check_hub_profile();

COMMENT ON FUNCTION session_coverage(regclass) IS
  'Every state that sessions are in, and what looks at it: watched_by is policy, policy_off, completion (only a completed stop closes them), terminal or nothing. oldest: longest time in the state. threshold: of its policy, else the longest of the table''s policies; NULL: the policy has none. over_threshold: sessions older than that. Reads the whole table, with the caller''s rights on it.';
