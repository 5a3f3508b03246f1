-- reconciler_status(), reconciler_metrics() and its text form: what they show of recorded state. The extension is in
-- a schema of its own here, with a name that needs quotes.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA "Re conciler";
CREATE EXTENSION session_reconciler SCHEMA "Re conciler";
RESET client_min_messages;
SET LOCAL search_path = "Re conciler", public;
SELECT plan(56);

SELECT is_empty('SELECT * FROM reconciler_status()', 'nothing attached: no row');
SELECT is_empty('SELECT * FROM reconciler_metrics()', 'nothing attached: no metric');
SELECT is(reconciler_metrics_text(), '', 'nothing attached: no text');

CREATE TABLE public.sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, updated_at timestamptz);
CREATE SCHEMA "a ""b\"; -- a name that wants escaping everywhere
CREATE TABLE "a ""b\".sessions (LIKE public.sessions INCLUDING ALL);
SELECT lives_ok($$ SELECT * FROM attach_sessions('public.sessions', options => '{"mode": "enforce"}') $$, 'attach');
CREATE FUNCTION pg_temp.id() RETURNS integer LANGUAGE sql AS $$ SELECT binding_id FROM reconciler.binding WHERE sessions = 'public.sessions'::regclass $$;

-- Just attached
SELECT results_eq($$ SELECT table_name, mode, mode_reason, last_pass_at, last_error, next_wake_up, stuck, stuck_by_state, held, quarantined FROM reconciler_status() $$,
  $$ VALUES ('public.sessions', 'enforce', 'as attached', NULL::timestamptz, '', NULL::timestamptz, 0::bigint, '{}'::jsonb, 0::bigint, 0::bigint) $$, 'before the first pass');
SELECT results_eq($$ SELECT brake_tripped_at, brake_why, brake_due, brake_waiting, brake_allowance, brake_used, brake_budget, brake_left FROM reconciler_status() $$,
  $$ VALUES (NULL::timestamptz, NULL::text, NULL::bigint, NULL::text[], 0::bigint, 0::bigint, 20::bigint, 20::bigint) $$, 'the brake before the first force');
SELECT results_eq($$ SELECT paused_at, pause_everything, hub, hub_state, hub_instance, identity_confirmed, safe_mode_since FROM reconciler_status() $$,
  $$ VALUES (NULL::timestamptz, false, NULL::text, 'none', NULL::text, true, NULL::timestamptz) $$, 'no pause, no hub, confirmed');
SELECT results_eq($$ SELECT library_version, extension_version FROM reconciler_status() $$,
  $$ SELECT extversion COLLATE "default", extversion COLLATE "default" FROM pg_extension WHERE extname = 'session_reconciler' $$, 'both versions');

-- The whole list of metrics is there from the start.
SELECT results_eq('SELECT DISTINCT name FROM reconciler_metrics() ORDER BY name', $$ VALUES
  ('reconciler_agents_suspect'), ('reconciler_brake_slowed'), ('reconciler_brake_tripped'), ('reconciler_brake_waiting'), ('reconciler_detection_lag_seconds_count'), ('reconciler_detection_lag_seconds_sum'), ('reconciler_finalized_total'),
  ('reconciler_forced_total'), ('reconciler_guarded_total'), ('reconciler_hub_request_seconds_count'), ('reconciler_hub_request_seconds_sum'), ('reconciler_hub_requests_failed_total'),
  ('reconciler_identity_confirmed'), ('reconciler_last_success_timestamp_seconds'), ('reconciler_mode'), ('reconciler_paused'),
  ('reconciler_quarantined'), ('reconciler_quarantined_total'), ('reconciler_reassigned_total'), ('reconciler_retries_total'), ('reconciler_safe_mode'), ('reconciler_worker_up'),
  ('sessions_stuck'), ('sessions_stuck_terminating'), ('sessions_stuck_terminating_total'), ('sessions_stuck_total') $$, 'every metric but the hub''s');
SELECT is_empty($$ SELECT name, labels FROM reconciler_metrics() WHERE labels->>'table' IS DISTINCT FROM 'public.sessions' $$, 'each with its table');
SELECT is_empty($$ SELECT name, labels, value FROM reconciler_metrics() WHERE value <> 0 AND NOT (name = 'reconciler_mode' AND labels->>'mode' = 'enforce')
  AND name NOT IN ('reconciler_identity_confirmed', 'reconciler_worker_up') $$, 'all zero');
SELECT set_has($$ SELECT labels->>'reason' FROM reconciler_metrics() WHERE name = 'reconciler_forced_total' $$,
  $$ VALUES ('agent_unavailable'), ('agent_disconnected'), ('no_agent'), ('timeout'), ('runtime_gone'), ('stop_unconfirmed'), ('user_requested') $$, 'known reasons');
SELECT set_has($$ SELECT labels->>'outcome' FROM reconciler_metrics() WHERE name = 'reconciler_retries_total' $$,
  $$ VALUES ('accepted'), ('rejected'), ('unreachable'), ('unknown'), ('completed'), ('failed') $$, 'known outcomes');
SELECT set_has($$ SELECT labels->>'state' FROM reconciler_metrics() WHERE name = 'sessions_stuck' $$,
  'SELECT state FROM reconciler.policy', 'states of policies');

-- After a pass, as it would have recorded it.
CREATE FUNCTION pg_temp.metric(metric text, label jsonb DEFAULT '{}') RETURNS double precision LANGUAGE sql
  AS $$ SELECT value FROM "Re conciler".reconciler_metrics() WHERE name = metric AND labels @> label $$;
INSERT INTO reconciler.binding_state AS s (binding_id, last_pass_at, last_pass_took, last_success_at, last_scanned, last_acted, stuck, next_due, hub_up)
  VALUES (pg_temp.id(), '2026-01-01 00:00:00+00', '2 s', '2026-01-01 00:00:02+00', 100, 3, '{"terminating": 2, "running": 5}', '2026-01-01 00:00:30+00', true)
  ON CONFLICT (binding_id) DO UPDATE SET last_pass_at = excluded.last_pass_at, last_pass_took = excluded.last_pass_took, last_success_at = excluded.last_success_at,
    last_scanned = 100, last_acted = 3, stuck = excluded.stuck, next_due = excluded.next_due, hub_up = true;
INSERT INTO reconciler.counter VALUES (pg_temp.id(), 'sessions_stuck_total', 'terminating', 40), (pg_temp.id(), 'sessions_stuck_total', 'running', 9),
  (pg_temp.id(), 'sessions_stuck_total', 'long ago', 1),
  (pg_temp.id(), 'reconciler_forced_total', 'agent_unavailable', 12), (pg_temp.id(), 'reconciler_forced_total', 'we were told by phone', 2),
  (pg_temp.id(), 'reconciler_forced_total', 'and by letter', 1), (pg_temp.id(), 'reconciler_retries_total', 'accepted', 5), (pg_temp.id(), 'reconciler_retries_total', 'new_outcome', 6),
  (pg_temp.id(), 'reconciler_hub_requests_total', '', 8), (pg_temp.id(), 'reconciler_hub_request_seconds_sum', '', 0.25), (pg_temp.id(), 'reconciler_detection_lag_seconds_sum', '', 1e20);
INSERT INTO reconciler.episode (binding_id, session_id, state, first_seen, entered, quarantined) VALUES (pg_temp.id(), 'q', 'terminating', now(), now(), now()),
  (pg_temp.id(), 'p', 'terminating', now(), now(), NULL);
INSERT INTO reconciler.hold VALUES (pg_temp.id(), 'q', 'infinity', 'x', 'y'), (pg_temp.id(), 'r', now() - interval '1 s', 'over', 'y');

SELECT results_eq($$ SELECT last_pass_took, last_scanned, last_acted, stuck, stuck_by_state, held, quarantined FROM reconciler_status() $$,
  $$ VALUES (interval '2 s', 100::bigint, 3::bigint, 7::bigint, '{"terminating": 2, "running": 5}'::jsonb, 1::bigint, 1::bigint) $$, 'what the pass left');
SELECT is((SELECT next_wake_up FROM reconciler_status()), CASE WHEN reconciler.worker_pid() IS NOT NULL THEN '2026-01-01 00:00:30+00'::timestamptz END, 'the next wake-up, if there is a worker');
SELECT is(pg_temp.metric('sessions_stuck_terminating'), 2::float8, 'the gauge of the issue');
SELECT is(pg_temp.metric('sessions_stuck_terminating_total'), 40::float8, 'the counter of the issue');
SELECT is(pg_temp.metric('sessions_stuck', '{"state": "running"}'), 5::float8, 'a gauge by state');
SELECT is(pg_temp.metric('sessions_stuck_total', '{"state": "long ago"}'), 1::float8, 'also of states that no policy names any more');
SELECT is(pg_temp.metric('reconciler_forced_total', '{"reason": "agent_unavailable"}'), 12::float8, 'forces by reason');
SELECT is(pg_temp.metric('reconciler_forced_total', '{"reason": "other"}'), 3::float8, 'what an operator wrote is no label');
SELECT is(pg_temp.metric('reconciler_retries_total', '{"outcome": "new_outcome"}'), 6::float8, 'an outcome that is not on the list');
SELECT is(pg_temp.metric('reconciler_quarantined'), 1::float8, 'quarantined now');
SELECT is(pg_temp.metric('reconciler_hub_request_seconds_count'), 8::float8, 'requests');
SELECT is(pg_temp.metric('reconciler_last_success_timestamp_seconds'), 1767225602::float8, 'last success as Unix time');
SELECT is(pg_temp.metric('reconciler_mode', '{"mode": "enforce"}'), 1::float8, 'the mode');
SELECT is(pg_temp.metric('reconciler_mode', '{"mode": "broken"}'), 0::float8, 'and the others');

-- The hub
SELECT lives_ok($$ SELECT set_hub('main "hub"', 'http://127.0.0.1:9') $$, 'a hub');
SELECT results_eq('SELECT hub, hub_state FROM reconciler_status()', $$ VALUES ('main "hub"', 'up') $$, 'up');
SELECT is(pg_temp.metric('reconciler_hub_up', '{"hub": "main \"hub\""}'), 1::float8, 'its metric');
UPDATE reconciler.binding_state SET hub_up = false, hub_unknown_since = now();
SELECT results_eq('SELECT hub_state, hub_unknown_since FROM reconciler_status()', $$ VALUES ('unknown', now()) $$, 'unknown, and since when');
SELECT is(pg_temp.metric('reconciler_hub_up'), 0::float8, 'not up');
UPDATE reconciler.binding_state SET hub_unauthorized = true;
SELECT is((SELECT hub_state FROM reconciler_status()), 'auth_failed', 'it refuses our credential');
UPDATE reconciler.binding_state SET hub_unauthorized = false, hub_up = NULL;
SELECT is((SELECT hub_state FROM reconciler_status()), 'never_asked', 'nobody asked it');
SELECT is(pg_temp.metric('reconciler_hub_up'), 'NaN'::float8, 'neither up nor down');
INSERT INTO reconciler.hub_instance VALUES ('main "hub"', 'old', now(), now() - interval '1 h'), ('main "hub"', 'new', now(), now());
SELECT is((SELECT hub_instance FROM reconciler_status()), 'new', 'the instance that answered last');

-- The brake: who waits, and a window of ten minutes.
SELECT reconciler.note(pg_temp.id(), NULL, 'brake_tripped', '31 forces due', '{"samples": ["s1", "s2"]}') \gset ignored_
INSERT INTO reconciler.brake (binding_id, tripped, tripped_due, tripped_why, minute, inferred)
  SELECT pg_temp.id(), e.at, 31, '31 forces due', floor(extract(epoch FROM now()) / 60)::bigint - 7, '{3,4,0,0,9,0,0,0,0,0}' FROM reconciler.event AS e WHERE e.kind = 'brake_tripped';
SELECT results_eq($$ SELECT brake_tripped_at IS NOT NULL, brake_why, brake_due, brake_waiting, brake_used, brake_left FROM reconciler_status() $$,
  $$ VALUES (true, '31 forces due', 31::bigint, '{s1,s2}'::text[], 7::bigint, 0::bigint) $$, 'tripped: why, who waits, what is used');
SELECT is(pg_temp.metric('reconciler_brake_tripped'), 1::float8, 'its metric');
SELECT is(reset_brake('x', 4), 'reset', 'reset');
SELECT is((SELECT brake_left FROM reconciler_status()), 4::bigint, 'the allowance is left');
UPDATE reconciler.brake SET tripped = NULL, allowance = 0;
SELECT is((SELECT brake_left FROM reconciler_status()), 13::bigint, 'of the normal budget: 20 less 7');

-- What looks at which state.
INSERT INTO public.sessions VALUES ('c1', 'terminating', 'a', now() - interval '1 hour'), ('c2', 'terminating', 'a', now()), ('c3', 'running', 'a', now() - interval '3 days'),
  ('c4', 'terminated', 'a', now() - interval '9 days'), ('c5', 'thawing', 'a', now() - interval '2 days'), ('c6', 'thawing', 'a', NULL);
SELECT results_eq($$ SELECT table_name, state, sessions, watched_by, threshold, over_threshold FROM session_coverage('public.sessions') $$,
  $$ VALUES ('public.sessions', 'running', 1::bigint, 'policy_off', '1 hour'::interval, 1::bigint), ('public.sessions', 'terminated', 1, 'terminal', NULL, NULL),
            ('public.sessions', 'terminating', 2, 'policy', '5 min', 1), ('public.sessions', 'thawing', 2, 'nothing', '1 hour', 1) $$, 'coverage by state');
UPDATE reconciler.policy SET enabled = true, stuck_after = NULL WHERE state = 'running';
SELECT results_eq($$ SELECT threshold, over_threshold, note FROM session_coverage('public.sessions') WHERE state = 'running' $$,
  $$ VALUES (NULL::interval, NULL::bigint, 'looked at from the first sight') $$, 'what has no threshold is never over one');
UPDATE reconciler.policy SET enabled = false WHERE state = 'running';
SELECT results_eq($$ SELECT date_trunc('hour', oldest), note FROM session_coverage('public.sessions') WHERE state = 'thawing' $$,
  format($$ VALUES ('48:00'::interval, 'nothing closes them; no policy is for this state: INSERT INTO reconciler.policy (binding_id, state, becomes, enabled) VALUES (%s, ''thawing'', ''terminated'', false) adds one that is off') $$, pg_temp.id()), 'a state that no rule looks at');
SELECT is((SELECT count(*) FROM session_coverage()), 4::bigint, 'NULL: every attached table');
DELETE FROM public.sessions WHERE id LIKE 'c_';

-- The text: every line as the format wants it, nothing twice, families in one piece.
UPDATE reconciler.binding SET schema_name = E'a "b\\';
CREATE TEMP TABLE lines AS SELECT t.line, t.n FROM regexp_split_to_table(rtrim(reconciler_metrics_text(), E'\n'), E'\n') WITH ORDINALITY AS t(line, n);
SELECT matches(reconciler_metrics_text(), E'[^\n]\n$', 'ends with one newline');
SELECT is_empty($$ SELECT line FROM lines WHERE line !~ '^# HELP [a-z_]+ \S.*$' AND line !~ '^# TYPE [a-z_]+ (counter|gauge|summary)$'
  AND line !~ '^[a-z_]+\{[a-z_]+="([^"\\]|\\["\\n])*"(,[a-z_]+="([^"\\]|\\["\\n])*")*\} (NaN|[+-]Inf|-?[0-9.]+(e[+-]?[0-9]+)?)$' $$, 'each line is HELP, TYPE or a sample');
SELECT is_empty($$ SELECT regexp_replace(line, ' [^ ]+$', '') FROM lines WHERE line !~ '^#' GROUP BY 1 HAVING count(*) > 1 $$, 'no sample twice');
SELECT is_empty($$ SELECT split_part(line, ' ', 3) FROM lines WHERE line ~ '^# TYPE' GROUP BY 1 HAVING count(*) > 1 $$, 'no family twice');
SELECT is_empty($$ WITH named AS (SELECT n, line, max(n) FILTER (WHERE line ~ '^# TYPE') OVER (ORDER BY n) AS head FROM lines)
  SELECT s.line FROM named AS s JOIN lines AS h ON h.n = s.head WHERE s.line !~ '^#'
    AND split_part(s.line, '{', 1) !~ ('^' || split_part(h.line, ' ', 3) || CASE split_part(h.line, ' ', 4) WHEN 'summary' THEN '_(sum|count)$' ELSE '$' END) $$,
  'each sample under its family');
SELECT is_empty($$ SELECT line FROM lines WHERE line ~ '^# TYPE' AND (split_part(line, ' ', 4) = 'counter') <> (split_part(line, ' ', 3) ~ '_total$') $$, 'counters end in _total, and only they');
SELECT set_has('SELECT line FROM lines', $$ VALUES (E'sessions_stuck_terminating{table="\\"a \\"\\"b\\\\\\".sessions"} 2') $$, 'a name that wants escaping');
SELECT results_eq($$ SELECT line FROM lines WHERE line ~ 'lag_seconds_sum' $$, $$ VALUES (E'reconciler_detection_lag_seconds_sum{table="\\"a \\"\\"b\\\\\\".sessions"} 1e+20') $$, 'a large number');

-- Monitoring may look.
CREATE ROLE contrib_monitor IN ROLE pg_monitor;
SET LOCAL ROLE contrib_monitor;
SELECT isnt_empty('SELECT * FROM reconciler_status()', 'pg_monitor sees the status');
SELECT isnt_empty('SELECT * FROM reconciler_metrics()', 'and the metrics');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
