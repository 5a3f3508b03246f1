-- Agents that fetch their commands: who may, what they get and what not, what their reports are worth.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION session_reconciler;
SELECT * FROM no_plan();

-- A hub that nobody connects to.
SELECT throws_ok($$ SELECT set_hub('main', NULL) $$, '22004', 'base_url must not be null', 'a hub that is called has an address');
DO $$
DECLARE h text;
BEGIN
  PERFORM set_hub('main', NULL, 'standard');
EXCEPTION WHEN null_value_not_allowed THEN
  GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
  CREATE TEMPORARY TABLE hinted AS SELECT h AS hint;
END $$;
SELECT is(hint, 'Only a hub of profile pull has no address.', '... and the error says which has none') FROM hinted;
SELECT throws_ok($$ SELECT set_hub('main', ARRAY[]::text[]) $$, '22023', 'a hub needs at least one address', 'or several');
SELECT throws_ok($$ SELECT set_hub('main', 'http://127.0.0.1:1', 'pull') $$, '22023', 'a hub of this profile has no address', 'one that is not called has none');
SELECT is(set_hub('agents', NULL, 'pull'), 'hub "agents" set: profile pull, agents fetch their commands; no attached table uses it by this call', 'set without one');
SELECT is((SELECT base_urls FROM reconciler.hub), '{}', 'it has no address');
CREATE FUNCTION pg_temp.hub() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(status || ' ' || detail, '; ') FROM preflight() WHERE check_name = 'hub agents' $$;
SELECT is(pg_temp.hub(), 'warn agents fetch their commands here: 0 of 0 registered ones did in the last two minutes, 0 commands are open', 'preflight() says that nobody fetches');
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, platform_resource_id text, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
SELECT is((SELECT status || ' ' || detail FROM attach_sessions('sessions', 'standard', '{"hub": "agents", "mode": "enforce"}') WHERE item = 'hub'), 'ok agents (pull): agents fetch their commands. CALL probe_hub(''agents'') asks it.', 'attached');

INSERT INTO reconciler.agent_pool (name) VALUES ('pool');
INSERT INTO reconciler.agent (agent_id, pool_id, capacity, source, registered) SELECT a, pool_id, 10, 'call', now() FROM reconciler.agent_pool, unnest('{a,b}'::text[]) AS a;

-- As a pass leaves it that has queued a stop: the session, its stay, the command.
CREATE FUNCTION pg_temp.queue(session text, agent text, resource text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
  INSERT INTO sessions (id, state, agent_id, platform_resource_id, created_at) VALUES (session, 'terminating', agent, resource, '2026-01-01 00:00+00');
  INSERT INTO reconciler.episode (binding_id, session_id, state, agent_id, runtime_id, created, first_seen, entered, hub_command_id, accepted_at)
    SELECT binding_id, session, 'terminating', agent, resource, '2026-01-01 00:00:00.000000+00', now(), now(), 'c-' || session, now() FROM reconciler.binding;
  INSERT INTO reconciler.command (command_id, binding_id, session_id, agent_id, action, platform_resource_id, attempt, reason, session_state, session_agent, session_created, owed, created, not_before)
    SELECT 'c-' || session, binding_id, session, agent, 'stop_session', resource, 1, 'stuck in terminating', 'terminating', agent, e.created, false, clock_timestamp(), clock_timestamp()
    FROM reconciler.binding JOIN reconciler.episode AS e USING (binding_id) WHERE e.session_id = session $$;
CREATE FUNCTION pg_temp.fetched(agent text) RETURNS text LANGUAGE sql AS $$ SELECT coalesce(string_agg(command_id, ' ' ORDER BY n), '') FROM next_commands(agent) WITH ORDINALITY AS t(command_id, session_id, table_name, action, platform_resource_id, attempt, reason, payload, leased_until, n) $$;
CREATE FUNCTION pg_temp.became(id text) RETURNS text LANGUAGE sql AS $$ SELECT state || CASE detail WHEN '' THEN '' ELSE ': ' || detail END FROM reconciler.command WHERE command_id = id $$;

-- Mistakes.
SELECT throws_ok($$ SELECT * FROM next_commands(' ') $$, '22023', 'an agent_id is required', 'no agent');
SELECT throws_ok($$ SELECT * FROM next_commands(NULL) $$, '22004', 'agent_id must not be null', 'none at all');
SELECT throws_ok($$ SELECT * FROM next_commands('a', 0) $$, '22023', 'max must be from 1 to 1000, not 0', 'too few');
SELECT throws_ok($$ SELECT * FROM next_commands('a', 1001) $$, '22023', 'max must be from 1 to 1000, not 1001', 'too many');
SELECT throws_ok($$ SELECT * FROM next_commands('nobody') $$, 'P0002', 'agent "nobody" is in no pool', 'an agent that nobody knows');
SELECT throws_ok($$ SELECT report_command('', 'completed') $$, '22023', 'a command_id is required', 'no command');
SELECT throws_ok($$ SELECT report_command('c', 'done') $$, '22023', 'there is no outcome "done"', 'another outcome');
SELECT throws_ok($$ SELECT report_command('c', NULL) $$, '22004', 'outcome must not be null', 'no outcome');

-- Who may.
CREATE ROLE agents;
SELECT ok(NOT has_function_privilege('agents', 'next_commands(text, integer)', 'EXECUTE') AND NOT has_function_privilege('agents', 'report_command(text, text, text)', 'EXECUTE'), 'nobody by default');
SELECT isnt(reconciler_grant('agents', 'evidence'), NULL, 'who pushes evidence');
SELECT pg_temp.queue('s', 'a', 'pod-1');
SET ROLE agents;
SELECT results_eq($$ SELECT command_id, session_id, table_name, action, platform_resource_id, attempt, reason, payload, leased_until - clock_timestamp() BETWEEN '59 s' AND '60 s' FROM next_commands('a') $$,
  $$ VALUES ('c-s', 's', 'public.sessions', 'stop_session', 'pod-1', 1, 'stuck in terminating', NULL::jsonb, true) $$, 'may fetch');
SELECT is(report_command('c-s', 'completed'), 'recorded', 'and report');
SELECT throws_ok('SELECT * FROM sessions', '42501', NULL, 'and sees nothing');
SELECT throws_ok('SELECT * FROM reconciler.command', '42501', NULL, 'of the commands of others either');
RESET ROLE;

-- It is a heartbeat.
SELECT ok((SELECT connected AND heartbeat > clock_timestamp() - interval '1 min' AND last_seen = heartbeat FROM reconciler.agent WHERE agent_id = 'a'), 'who fetches is there');
SELECT is((SELECT heartbeat FROM reconciler.agent WHERE agent_id = 'b'), NULL, 'who does not is not');
SELECT is(pg_temp.hub(), 'ok agents fetch their commands here: 1 of 2 registered ones did in the last two minutes, 0 commands are open', 'preflight() knows');
SELECT is((SELECT detail FROM explain_session('s') WHERE rule = 'request'), 'queued in reconciler.command for next_commands(''a'')', 'explain_session() says how a command goes');

-- A lease, and its end. What is handed out again is the same command.
SELECT pg_temp.queue('one', 'a'), pg_temp.queue('two', 'a'), pg_temp.queue('three', 'a'), pg_temp.queue('other', 'b');
SELECT is((SELECT string_agg(command_id, ' ') FROM next_commands('a', 2)), 'c-one c-two', 'oldest first, as many as wanted');
SELECT is(pg_temp.fetched('a'), 'c-three', 'those that are left');
SELECT is(pg_temp.fetched('a'), '', 'none that is leased');
SELECT is(report_command('c-two', 'accepted'), 'recorded', 'one is being worked on');
SELECT is(report_command('c-two', 'accepted'), 'already recorded', 'said twice');
SET LOCAL session_reconciler.clock_offset = '61 s';
SELECT is(pg_temp.fetched('a'), 'c-one c-three', 'a minute later those of which nothing was heard');
SET LOCAL session_reconciler.clock_offset = '301 s';
SELECT is(pg_temp.fetched('a'), 'c-one c-two c-three', 'after command_timeout the one that was begun as well');
SELECT is((SELECT leased_count FROM reconciler.command WHERE command_id = 'c-two'), 2, 'that is counted');
SELECT is(report_command('c-two', 'accepted'), 'recorded', 'begun again');
SET LOCAL session_reconciler.clock_offset = 0;
SELECT is(pg_temp.fetched('a'), '', 'a clock that is set back a little ends no lease');
UPDATE reconciler.command SET leased_until = clock_timestamp() + interval '2 days' WHERE command_id = 'c-one';
SELECT is(pg_temp.fetched('a'), 'c-one', 'one that lies days ahead was of a clock that was wrong');

-- Reports.
SELECT is(report_command('c-one', 'completed', 'removed'), 'recorded', 'completed');
SELECT is(pg_temp.became('c-one'), 'completed: removed', 'so it stands there');
SELECT is(report_command('c-one', 'completed'), 'already recorded', 'said twice');
SELECT is(report_command('c-one', 'accepted'), 'already recorded', 'the first word comes last');
SELECT is(report_command('c-one', 'failed'), 'late', 'a contradiction');
SELECT is(pg_temp.became('c-one'), 'completed: removed', 'which changes nothing');
SELECT is(report_command('c-three', 'failed', E'no such \u0001pod'), 'recorded', 'failed');
SELECT is(report_command('c-nobody', 'completed'), 'late', 'of a command that nobody sent');
SELECT is(report_command('c-nobody', 'completed'), 'already recorded', 'which is noted once');
SELECT results_eq($$ SELECT session_id, reason, evidence->>'command_id', evidence->>'agent_id', evidence->>'outcome' FROM reconciler.event WHERE kind = 'late_report' ORDER BY id $$,
  $$ VALUES ('one', 'it was reported as completed', 'c-one', 'a', 'failed'), (NULL, 'the command is not known', 'c-nobody', '', 'completed') $$, 'late ones are events');

-- What was overtaken is withdrawn: when it is fetched, or when it is reported.
SELECT pg_temp.queue('held', 'a'), pg_temp.queue('ended', 'a'), pg_temp.queue('moved', 'a'), pg_temp.queue('again', 'a', 'pod-2'), pg_temp.queue('deleted', 'a'), pg_temp.queue('tried', 'a'), pg_temp.queue('fine', 'a');
SELECT hold_session('held', 'infinity', 'somebody is looking');
UPDATE sessions SET state = 'terminated' WHERE id = 'ended';
UPDATE sessions SET agent_id = 'b' WHERE id = 'moved';
UPDATE sessions SET platform_resource_id = 'pod-3' WHERE id = 'again';
DELETE FROM sessions WHERE id = 'deleted';
UPDATE reconciler.episode SET hub_command_id = 'another' WHERE session_id = 'tried';
SELECT is(report_command('c-moved', 'completed'), 'late', 'a session that has another agent by now');
SELECT is(report_command('c-moved', 'completed'), 'already recorded', 'told once');
SELECT is(report_command('c-held', 'accepted'), 'recorded', 'what a hold came too late for counts');
UPDATE reconciler.command SET leased_until = now() WHERE command_id = 'c-held';
SELECT is((SELECT string_agg(command_id, ' ') FROM next_commands('a', 1)), 'c-fine', 'what stands, past all that does not');
SELECT is(pg_temp.fetched('a'), '', 'nothing else');
SELECT results_eq($$ SELECT session_id, detail FROM reconciler.command WHERE state = 'withdrawn' ORDER BY 1 $$,
  $$ VALUES ('again', 'the session is another one by now'), ('deleted', 'the session is no more'), ('ended', 'the session is terminated by now'), ('held', 'the session is held'),
     ('moved', 'agent "b" has the session by now'), ('tried', 'the session is another matter by now') $$, 'each with its reason');
SELECT set_eq($$ SELECT session_id, reason FROM reconciler.event WHERE kind = 'skipped' $$,
  $$ SELECT session_id, detail FROM reconciler.command WHERE state = 'withdrawn' AND session_id <> 'moved' $$, 'and an event');

-- A stop that is owed has no stay any more once it is on its way.
SELECT pg_temp.queue('owed', 'b');
UPDATE sessions SET state = 'terminated' WHERE id = 'owed';
DELETE FROM reconciler.episode WHERE session_id = 'owed';
UPDATE reconciler.command SET owed = true, session_state = 'terminated' WHERE session_id = 'owed';
SELECT is(pg_temp.fetched('b'), 'c-other c-owed', 'an agent that is back gets what is owed to it');
SELECT is(report_command('c-owed', 'completed'), 'recorded', 'and says so');

-- Nothing leaves while nothing may.
SELECT pg_temp.queue('later', 'b');
SELECT pause_reconciler('somebody is looking');
SELECT is(pg_temp.fetched('b'), '', 'not while it is paused');
SELECT unpause_reconciler('all is well');
SELECT set_mode('observe', 'somebody is looking');
SELECT is(pg_temp.fetched('b'), '', 'nor in mode observe');
SELECT set_mode('enforce', 'all is well');
UPDATE reconciler.binding SET armed_name = 'another';
SELECT is(pg_temp.fetched('b'), '', 'nor in a copy');
UPDATE reconciler.binding SET armed_name = current_database();
UPDATE reconciler.command SET not_before = now() + interval '1 hour' WHERE command_id = 'c-later';
SELECT is(pg_temp.fetched('b'), '', 'nor before its time');
SET LOCAL session_reconciler.clock_offset = '61 min';
ALTER TABLE sessions RENAME COLUMN agent_id TO agent;
SELECT is(pg_temp.fetched('b'), '', 'nor of a table that can''t be read');
ALTER TABLE sessions RENAME COLUMN agent TO agent_id;
SELECT is(pg_temp.fetched('b'), 'c-other c-later', 'then it does');

-- What report_resource() said, where the row does not.
INSERT INTO reconciler.session_pool (binding_id, session_id, resource_id) SELECT binding_id, 'later', 'pod-9' FROM reconciler.binding;
SET LOCAL session_reconciler.clock_offset = '63 min';
SELECT is((SELECT platform_resource_id FROM next_commands('b') WHERE session_id = 'later'), 'pod-9', 'what the session runs in');

SELECT throws_ok($$ INSERT INTO reconciler.command (command_id, binding_id, session_id, agent_id, action, attempt, reason, session_state, owed, created, not_before)
  SELECT 'second', binding_id, session_id, agent_id, action, attempt, reason, session_state, owed, created, not_before FROM reconciler.command WHERE command_id = 'c-later' $$, '23505', NULL, 'a session has one command at a time');

-- A table that can't be read keeps its commands, and holds up nobody else's.
CREATE TABLE others (id text PRIMARY KEY, state text NOT NULL, agent_id text);
SELECT lives_ok($$ SELECT attach_sessions('others', 'standard', '{"hub": "agents", "mode": "enforce"}') $$, 'another table');
INSERT INTO others VALUES ('x', 'terminated', 'b');
INSERT INTO reconciler.command (command_id, binding_id, session_id, agent_id, action, attempt, reason, session_state, session_agent, owed, created, not_before)
  SELECT 'c-x', binding_id, 'x', 'b', 'stop_session', 1, 'late agent', 'terminated', 'b', true, clock_timestamp(), clock_timestamp() FROM reconciler.binding WHERE table_name = 'others';
SET LOCAL session_reconciler.clock_offset = '70 min';
ALTER TABLE sessions RENAME COLUMN agent_id TO agent;
SELECT is(pg_temp.fetched('b'), 'c-x', 'the other table''s goes out');
ALTER TABLE sessions RENAME COLUMN agent TO agent_id;
SELECT is(pg_temp.fetched('b'), 'c-other c-later', 'and this one''s when it can be read');

SELECT * FROM finish();
ROLLBACK;
