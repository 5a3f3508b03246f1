-- The budget of inferred forces: 20 per 10 minutes, or 5 % of a table that is larger. Small losses now and then never
-- trip the brake of a large table; held sessions spend nothing.
SET client_min_messages = warning;
CREATE EXTENSION session_reconciler;
CREATE SCHEMA budget;
SET search_path = budget, public;
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, created_at timestamptz NOT NULL DEFAULT now());
SELECT item, status FROM attach_sessions('sessions', options => '{"mode": "enforce"}') WHERE item = 'key_column';
CALL stop_worker();
RESET client_min_messages;
INSERT INTO reconciler.policy (binding_id, state, stuck_after, gone_after, becomes, no_agent)
  SELECT binding_id, s.state, '10 min', '10 min', 'failed', s.no_agent FROM reconciler.binding, (VALUES ('booting', 'close'), ('queued', 'show')) AS s(state, no_agent);

-- A thousand that are only shown, and forty orphans: all forty fit 5 % of 1040.
INSERT INTO sessions (id, state) SELECT 'p' || i, 'queued' FROM generate_series(1, 1000) AS i;
INSERT INTO sessions (id, state) SELECT 's' || i, 'booting' FROM generate_series(1001, 1040) AS i;
SELECT hold_session('s1001', 'infinity', 'kept');
CALL reconcile();
SET session_reconciler.clock_offset = '1h';
CALL reconcile();
SELECT state, count(*) FROM sessions GROUP BY state ORDER BY state;
SELECT brake_tripped_at IS NOT NULL AS tripped, brake_used FROM reconciler_status();

-- Eleven more within the 10 minutes: 39 and 11 are the 50 that 5 % of 1012 allow.
INSERT INTO sessions (id, state) SELECT 't' || i, 'booting' FROM generate_series(1001, 1011) AS i;
SET session_reconciler.clock_offset = '55min';
CALL reconcile();
SET session_reconciler.clock_offset = '66min';
CALL reconcile();
SELECT brake_tripped_at IS NOT NULL AS tripped, brake_used FROM reconciler_status();

-- One large loss does.
INSERT INTO sessions (id, state) SELECT 'u' || i, 'booting' FROM generate_series(1001, 1060) AS i;
CALL reconcile();
SET session_reconciler.clock_offset = '90min';
SET client_min_messages = error;
CALL reconcile();
RESET client_min_messages;
SELECT brake_tripped_at IS NOT NULL AS tripped, brake_why FROM reconciler_status();

SET client_min_messages = warning;
DROP EXTENSION session_reconciler;
DROP SCHEMA budget CASCADE;
