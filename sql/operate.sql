-- Operating the reconciler: stop it, hold a session back, judge a tripped brake, and see it all in status, metrics
-- and events. Twenty-five sessions are starting for ever: nobody gave them an agent.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION session_reconciler;

CREATE SCHEMA operate;
SET search_path = operate, public;
CREATE TABLE sessions (
  id text PRIMARY KEY, state text NOT NULL, agent_id text, termination_reason text, terminated_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
SELECT item, status FROM attach_sessions('sessions') WHERE item = 'policy terminating';
-- A policy is a row. This one watches a state that the preset does not.
INSERT INTO reconciler.policy (binding_id, state, stuck_after, gone_after, becomes, no_agent)
  SELECT binding_id, 'booting', '10 min', '10 min', 'failed', 'close' FROM reconciler.binding;

-- It has only observed so far; the change of mode is kept with its reason.
SELECT set_mode('enforce', 'observed for a week, nothing odd');
SELECT kind, from_state, to_state, reason, actor = session_user AS by_me FROM reconciler.event WHERE kind = 'mode_changed';

-- Here only CALL reconcile() makes passes, and time is what this session says.
CALL stop_worker();
RESET client_min_messages;
INSERT INTO sessions (id, state) SELECT 's' || i, 'booting' FROM generate_series(10, 34) AS i;
CALL reconcile();

-- ---- Pause: an incident is being worked on
SELECT pause_reconciler('incident 4711');
SET session_reconciler.clock_offset = '1h';
CALL reconcile();
SELECT blocked_by, count(*) FROM stuck_sessions() GROUP BY blocked_by;
SELECT mode, pause_reason, pause_everything, stuck, stuck_by_state FROM reconciler_status();
SELECT unpause_reconciler('incident is over');
SELECT unpause_reconciler('once more');

-- ---- The brake: 25 orphans at once are more than it lets through
SELECT hold_session('s12', 'infinity', 'its owner looks into it');
SET client_min_messages = error;
CALL reconcile();
RESET client_min_messages;
SELECT state, count(*) FROM sessions GROUP BY state;
SELECT brake_tripped_at IS NOT NULL AS tripped, brake_why, brake_due, brake_waiting[1:3], brake_left FROM reconciler_status();
SELECT blocked_by, count(*) FROM stuck_sessions() GROUP BY blocked_by ORDER BY blocked_by;

-- Five of them first. Each is judged again: one has recovered meanwhile.
UPDATE sessions SET state = 'running' WHERE id = 's10';
SELECT reset_brake('five to begin with', 5);
CALL reconcile();
SELECT state, termination_reason, count(*), string_agg(id, ' ' ORDER BY id) FILTER (WHERE state = 'failed') AS failed FROM sessions GROUP BY 1, 2 ORDER BY 1;
-- The other 18 fit the normal budget, which holds again. The held one stays.
SELECT brake_tripped_at IS NOT NULL AS tripped, brake_used, brake_left FROM reconciler_status();
CALL reconcile();
SELECT state, count(*) FROM sessions GROUP BY state ORDER BY state;
SELECT brake_used, brake_left, held FROM reconciler_status();

-- A reset of more than is due ends by itself.
UPDATE sessions SET state = 'booting' WHERE id <> 's10';
SET session_reconciler.clock_offset = '2h';
SET client_min_messages = error;
CALL reconcile();
SET session_reconciler.clock_offset = '3h';
CALL reconcile();
RESET client_min_messages;
SELECT brake_tripped_at IS NOT NULL AS tripped, brake_due FROM reconciler_status();
SELECT reset_brake('all of them', 1000);
CALL reconcile();
SELECT brake_tripped_at IS NOT NULL AS tripped, brake_allowance FROM reconciler_status();
CALL reconcile();
SELECT brake_tripped_at IS NOT NULL AS tripped, brake_allowance, brake_used, brake_left FROM reconciler_status();
SELECT reset_brake('nothing to reset');

-- ---- Release, and ask for another try
SELECT release_session('s12', 'its owner is done');
SELECT release_session('s12', 'once more');
SELECT retry_session('s12', 'try it');
INSERT INTO sessions (id, state, agent_id) VALUES ('t1', 'terminating', 'a1');
SELECT retry_session('t1', 'its agent is back');
SELECT hold_session('t1', '2001-01-01', 'too late');
SELECT hold_session('T1', 'infinity', 'no such id');
SELECT retry_session('t1', ' ');

-- ---- A typo in what is told about an agent
SELECT agent_disconnected('a1');
SELECT agent_disconnected('al');
SELECT agent_connected('al'), agent_connected('a1');
BEGIN;  -- rolled back: a table that is attached would bring a worker
SET LOCAL client_min_messages = warning;
CREATE TABLE agents (agent_id uuid PRIMARY KEY, last_heartbeat timestamptz);
INSERT INTO agents VALUES ('00000000-0000-0000-0000-000000000001');
CREATE TABLE others (id text PRIMARY KEY, state text, agent_id uuid);
SELECT count(*) > 0 AS attached FROM attach_sessions('others');
SET LOCAL client_min_messages = notice;
SELECT agent_connected('00000000-0000-0000-0000-000000000001', sessions => 'others');
SELECT agent_connected('no uuid', sessions => 'others');
ROLLBACK;

-- ---- Everything is on record, and stays there
SELECT kind, session_id, from_state, to_state, reason, rule, evidence->>'allowed' AS allowed FROM reconciler.event
  WHERE kind NOT IN ('force', 'policy_changed', 'attached') ORDER BY id;
SELECT kind, reason, count(*) FROM reconciler.event WHERE kind = 'force' GROUP BY 1, 2;
DELETE FROM reconciler.event;

-- ---- Metrics
SELECT name, type, labels - 'table' AS labels, value FROM reconciler_metrics()
  WHERE value <> 0 AND name !~ 'seconds|worker' ORDER BY name, labels::text;
SELECT line FROM regexp_split_to_table(reconciler_metrics_text(), '\n') AS line WHERE line ~ 'sessions_stuck_terminating';

SET client_min_messages = warning;
DROP EXTENSION session_reconciler;
DROP SCHEMA operate CASCADE;
