-- What is told about agents from outside.

CREATE FUNCTION agent_disconnected(agent_id text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_agent_disconnected';
REVOKE ALL ON FUNCTION agent_disconnected(text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION agent_disconnected(text, regclass) IS
  'Says that an agent''s connection ended just now: a first observation that it is gone, from which its gone time counts, and the worker looks at once. Nothing is closed by it alone: our own looks have to agree until the grace is over. sessions: the attached table; NULL: all. Returns recorded. Error: blank agent_id (22023).';

CREATE FUNCTION agent_connected(agent_id text, incarnation text DEFAULT NULL, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_agent_connected';
REVOKE ALL ON FUNCTION agent_connected(text, text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION agent_connected(text, text, regclass) IS
  'Says that an agent is connected now: sets its gone time to zero, and the worker looks at once, for the commands that waited for it. incarnation: what tells this start of the agent from earlier ones; NULL: not known. sessions: the attached table; NULL: all. Returns recorded. Error: blank agent_id (22023).';
