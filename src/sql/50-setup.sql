-- Setting up: attach a table, name its hub, look whether everything is right. Who may call them: reconciler_grant().

CREATE FUNCTION attach_sessions(sessions regclass, preset text DEFAULT 'standard', options jsonb DEFAULT '{}')
  RETURNS TABLE (item text, status text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_attach_sessions';
COMMENT ON FUNCTION attach_sessions(regclass, text, jsonb) IS
  'Attaches a sessions table: finds its columns and related tables, writes reconciler.binding and reconciler.policy, and reports what it found, what is missing, which DDL it recommends and what a pass would do. Starts in mode observe. A superuser, or an admin who owns the table. preset: standard, streamspace. options: an object; an unknown one is an error that lists them. status: ok, info, warn, missing.';

CREATE FUNCTION detach_sessions(sessions regclass) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_detach_sessions';
COMMENT ON FUNCTION detach_sessions(regclass) IS
  'Forgets an attached table with its policies, evidence, attempts and holds; its events stay. Returns detached. Errors: not attached (42704), not the owner (42501).';

CREATE FUNCTION detach_sessions(sessions text) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_detach_sessions_by_name';
COMMENT ON FUNCTION detach_sessions(text) IS
  'The same by name, schema.table or table, as it is now or as it was when attached: also for a table that has vanished. This is the form that detach_sessions(''public.sessions'') calls. Errors: not attached (42704), ambiguous (42725), not the owner (42501).';

CREATE FUNCTION set_hub(name text, base_url text, profile text DEFAULT 'standard', options jsonb DEFAULT '{}') RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_set_hub';
COMMENT ON FUNCTION set_hub(text, text, text, jsonb) IS
  'Says where a hub is and how to speak to it; the only attached table without a hub gets it. base_url: http or https, no user, query or fragment; not on loopback it needs a credential in session_reconciler.credentials_file. NULL where agents fetch their commands with next_commands() (profile pull). profile: a row of reconciler.hub_profile. options: connect_timeout, total_timeout, command_spacing, max_in_flight, sessions (a table''s name); those not given stay as they are. Connects to nobody: CALL probe_hub(name) does.';

CREATE FUNCTION set_hub(name text, base_url text[], profile text DEFAULT 'standard', options jsonb DEFAULT '{}') RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_set_hub_addresses';
COMMENT ON FUNCTION set_hub(text, text[], text, jsonb) IS
  'The same with several addresses, one per replica: ARRAY[''https://hub-0:8443'', ''https://hub-1:8443''].';

CREATE FUNCTION preflight() RETURNS TABLE (check_name text, status text, detail text, hint text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_preflight';
COMMENT ON FUNCTION preflight() IS
  'Everything that has to be right, without connecting to anybody: version, worker, credentials, hubs as last probed, clocks, events, and for each attached table mode, identity, mapping, key, rights, row security, triggers, time zones, indexes. status: ok, warn, fail.';

CREATE FUNCTION reconciler.own_change() RETURNS boolean
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_own_change';
COMMENT ON FUNCTION reconciler.own_change() IS 'Whether configuration is being written by a function of the extension, which writes its own event.';

REVOKE ALL ON FUNCTION attach_sessions(regclass, text, jsonb), detach_sessions(regclass), detach_sessions(text),
  set_hub(text, text, text, jsonb), set_hub(text, text[], text, jsonb), preflight(), reconciler.own_change()
  FROM PUBLIC;
