-- What setting up refuses and advises, word for word: an advice that is pasted has to do what was meant.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA sr;
CREATE EXTENSION session_reconciler SCHEMA sr;
CREATE SCHEMA app;
SET search_path = app, sr, public;
SELECT * FROM no_plan();

-- SQLSTATE, message, detail and hint.
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  code text; message text; detail text; advice text;
BEGIN
  EXECUTE statement;
  RETURN 'done';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, advice = PG_EXCEPTION_HINT;
  RETURN concat_ws(' / ', code, message, nullif(detail, ''), nullif(advice, ''));
END $$;

-- A policy by hand, of states that the column's type does not have.
CREATE TYPE st AS ENUM ('running', 'terminating', 'terminated');
CREATE TABLE boxes (id text PRIMARY KEY, state st, agent_id text, updated_at timestamptz);
SELECT lives_ok($$SELECT attach_sessions('boxes')$$, 'attached');
SELECT binding_id AS id FROM reconciler.binding \gset
SELECT is(pg_temp.refused(format('INSERT INTO reconciler.policy (binding_id, state) VALUES (%s, ''terminatin'')', :id)),
          '23514 / "terminatin" is no label of type app.st / Its labels: running, terminating, terminated. / Name one of them, or: ALTER TYPE app.st ADD VALUE ''terminatin''.', 'a state that can''t be');
SELECT matches(pg_temp.refused('UPDATE reconciler.policy SET ' || change), said, change) FROM (VALUES
  ($$state = 'terminatin' WHERE state = 'terminating'$$, '^23514 / "terminatin" is no label'),
  ($$becomes = 'ended' WHERE state = 'terminating'$$, '^23514 / "ended" is no label'),
  ($$completed_becomes = 'runing' WHERE state = 'terminating'$$, '^23514 / "runing" is no label'),
  ($$completed_becomes = 'running' WHERE state = 'terminating'$$, 'done'),
  ($$completed_becomes = NULL WHERE state = 'terminating'$$, 'done')) AS t(change, said);

-- One that was there before such states were refused is no matter of the others.
ALTER TABLE reconciler.policy DISABLE TRIGGER checked_states;
INSERT INTO reconciler.policy (binding_id, state, enabled) VALUES (:id, 'sleeping', false);
ALTER TABLE reconciler.policy ENABLE TRIGGER checked_states;
SELECT matches(pg_temp.refused(statement), said, statement) FROM (VALUES
  ($$UPDATE reconciler.policy SET becomes = 'terminated' WHERE state = 'terminating'$$, '^done'),
  ($$UPDATE reconciler.binding SET terminal_states = terminal_states || 'failed'::text$$, '^done'),
  ($$UPDATE reconciler.policy SET enabled = true WHERE state = 'sleeping'$$, '^23514 / "sleeping" is no label'),
  ($$DELETE FROM reconciler.policy WHERE state = 'sleeping'$$, '^done')) AS t(statement, said);

-- Labels that were renamed: what preflight() says of each does, with the new name in it.
CREATE TYPE berth AS ENUM ('running', 'terminating', 'terminated');
CREATE TABLE berths (id text PRIMARY KEY, state berth, agent_id text);
SELECT lives_ok($$SELECT attach_sessions('berths')$$, 'attached');
CREATE FUNCTION pg_temp.labels() RETURNS SETOF text LANGUAGE sql AS $$ SELECT status || ': ' || detail FROM sr.preflight() WHERE check_name = 'app.berths: labels' ORDER BY detail $$;
CREATE FUNCTION pg_temp.do_as_advised() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  advice text;
BEGIN
  FOR advice IN SELECT hint FROM sr.preflight() WHERE check_name = 'app.berths: labels' LOOP
    EXECUTE replace(substring(advice FROM 'UPDATE.*'), '…', CASE WHEN advice LIKE '%terminated%' THEN 'ended' ELSE 'ending' END);
  END LOOP;
  RETURN 'done';
END $$;
SELECT is_empty('SELECT pg_temp.labels()', 'every state that is mapped is a label');
ALTER TYPE berth RENAME VALUE 'terminating' TO 'ending';
ALTER TYPE berth RENAME VALUE 'terminated' TO 'ended';
SELECT results_eq('SELECT pg_temp.labels()', $$VALUES
  ('fail: type app.berth has no label "terminated", which the configuration names (becomes, terminal_states): no session is found in that state, and none can be closed so'),
  ('fail: type app.berth has no label "terminating", which the configuration names (state): no session is found in that state, and none can be closed so')$$, 'labels that are gone are named');
SELECT is(pg_temp.do_as_advised(), 'done', 'the advice can be pasted');
SELECT is_empty('SELECT pg_temp.labels()', '... and does it');
SELECT results_eq('SELECT state, becomes FROM reconciler.policy JOIN reconciler.binding USING (binding_id) WHERE enabled AND table_name = ''berths''', $$VALUES ('ending', 'ended')$$, '... where it was meant');
SELECT results_eq('SELECT terminal_states FROM reconciler.binding WHERE table_name = ''berths''', $$VALUES ('{ended}'::text[])$$, '... in both tables');
SELECT is(detach_sessions('berths'), 'detached', 'next');

-- Who names one binding's row changes that row.
INSERT INTO boxes VALUES ('b1', 'running', 'a', now());
SELECT is((SELECT note FROM session_coverage('boxes') WHERE state = 'running'),
          format('nothing closes them; UPDATE reconciler.policy SET enabled = true WHERE binding_id = %s AND state = ''running'' turns their policy on', :id), 'a policy that is off');
SELECT is(detach_sessions('boxes'), 'detached', 'next');

-- States that no policy knows.
CREATE TABLE desks (id text PRIMARY KEY, state text, agent_id text, updated_at timestamp);
INSERT INTO desks VALUES ('1', 'Deleting', 'a', now()), ('2', 'done', 'a', now()), ('3', 'Deleting', 'a', now()), ('4', 'terminating', 'a', now()), ('5', 'running', 'a', now()), ('6', 'waking', 'a', now()), ('7', NULL, 'a', now());
SELECT results_eq($$SELECT status, detail FROM attach_sessions('desks') WHERE item = 'states'$$,
  $$VALUES ('warn', 'sessions are in states that no policy knows: Deleting (2), done (1). Detach, and attach again with {"policies": {"Deleting": {…}}}, or with their names in "terminal_states"; see session_coverage()')$$, 'attach_sessions() counts them');
SELECT binding_id AS id FROM reconciler.binding \gset
SELECT is((SELECT note FROM session_coverage('desks') WHERE state = 'done'),
          format('nothing closes them; no policy is for this state: INSERT INTO reconciler.policy (binding_id, state, becomes, enabled) VALUES (%s, ''done'', ''terminated'', false) adds one that is off', :id),
          'session_coverage() says how to add one');
SELECT is_empty($$SELECT FROM preflight() WHERE check_name = 'app.desks: states'$$, 'preflight() does not read the table');
ANALYZE desks;
SELECT results_eq($$SELECT status, detail, hint FROM preflight() WHERE check_name = 'app.desks: states'$$,
  $$VALUES ('warn', 'sessions are in states that no policy knows: Deleting', 'SELECT * FROM session_coverage() counts them and says what to do.')$$, 'but its statistics, which know what is frequent');
SELECT is((SELECT hint FROM preflight() WHERE check_name = 'app.desks: time zone'),
          format('If the application writes another zone: UPDATE reconciler.binding SET time_zone = ''…'' WHERE binding_id = %s.', :id), 'one table''s zone');
SELECT lives_ok(substring(note FROM 'INSERT.*\)'), 'what was said can be pasted') FROM session_coverage('desks') WHERE state IN ('Deleting', 'done');
SELECT is_empty($$SELECT FROM preflight() WHERE check_name = 'app.desks: states'$$, 'states with a policy are known');
SELECT is_empty($$SELECT FROM session_coverage('desks') WHERE state IS NOT NULL AND watched_by = 'nothing'$$, 'also if it is off');
SELECT is(detach_sessions('desks'), 'detached', 'next');

-- Somebody else who writes our reasons.
CREATE TABLE rooms (id text PRIMARY KEY, state text, agent_id text, updated_at timestamptz, termination_reason text);
INSERT INTO rooms SELECT 'r' || i, 'terminated', 'a', now(), CASE WHEN i <= 30 THEN 'agent_disconnected' WHEN i <= 60 THEN 'agent_unavailable' WHEN i <= 90 THEN 'idle' END FROM generate_series(1, 100) AS i;
SELECT lives_ok($$SELECT attach_sessions('rooms')$$, 'attached');
ANALYZE rooms;
INSERT INTO reconciler.counter SELECT binding_id, 'reconciler_forced_total', 'agent_unavailable', 29 FROM reconciler.binding;
SELECT results_eq($$SELECT status, detail FROM preflight() WHERE check_name = 'app.rooms: foreign writers'$$,
  $$VALUES ('warn', 'about 30 sessions have termination_reason = agent_disconnected, and 0 of them were closed here: somebody else writes reasons of ours')$$, 'a reason that we have written less often');
UPDATE reconciler.counter SET value = 0;
SELECT matches((SELECT detail FROM preflight() WHERE check_name = 'app.rooms: foreign writers'), '^about 30 .* agent_disconnected, and 0 .*; about 30 .* agent_unavailable, and 0 of them', '... or two');

-- Taken back is only what the hub can tell of.
SELECT lives_ok($$SELECT set_hub('telling', 'http://127.0.0.1:1', 'standard', '{"sessions": "rooms"}')$$, 'a hub that can be asked about sessions');
UPDATE reconciler.policy SET late_return = 'readopt', enabled = true WHERE state = 'running';
SELECT is_empty($$SELECT FROM preflight() WHERE check_name = 'app.rooms: late return'$$, 'readopt with it');
SELECT lives_ok($$SELECT set_hub('telling', 'http://127.0.0.1:1', 'streamspace')$$, 'one that can not');
SELECT results_eq($$SELECT status, detail FROM preflight() WHERE check_name = 'app.rooms: late return'$$,
  $$VALUES ('warn', 'late_return is readopt for running, but hub profile streamspace can''t ask about a session: what is closed stays closed, and an agent that returns gets no stop')$$, 'readopt with that');
-- A profile that can't be used is refused where it is written, and named where it stands nevertheless.
INSERT INTO reconciler.hub_profile (name, definition) SELECT 'mine', definition FROM reconciler.hub_profile WHERE name = 'standard';
SELECT lives_ok($$SELECT set_hub('telling', 'http://127.0.0.1:1', 'mine')$$, 'a profile of one''s own');
SELECT is(pg_temp.refused(statement), '22023 / hub profile "mine".agent is missing / Mend its row in reconciler.hub_profile; docs/hub-profiles.md has its format.', statement)
  FROM (VALUES ($$UPDATE reconciler.hub_profile SET definition = definition - 'agent' WHERE name = 'mine'$$)) AS v(statement);
SELECT matches(pg_temp.refused($$INSERT INTO reconciler.hub_profile (name, definition) VALUES ('yours', '{}')$$), '^22023 / hub profile "yours"', 'a new one is, too');
SELECT is_empty($$SELECT FROM preflight() WHERE check_name = 'hub telling' AND status = 'fail'$$, 'what is used is fine');
SET LOCAL check_function_bodies = off;
SELECT lives_ok($$UPDATE reconciler.hub_profile SET definition = definition - 'agent' WHERE name = 'mine'$$, 'a dump that is restored is believed');
RESET check_function_bodies;
SELECT results_eq($$SELECT detail, hint FROM preflight() WHERE check_name = 'hub telling' AND status = 'fail'$$,
  $$VALUES ('hub profile "mine".agent is missing', 'Mend its row in reconciler.hub_profile; docs/hub-profiles.md has its format.')$$, '... and named');
UPDATE reconciler.policy SET late_return = 'keep_terminated';
SELECT is_empty($$SELECT FROM preflight() WHERE check_name = 'app.rooms: late return'$$, 'a stop needs no question');
SELECT is(detach_sessions('rooms'), 'detached', 'next');
DELETE FROM reconciler.hub;
SELECT is_empty($$SELECT FROM attach_sessions('desks', options => '{"policies": {"Deleting": null}, "terminal_states": ["terminated", "failed", "done"]}') WHERE item = 'states'$$, 'what is said of them is heard');
SELECT is(detach_sessions('desks'), 'detached', 'next');

-- What is wrong with an option.
CREATE TABLE leases (session_id text, last_seen_at integer);
SELECT is(pg_temp.refused(format('SELECT attach_sessions(%L, options => %L)', 'desks', options)), said, options) FROM (VALUES
  ('{"policies": {"terminating": {"becomes": "running"}}}',
   '22023 / the policy of state "terminating" would write "running", in which no session has ended / Terminal states: terminated, failed, gone, deleted. / Add it in option "terminal_states", or give option "policies.terminating.becomes" one of them.'),
  ('{"agent_column": "updated_at"}',
   '42804 / column "updated_at" of table app.desks is a time, which names nothing / Its type is timestamp without time zone. / Name another column in option "agent_column", or null for none.'),
  ('{"connections_table": "leases"}',
   '55000 / table app.leases lacks columns that are needed of it / None fits: seen (last_seen_at is there, but its type integer is no timestamp). / Name another table in option "connections_table", or null for none.'),
  ('{"audit_table": "desks"}',
   '42809 / table app.desks is the sessions table itself / Option "audit_table" names it. Name another table, or null for none.'),
  ('{"key_column": "agent_id"}',
   '55000 / column "agent_id" of table app.desks may be null and is not unique / No unique index says so: one that is valid, not partial, not deferrable, on the plain column. / ALTER TABLE app.desks ALTER COLUMN agent_id SET NOT NULL; CREATE UNIQUE INDEX ON app.desks (agent_id).')
) AS t(options, said);
SELECT is(pg_temp.refused($$SELECT create_control_plane('nope')$$), '3F000 / schema "nope" does not exist / CREATE SCHEMA nope; or name another.', 'a schema that is not');
SELECT matches(pg_temp.refused($$SELECT create_control_plane(NULL)$$), '^3F000 / no schema has been selected', 'none');

-- How the columns that were not found are named.
CREATE TABLE odd (id text PRIMARY KEY, state text, host text);
SELECT results_eq($$SELECT item, substring(detail FROM '\{.*') FROM attach_sessions('odd') WHERE item IN ('agent_column', 'entered_column', 'runtime_column')$$,
  $$VALUES ('agent_column', '{"agent_column": "…"} names one; columns there are: id, state, host'), ('runtime_column', NULL), ('entered_column', '{"entered_column": "…"} names one; columns there are: id, state, host')$$, 'the cure');

-- A column that vanished.
SELECT is(detach_sessions('odd'), 'detached', 'next');
SELECT lives_ok($$SELECT attach_sessions('odd', options => '{"agent_column": "host"}')$$, 'attached');
ALTER TABLE odd DROP host;
SELECT is((SELECT hint FROM preflight() WHERE check_name = 'app.odd: mapping'), 'Restore the column, or detach_sessions() and attach again.', 'attaching again alone is refused');
SELECT is(detach_sessions('odd'), 'detached', 'next');

-- Or a table.
CREATE TABLE helpers (agent_id text PRIMARY KEY, last_heartbeat timestamptz);
SELECT lives_ok($$SELECT attach_sessions('odd', options => '{"agents_table": "helpers"}')$$, 'attached');
DROP TABLE helpers;
SELECT is((SELECT hint FROM preflight() WHERE check_name = 'app.odd: mapping'), 'Restore it, or detach_sessions() and attach again.', 'nor is this mended so');
SELECT is(detach_sessions('odd'), 'detached', 'next');

-- Several hubs, several tables.
SELECT is(pg_temp.refused(format('INSERT INTO reconciler.hub (name, base_urls, profile) VALUES (''x'', %L, ''standard'')', urls)), said, urls) FROM (VALUES
  ('{ftp://x}', '22023 / an address of hub "x" is no http or https URL / An address looks like "https://hub.example.com:8443/prefix".'),
  ('{http://x,y}', '22023 / an address of hub "x" is no http or https URL / An address looks like "https://hub.example.com:8443/prefix".'),
  ('{HTTP://x,https://y:1/z}', 'done')) AS t(urls, said);
SELECT is(set_hub('y', 'http://localhost:9'), 'hub "y" set: profile standard, 1 address; no attached table uses it by this call', 'no table is attached');
SELECT is((SELECT detail FROM attach_sessions('boxes') WHERE item = 'hub'),
  'several are known and none was named: x, y. UPDATE reconciler.binding SET hub = ''x'' WHERE sessions = ''app.boxes''::regclass; or, for another, SELECT set_hub(''name'', ''https://…'', ''standard'', ''{"sessions": "app.boxes"}'');', 'which of them');
SELECT lives_ok($$SELECT attach_sessions('desks')$$, 'attached');
SELECT is(set_hub('y', 'http://localhost:9'), 'hub "y" changed: profile standard, 1 address; no attached table uses it by this call; option {"sessions": "app.boxes"} links one without a hub (app.boxes, app.desks)', 'which table');
SELECT is(set_hub('y', 'http://localhost:9', 'standard', '{"sessions": "app.boxes"}'), 'hub "y" changed: profile standard, 1 address; app.boxes asks it', 'this one');
SELECT is(set_hub('y', 'http://localhost:9'), 'hub "y" changed: profile standard, 1 address; app.boxes asks it', 'which does already');

SELECT * FROM finish();
ROLLBACK;
