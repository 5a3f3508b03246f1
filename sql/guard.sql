-- The guard as its users meet it: what attaching says, what the application sees of a refused write, and what it sees of a
-- guard that fails.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION session_reconciler;
CREATE SCHEMA guard;
SET search_path = guard, public;
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, created_at timestamptz NOT NULL DEFAULT now(), payload jsonb);
RESET client_min_messages;
\pset format unaligned
\pset fieldsep ' | '
\pset footer off
SELECT item, status, detail FROM attach_sessions('sessions', options => '{"mode": "enforce", "guard_terminal": true}') WHERE item IN ('guard', 'triggers');
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'session_reconciler_guard';

INSERT INTO sessions (id, state, agent_id, payload) SELECT 's' || i, 'running', 'a1', jsonb_build_object('screen', repeat('x', 3000)) FROM generate_series(1, 3) AS i;
SELECT force_terminate_session(id, 'its agent is gone') FROM sessions WHERE id <> 's3' ORDER BY id;
-- An agent comes back and all of its sessions are written as running.
UPDATE sessions SET state = 'running', agent_id = 'a1' WHERE agent_id = 'a1' RETURNING id;
SELECT id, state FROM sessions ORDER BY id;
SELECT session_id, kind, from_state, to_state, reason, rule, evidence - 'closed_by' - 'attempted' AS further, evidence->'attempted'->'state' AS attempted FROM reconciler.event WHERE kind = 'guard' ORDER BY id;
SELECT session_id, state, agent_id, owed FROM reconciler.episode ORDER BY session_id;
-- What brings one back.
SELECT outcome FROM undo_event((SELECT id FROM reconciler.event WHERE kind = 'force' AND session_id = 's1'));
-- A guard that can't do its work stops nobody.
BEGIN;
ALTER TABLE reconciler.event RENAME TO elsewhere;
UPDATE sessions SET state = 'running' WHERE id = 's2' RETURNING id;
ROLLBACK;
-- Its function is good for nothing else.
CREATE TRIGGER other AFTER UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION reconciler.guard_terminal();
UPDATE sessions SET payload = NULL WHERE id = 's3';
DROP TRIGGER other ON sessions;
DROP TRIGGER session_reconciler_guard ON sessions;
SELECT status, detail, regexp_replace(hint, '\d+', 'N') AS hint FROM preflight() WHERE check_name ~ ': guard$';

SET client_min_messages = warning;
DROP EXTENSION session_reconciler;
DROP SCHEMA guard CASCADE;
