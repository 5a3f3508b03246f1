-- Suspended sessions: what a user who wants one back is told, and the guard that keeps what can't be paused from being suspended.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION session_reconciler;
SELECT plan(30);

CREATE DOMAIN word AS text CHECK (VALUE <> 'forbidden');
CREATE TABLE sandbox_sessions (thread_key text PRIMARY KEY, sandbox_id text NOT NULL, gone_by_now boolean, state text NOT NULL, agent_thread_id text, last_delivered_id word, inflight_attempts integer NOT NULL DEFAULT 3,
                               started_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT '2026-01-01');
ALTER TABLE sandbox_sessions DROP COLUMN gone_by_now;
CREATE TABLE agent_runtime_assignments (thread_key text, assignment_generation bigint, runtime_id text NOT NULL, state text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now(), released_at timestamptz,
                                        PRIMARY KEY (thread_key, assignment_generation));
INSERT INTO sandbox_sessions (thread_key, sandbox_id, state, agent_thread_id, last_delivered_id) SELECT 't' || i, 'pod-' || i, 'suspended', 'rollout', 'm' FROM generate_series(1, 9) AS i;
UPDATE sandbox_sessions SET sandbox_id = 'pod-8' WHERE thread_key = 't9';
INSERT INTO sandbox_sessions (thread_key, sandbox_id, state) VALUES ('runs', 'pod-runs', 'running'), ('over', 'pod-over', 'stopped');
INSERT INTO agent_runtime_assignments VALUES ('t1', 1, 'pod-1', 'active');
SELECT lives_ok($$ SELECT attach_sessions('sandbox_sessions', 'centaur', '{"mode": "enforce", "replacement_grace": "0 s"}') $$, 'attached');
CREATE FUNCTION pg_temp.said(key text) RETURNS text LANGUAGE sql AS $$ SELECT outcome || ': ' || detail FROM resume_or_respawn(key) $$;
CREATE FUNCTION pg_temp.looks(runtime text, verdict text, n integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. n LOOP
    PERFORM set_config('session_reconciler.clock_offset', extract(epoch FROM current_setting('session_reconciler.clock_offset')::interval + interval '30 s')::integer || ' s', true);
    PERFORM report_evidence('resource', runtime, verdict, observed_at => reconciler.clock());
  END LOOP;
END $$;

-- By the evidence on record.
SELECT throws_ok($$ SELECT resume_or_respawn('nobody') $$, 'P0002', NULL, 'one that is not there');
SELECT is(pg_temp.said('over'), 'refused: the session has ended: its state is stopped', 'one that the application has ended');
SELECT is(pg_temp.said('t1'), 'refused: nobody can say whether its runtime "pod-1" is there', 'nothing is known');
SELECT pg_temp.looks('pod-runs', 'present', 1), pg_temp.looks('pod-2', 'present', 1), pg_temp.looks('pod-1', 'gone', 1);
SELECT is(pg_temp.said('runs'), 'already_running: its runtime "pod-runs" is there', 'one that runs');
SELECT is(pg_temp.said('t2'), 'refused: its runtime "pod-2" is there: it can be resumed, which is the application''s to do', 'one that can be resumed');
SELECT matches(pg_temp.said('t1'), '^refused: its runtime "pod-1" has been gone for .*; a second look has to confirm it: try again soon$', 'gone by one look');
SELECT pg_temp.looks('pod-1', 'gone', 1);
SELECT hold_session('t1', 'infinity', 'a person looks at it');
SELECT is(pg_temp.said('t1'), format('refused: held by %s: a person looks at it', current_user), 'held');
SELECT release_session('t1', 'x');
SELECT pause_reconciler('x');
SELECT is(pg_temp.said('t1'), 'refused: the reconciler is paused', 'paused');
SELECT unpause_reconciler('x');
SELECT matches(pg_temp.said('t1'), '^respawn_requested: its runtime "pod-1" has been gone for .*: it is given up, and the session is gone: start a new one$', 'gone by two looks: given up at once');
SELECT results_eq($$ SELECT state, agent_thread_id, last_delivered_id::text, inflight_attempts FROM sandbox_sessions WHERE thread_key = 't1' $$, $$ VALUES ('gone', NULL::text, NULL::text, 0) $$, 'as its policy ends it');
SELECT is((SELECT state FROM agent_runtime_assignments), 'released', 'with what hangs on it');
SELECT is((SELECT concat_ws(' ', session_id, from_state, to_state, reason, actor = format('%s', current_user)) FROM reconciler.event WHERE kind = 'respawn'), 't1 suspended gone runtime_gone t', 'with an event');
SELECT matches(pg_temp.said('t1'), '^respawn_requested: its runtime was given up already, by event \d+: start a new one$', 'who calls again is told the same');
SELECT is((SELECT count(*) FROM reconciler.event WHERE kind = 'respawn'), 1::bigint, 'and nothing is done twice');
SELECT is((SELECT outcome FROM undo_event((SELECT id FROM reconciler.event WHERE kind = 'respawn'))), 'undone', 'it can be undone');
SELECT is((SELECT s.state || ' ' || a.state FROM sandbox_sessions AS s JOIN agent_runtime_assignments AS a USING (thread_key)), 'suspended active', 'all of it');
SELECT pg_temp.looks('pod-8', 'gone', 2);
SELECT matches(pg_temp.said('t8'), '^refused: .*, but another session names it too$', 'two that share a runtime');

-- The guard.
SELECT declare_backend('pod', false);
CREATE FUNCTION pg_temp.suspend(key text) RETURNS text LANGUAGE sql AS
  $$ UPDATE sandbox_sessions SET state = 'suspended', agent_thread_id = 'kept', updated_at = '2026-02-02' WHERE thread_key = key RETURNING concat_ws(' ', state, agent_thread_id, inflight_attempts) $$;
UPDATE sandbox_sessions SET state = 'idle' WHERE thread_key IN ('t3', 't4', 't5', 't6');
SELECT is(pg_temp.suspend('t3'), 'suspended kept 3', 'off by default');
UPDATE sandbox_sessions SET state = 'idle' WHERE thread_key = 't3';
UPDATE reconciler.binding SET guard_suspended = true;
SELECT is(pg_temp.suspend('t3'), 'gone 0', 'on: what can''t be paused ends, cleared');
SELECT is((SELECT concat_ws(' ', kind, from_state, to_state, rule, evidence->>'attempted', before->>'agent_thread_id', after->>'state') FROM reconciler.event ORDER BY id DESC LIMIT 1), 'guard idle gone guard_suspended suspended kept gone', 'with an event');
UPDATE sandbox_sessions SET updated_at = '2026-03-03' WHERE thread_key = 't2';
SELECT is((SELECT state FROM sandbox_sessions WHERE thread_key = 't2'), 'suspended', 'what is suspended already may be written');
SELECT hold_session('t4', 'infinity', 'x');
SELECT is(pg_temp.suspend('t4'), 'suspended kept 3', 'held: noted alone');
SELECT is((SELECT kind FROM reconciler.event ORDER BY id DESC LIMIT 1), 'would_guard', 'as what would have been done');
SELECT declare_backend('agent-sandbox', true);
SELECT is(pg_temp.suspend('t5'), 'suspended kept 3', 'it may be on a backend that can pause');
UPDATE reconciler.binding SET backend = 'pod';
SELECT is(pg_temp.suspend('t6'), 'gone 0', 'the binding says which it is');
SELECT is((SELECT string_agg(detail, '; ') FROM preflight() WHERE check_name LIKE '%: triggers'), 'none', 'it is no trigger of the application');
UPDATE reconciler.binding SET guard_suspended = false;
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'session_reconciler%'), 0::bigint, 'off again: it is gone');
UPDATE reconciler.binding SET guard_suspended = true;
SELECT lives_ok($$ SELECT detach_sessions('sandbox_sessions') $$, 'detached');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'session_reconciler%'), 0::bigint, 'it goes with the binding');

SELECT * FROM finish();
ROLLBACK;
