-- From 0.5.0 to 0.6.0. What is new in tables stands at their end in the install script too: both ways lead to the same.
\echo Use "ALTER EXTENSION session_reconciler UPDATE" to load this file. \quit

DO $$
BEGIN
  IF string_to_array(reconciler.library_version(), '.')::integer[] < '{0,6,0}' THEN
    RAISE EXCEPTION 'the library in memory is of version %, this is the upgrade to 0.6.0', reconciler.library_version() USING ERRCODE = 'feature_not_supported',
      HINT = 'Restart the server, or connect again where it does not preload the library; then repeat ALTER EXTENSION session_reconciler UPDATE.';
  END IF;
END $$;

-- Agents that are full take stops, too.
DROP INDEX reconciler.agent_free;
CREATE INDEX agent_free ON reconciler.agent (pool_id, fullness, spread)
  WHERE connected AND approved AND NOT suspect AND draining IS NULL;
COMMENT ON COLUMN reconciler.agent.load IS 'Sessions that it has, but for those that a user asked to end: as counted, and what was assigned since.';
