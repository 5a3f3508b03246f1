-- Acting on bindings and sessions: what each function writes, returns and refuses.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION session_reconciler;
RESET client_min_messages;
SELECT plan(153);

CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, created_at timestamptz NOT NULL DEFAULT now(),
                       updated_at timestamptz NOT NULL DEFAULT now(), termination_reason text, terminated_at timestamptz);
INSERT INTO sessions (id, state, agent_id)
  VALUES ('stuck', 'terminating', 'a1'), ('waiting', 'queued', NULL), ('over', 'terminated', 'a1'), ('here', 'running', 'a1');

-- Nothing attached, several attached.
SELECT throws_ok($$ SELECT set_mode('observe', 'x') $$, '55000', 'no sessions table is attached', 'no binding: set_mode');
SELECT throws_ok($$ SELECT pause_reconciler('x', sessions => 'sessions') $$, '42704', 'table public.sessions is not attached', 'a table that is not attached');
SELECT is(confirm_identity('x'), 'nothing to confirm', 'no binding: confirm_identity');
SELECT lives_ok($$ SELECT * FROM attach_sessions('sessions') $$, 'attach');
CREATE FUNCTION pg_temp.binding() RETURNS reconciler.binding LANGUAGE sql AS $$ SELECT b FROM reconciler.binding AS b WHERE b.sessions = 'sessions'::regclass $$;
-- The newest event as text.
CREATE FUNCTION pg_temp.said() RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', kind, session_id, from_state, '>' || to_state, quote_literal(reason), rule, 'by ' || actor) FROM reconciler.event ORDER BY id DESC LIMIT 1 $$;
CREATE FUNCTION pg_temp.evidence() RETURNS jsonb LANGUAGE sql AS $$ SELECT evidence FROM reconciler.event ORDER BY id DESC LIMIT 1 $$;
-- How many events a statement writes.
CREATE FUNCTION pg_temp.events(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE before bigint := (SELECT count(*) FROM reconciler.event);
BEGIN EXECUTE statement; RETURN (SELECT count(*) FROM reconciler.event) - before; END $$;

-- A reason is required everywhere.
SELECT throws_ok(format('SELECT %s', call), '22023', 'a reason is required', 'blank reason: ' || call)
  FROM unnest(ARRAY['set_mode(''observe'', '' '')', 'pause_reconciler('''')', 'unpause_reconciler(E''\n\t'')',
                    'reset_brake('''')', 'confirm_identity('''')', 'hold_session(''here'', ''infinity'', '''')', 'release_session(''here'', '''')',
                    'retry_session(''stuck'', '''')']) AS call;

-- Who leaves something out is told what.
SELECT throws_ok('SELECT ' || call, '22004', argument || ' must not be null', call) FROM (VALUES
  ('set_mode(NULL, ''x'')', 'mode'), ('set_mode(''observe'', NULL)', 'reason'), ('pause_reconciler(NULL)', 'reason'), ('unpause_reconciler(NULL)', 'reason'),
  ('reset_brake(NULL)', 'reason'), ('confirm_identity(NULL)', 'reason'), ('hold_session(NULL, ''infinity'', ''x'')', 'session_id'),
  ('hold_session(''here'', NULL, ''x'')', 'until'), ('hold_session(''here'', ''infinity'', NULL)', 'reason'), ('release_session(NULL, ''x'')', 'session_id'),
  ('release_session(''here'', NULL)', 'reason'), ('retry_session(NULL, ''x'')', 'session_id'), ('retry_session(''stuck'', NULL)', 'reason'),
  ('request_termination(NULL, ''x'')', 'session_id'), ('request_termination(''here'', NULL)', 'reason'), ('force_terminate_session(NULL, ''x'')', 'session_id'),
  ('force_terminate_session(''here'', NULL)', 'reason'), ('undo_event(NULL)', 'event_id'), ('undo_pass(NULL)', 'pass_id'), ('explain_session(NULL)', 'session_id'),
  ('attach_sessions(NULL)', 'sessions'), ('attach_sessions(''sessions'', NULL)', 'preset'), ('detach_sessions(NULL::regclass)', 'sessions'),
  ('detach_sessions(NULL::text)', 'sessions'), ('set_hub(NULL, ''http://localhost'')', 'name'), ('set_hub(''hub'', NULL::text)', 'base_url'),
  ('set_hub(''hub'', NULL::text[])', 'base_url'), ('set_hub(''hub'', ''http://localhost'', NULL)', 'profile'), ('reconciler_grant(NULL, ''viewer'')', 'role'),
  ('reconciler_grant(''postgres'', NULL)', 'level'), ('reconciler_revoke(NULL, ''viewer'')', 'role'), ('reconciler_revoke(''postgres'', NULL)', 'level')) AS t(call, argument);

-- set_mode
SELECT is((pg_temp.binding()).mode, 'observe', 'a table starts in observe');
SELECT throws_ok($$ SELECT set_mode('broken', 'x') $$, '22023', 'invalid mode ''broken''', 'broken cannot be set');
SELECT throws_ok($$ SELECT set_mode('ENFORCE', 'x') $$, '22023', 'invalid mode ''ENFORCE''', 'nor what is no mode');
SELECT is(pg_temp.events($$ SELECT set_mode('enforce', 'go live') $$), 1::bigint, 'set_mode writes one event');
SELECT is(pg_temp.said(), 'mode_changed observe >enforce ''go live'' operator by postgres', 'from, to, why and who');
SELECT is((pg_temp.binding()).mode || ': ' || (pg_temp.binding()).mode_reason, 'enforce: go live', 'the binding says so too');
INSERT INTO reconciler.binding_state (binding_id, safe_mode_since, crashes) SELECT (pg_temp.binding()).binding_id, now(), ARRAY[now()]
  ON CONFLICT (binding_id) DO UPDATE SET safe_mode_since = excluded.safe_mode_since, crashes = excluded.crashes;
UPDATE reconciler.binding SET mode = 'broken', mode_reason = 'column vanished';
SELECT is(set_mode('enforce', 'mended'), 'enforce', 'set_mode ends mode broken');
SELECT is(pg_temp.said(), 'mode_changed broken >enforce ''mended'' operator by postgres', 'and says so');
SELECT results_eq('SELECT safe_mode_since IS NULL, crashes FROM reconciler.binding_state', $$ VALUES (true, '{}'::timestamptz[]) $$, 'it ends safe mode');
SAVEPOINT intact;
ALTER TABLE sessions DROP COLUMN agent_id;
SELECT throws_ok($$ SELECT set_mode('enforce', 'x') $$, '42703', 'column "agent_id" of table public.sessions does not exist', 'a binding that is broken still is refused');
SELECT is(set_mode('off', 'x'), 'off', 'but can be switched off');
SELECT throws_ok($$ SELECT * FROM stuck_sessions('sessions') $$, '42703', 'column "agent_id" of table public.sessions does not exist', 'asked for, it says what is wrong');
SELECT lives_ok($$ SELECT * FROM stuck_sessions(), reconcile_plan(), explain_session('stuck') $$, 'but it hides no other table');
ROLLBACK TO intact;

-- The identity
UPDATE reconciler.binding SET armed_name = 'original', armed_system = 1;
UPDATE reconciler.binding_state SET first_pass_at = now(), promoted_at = NULL;
SELECT ok(NOT reconciler.armed_here((pg_temp.binding()).binding_id), 'a copy is not armed');
SELECT throws_matching($$ SELECT set_mode('enforce', 'x') $$, 'attached for another server or database', 'a copy does not enforce');
SELECT is(set_mode('observe', 'look first'), 'observe', 'it may observe');
SAVEPOINT a_copy;
INSERT INTO reconciler.event (id, pass_id, at, schema_name, table_name, session_id, kind, from_state, to_state, actor, before, after)
  VALUES (4711, 4711, now(), 'public', 'sessions', 'over', 'force', 'terminating', 'terminated', 'session_reconciler', '{"id": "over", "state": "terminating"}', '{"id": "over", "state": "terminated"}');
SELECT throws_ok(format('SELECT %s', call), '55000', 'public.sessions is attached for another server or database', 'a copy does not act: ' || call)
  FROM unnest(ARRAY['force_terminate_session(''stuck'', ''x'')', 'request_termination(''here'', ''x'')', 'retry_session(''stuck'', ''x'')',
                    '* FROM undo_event(4711)', '* FROM undo_pass(4711)']) AS call;
SELECT is((SELECT string_agg(state, ' ' ORDER BY id) FROM sessions), 'running terminated terminating queued', 'and no row has changed');
SELECT is(pause_reconciler('look first'), 'paused', 'it may be paused');
SELECT is(hold_session('stuck', 'infinity', 'look first'), 'held', 'and its sessions held');
ROLLBACK TO a_copy;
SELECT is(confirm_identity('this is the new primary'), 'confirmed', 'confirm_identity');
SELECT ok(reconciler.armed_here((pg_temp.binding()).binding_id), 'armed');
SELECT is(pg_temp.said(), 'mode_changed observe >observe ''this is the new primary'' confirm_identity by postgres', 'its event');
SELECT is(pg_temp.evidence()->'was_armed_for'->>'name', 'original', 'says what it was armed for');
SELECT results_eq('SELECT first_pass_at IS NULL, promoted_at IS NOT NULL FROM reconciler.binding_state', 'VALUES (true, true)', 'graces start again');
SELECT is(confirm_identity('again'), 'nothing to confirm', 'nothing more to confirm');
SELECT is(set_mode('enforce', 'confirmed'), 'enforce', 'now it enforces');

-- A start of ours may arrive after the end that is asked for here.
SAVEPOINT started;
INSERT INTO reconciler.episode (binding_id, session_id, state, agent_id, first_seen, entered, tries, start_sent)
  VALUES ((pg_temp.binding()).binding_id, 'here', 'pending', 'a1', now(), now(), 1, '2020-01-01');
SELECT is(request_termination('here', 'not needed'), 'requested', 'request_termination');
SELECT results_eq($$ SELECT state, tries, start_sent FROM reconciler.episode WHERE session_id = 'here' $$, $$ VALUES ('terminating', 0, '2020-01-01'::timestamptz) $$,
  'remembers a start, and no tries');
ROLLBACK TO started;

-- Pause
SELECT is(unpause_reconciler('x'), 'not paused', 'nothing to unpause');
SELECT is(pause_reconciler('maintenance'), 'paused', 'pause');
SELECT is(pg_temp.said(), 'pause ''maintenance'' operator by postgres', 'its event');
SELECT is((pg_temp.binding()).pause_everything, false, 'completions go on');
UPDATE reconciler.binding SET paused_at = '2020-01-01';
SELECT is(pause_reconciler('longer', true), 'paused', 'pausing twice');
SELECT results_eq('SELECT pause_reason, pause_everything, paused_by, paused_at FROM reconciler.binding',
  $$ VALUES ('longer', true, 'postgres', '2020-01-01'::timestamptz) $$, 'replaces the reason, not the time');
SELECT is(unpause_reconciler('done'), 'unpaused', 'unpause');
SELECT is(pg_temp.said(), 'unpause ''done'' operator by postgres', 'its event');
SELECT is(pg_temp.evidence()->>'pause_reason', 'longer', 'says what it ended');
SELECT results_eq('SELECT paused_at, paused_by, pause_reason, pause_everything FROM reconciler.binding',
  'VALUES (NULL::timestamptz, NULL, NULL, false)', 'nothing is left of it');

-- The brake
SELECT is(reset_brake('x'), 'not tripped', 'no brake row yet');
INSERT INTO reconciler.brake (binding_id, tripped, tripped_due, tripped_why) SELECT (pg_temp.binding()).binding_id, now(), 42, '42 forces due'
  ON CONFLICT (binding_id) DO UPDATE SET tripped = excluded.tripped, tripped_due = 42, tripped_why = excluded.tripped_why;
SELECT throws_ok($$ SELECT reset_brake('x', -1) $$, '22023', 'allow must not be negative', 'a negative allowance');
SELECT is(reset_brake('looked at them'), 'reset', 'reset');
SELECT results_eq('SELECT tripped IS NOT NULL, allowance FROM reconciler.brake', 'VALUES (true, 42::bigint)', 'as many as were due; tripped while they last');
SELECT is(pg_temp.said(), 'brake_reset ''looked at them'' operator by postgres', 'its event');
SELECT is(pg_temp.evidence() - 'tripped_at', '{"due": 42, "why": "42 forces due", "allowed": 42}', 'says how many');
SELECT is(reset_brake('fewer', 7), 'reset', 'with a number');
SELECT is((SELECT allowance FROM reconciler.brake), 7::bigint, 'it replaces the allowance');
SELECT is(reset_brake('none of them', 0), 'reset', 'none');
SELECT results_eq('SELECT tripped, tripped_due, tripped_why, allowance FROM reconciler.brake', $$ VALUES (NULL::timestamptz, 0::bigint, '', 0::bigint) $$, 'the normal budget holds at once');

-- Holds
SELECT throws_ok($$ SELECT hold_session('nobody', 'infinity', 'x') $$, 'P0002', 'session "nobody" does not exist in public.sessions', 'no such session');
SELECT throws_ok($$ SELECT hold_session('here', now() - interval '1 s', 'x') $$, '22023', 'until must be in the future', 'a past time');
SELECT is(hold_session('stuck', 'infinity', 'customer asks'), 'held', 'hold');
SELECT is(pg_temp.said(), 'hold stuck terminating ''customer asks'' operator by postgres', 'its event');
SELECT results_eq('SELECT session_id, until, reason, actor FROM reconciler.hold', $$ VALUES ('stuck', 'infinity'::timestamptz, 'customer asks', 'postgres') $$, 'its row');
SELECT is((SELECT state FROM reconciler.episode WHERE session_id = 'stuck'), 'terminating', 'a watched session has an episode to lock');
SELECT is(hold_session('here', 'infinity', 'unwatched'), 'held', 'a session that no policy watches');
SELECT throws_ok($$ SELECT retry_session('stuck', 'x') $$, '55000', 'session "stuck" is held', 'held sessions are not retried');
SELECT is(hold_session('stuck', now() + interval '1 hour', 'shorter'), 'held', 'holding twice');
SELECT results_eq($$ SELECT until, reason FROM reconciler.hold WHERE session_id = 'stuck' $$, $$ VALUES (now() + interval '1 hour', 'shorter') $$, 'replaces the hold');
SELECT is(release_session('stuck', 'settled'), 'released', 'release');
SELECT is(pg_temp.evidence()->>'hold_reason', 'shorter', 'its event says what it ended');
SELECT is(release_session('stuck', 'x'), 'not held', 'nothing to release');
SELECT throws_ok($$ SELECT release_session('nobody', 'x') $$, 'P0002', NULL, 'no such session to release');
SELECT is(hold_session('waiting', now() + interval '1 min', 'short'), 'held', 'a short hold');
SET LOCAL session_reconciler.clock_offset = 120;
SELECT is(release_session('waiting', 'x'), 'not held', 'a hold that has ended is none');
SELECT throws_ok($$ SELECT hold_session('waiting', now() + interval '1 min', 'x') $$, '22023', 'until must be in the future', 'the database clock may be moved');
RESET session_reconciler.clock_offset;

-- Retries
SELECT throws_ok($$ SELECT retry_session('nobody', 'x') $$, 'P0002', NULL, 'no such session to retry');
SELECT throws_ok($$ SELECT retry_session('over', 'x') $$, '55000', 'session "over" has ended already', 'an ended session');
SELECT throws_ok($$ SELECT retry_session('waiting', 'x') $$, '55000', 'no enabled policy watches state queued', 'an unwatched state');
UPDATE reconciler.episode SET next_attempt = now() + interval '1 hour', last_attempt = now() + interval '1 day' WHERE session_id = 'stuck';
SELECT is(retry_session('stuck', 'agent is back'), 'requested', 'retry');
SELECT is(pg_temp.said(), 'retry stuck terminating ''agent is back'' operator by postgres', 'its event');
SELECT results_eq($$ SELECT next_attempt, retry_requested > last_attempt FROM reconciler.episode WHERE session_id = 'stuck' $$, 'VALUES (NULL::timestamptz, true)', 'due now, whatever the clock did');

-- What it waits for is said, and explain_session() advises nothing that would be refused.
CREATE FUNCTION pg_temp.words(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; hint text;
BEGIN EXECUTE statement; RETURN ''; EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT; RETURN detail || hint; END $$;
CREATE FUNCTION pg_temp.advice(id text) RETURNS text LANGUAGE sql AS $$ SELECT detail FROM explain_session(id, 'sessions') WHERE rule = 'operator' $$;
SELECT matches(pg_temp.words($$ SELECT hold_session('here', '2000-01-01 00:00:00+00', 'x') $$), '^It is 2000-01-01', 'a past time is shown');
UPDATE reconciler.binding SET mode = 'enforce';
SELECT unalike(pg_temp.advice('here'), '%retry_session%', 'no retry of what no policy watches');
INSERT INTO sessions (id, state) VALUES ('alone', 'terminating');
SELECT unalike(pg_temp.advice('alone'), '%retry_session%', 'nor of what has no agent');
SELECT alike(pg_temp.advice('alone'), '%hold_session()%force_terminate_session()%', 'but what works');
SELECT alike(pg_temp.advice('stuck'), '%set_hub() sets one; hold_session()%force_terminate_session()%', 'also without a hub');
UPDATE reconciler.binding SET mode = 'observe';
ALTER TABLE sessions ALTER state DROP NOT NULL;
INSERT INTO sessions (id, agent_id) VALUES ('blank', 'a1');
SELECT results_eq($$ SELECT rule, detail FROM explain_session('blank') WHERE rule IN ('verdict', 'write', 'operator') ORDER BY step $$,
  $$ VALUES ('verdict', 'a session without a state is never written'), ('operator', 'set its state; a session without one is never written') $$, 'a session without a state');
SELECT throws_ok($$ SELECT retry_session('blank', 'x') $$, '55000', 'session "blank" has no state', 'it is not retried');

-- A plan's what-if is checked like the policy's row.
SELECT throws_ok(format('SELECT * FROM reconcile_plan(%s)', arguments), '22023', message, arguments) FROM (VALUES
  ($$policy => '{"terminating": {"gone_after": "soon"}}'$$, 'invalid policy override: invalid input syntax for type interval: "soon"'),
  ($$policy => '{"terminating": {"max_attempts": -4}}'$$, 'invalid policy override: state "terminating" breaks a rule of reconciler.policy: CHECK (max_attempts >= 1 AND max_attempts <= 1000)'),
  ($$policy => '{"terminating": {"gone_after": "1 min"}}'$$, 'invalid policy override: state "terminating" breaks a rule of reconciler.policy: CHECK (gone_after >= stuck_after)'),
  ($$at => 'infinity'$$, 'at must be a finite time')) AS t(arguments, message);
SELECT lives_ok($$ SELECT * FROM reconcile_plan(policy => '{"terminating": {"gone_after": "30 min"}}') $$, 'what fits is taken');

-- Who acts stands in the event, also where the function runs with its owner's rights.
CREATE ROLE contrib_operator;
SELECT lives_ok($$ SELECT reconciler_grant('contrib_operator', 'operator') $$, 'an operator');
SET LOCAL ROLE contrib_operator;
SELECT is(pause_reconciler('by an operator'), 'paused', 'an operator pauses');
SELECT throws_ok($$ SELECT set_mode('off', 'x') $$, '42501', NULL, 'an operator sets no mode');
SELECT throws_ok($$ SELECT reconciler.note(1, NULL, 'pause', 'x') $$, '42501', NULL, 'nobody calls the helpers');
RESET ROLE;
SELECT is(pg_temp.said(), 'pause ''by an operator'' operator by contrib_operator', 'the role that acts, not the owner');
SELECT is((pg_temp.binding()).paused_by, 'contrib_operator', 'and in the binding');

SELECT matches(pg_temp.words('SET LOCAL ROLE contrib_operator; SELECT * FROM ' || call), 'GRANT SELECT ON public.sessions TO contrib_operator, and USAGE on the schema', call)
  FROM unnest(ARRAY['stuck_sessions()', 'explain_session(''stuck'')', 'session_coverage()']) AS call;

-- Events are append-only, for a superuser too.
SELECT throws_ok('DELETE FROM reconciler.event', '55000', 'events are append-only', 'no DELETE');
SELECT throws_ok($$ UPDATE reconciler.event SET reason = '' $$, '55000', 'events are append-only', 'no UPDATE');
SELECT throws_ok('TRUNCATE reconciler.event', '55000', 'events are append-only', 'no TRUNCATE');

-- Keys of another type, and a second table.
CREATE FUNCTION pg_temp.hint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE hint text;
BEGIN EXECUTE statement; RETURN ''; EXCEPTION WHEN no_data_found THEN GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT; RETURN hint; END $$;
SELECT is(pg_temp.hint($$ SELECT hold_session('HERE', 'infinity', 'x') $$), 'Ids are compared as text, the type of column "id", with case.', 'a name in capitals');
CREATE TABLE jobs (id bigint PRIMARY KEY, state text NOT NULL, agent_id text, updated_at timestamptz);
INSERT INTO jobs VALUES (7, 'terminating', 'a1');
SELECT lives_ok($$ SELECT * FROM attach_sessions('jobs') $$, 'attach another');
SELECT throws_ok($$ SELECT set_mode('observe', 'x') $$, '42725', 'several sessions tables are attached and none was named', 'which one?');
SELECT is(hold_session('7', 'infinity', 'a number', 'jobs'), 'held', 'a number as key');
SELECT throws_ok($$ SELECT hold_session('seven', 'infinity', 'x', 'jobs') $$, 'P0002', 'session "seven" does not exist in public.jobs', 'text that is no number is no session');
SELECT is(hold_session('007', 'infinity', 'a number', 'jobs'), 'held', 'a number, however written');
SELECT is(pg_temp.hint(call), 'Ids are compared as bigint, the type of column "id".', call) FROM (VALUES
  ($$ SELECT retry_session('seven', 'x', 'jobs') $$), ($$ SELECT force_terminate_session('7x', 'x', 'jobs') $$)) AS t(call);
SELECT matches((SELECT detail FROM explain_session('seven', 'jobs') LIMIT 1), 'compared as bigint', 'explain_session() says so, too');

SELECT * FROM finish();
ROLLBACK;
