-- Statements of a pass are served by the indexes that attach_sessions() and preflight() recommend.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION session_reconciler;
SELECT * FROM no_plan();

CREATE TABLE sessions (id text PRIMARY KEY, state text, agent_id text, updated_at timestamp);
CREATE TABLE agent_commands (command_id text PRIMARY KEY, session_id text, action text, status text, created_at timestamp);
INSERT INTO sessions SELECT 's' || n, 'queued', 'a', now() FROM generate_series(1, 3) AS n;
INSERT INTO agent_commands SELECT 'old ' || n, 's' || n, 'stop_session', 'completed', now() - n * interval '2 days' FROM generate_series(1, 5000) AS n;
-- Written in the zone of the application, 10 hours from here.
INSERT INTO agent_commands VALUES ('within', 's1', 'stop_session', 'completed', now() AT TIME ZONE 'Pacific/Honolulu' - interval '23 hours'),
                                  ('before', 's2', 'stop_session', 'completed', now() AT TIME ZONE 'Pacific/Honolulu' - interval '25 hours');
ANALYZE sessions, agent_commands;
SELECT lives_ok($$SELECT attach_sessions('sessions', options => '{"time_zone": "Pacific/Honolulu"}')$$, 'attached');

-- Stops of the last day, of a column without a zone.
SELECT is((SELECT hint FROM preflight() WHERE check_name = 'public.sessions: index commands'),
          'CREATE INDEX CONCURRENTLY ON public.agent_commands (created_at) WHERE action = ''stop_session'';', 'the index is recommended');
CREATE INDEX elsewhere ON agent_commands (session_id, created_at);
CREATE INDEX starts ON agent_commands (created_at) WHERE action = 'start_session';
SELECT is((SELECT status FROM preflight() WHERE check_name = 'public.sessions: index commands'), 'warn', 'indexes that don''t serve');
CREATE INDEX recent ON agent_commands (created_at) WHERE action = 'stop_session';
SELECT results_eq($$SELECT status, detail FROM preflight() WHERE check_name = 'public.sessions: index commands'$$, $$VALUES ('ok', 'recent')$$, 'one that does');
SELECT pg_stat_get_xact_numscans('agent_commands'::regclass) AS before \gset
SELECT results_eq('SELECT session_id FROM stuck_sessions()', $$VALUES ('s1')$$, 'what ended within a day is found, in the application''s time zone');
SELECT cmp_ok(pg_stat_get_xact_numscans('recent'::regclass), '>', 0::bigint, 'by the index');
SELECT is(pg_stat_get_xact_numscans('agent_commands'::regclass), :before::bigint, 'and without reading the table');

SELECT * FROM finish();
ROLLBACK;
