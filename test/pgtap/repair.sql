-- What a policy lets a close write besides the state: how it is said, what is refused, and what is written and put back.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION session_reconciler;
RESET client_min_messages;
SELECT plan(42);

CREATE ROLE platform;
CREATE ROLE stranger;
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, runtime_id text, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT '2026-01-01',
                       thread text, turn jsonb, attempts integer NOT NULL DEFAULT 3, seen timestamp, tags text[], twice integer GENERATED ALWAYS AS (attempts * 2) STORED);
CREATE TABLE assignments (id bigint PRIMARY KEY, session_id text, runtime_id text, state text NOT NULL, released_at timestamptz, weight numeric(30, 10));
CREATE TABLE keyless (session_id text, state text);
ALTER TABLE sessions OWNER TO platform;
ALTER TABLE assignments OWNER TO platform;
INSERT INTO sessions (id, state, runtime_id, thread, turn) SELECT 's' || i, 'running', 'pod-' || i, 'thread-' || i, to_jsonb('turn ' || i) FROM generate_series(1, 4) AS i;
INSERT INTO assignments (id, session_id, runtime_id, state, weight) SELECT i, 's' || i, 'pod-' || i, 'active', 12345678901234567890.0123456789 FROM generate_series(1, 4) AS i;
INSERT INTO assignments (id, session_id, runtime_id, state) VALUES (11, 's1', 'pod-new', 'active'), (12, 's1', 'pod-1', 'released');
CREATE FUNCTION pg_temp.attach(policy jsonb) RETURNS text LANGUAGE sql AS
  $$ SELECT string_agg(item || ': ' || detail, E'\n') FROM attach_sessions('sessions', options => jsonb_build_object('mode', 'enforce', 'policies', jsonb_build_object('running', policy))) $$;
SET LOCAL client_min_messages = warning;

-- What is refused when attaching.
SELECT throws_ok(format('SELECT pg_temp.attach(%L)', '{"sets": ' || sets || '}'), code, message, 'sets ' || sets) FROM (VALUES
  ('[]', '22023', 'sets of the policy of state "running" must be an object'),
  ('{"nothing": null}', '42703', 'column "nothing" of table public.sessions does not exist'),
  ('{"thread": 5}', '22023', '"thread" in sets of the policy of state "running" must be null, a string or {"now": true}'),
  ('{"thread": {"now": true}}', '22023', '"thread" in sets of the policy of state "running" is no timestamp, and can''t be now'),
  ('{"state": "x"}', '22023', '"state" in sets of the policy of state "running" is a mapped column'),
  ('{"updated_at": {"now": true}}', '22023', '"updated_at" in sets of the policy of state "running" is a mapped column'),
  ('{"attempts": null}', '22023', 'column "attempts" of table public.sessions may not be null'),
  ('{"attempts": "many"}', '22023', 'the value for column "attempts" of table public.sessions is no valid integer: "many"'),
  ('{"twice": "1"}', '22023', 'column "twice" of table public.sessions is generated and can''t be written'),
  ('{"tags": null}', '22023', 'column "tags" of table public.sessions can''t be put back by an undo')) AS t(sets, code, message);
SELECT throws_ok(format('SELECT pg_temp.attach(%L)', '{"steps": ' || steps || '}'), code, message, 'steps ' || steps) FROM (VALUES
  ('{}', '22023', 'steps of the policy of state "running" must be a list of objects'),
  ('[5]', '22023', 'a step of the policy of state "running" must be an object with table, match and set'),
  ('[{"table": "assignments", "match": {"session_id": "key"}, "set": {"state": "x"}, "when": 1}]', '22023', 'a step of the policy of state "running" has no member "when"'),
  ('[{"table": "nobody", "match": {"session_id": "key"}, "set": {"state": "x"}}]', '55000', 'related table nobody does not exist'),
  ('[{"table": "keyless", "match": {"session_id": "key"}, "set": {"state": "x"}}]', '22023', 'table "public"."keyless" in a step of the policy of state "running" has no key'),
  ('[{"table": "assignments", "match": {"runtime_id": "runtime"}, "set": {"state": "x"}}]', '22023', 'no column in match of a step of the policy of state "running" holds the session''s key'),
  ('[{"table": "assignments", "match": {"session_id": "id"}, "set": {"state": "x"}}]', '22023', 'match of "session_id" in a step of the policy of state "running" must be key or runtime'),
  ('[{"table": "assignments", "match": {"session_id": "key"}, "where": {"state": "active"}, "set": {"state": "x"}}]', '22023', 'where of "state" in a step of the policy of state "running" must be a list of strings'),
  ('[{"table": "assignments", "match": {"session_id": "key"}, "set": {}}]', '22023', 'a step of the policy of state "running" sets nothing'),
  ('[{"table": "assignments", "match": {"session_id": "key"}, "set": {"id": "1"}}]', '22023', 'a step of the policy of state "running" would set "id", by which its rows are found again'),
  ('[{"table": "assignments", "match": {"session_id": "key"}, "set": {"released_at": "soon"}}]', '22023', 'the value for column "released_at" of table public.assignments is no valid timestamp with time zone: "soon"')) AS t(steps, code, message);

-- What is said of one that is right.
SELECT matches(pg_temp.attach('{"becomes": "gone", "sets": {"thread": null, "turn": null, "attempts": "0", "seen": {"now": true}},
  "steps": [{"table": "assignments", "match": {"session_id": "key", "runtime_id": "runtime"}, "where": {"state": ["active"]}, "set": {"state": "released", "released_at": {"now": true}}}]}'),
  'policy running: .*; sets attempts ''0'', seen now, thread NULL, turn NULL; with it rows of "public"."assignments": released_at now, state ''released''', 'attach_sessions() says what is written');
SELECT is((SELECT steps->0->>'table' FROM reconciler.policy WHERE state = 'running'), 'public.assignments', 'the table is named in full');
SELECT results_eq($$ SELECT outcome, detail FROM explain_session('s1') WHERE rule = 'write' AND outcome <> 'where' $$,
  $$ VALUES ('sets', 'with it: attempts ''0'', seen now, thread NULL, turn NULL'), ('step', 'in the same transaction, rows of "public"."assignments": released_at now, state ''released''') $$, 'so does explain_session()');
SELECT is((SELECT status FROM preflight() WHERE check_name LIKE '%: rights'), 'ok', 'the owner may do so');
ALTER TABLE assignments OWNER TO CURRENT_USER;
GRANT SELECT ON assignments TO platform;
SELECT is((SELECT detail FROM preflight() WHERE check_name LIKE '%: rights'), 'platform lacks UPDATE on public.assignments', 'where it may not, preflight() fails');
ALTER TABLE assignments OWNER TO platform;

-- Who is no owner of the table writes nothing with its owner's rights.
SELECT reconciler_grant('stranger', 'admin');
SET LOCAL ROLE stranger;
SELECT throws_ok($$ UPDATE reconciler.policy SET sets = '{"thread": "mine"}' WHERE state = 'running' $$, '42501', 'must be owner of table public.sessions', 'sets are the owner''s');
SELECT lives_ok($$ UPDATE reconciler.policy SET gone_after = '20 min' WHERE state = 'running' $$, 'thresholds are not');
RESET ROLE;

-- Written together, put back together.
CREATE FUNCTION pg_temp.image(key text) RETURNS text LANGUAGE sql AS
  $$ SELECT (SELECT s::text FROM sessions AS s WHERE id = key) || (SELECT string_agg(a::text, ' ' ORDER BY id) FROM assignments AS a WHERE session_id = key) $$;
CREATE TEMP TABLE was AS SELECT id, pg_temp.image(id) AS image FROM sessions;
CREATE FUNCTION pg_temp.closing() RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM reconciler.event WHERE kind = 'force' $$;
SELECT is(force_terminate_session('s1', 'its pod is gone'), 'gone', 'closed');
SELECT results_eq($$ SELECT state, thread, turn, attempts, seen IS NOT NULL, updated_at > '2026-01-02' FROM sessions WHERE id = 's1' $$, $$ VALUES ('gone', NULL::text, NULL::jsonb, 0, true, true) $$, 'its columns are written');
SELECT results_eq($$ SELECT id, state, released_at IS NOT NULL FROM assignments WHERE session_id IN ('s1', 's2') ORDER BY id $$,
  $$ VALUES (1::bigint, 'released', true), (2, 'active', false), (11, 'active', false), (12, 'released', false) $$, 'and the row of that runtime, no other');
SELECT is((SELECT concat_ws(' ', before->>'thread', after->>'attempts', evidence->'related'->0->>'table') FROM reconciler.event WHERE id = pg_temp.closing()), 'thread-1 0 "public"."assignments"', 'the event has all of it');
SELECT is((SELECT outcome FROM undo_event(pg_temp.closing())), 'undone', 'undone');
SELECT is(pg_temp.image('s1'), (SELECT image FROM was WHERE id = 's1'), 'to the last digit');

-- All or nothing.
SELECT is(force_terminate_session('s2', 'x'), 'gone', 'another one');
UPDATE assignments SET state = 'reused' WHERE id = 2;
SELECT results_eq($$ SELECT outcome, detail ~ '^a row of "public"."assignments" is not what event \d+ left' FROM undo_event(pg_temp.closing()) $$, $$ VALUES ('changed', true) $$, 'what hangs on it was used since');
SELECT is((SELECT state FROM sessions WHERE id = 's2'), 'gone', 'then the session is not put back either');
SELECT is(force_terminate_session('s3', 'x'), 'gone', 'a third');
UPDATE sessions SET thread = 'new' WHERE id = 's3';
SELECT is((SELECT outcome FROM undo_event(pg_temp.closing())), 'changed', 'the session was written since');
SELECT is((SELECT state FROM assignments WHERE id = 3), 'released', 'then what hangs on it is not put back either');
ALTER TABLE assignments DROP COLUMN released_at;
SELECT throws_ok($$ SELECT force_terminate_session('s4', 'x') $$, '42703', 'column "released_at" of table public.assignments does not exist', 'a column that has gone is said');

CREATE TABLE of_centaur (thread_key text PRIMARY KEY, sandbox_id text, state text, started_at timestamptz, updated_at timestamptz);
SELECT throws_ok($$ SELECT attach_sessions('of_centaur', 'centaur', '{"pool_column": "nope"}') $$, '22023', 'preset "centaur" has no use for option "pool_column"', 'an option that a preset does not know is refused');
SELECT * FROM finish();
ROLLBACK;
