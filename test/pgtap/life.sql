-- Mapped signs of life: what is said of them, and whether they may be read.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION session_reconciler;
SELECT plan(18);

CREATE ROLE platform;
CREATE TABLE sessions (id text PRIMARY KEY, region text NOT NULL, state text NOT NULL, agent_id text, created_at timestamptz NOT NULL DEFAULT now(),
                       updated_at timestamptz NOT NULL DEFAULT now(), seen timestamptz, renewed timestamp);
ALTER TABLE sessions OWNER TO platform;
INSERT INTO sessions (id, region, state, agent_id) VALUES ('here', 'eu', 'running', 'a1'), ('over', 'eu', 'terminated', 'a1');
SELECT lives_ok($$ SELECT attach_sessions('sessions', 'standard', '{"sign_of_life_columns": ["seen", "renewed"], "route_columns": ["region"], "sign_fresh_for": "77 s"}') $$, 'attached');

-- The WHERE that is shown is the WHERE of the write.
CREATE FUNCTION pg_temp.shown() RETURNS text LANGUAGE sql AS $$ SELECT detail FROM explain_session('here') WHERE rule = 'write' $$;
SELECT matches(pg_temp.shown(), 'AND \(greatest\(s\."seen"::timestamptz, s\."renewed" AT TIME ZONE ''UTC''\) > ''[-0-9 :.+]+''\) IS NOT TRUE$', 'signs of life stand in it');
SELECT cmp_ok((SELECT (regexp_match(pg_temp.shown(), '> ''([^'']+)'''))[1]::timestamptz), '>', clock_timestamp() - interval '80 s', 'with the time from which they count');
SELECT cmp_ok((SELECT (regexp_match(pg_temp.shown(), '> ''([^'']+)'''))[1]::timestamptz), '<', clock_timestamp() - interval '76 s', 'which is sign_fresh_for ago');

-- Everything that a scan reads has to be readable.
CREATE FUNCTION pg_temp.rights() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(status || ' ' || detail, '; ') FROM preflight() WHERE check_name LIKE '%: rights' $$;
SELECT is(pg_temp.rights(), 'ok platform may read and write what the mapping needs', 'the owner may read all of it');
REVOKE SELECT ON sessions FROM platform;
GRANT SELECT (id, region, state, agent_id, created_at, updated_at, seen) ON sessions TO platform;
SELECT is(pg_temp.rights(), 'fail the owner, platform, lacks SELECT on its own table', 'a sign that it may not read is found');
REVOKE SELECT ON sessions FROM platform;
GRANT SELECT (id, state, agent_id, created_at, updated_at, seen, renewed) ON sessions TO platform;
SELECT is(pg_temp.rights(), 'fail the owner, platform, lacks SELECT on its own table', 'so is a route');

-- What is connected to a session: rows of another table, of which the newest counts.
GRANT SELECT ON sessions TO platform;
SELECT ok(EXISTS (SELECT FROM detach_sessions('sessions')), 'detached');
CREATE TABLE viewers (session_id varchar(40), last_heartbeat timestamp, connected_at timestamptz);
ALTER TABLE viewers OWNER TO platform;
CREATE FUNCTION pg_temp.attach(what text) RETURNS SETOF text LANGUAGE sql AS
  $$ SELECT item || ' ' || status || ' ' || detail FROM attach_sessions('sessions', 'standard', format('{"connections_table": %s, "policies": {"running": {"enabled": true}}}', what)::jsonb) $$;
SELECT set_has(format('SELECT pg_temp.attach(%L)', '"viewers"'), $$ VALUES ('connections_table ok public.viewers (last_heartbeat, session_id)') $$, 'a table of connections is mapped');
SELECT matches(pg_temp.shown(),
  'AND \(greatest\(\(SELECT max\(c\."last_heartbeat" AT TIME ZONE ''UTC''\) FROM "public"\."viewers" AS c WHERE c\."session_id" = s\."id"\)\) > ''[-0-9 :.+]+''\) IS NOT TRUE$',
  'they stand in the WHERE of the write');
SELECT is((SELECT status || ' ' || hint FROM preflight() WHERE check_name LIKE '%: index connections'), 'warn CREATE INDEX CONCURRENTLY ON public.viewers (session_id, last_heartbeat);', 'an index is recommended');
CREATE INDEX by_session ON viewers (session_id);
SELECT is((SELECT status || ' ' || detail FROM preflight() WHERE check_name LIKE '%: index connections'), 'ok by_session', 'and found');
SELECT matches((SELECT detail FROM preflight() WHERE check_name LIKE '%: time zone'), 'connections.last_heartbeat', 'a time without zone is named');
SELECT is(pg_temp.rights(), 'ok platform may read and write what the mapping needs', 'the owner may read it');
ALTER TABLE viewers OWNER TO CURRENT_USER;
SELECT is(pg_temp.rights(), 'fail platform lacks SELECT on public.viewers', 'one that the owner may not read is found');
GRANT SELECT ON viewers TO platform;
SELECT ok(EXISTS (SELECT FROM detach_sessions('sessions')), 'detached');
SELECT throws_ok(format('SELECT pg_temp.attach(%L)', '"nobody"'), '42P01', 'table "nobody" does not exist', 'one that is not there');
SELECT set_has(format('SELECT pg_temp.attach(%L)', 'null'), $$ VALUES ('connections_table info none, as asked: who is connected to a session does not speak for it') $$, 'none');

SELECT * FROM finish();
ROLLBACK;
