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

CREATE FUNCTION register_agent(agent_id text, pool text DEFAULT NULL, platform text DEFAULT NULL, region text DEFAULT NULL, capacity integer DEFAULT NULL, incarnation text DEFAULT NULL) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_register_agent';
REVOKE ALL ON FUNCTION register_agent(text, text, text, text, integer, text) FROM PUBLIC;
COMMENT ON FUNCTION register_agent(text, text, text, text, integer, text) IS
  'Says that an agent is there, connected, and of which pool: it gets sessions of that pool from here on, as long as it is heard of. pool, platform, region: a pool that is not there is made; all NULL: the one that it is in, of a new agent default. capacity: sessions that it takes; NULL: as it was, of a new agent the pool''s default_capacity. incarnation: what tells this start of it from earlier ones; NULL: not known. Returns registered, or updated. Errors: blank agent_id or pool, capacity out of range (22023).';

CREATE FUNCTION agent_heartbeat(agent_id text, incarnation text DEFAULT NULL, capacity integer DEFAULT NULL) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_agent_heartbeat';
REVOKE ALL ON FUNCTION agent_heartbeat(text, text, integer) FROM PUBLIC;
COMMENT ON FUNCTION agent_heartbeat(text, text, integer) IS
  'Says that an agent of a pool is still there: one not heard of for two intervals (120 s at least) gets no new sessions. incarnation, capacity: NULL: as they are. Returns recorded. Errors: an agent that register_agent() did not put into a pool (P0002), blank agent_id, capacity out of range (22023).';
