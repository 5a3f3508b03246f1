-- Setting up: what attach_sessions(), detach_sessions(), set_hub(), create_control_plane() and preflight() promise.
-- The errors with their words are in sql/attach.sql.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA sr;
CREATE EXTENSION session_reconciler SCHEMA sr;
CREATE SCHEMA app;
SET search_path = app, sr, public;
SELECT * FROM no_plan();

SELECT set_eq('SELECT name FROM reconciler.hub_profile WHERE built_in', ARRAY['standard', 'streamspace', 'pull', 'centaur'], 'the profiles are built in');

-- Keys of any type.
DO $$
DECLARE
  kind text;
BEGIN
  FOREACH kind IN ARRAY ARRAY['integer', 'bigint', 'text', 'varchar(40)', 'uuid', 'numeric', 'bytea', 'timestamptz', 'char(8)', 'date', 'inet'] LOOP
    EXECUTE format('CREATE TABLE %I (k %s PRIMARY KEY, state text)', 'key_' || kind, kind);
  END LOOP;
END $$;
SELECT lives_ok(format('SELECT attach_sessions(%L)', c.oid::regclass), 'key of type ' || substr(c.relname, 5))
  FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'key%' ORDER BY c.relname;
SELECT is((SELECT count(DISTINCT columns->>'key') FROM reconciler.binding), 1::bigint, 'each by its primary key');
DO $$
DECLARE
  b record;
BEGIN
  FOR b IN SELECT sessions FROM reconciler.binding LOOP
    PERFORM sr.detach_sessions(b.sessions);
  END LOOP;
END $$;
SELECT is_empty('SELECT 1 FROM reconciler.policy', 'policies go with their binding');

-- Names that need quotes.
CREATE SCHEMA "My App";
CREATE TABLE "My App"."the ""sessions""" ("Session Id" text PRIMARY KEY, "State" text, "select" text, "Updated At" timestamptz);
SELECT lives_ok($$SELECT attach_sessions('"My App"."the ""sessions"""', options => '{"state_column": "State", "agent_column": "select", "entered_column": "Updated At"}')$$,
                'names with spaces, quotes and key words');
SELECT matches((SELECT hint FROM preflight() WHERE check_name LIKE '%index terminating'),
               'CREATE INDEX CONCURRENTLY ON "My App"."the ""sessions""" \("Updated At", "Session Id"\) WHERE "State" = ''terminating'';', 'DDL that is recommended is quoted');
SELECT is(detach_sessions('"My App"."the ""sessions"""'), 'detached', 'and by that name it is detached');

-- A domain is what it is made of; a unique index does for a key; the shortest wins.
CREATE DOMAIN session_state AS varchar(20) CHECK (VALUE <> 'closed');
CREATE TABLE domains (a integer NOT NULL, b integer NOT NULL, id text NOT NULL UNIQUE, state session_state, PRIMARY KEY (a, b));
SELECT lives_ok($$SELECT attach_sessions('domains')$$, 'a state of a domain over varchar, a key by a unique index');
SELECT is((SELECT columns->>'key' FROM reconciler.binding), 'id', 'the key that is unique by itself');
SELECT is(detach_sessions('app.domains'), 'detached', 'detached');
SELECT throws_ok($$SELECT attach_sessions('domains', options => '{"policies": {"terminating": {"becomes": "closed"}}}')$$, '22023', NULL, 'a state that the domain refuses');

-- = is not defined of a domain over an enum: it is compared as the enum.
CREATE TYPE steps AS ENUM ('pending', 'running', 'terminating', 'terminated');
CREATE DOMAIN step AS steps CHECK (VALUE <> 'pending');
CREATE TABLE stepping (id text PRIMARY KEY, state step NOT NULL, agent_id text, updated_at timestamptz);
INSERT INTO stepping VALUES ('t', 'terminating', 'a', now() - interval '1 hour'), ('r', 'running', 'a', now());
SELECT lives_ok($$SELECT attach_sessions('stepping', options => '{"mode": "enforce", "guard_terminal": true}')$$, 'a state of a domain over an enum');
SELECT results_eq('SELECT session_id, state FROM stuck_sessions()', $$VALUES ('t', 'terminating')$$, 'it is scanned');
SELECT results_eq('SELECT state, sessions FROM session_coverage()', $$VALUES ('running', 1::bigint), ('terminating', 1)$$, 'counted');
SELECT is(request_termination('r', 'test'), 'requested', 'written');
SELECT is(force_terminate_session('t', 'test'), 'terminated', 'and closed');
SELECT is((SELECT outcome FROM undo_event((SELECT max(id) FROM reconciler.event WHERE kind = 'force'))), 'undone', 'and that undone');
SELECT throws_ok(format('SELECT undo_event(%s, %L)', id, hold_for), state, said, hold_for)
  FROM reconciler.event, (VALUES ('-1 s', '22023', 'hold_for must not be negative'), ('5000 years', '22023', 'hold_for is too long'), ('1000000 years', '22008', 'interval out of range')) AS v(hold_for, state, said)
  WHERE kind = 'force';
SELECT release_session('t', 'test'), force_terminate_session('t', 'test');
ALTER TYPE steps RENAME VALUE 'terminating' TO 'ending';
SELECT results_eq($$SELECT outcome, detail FROM undo_event((SELECT max(id) FROM reconciler.event WHERE kind = 'force'))$$,
  $$VALUES ('not_undoable', 'a value of the event is none of the table any more: invalid input value for enum app.steps: "terminating"')$$, '... but not when its label was renamed');
ALTER TYPE steps RENAME VALUE 'ending' TO 'terminating';
SELECT hint AS ddl FROM preflight() WHERE check_name = 'app.stepping: index terminating' \gset
SELECT is(:'ddl'::text, 'CREATE INDEX CONCURRENTLY ON app.stepping (updated_at, id) WHERE state::app.steps = ''terminating'';', 'DDL that is recommended fits');
SELECT replace(:'ddl', ' CONCURRENTLY', '') AS ddl \gset
:ddl
SELECT is((SELECT status FROM preflight() WHERE check_name = 'app.stepping: index terminating'), 'ok', '... and is found');
SELECT throws_like(format('INSERT INTO reconciler.policy (binding_id, state) SELECT binding_id, %L FROM reconciler.binding', 'stopped'), '"stopped" is no label of type app.steps', 'labels are those of the enum');
SELECT is(detach_sessions('app.stepping'), 'detached', 'detached');
SELECT throws_like($$SELECT attach_sessions('stepping', options => '{"terminal_states": ["over"]}')$$, '"over" is no label of type app.steps', '... when it is attached, too');

-- Two tables of one name.
CREATE SCHEMA other;
CREATE TABLE app.twin (id integer PRIMARY KEY, state text);
CREATE TABLE other.twin (id integer PRIMARY KEY, state text);
SELECT lives_ok($$SELECT attach_sessions('app.twin'), attach_sessions('other.twin')$$, 'two tables of one name');
SELECT throws_ok($$SELECT detach_sessions('twin')$$, '42725', NULL, 'which one?');
ALTER TABLE other.twin RENAME TO single;
SELECT is(detach_sessions('other.single'), 'detached', 'by the name that it has now');
SELECT throws_ok($$SELECT detach_sessions('other.twin')$$, '42704', NULL, 'it is gone');
SELECT throws_ok($$SELECT detach_sessions('no such; table')$$, '42602', NULL, 'no name at all');
SELECT throws_ok('SELECT detach_sessions(NULL::text)', '22004', NULL, 'nothing');
SELECT is(detach_sessions('app.twin'::regclass), 'detached', 'by regclass');

-- Related tables are found in the same schema, refused or named.
CREATE TABLE sessions (id text PRIMARY KEY, state text, agent_id text, updated_at timestamptz);
CREATE TABLE agents (agent_id text PRIMARY KEY, last_heartbeat timestamptz);
CREATE TABLE agent_commands (command_id text, session_id text, action text);
CREATE TABLE log (actor text, action text, resource_id text, must text NOT NULL);
SELECT lives_ok($$SELECT attach_sessions('sessions')$$, 'attached');
SELECT set_eq($$SELECT jsonb_object_keys(related) FROM reconciler.binding$$, ARRAY['agents'], 'agents are used, commands lack a column');
SELECT is(detach_sessions('sessions'), 'detached', 'again');
SELECT throws_ok($$SELECT attach_sessions('sessions', options => '{"commands_table": "agent_commands"}')$$, '55000', NULL, 'who is asked for must do');
SELECT throws_ok($$SELECT attach_sessions('sessions', options => '{"audit_table": "log"}')$$, '55000', NULL, 'a column that nobody fills');
SELECT throws_ok($$SELECT attach_sessions('sessions', options => '{"audit_table": "nowhere.log"}')$$, '42P01', NULL, 'no such table');
CREATE VIEW agents_view AS SELECT * FROM agents;
SELECT throws_ok($$SELECT attach_sessions('sessions', options => '{"agents_table": "agents_view"}')$$, '42809', NULL, 'a view');
DROP VIEW agents_view;
ALTER TABLE log ALTER must SET DEFAULT '';
SELECT lives_ok($$SELECT attach_sessions('sessions', options => '{"agents_table": false, "audit_table": "app.log", "agent_column": null}')$$, 'refused, and named');
SELECT results_eq('SELECT related, columns ? ''agent'' FROM reconciler.binding',
                  $$VALUES ('{"audit": {"table": "app.log", "columns": {"actor": "actor", "action": "action", "resource_id": "resource_id"}}}'::jsonb, false)$$, 'as written');

-- A column is one thing. Only the age may be counted from another's time.
SELECT is(detach_sessions('sessions'), 'detached', 'again');
CREATE TABLE roles (id text PRIMARY KEY, state text, x text, updated_at timestamptz, at timestamptz);
SELECT throws_ok($$SELECT attach_sessions('roles', options => '{"agent_column": "x", "runtime_column": "x"}')$$, '22023',
                 'column "x" of table app.roles can''t be both agent_column and runtime_column', 'one column for two roles');
SELECT throws_ok($$SELECT attach_sessions('roles', options => '{"agent_column": "id"}')$$, '22023',
                 'column "id" of table app.roles can''t be both key_column and agent_column', 'the key for an agent');
SELECT throws_ok($$SELECT attach_sessions('roles', options => '{"reason_column": "state"}')$$, '22023',
                 'column "state" of table app.roles can''t be both state_column and reason_column', 'a column that was found by its name');
SELECT lives_ok($$SELECT attach_sessions('roles', options => '{"agent_column": "x", "created_column": "updated_at", "entered_column": "at", "closed_column": "at"}')$$, 'the age may be');
SELECT is((SELECT columns - 'state' FROM reconciler.binding), '{"key": "id", "agent": "x", "created": "updated_at", "entered": "at", "closed": "at"}',
          'a column that is named for one role is found for no other');
SELECT is(detach_sessions('roles'), 'detached', 'again');
SELECT lives_ok($$SELECT attach_sessions('sessions', options => '{"agents_table": false, "audit_table": "app.log", "agent_column": null}')$$, 'as before');

-- disconnect_cleanup.
SELECT set_eq('SELECT state FROM reconciler.policy WHERE enabled', ARRAY['terminating', 'pending', 'starting', 'hibernating', 'waking'], 'by default nothing happens to sessions that run');
SELECT set_eq('SELECT state FROM reconciler.policy WHERE NOT infers', ARRAY['hibernating', 'waking'], 'and nothing is inferred of what was on its way to sleep or back');
SELECT is(detach_sessions('sessions'), 'detached', 'again');
SELECT lives_ok($$SELECT attach_sessions('sessions', options => '{"disconnect_cleanup": true, "policies": {"hibernated": null, "running": {"gone_after": "45 s"}}}')$$, 'attached');
SELECT results_eq('SELECT state, enabled, stuck_after, gone_after, becomes, reason FROM reconciler.policy WHERE state IN (''running'', ''hibernated'', ''terminating'') ORDER BY state',
  $$VALUES ('running', true, NULL::interval, '45 s'::interval, 'terminated', 'agent_disconnected'), ('terminating', true, '5 min', '10 min', 'terminated', 'agent_unavailable')$$,
  'disconnect_cleanup turns policies on, others are left out or changed');

-- What a person writes by hand is checked as attach_sessions() checks it, and the error says what would be right.
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  message text; advice text;
BEGIN
  EXECUTE statement;
  RETURN 'done';
EXCEPTION WHEN check_violation THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT;
  RETURN message || ' / ' || advice;
END $$;
SELECT is(pg_temp.refused('UPDATE reconciler.' || change), said, change) FROM (VALUES
  ($$binding SET time_zone = 'Mars/Phobos'$$, 'invalid time_zone in reconciler.binding / Names are in the view pg_timezone_names, for instance Europe/Berlin.'),
  ($$binding SET time_zone = 'Europe/Berlin'$$, 'done'),
  ($$binding SET batch_size = 0$$, 'invalid batch_size in reconciler.binding / batch_size: Rows to a transaction (1 to 10000).'),
  ($$binding SET hub_grace = '-1 s'$$, 'invalid hub_grace in reconciler.binding / hub_grace: Gone time starts over after the hub was unknown for longer.'),
  ($$binding SET brake_share = 'NaN'$$, 'invalid brake_share in reconciler.binding / brake_share: … or this share of the non-terminal sessions in watched states, whichever is more (0 to 1).'),
  ($$binding SET terminal_states = '{}'$$, 'invalid terminal_states in reconciler.binding / terminal_states: States in which a session has ended.'),
  ($$binding SET terminal_states = '{failed}'$$, 'the policy of state "hibernating" would write "terminated", in which no session has ended / Let becomes be one of them, or add the state to terminal_states in reconciler.binding first.'),
  ($$binding SET terminal_states = terminal_states || '{running}'$$, 'state "running" is terminal and can''t have a policy / Delete the policy, or take the state out of terminal_states in reconciler.binding.'),
  ($$policy SET gone_after = '-1 s' WHERE state = 'running'$$, 'invalid gone_after in reconciler.policy / gone_after: Time the agent must have been gone before a session is closed by inference; never below stuck_after.'),
  ($$policy SET stuck_after = '11 min' WHERE state = 'terminating'$$, 'invalid stuck_after and gone_after in reconciler.policy / Make gone_after at least as long as stuck_after: a session would else be closed before it is stuck.'),
  ($$policy SET no_agent = 'kill'$$, 'invalid no_agent in reconciler.policy / no_agent: close: a session without an agent is closed after gone_after of our own sight; show: it is only shown.'),
  ($$policy SET becomes = 'idle' WHERE state = 'running'$$, 'the policy of state "running" would write "idle", in which no session has ended / Let becomes be one of them, or add the state to terminal_states in reconciler.binding first.'),
  ($$policy SET becomes = 'idle', enabled = false WHERE state = 'running'$$, 'done'),
  ($$policy SET enabled = true WHERE state = 'running'$$, 'the policy of state "running" would write "idle", in which no session has ended / Let becomes be one of them, or add the state to terminal_states in reconciler.binding first.'),
  ($$policy SET state = 'failed' WHERE state = 'running'$$, 'state "failed" is terminal and can''t have a policy / Delete the policy, or take the state out of terminal_states in reconciler.binding.')
) AS t(change, said);
SELECT throws_ok($$SELECT attach_sessions('app.twin', options => '{"terminal_states": ["ended"]}')$$, '22023',
                 'the policy of state "terminating" would write "terminated", in which no session has ended', 'attach_sessions() refuses that, too');
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE moods (id text PRIMARY KEY, state mood);
SELECT throws_ok($$SELECT attach_sessions('moods')$$, '22023', 'no state is known in which a session of app.moods has ended', 'and a table whose sessions never end');
SELECT is(pg_temp.refused($$INSERT INTO reconciler.hub (name, base_urls, profile, total_timeout) VALUES ('x', '{http://u:secret@localhost}', 'standard', '0')$$),
          'invalid total_timeout in reconciler.hub / total_timeout: Longest wait for a whole answer (10 ms to 5 min).', 'a hub');

-- Events of what is done by hand.
DELETE FROM reconciler.binding;
SELECT results_eq($$SELECT kind, rule, table_name::text COLLATE "default" FROM reconciler.event ORDER BY id DESC LIMIT 1$$, $$VALUES ('detached', 'by hand', 'sessions')$$, 'a deleted binding is an event, its policies are not');
-- A dump's rows come by INSERT; pg_dump says before that function bodies are not to be checked.
SET check_function_bodies = off;
CREATE TEMPORARY TABLE before AS SELECT count(*) AS n FROM reconciler.event;
INSERT INTO reconciler.hub (name, base_urls, profile) VALUES ('restored', '{http://localhost:9}', 'standard');
SELECT is((SELECT count(*) FROM reconciler.event), (SELECT n FROM before), 'rows of a dump are no event');
RESET check_function_bodies;
INSERT INTO reconciler.hub (name, base_urls, profile) VALUES ('by hand', '{http://localhost:9}', 'standard');
SELECT is((SELECT count(*) FROM reconciler.event), (SELECT n + 1 FROM before), 'a row by hand is');
DELETE FROM reconciler.hub;

-- preflight().
SELECT lives_ok($$SELECT set_hub('hub', 'http://localhost:9')$$, 'a hub on loopback needs no credential');
SELECT lives_ok($$SELECT attach_sessions('sessions')$$, 'attached');
SELECT set_has('SELECT DISTINCT check_name FROM preflight()',
  $$VALUES ('version'), ('worker'), ('worker slots'), ('credentials'), ('hub hub'), ('events'), ('app.sessions: mode'), ('app.sessions: mapping'), ('app.sessions: identity'),
    ('app.sessions: key'), ('app.sessions: owner'), ('app.sessions: row security'), ('app.sessions: rights'), ('app.sessions: triggers'), ('app.sessions: time zone'), ('app.sessions: index terminating')$$,
  'everything that preflight() looks at');
SELECT is_empty($$SELECT status FROM preflight() WHERE status NOT IN ('ok', 'warn', 'fail')$$, 'ok, warn or fail');
SELECT results_eq($$SELECT status, hint FROM preflight() WHERE check_name = 'hub hub'$$, $$VALUES ('warn', 'CALL probe_hub(''hub'');')$$, 'never probed');
UPDATE reconciler.hub_address SET probed_at = now();
INSERT INTO reconciler.hub_address (hub, address, probed_at, probe_ok, probe_detail, clock_off) VALUES ('hub', 'http://localhost:9', now(), false, 'connection refused', '-70 s');
SELECT results_eq($$SELECT check_name, status FROM preflight() WHERE check_name ~ 'hub$' ORDER BY 1$$, $$VALUES ('clock hub', 'fail'), ('hub hub', 'fail')$$, 'a hub that does not answer, a clock that is off');
UPDATE reconciler.binding SET armed_name = 'elsewhere';
SELECT is((SELECT status FROM preflight() WHERE check_name = 'app.sessions: identity'), 'fail', 'a copy');
INSERT INTO reconciler.brake (binding_id, tripped, tripped_why) SELECT binding_id, now(), '30 due, 20 allowed' FROM reconciler.binding;
SELECT is((SELECT status FROM preflight() WHERE check_name = 'app.sessions: brake'), 'fail', 'a tripped brake');
CREATE INDEX ON sessions (updated_at, id) WHERE state = 'terminating';
SELECT is((SELECT status FROM preflight() WHERE check_name = 'app.sessions: index terminating'), 'ok', 'an index that serves');
DROP INDEX sessions_updated_at_id_idx;
CREATE INDEX ON sessions (updated_at, id) WHERE state <> 'terminating';
CREATE INDEX ON sessions (agent_id, state);
CREATE INDEX ON sessions (updated_at) WHERE state = 'terminating' AND agent_id IS NOT NULL;
SELECT is((SELECT status FROM preflight() WHERE check_name = 'app.sessions: index terminating'), 'warn', 'indexes that don''t');
CREATE INDEX ON sessions (state);
SELECT is((SELECT status FROM preflight() WHERE check_name = 'app.sessions: index terminating'), 'ok', 'an index that leads with the state');
-- Keys that could stand in two rows, by the catalog alone.
CREATE FUNCTION pg_temp.key() RETURNS text LANGUAGE sql AS $$SELECT status || ': ' || detail FROM preflight() WHERE check_name ~ ': key$'$$;
SELECT is(pg_temp.key(), 'ok: id is unique', 'a key that is unique');
CREATE TABLE sessions_old () INHERITS (sessions);
SELECT is(pg_temp.key(), 'warn: id is unique in app.sessions itself, not together with the tables that inherit from it: app.sessions_old', 'a child table');
DROP TABLE sessions_old;
ALTER TABLE sessions DROP CONSTRAINT sessions_pkey;
SELECT is(pg_temp.key(), 'fail: no unique index on id is left', 'no index any more');
CREATE UNIQUE INDEX ON sessions (id, agent_id);
SELECT is(pg_temp.key(), 'warn: id is unique only together with others: id, agent_id', 'one that is too wide');
DROP INDEX sessions_id_agent_id_idx;
ALTER TABLE sessions ADD PRIMARY KEY (id);

-- What became of the columns since.
UPDATE reconciler.binding SET armed_name = current_database();
ALTER TABLE agents ALTER last_heartbeat TYPE text;
SELECT throws_ok($$SELECT set_mode('enforce', 'x')$$, '42804', 'column "last_heartbeat" of table app.agents is no timestamp', 'a column of another type is refused where it can be mended');
SELECT results_eq($$SELECT status, detail FROM preflight() WHERE check_name = 'app.sessions: mapping'$$, $$VALUES ('fail', 'column "last_heartbeat" of table app.agents is no timestamp')$$, 'preflight() says so, too');
ALTER TABLE agents ALTER last_heartbeat TYPE timestamptz USING last_heartbeat::timestamptz;
DROP INDEX sessions_agent_id_state_idx;
ALTER TABLE sessions ALTER agent_id TYPE json USING to_json(agent_id);
SELECT throws_ok($$SELECT set_mode('enforce', 'x')$$, '42804', 'column "agent_id" of table app.sessions is a document, by which nothing is found', 'one that can''t be compared');
ALTER TABLE sessions ALTER agent_id TYPE varchar(20) USING agent_id::text;
SELECT is(set_mode('enforce', 'x'), 'enforce', 'another type that does is fine');
ALTER TABLE sessions DROP COLUMN agent_id;
SELECT results_eq($$SELECT status, detail FROM preflight() WHERE check_name = 'app.sessions: mapping'$$, $$VALUES ('fail', 'column "agent_id" of table app.sessions does not exist')$$, 'a column that vanished');
DROP TABLE sessions CASCADE;
SELECT matches((SELECT hint FROM preflight() WHERE check_name = 'app.sessions: mapping' AND status = 'fail'), 'detach_sessions', 'a table that vanished');
SELECT is(detach_sessions('app.sessions'), 'detached', 'and can be detached');
SELECT ok(EXISTS (SELECT FROM preflight() WHERE check_name = 'attached tables' AND status = 'warn'), 'nothing is attached');

-- create_control_plane().
DROP TABLE agents, agent_commands;
CREATE SCHEMA plane;
SET search_path = plane, sr, public;
CREATE TABLE agents (id integer);
SELECT throws_ok('SELECT create_control_plane()', '42P07', NULL, 'a name that is taken');
SELECT hasnt_table('plane', 'sessions', 'and nothing was created');
DROP TABLE agents;
SELECT lives_ok('SELECT create_control_plane()', 'in the current schema');
SELECT has_table('plane', name, name || ' is there') FROM unnest(ARRAY['sessions', 'agents', 'agent_commands', 'audit_log']) AS name;
SELECT is((SELECT mode FROM reconciler.binding), 'enforce', 'attached to be acted on');
SELECT set_eq('SELECT jsonb_object_keys(related) FROM reconciler.binding', ARRAY['agents', 'commands', 'audit'], 'with all its tables');
SELECT set_eq('SELECT jsonb_object_keys(columns) FROM reconciler.binding', ARRAY['key', 'state', 'agent', 'runtime', 'created', 'entered', 'updated', 'reason', 'closed', 'pool', 'platform', 'region', 'backend'], 'and all its columns');
SELECT is_empty($$SELECT detail FROM preflight() WHERE check_name ~ ': (index|rights|mapping|time zone|row)' AND status <> 'ok'$$, 'nothing is left to be done');
SELECT throws_ok($$SELECT create_control_plane('reconciler')$$, '3F000', NULL, 'not in our own schema');
SELECT throws_ok($$SELECT create_control_plane(NULL)$$, '3F000', NULL, 'nor nowhere');

-- The mapping is edited by hand: what no pass could load is refused, and what got there nevertheless stops nobody.
CREATE SCHEMA by_hand;
SELECT FROM set_config('search_path', 'by_hand, ' || current_setting('search_path'), true);
SELECT lives_ok($$SELECT create_control_plane()$$, 'a control plane');
SELECT throws_ok(format('UPDATE reconciler.binding SET %I = %L WHERE schema_name = ''by_hand''', what, value), state, NULL, what || ' ' || value) FROM (VALUES
  ('related', '{"connections": {"table": "by_hand.agents"}}', '22023'), ('related', '{"commands": {}}', '22023'), ('related', '{"audit": {"table": 5}}', '22023'), ('related', '{"agents": 5}', '22023'),
  ('related', '{"agents": {"table": "nobody", "columns": {}}}', '55000'), ('related', '{"agents": {"table": "by_hand.agents", "columns": {"id": "nothing"}}}', '42703'),
  ('columns', '{"key": "id", "state": 5}', '22023'), ('columns', '{"key": "id", "state": "nothing"}', '42703'), ('columns', '{"key": "id", "state": "created_at"}', '42804'),
  ('leftover', '{"resources": "all"}', '22023'), ('leftover', '{"resources": [], "cleanup": 5}', '22023')) AS v(what, value, state);
SELECT lives_ok($$UPDATE reconciler.binding SET leftover = '{"resources": ["pod/{session_id}"]}' WHERE schema_name = 'by_hand'$$, 'what fits is fine');
ALTER TABLE reconciler.binding DISABLE TRIGGER checked_mapping;
UPDATE reconciler.binding SET related = '{"connections": {"table": "by_hand.agents"}}' WHERE schema_name = 'by_hand';
SELECT ok(EXISTS (SELECT FROM preflight() WHERE status = 'fail' AND detail LIKE '%is not of the form that attach_sessions() writes%'), 'preflight() says so');
SELECT throws_ok('SELECT set_mode(''enforce'', ''x'', ''by_hand.sessions'')', '22023', NULL, 'so does what needs it');
SELECT ok(detach_sessions('by_hand.sessions'::regclass) IS NOT NULL, 'detached nevertheless');

SELECT * FROM finish();
ROLLBACK;
