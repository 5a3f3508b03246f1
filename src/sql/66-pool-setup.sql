-- Where pools and their agents come from, and moves that balance them.

CREATE TABLE reconciler.planned_move (
  binding_id integer NOT NULL REFERENCES reconciler.binding ON DELETE CASCADE,
  session_id text NOT NULL,
  from_agent text NOT NULL,
  to_agent   text NOT NULL,
  planned_at timestamptz NOT NULL,
  actor      text NOT NULL,
  PRIMARY KEY (binding_id, session_id)
);
COMMENT ON TABLE reconciler.planned_move IS 'Sessions that rebalance_pool() wants on another agent; passes take them over, at most 50 a second.';
COMMENT ON COLUMN reconciler.planned_move.binding_id IS 'Whose session.';
COMMENT ON COLUMN reconciler.planned_move.session_id IS 'Key of the session as text.';
COMMENT ON COLUMN reconciler.planned_move.from_agent IS 'The agent that it had; with another one by then it is left alone.';
COMMENT ON COLUMN reconciler.planned_move.to_agent IS 'The agent that it gets.';
COMMENT ON COLUMN reconciler.planned_move.planned_at IS 'When that was planned.';
COMMENT ON COLUMN reconciler.planned_move.actor IS 'Who wants it.';

CREATE FUNCTION migrate_to_pools(sessions regclass DEFAULT NULL, dry_run boolean DEFAULT true)
  RETURNS TABLE (agent_id text, platform text, region text, pool text, sessions bigint, status text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_migrate_to_pools';
REVOKE ALL ON FUNCTION migrate_to_pools(regclass, boolean) FROM PUBLIC;
COMMENT ON FUNCTION migrate_to_pools(regclass, boolean) IS
  'Puts the agents that the agents table and the sessions name into pools. dry_run: only shows the mapping, and what has no place and why; else creates the pools, registers the agents, turns pools on for the table and fills its own empty columns of pool, platform and region, 10000 rows a call: call it until nothing remains. Twice changes nothing. sessions (of the result): sessions that name the agent. status: would_place, placed, unchanged, left_out, unplaced, no_agent, filled, remaining. Errors: no agent column, or a copy whose identity is not confirmed (55000), not attached (42704).';

CREATE FUNCTION rebalance_pool(pool text, dry_run boolean DEFAULT true, platform text DEFAULT NULL, region text DEFAULT NULL)
  RETURNS TABLE (session_id text, table_name text, from_agent text, to_agent text, status text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_rebalance_pool';
REVOKE ALL ON FUNCTION rebalance_pool(text, boolean, text, text) FROM PUBLIC;
COMMENT ON FUNCTION rebalance_pool(text, boolean, text, text) IS
  'The fewest moves of sessions after which the fullest and the emptiest agent of a pool are less than 0.2 apart in load / capacity. dry_run: only shows them (would_move); else plans them (planned): passes do it, at most 50 a second. Only sessions that wait for no command move, and only in pools whose runtimes outlive their agents; a row without a session says why nothing moves (nothing). platform, region: where several pools have the name; NULL: any. Errors: blank pool (22023), no such pool (42704), several (42725).';
