-- Agent pools: which there are, who gets a session, and how an agent is emptied.

CREATE FUNCTION create_agent_pool(name text, platform text DEFAULT '', region text DEFAULT '', options jsonb DEFAULT '{}') RETURNS integer
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_create_agent_pool';
REVOKE ALL ON FUNCTION create_agent_pool(text, text, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION create_agent_pool(text, text, text, jsonb) IS
  'Makes a pool of agents, told by name, platform and region; one that is there already gets the options that are given, and keeps the others. options: namespace, backend, default_capacity, runtimes_outlive_agents. Returns its pool_id. Errors: blank name, unknown option or a value that does not fit (22023).';

CREATE FUNCTION drain_agent(agent_id text, reason text DEFAULT '', move boolean DEFAULT true) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_drain_agent';
REVOKE ALL ON FUNCTION drain_agent(text, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION drain_agent(text, text, boolean) IS
  'An agent gets no new sessions from here on; the worker gives those that it has to others. reason: kept in the audit and in reconciler.agent. move: off leaves its sessions where they are until they end. pool_agents() shows how far it is. Drained already: reason and move are replaced. Returns requested. Errors: an agent that is in no pool (P0002), blank agent_id (22023).';

CREATE FUNCTION undrain_agent(agent_id text, reason text DEFAULT '') RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_undrain_agent';
REVOKE ALL ON FUNCTION undrain_agent(text, text) FROM PUBLIC;
COMMENT ON FUNCTION undrain_agent(text, text) IS
  'Ends drain_agent(), also after it has come to its end: the agent gets sessions again. reason: kept in the audit. Returns undrained, or not draining. Errors: an agent that is in no pool (P0002), blank agent_id (22023).';

CREATE FUNCTION assign_session(session_id text, pool text DEFAULT NULL, platform text DEFAULT NULL, region text DEFAULT NULL, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_assign_session';
REVOKE ALL ON FUNCTION assign_session(text, text, text, text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION assign_session(text, text, text, text, regclass) IS
  'Gives a session to the least loaded agent of its pool that is connected, approved, not suspect, not drained and not full, in the caller''s transaction; one whose agent is there keeps it. pool, platform, region: NULL: the session''s own pool, or the only one there is. sessions: the attached table; NULL: the only one. Returns its agent_id. Errors: unknown session (P0002), unknown pool (42704), a session that has ended, is held or of another pool, no agent that is free, no agent column, or a copy whose identity is not confirmed (55000), a row that changed meanwhile (40001).';

CREATE FUNCTION report_resource(session_id text, platform_resource_id text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_report_resource';
REVOKE ALL ON FUNCTION report_resource(text, text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION report_resource(text, text, regclass) IS
  'Says what a session runs in, as its platform names it: written to the mapped runtime column, or to reconciler.session_pool where there is none. sessions: the attached table; NULL: the only one. Returns recorded. Errors: unknown session (P0002), blank platform_resource_id (22023), a copy whose identity is not confirmed (55000), a row that changed meanwhile (40001).';

CREATE FUNCTION agent_pools()
  RETURNS TABLE (platform text, region text, pool text, agents bigint, connected bigint, draining bigint, suspect bigint, capacity bigint, load bigint,
                 headroom bigint, sessions jsonb, oldest_stuck interval)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_agent_pools';
REVOKE ALL ON FUNCTION agent_pools() FROM PUBLIC;
COMMENT ON FUNCTION agent_pools() IS
  'Every pool: its agents, what they take and have (headroom: places that are free at agents which get new sessions), its sessions that have not ended by state, and how long the longest stuck of them is. Reads the sessions tables with the caller''s rights on them.';

CREATE FUNCTION pool_agents(pool text DEFAULT NULL)
  RETURNS TABLE (agent_id text, pool text, platform text, region text, connected boolean, approved boolean, suspect boolean, draining timestamptz, drained timestamptz,
                 sessions bigint, load integer, capacity integer, last_seen timestamptz, incarnation text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_pool_agents';
REVOKE ALL ON FUNCTION pool_agents(text) FROM PUBLIC;
COMMENT ON FUNCTION pool_agents(text) IS
  'Every agent of a pool, or (NULL) of all. draining: since when it is drained; drained: since when it has no session left. sessions: that have not ended, counted now, with the caller''s rights on their tables; load: as last counted, with what was assigned since. connected: as last said or seen, and not silent since. Error: no such pool (42704).';
