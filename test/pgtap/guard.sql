-- The guard of a sessions table: what it refuses, what it lets pass, and that it breaks nobody's statement.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA sr;
CREATE EXTENSION session_reconciler SCHEMA sr;
CREATE SCHEMA app;
SET search_path = app, sr, public;
SELECT * FROM no_plan();

CREATE ROLE tap_platform;
GRANT ALL ON SCHEMA app TO tap_platform;
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, pod text, tags text,
  created_at timestamptz NOT NULL DEFAULT '2026-01-01 12:00+00', updated_at timestamptz);
ALTER TABLE sessions OWNER TO tap_platform;
SELECT is((SELECT detail FROM attach_sessions('sessions', options => '{"mode": "enforce", "guard_terminal": true, "runtime_column": "pod"}') WHERE item = 'guard'),
  'trigger session_reconciler_guard: an UPDATE that moves a session which the reconciler closed from terminated, failed, gone, deleted to another state changes 0 rows; its agent gets a stop.'
  ' A write of terminating, pending, starting passes, and one that changes created_at, agent_id', 'attaching says what it does');
SELECT matches(obj_description(oid, 'pg_trigger'), 'guard_terminal in reconciler.binding', 'the trigger says whose it is') FROM pg_trigger WHERE tgname = 'session_reconciler_guard';

SELECT throws_ok($$SELECT attach_sessions('sessions', options => '{"guard_terminal": null}')$$, '22023', 'option "guard_terminal" must be true or false', 'it is asked for, or not');
-- A session that was closed, by whom we say. The events that it left are those of its closing only.
CREATE FUNCTION closed(id text, agent text DEFAULT 'a1') RETURNS void LANGUAGE sql AS $$
  INSERT INTO app.sessions (id, state, agent_id) VALUES (id, 'running', agent);
  SELECT sr.force_terminate_session(id, 'closed for the test', 'app.sessions');
$$;
-- What the application's role writes: rows that it changed.
CREATE FUNCTION writes(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  n bigint;
BEGIN
  SET LOCAL ROLE tap_platform;
  EXECUTE statement;
  GET DIAGNOSTICS n = ROW_COUNT;
  RESET ROLE;
  RETURN n;
END $$;
CREATE FUNCTION state_of(id text) RETURNS text LANGUAGE sql AS $$ SELECT s.state FROM app.sessions s WHERE s.id = state_of.id $$;
CREATE VIEW guards AS SELECT session_id, kind, from_state, to_state, reason, actor, evidence->'attempted'->>'state' AS attempted FROM reconciler.event WHERE kind LIKE '%guard' ORDER BY id;

-- The late write.
SELECT closed('s1');
SELECT is(writes($$UPDATE sessions SET state = 'running', pod = 'pod-7', updated_at = now() WHERE id = 's1'$$), 0::bigint, 'a late write changes no row');
SELECT is(state_of('s1'), 'terminated', 'the session stays closed');
SELECT results_eq('SELECT kind, from_state, to_state, reason, actor, attempted FROM guards', $$VALUES ('guard', 'terminated', NULL, 'late_write', 'tap_platform', 'running')$$, 'the write is an event, of its role');
SELECT is((SELECT before FROM reconciler.event WHERE kind = 'guard'),
  '{"id": "s1", "pod": null, "state": "terminated", "agent_id": "a1", "created_at": "2026-01-01 12:00:00.000000+00"}'::jsonb || jsonb_build_object('updated_at', before->'updated_at'), 'with the row as it was')
  FROM reconciler.event WHERE kind = 'guard';
SELECT is((SELECT evidence->'attempted'->>'pod' FROM reconciler.event WHERE kind = 'guard'), 'pod-7', 'and as it was to be');
SELECT results_eq($$SELECT state, agent_id, runtime_id, owed, owed_until - owed_since, next_attempt FROM reconciler.episode WHERE session_id = 's1'$$,
  $$VALUES ('terminated', 'a1', NULL, 'stop', interval '24:00', NULL::timestamptz)$$, 'its agent is owed a stop');
SELECT writes($$UPDATE sessions SET state = 'running' WHERE id = 's1'$$) FROM generate_series(1, 3);
SELECT is((SELECT count(*) FROM guards), 1::bigint, 'the same again is no further event');
SELECT is(writes($$UPDATE sessions SET state = 'hibernated' WHERE id = 's1'$$), 0::bigint, 'another state is refused too');
SELECT is((SELECT count(*) FROM guards), 2::bigint, 'and is one');
SELECT is((SELECT value FROM reconciler_metrics() WHERE name = 'reconciler_guarded_total'), 2::float8, 'the metric counts them');
SELECT is(writes($$INSERT INTO sessions VALUES ('s1', 'running', 'a1') ON CONFLICT (id) DO UPDATE SET state = excluded.state$$), 0::bigint, 'so is an upsert');
-- What does not take it out of its end is no matter of ours.
SELECT is(writes($$UPDATE sessions SET tags = 'seen' WHERE id = 's1'$$), 1::bigint, 'other columns are written');
SELECT is(writes($$UPDATE sessions SET state = 'failed' WHERE id = 's1'$$), 1::bigint, 'another end too');
SELECT is(writes($$UPDATE sessions SET state = 'running' WHERE id = 's1'$$), 0::bigint, '... which is no way around: the session is still one that we closed');
SELECT is(state_of('s1'), 'failed', '... and ends as its application says');
SELECT is((SELECT from_state FROM reconciler.event WHERE kind = 'guard' ORDER BY id DESC LIMIT 1), 'terminated', '... the write of running was noted before');
SELECT is((SELECT state FROM reconciler.episode WHERE session_id = 's1'), 'failed', '... and the stop is owed in its new end');

-- What was settled: the next stop comes later, and later still.
SELECT closed('s2');
SELECT writes($$UPDATE sessions SET state = 'running' WHERE id = 's2'$$);
DELETE FROM reconciler.episode WHERE session_id = 's2';
SELECT reconciler.note((SELECT binding_id FROM reconciler.binding), 's2', 'late_report', 'stop accepted', from_state => 'terminated') IS NOT NULL AS settled;
SELECT writes($$UPDATE sessions SET state = 'running' WHERE id = 's2'$$);
SELECT is((SELECT count(*) FROM guards WHERE session_id = 's2'), 2::bigint, 'after a stop was accepted it is an event again');
SELECT is((SELECT e.next_attempt - l.at FROM reconciler.episode e, reconciler.event l WHERE e.session_id = 's2' AND l.session_id = 's2' AND l.kind = 'late_report'), interval '1 min', 'and the next stop is due a minute later');

-- Legitimate writes.
SELECT closed('again'), closed('pending'), closed('moved'), closed('user');
SELECT is(writes($$UPDATE sessions SET state = 'running', created_at = created_at + interval '1 day' WHERE id = 'again'$$), 1::bigint, 'a session that is created again passes');
SELECT is(writes($$UPDATE sessions SET state = 'pending' WHERE id = 'pending'$$), 1::bigint, 'so does one that starts again');
SELECT is(writes($$UPDATE sessions SET state = 'running', agent_id = 'a2' WHERE id = 'moved'$$), 1::bigint, 'one of another agent');
SELECT is(writes($$UPDATE sessions SET state = 'terminating' WHERE id = 'user'$$), 1::bigint, 'and a user''s request');
SELECT results_eq($$SELECT session_id, kind, to_state, reason FROM guards WHERE session_id IN ('again', 'pending', 'moved', 'user')$$,
  $$VALUES ('again', 'guard', 'running', 'recreated'), ('pending', 'guard', 'pending', 'recreated'), ('moved', 'guard', 'running', 'recreated'), ('user', 'guard', 'terminating', 'user_requested')$$, 'each is an event that says so');
SELECT writes($$UPDATE sessions SET state = 'terminated' WHERE id = 'pending'$$);
SELECT is(writes($$UPDATE sessions SET state = 'running' WHERE id = 'pending'$$), 1::bigint, 'what the application closed later is its own matter');
INSERT INTO sessions VALUES ('own', 'terminated', 'a1');
SELECT is(writes($$UPDATE sessions SET state = 'running' WHERE id = 'own'$$), 1::bigint, 'so is what we never closed');
SELECT closed('reborn');
DELETE FROM sessions WHERE id = 'reborn';
INSERT INTO sessions (id, state, agent_id, created_at) VALUES ('reborn', 'terminated', 'a1', '2026-02-02');
SELECT is(writes($$UPDATE sessions SET state = 'running' WHERE id = 'reborn'$$), 1::bigint, 'and a new row of that id');
-- The creation time is compared as a time, whatever zone prints it.
SELECT closed('zone');
SET TIME ZONE 'Asia/Tokyo';
SET DateStyle = 'German';
SELECT is(writes($$UPDATE sessions SET state = 'running' WHERE id = 'zone'$$), 0::bigint, 'in another time zone too');
RESET TIME ZONE;
RESET DateStyle;

-- Our own writes.
SELECT is((SELECT outcome FROM undo_event((SELECT max(id) FROM reconciler.event WHERE kind = 'force' AND session_id = 'zone'), hold_for => '0')), 'undone', 'an undo passes');
SELECT is(state_of('zone'), 'running', 'and is one');
SELECT writes($$UPDATE sessions SET state = 'terminated' WHERE id = 'zone'$$);
SELECT is(writes($$UPDATE sessions SET state = 'running' WHERE id = 'zone'$$), 1::bigint, 'a closing that was undone guards nothing');

-- When the reconciler does nothing, the guard does nothing, and says so.
CREATE FUNCTION passes(id text, why text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  RETURN NEXT is(writes(format('UPDATE app.sessions SET state = ''running'' WHERE id = %L', id)), 1::bigint, why);
  RETURN NEXT results_eq(format('SELECT kind, to_state, reason FROM app.guards WHERE session_id = %L', id), $v$VALUES ('would_guard', 'running', 'late_write')$v$, '... and is noted');
END $$;
SELECT closed(id) FROM unnest(ARRAY['observed', 'paused', 'held', 'off', 'broken', 'safe']) AS id;
SELECT set_mode('observe', 'test');
SELECT passes('observed', 'in mode observe it passes');
SELECT matches((SELECT detail FROM preflight() WHERE check_name LIKE '%: guard'), 'In this mode none is refused', 'which preflight says');
SELECT set_mode('off', 'test');
SELECT passes('off', 'in mode off');
UPDATE reconciler.binding SET mode = 'broken';
SELECT passes('broken', 'in mode broken');
SELECT set_mode('enforce', 'test'), pause_reconciler('test');
SELECT passes('paused', 'while it is paused');
SELECT unpause_reconciler('test');
SELECT hold_session('held', 'infinity', 'test');
SELECT passes('held', 'while the session is held');
UPDATE reconciler.binding_state SET safe_mode_since = now();
INSERT INTO reconciler.binding_state (binding_id, safe_mode_since) SELECT binding_id, now() FROM reconciler.binding ON CONFLICT DO NOTHING;
SELECT passes('safe', 'in safe mode');
UPDATE reconciler.binding_state SET safe_mode_since = NULL;
SELECT closed('copy');
UPDATE reconciler.binding SET armed_name = 'original';
SELECT is(writes($$UPDATE sessions SET state = 'running' WHERE id = 'copy'$$), 1::bigint, 'in a copy it passes');
SELECT is_empty($$SELECT 1 FROM guards WHERE session_id = 'copy'$$, '... in silence');
SELECT matches((SELECT detail FROM preflight() WHERE check_name LIKE '%: guard'), 'In this copy none is refused', '... which preflight says');
UPDATE reconciler.binding SET armed_name = current_database();

-- A guard that fails lets the write pass.
SELECT closed('fails');
ALTER TABLE reconciler.event RENAME TO away;
SELECT is(writes($$UPDATE sessions SET state = 'running' WHERE id = 'fails'$$), 1::bigint, 'a guard that is broken breaks no statement');
ALTER TABLE reconciler.away RENAME TO event;

-- A state that is NULL is no end.
CREATE TABLE nullable (id text PRIMARY KEY, state text, agent_id text);
SELECT ok(count(*) > 0, 'another table') FROM attach_sessions('nullable', options => '{"mode": "enforce", "guard_terminal": true}');
INSERT INTO nullable VALUES ('n1', 'running', 'a1');
SELECT force_terminate_session('n1', 'closed for the test', 'nullable');
UPDATE nullable SET state = NULL WHERE id = 'n1';
SELECT is((SELECT state FROM nullable), 'terminated', 'NULL over it is a late write, too');
SELECT detach_sessions('nullable');

-- A partition's copy of the trigger that is disabled.
CREATE TABLE parted (id text NOT NULL, region text NOT NULL, state text, agent_id text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('a');
CREATE UNIQUE INDEX ON parted_a (id);
SELECT ok(count(*) > 0, 'a partitioned table') FROM attach_sessions('parted', options => '{"mode": "enforce", "guard_terminal": true, "key_column": "id", "route_columns": ["region"]}');
SELECT matches((SELECT status || ': ' || detail FROM preflight() WHERE check_name = 'app.parted: guard'), '^ok: trigger', 'its guard is on');
ALTER TABLE parted_a DISABLE TRIGGER session_reconciler_guard;
SELECT is((SELECT status || ': ' || detail FROM preflight() WHERE check_name = 'app.parted: guard'),
  'fail: guard_terminal is on, and its trigger, session_reconciler_guard, is disabled on app.parted_a', '... but not in the partition');
SELECT detach_sessions('parted');

-- On and off.
CREATE FUNCTION guarded(sessions regclass) RETURNS boolean LANGUAGE sql AS $$ SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = sessions AND tgname = 'session_reconciler_guard') $$;
CREATE FUNCTION finding() RETURNS text LANGUAGE sql AS $$ SELECT status || ': ' || detail FROM sr.preflight() WHERE check_name LIKE '%: guard' $$;
SELECT matches(finding(), '^ok: trigger session_reconciler_guard', 'preflight says that it is on');
ALTER TABLE sessions DISABLE TRIGGER session_reconciler_guard;
SELECT is(finding(), 'fail: guard_terminal is on, and its trigger, session_reconciler_guard, is disabled', 'or disabled');
ALTER TABLE sessions ENABLE REPLICA TRIGGER session_reconciler_guard;
SELECT is(finding(), 'fail: guard_terminal is on, and its trigger, session_reconciler_guard, fires for replicated rows only (ENABLE REPLICA)', 'or of no use');
DROP TRIGGER session_reconciler_guard ON sessions;
SELECT is(finding(), 'fail: guard_terminal is on, and its trigger, session_reconciler_guard, is missing', 'or missing');
UPDATE reconciler.binding SET guard_terminal = true;
SELECT ok(guarded('sessions'), 'to write guard_terminal again makes it anew');
UPDATE reconciler.binding SET guard_terminal = false;
SELECT ok(NOT guarded('sessions'), 'false takes it away');
SELECT matches(finding(), '^ok: off', 'and preflight says so');
-- An admin may, on a table of its own.
CREATE ROLE tap_other;
SELECT reconciler_grant('tap_platform', 'admin'), reconciler_grant('tap_other', 'admin');
SET LOCAL ROLE tap_other;
SELECT throws_ok('UPDATE reconciler.binding SET guard_terminal = true', '42501', 'must be owner of table app.sessions', 'a stranger makes no trigger on a table');
SET LOCAL ROLE tap_platform;
SELECT lives_ok('UPDATE reconciler.binding SET guard_terminal = true', 'its owner does');
RESET ROLE;
SELECT ok(guarded('sessions'), 'by the hand of the extension''s owner');
SELECT is((SELECT evidence->'new' FROM reconciler.event ORDER BY id DESC LIMIT 1), '{"guard_terminal": true}', 'which is an event');
-- The states are those of the binding.
UPDATE reconciler.binding SET terminal_states = array_append(terminal_states, 'over');
CREATE TABLE heirs () INHERITS (sessions);
SELECT matches(finding(), '^warn: .*Rows of tables that inherit from it are not guarded: app.heirs', 'tables that inherit are named');
DROP TABLE heirs;
SELECT matches(pg_get_triggerdef(oid), 'over', 'another end is one for the trigger, too') FROM pg_trigger WHERE tgname = 'session_reconciler_guard';
SELECT detach_sessions('sessions');
SELECT ok(NOT guarded('sessions'), 'detaching takes it away');

-- A trigger is ours by its function: one that was renamed is known, and one that was left behind is named.
CREATE FUNCTION left_behind() RETURNS SETOF text LANGUAGE sql AS $$ SELECT concat_ws(' / ', status, detail, hint) FROM sr.preflight() WHERE check_name = 'guard triggers' ORDER BY detail $$;
CREATE FUNCTION triggers_of(sessions regclass) RETURNS SETOF name LANGUAGE sql AS $$ SELECT tgname FROM pg_trigger WHERE tgrelid = sessions ORDER BY tgname $$;
SELECT is_empty('SELECT left_behind()', 'none is left behind');
CREATE TRIGGER "not Mine" BEFORE UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION reconciler.guard_terminal('4711');
SELECT results_eq('SELECT left_behind()', $$VALUES ('warn / trigger "not Mine" ON app.sessions guards nothing: no table is attached that has it / DROP TRIGGER "not Mine" ON app.sessions;')$$, 'of a table that is not attached');
INSERT INTO sessions (id, state) VALUES ('unguarded', 'terminated');
SELECT is(writes($$UPDATE sessions SET state = 'running' WHERE id = 'unguarded'$$), 1::bigint, '... on which it guards nothing');
SELECT ok(count(*) > 0, 'attached again') FROM attach_sessions('sessions', options => '{"mode": "enforce"}');
SELECT is(count(*), 1::bigint, '... without a guard: it still is none') FROM left_behind();
UPDATE reconciler.binding SET guard_terminal = true;
SELECT results_eq($$SELECT triggers_of('sessions')$$, $$VALUES ('session_reconciler_guard'::name)$$, '... with one: it is replaced');
SELECT is_empty('SELECT left_behind()', '... and none is left');
ALTER TRIGGER session_reconciler_guard ON sessions RENAME TO a_guard;
SELECT matches(finding(), '^ok: trigger a_guard: an UPDATE', 'a renamed one is the guard still');
SELECT is((SELECT detail FROM preflight() WHERE check_name = 'app.sessions: triggers'), 'none', '... and no other trigger');
SELECT closed('renamed');
SELECT is(writes($$UPDATE sessions SET state = 'running' WHERE id = 'renamed'$$), 0::bigint, '... which guards');
SELECT detach_sessions('sessions');
SELECT is_empty($$SELECT triggers_of('sessions')$$, '... and goes when the table is detached');
-- A table that was put in the place of the attached one, trigger and all. It is another table.
CREATE TABLE replaced (id text PRIMARY KEY, state text NOT NULL, agent_id text);
ALTER TABLE replaced OWNER TO tap_platform;
SELECT ok(count(*) > 0, 'a table to be replaced') FROM attach_sessions('replaced', options => '{"mode": "enforce", "guard_terminal": true}');
INSERT INTO replaced VALUES ('r1', 'running', 'a1');
SELECT force_terminate_session('r1', 'closed for the test', 'replaced');
SELECT pg_get_triggerdef(oid) AS restored FROM pg_trigger WHERE tgrelid = 'replaced'::regclass \gset
DROP TABLE replaced;
CREATE TABLE replaced (id text PRIMARY KEY, state text NOT NULL, agent_id text);
INSERT INTO replaced VALUES ('r1', 'terminated', 'a1');
:restored;
SELECT is(count(*), 1::bigint, 'the trigger of a table that replaced the attached one is named') FROM left_behind() AS l WHERE l LIKE '%app.replaced%';
UPDATE replaced SET state = 'running';
SELECT is((SELECT state FROM replaced), 'running', '... and guards nothing');
SET LOCAL ROLE tap_platform;
SELECT is(detach_sessions('app.replaced'), 'detached', 'whoever does not own that table detaches the one that vanished');
RESET ROLE;
SELECT is(count(*), 1::bigint, '... and leaves the trigger to its owner') FROM triggers_of('replaced');
DROP TABLE replaced;
CREATE TABLE replaced (id text PRIMARY KEY, state text NOT NULL, agent_id text);
SELECT ok(count(*) > 0, 'again') FROM attach_sessions('replaced', options => '{"mode": "enforce", "guard_terminal": true}');
SELECT pg_get_triggerdef(oid) AS restored FROM pg_trigger WHERE tgrelid = 'replaced'::regclass \gset
DROP TABLE replaced;
CREATE TABLE replaced (id text PRIMARY KEY, state text NOT NULL, agent_id text);
:restored;
SELECT is(detach_sessions('app.replaced'), 'detached', 'its owner detaches');
SELECT is_empty($$SELECT triggers_of('replaced')$$, '... and the trigger goes');

-- Names that need quotes, a key of another type, an enum, partitions.
CREATE TYPE app."The State" AS ENUM ('pending', 'running', 'terminating', 'terminated', 'it''s over');
CREATE TABLE app."the ""sessions""" (junk text, "The Key" uuid, "select" app."The State", "agent'id" varchar(40), region text, PRIMARY KEY ("The Key", region)) PARTITION BY LIST (region);
CREATE TABLE app.east ("select" app."The State", region text NOT NULL, "The Key" uuid NOT NULL, junk text, "agent'id" varchar(40));
ALTER TABLE app."the ""sessions""" ATTACH PARTITION app.east FOR VALUES IN ('east');
SELECT lives_ok($$SELECT attach_sessions('app."the ""sessions"""', options => '{"mode": "enforce", "guard_terminal": true, "key_column": "The Key", "state_column": "select", "agent_column": "agent''id", "route_columns": ["region"],
  "terminal_states": ["terminated", "it''s over"], "policies": {"hibernating": null, "waking": null, "starting": null, "running": null, "hibernated": null, "pending": {"becomes": "it''s over"}}}')$$, 'a table of another kind');
CREATE TABLE app.west PARTITION OF app."the ""sessions""" FOR VALUES IN ('west');
INSERT INTO app."the ""sessions""" SELECT NULL, md5(r)::uuid, 'running', 'a1', r FROM unnest(ARRAY['east', 'west']) AS r;
SELECT is(force_terminate_session(upper(md5(r)), 'test'), 'terminated', r) FROM unnest(ARRAY['east', 'west']) AS r;
SELECT is(count(*), 2::bigint, 'each partition has it') FROM pg_trigger WHERE tgname = 'session_reconciler_guard' AND tgrelid IN ('app.east'::regclass, 'app.west'::regclass);
ALTER TABLE app."the ""sessions""" OWNER TO tap_platform;
-- A cast of the owner's making runs with the rights of who writes, never with ours.
CREATE FUNCTION app.shown(app."The State") RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  IF current_user <> 'tap_platform' THEN
    RAISE EXCEPTION 'run as %', current_user;
  END IF;
  RETURN format('%s', $1);
END $$;
CREATE CAST (app."The State" AS text) WITH FUNCTION app.shown(app."The State");
UPDATE reconciler.binding SET guard_terminal = true;
SELECT is(writes($$UPDATE app."the ""sessions""" SET "select" = 'running'$$), 0::bigint, 'refused in both');
GRANT ALL ON app.east TO tap_platform;
SELECT is(writes($$UPDATE app.east SET "select" = 'running'$$), 0::bigint, 'and in one by itself');
SELECT is((SELECT count(*) FROM reconciler.event WHERE kind = 'guard' AND table_name = 'the "sessions"'), 2::bigint, 'one event each');

-- It goes with the extension.
DROP VIEW guards;
DROP EXTENSION session_reconciler;
SELECT ok(NOT guarded('app."the ""sessions"""'), 'the trigger goes with the extension, without CASCADE');
SELECT is(writes($$UPDATE app."the ""sessions""" SET "select" = 'running'$$), 2::bigint, 'and with it the guard');
SELECT * FROM finish();
ROLLBACK;
