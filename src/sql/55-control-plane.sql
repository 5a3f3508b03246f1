-- For a new platform: tables that need no mapping, attached and enforced. In the rights of the caller, who owns them.

-- The default of the argument is evaluated before the function pins its search_path: it is the caller's schema.
CREATE FUNCTION create_control_plane(schema_name name DEFAULT current_schema())
  RETURNS TABLE (item text, status text, detail text)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  taken text;
  watched text;
  at_home text := quote_ident(schema_name) || '.';
BEGIN
  IF schema_name IS NULL THEN
    RAISE EXCEPTION 'no schema has been selected to create in' USING ERRCODE = 'invalid_schema_name',
      HINT = 'SET search_path, or name one: create_control_plane(''app'').';
  END IF;
  IF to_regnamespace(quote_ident(schema_name)) IS NULL THEN
    RAISE EXCEPTION 'schema "%" does not exist', schema_name USING ERRCODE = 'invalid_schema_name',
      HINT = format('CREATE SCHEMA %I; or name another.', schema_name);
  END IF;
  IF schema_name IN ('reconciler', 'pg_catalog', 'information_schema') THEN
    RAISE EXCEPTION 'tables of a platform do not belong in schema %', schema_name USING ERRCODE = 'invalid_schema_name',
      HINT = 'Name a schema of the application: create_control_plane(''app'').';
  END IF;
  SELECT string_agg(c.relname, ', ' ORDER BY c.relname) INTO taken
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = schema_name AND c.relname IN ('sessions', 'agents', 'agent_commands', 'audit_log');
  IF taken IS NOT NULL THEN
    RAISE EXCEPTION 'schema % has relations of these names already: %', schema_name, taken USING ERRCODE = 'duplicate_table',
      DETAIL = 'Nothing was created.', HINT = 'Attach what is there with attach_sessions(), or create the tables in another schema.';
  END IF;

  EXECUTE format($ddl$
    CREATE TABLE %1$sagents (
      agent_id        text PRIMARY KEY CHECK (agent_id <> ''),
      agent_pool      text,
      platform        text,
      region          text,
      status          text NOT NULL DEFAULT 'disconnected' CHECK (status IN ('connected', 'disconnected', 'draining')),
      incarnation     text,
      capacity        integer CHECK (capacity >= 0),
      last_heartbeat  timestamptz,
      disconnected_at timestamptz,
      draining        boolean NOT NULL DEFAULT false
    );
    COMMENT ON TABLE %1$sagents IS 'Agents that create what sessions run in.';

    CREATE TABLE %1$ssessions (
      id                   text PRIMARY KEY CHECK (id <> ''),
      user_id              text NOT NULL,
      state                text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'starting', 'running', 'hibernating',
        'hibernated', 'waking', 'suspended', 'terminating', 'terminated', 'failed', 'gone')),
      platform             text,
      region               text,
      agent_pool           text,
      assigned_agent_id    text REFERENCES %1$sagents ON UPDATE CASCADE,
      platform_resource_id text,
      backend              text,
      agent_thread_id      text,
      termination_reason   text,
      terminated_at        timestamptz,
      created_at           timestamptz NOT NULL DEFAULT now(),
      updated_at           timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON TABLE %1$ssessions IS 'One row per session; updated_at is set by every change of the state.';
    CREATE INDEX sessions_user_id ON %1$ssessions (user_id);
    CREATE INDEX sessions_assigned_agent_id ON %1$ssessions (assigned_agent_id) WHERE assigned_agent_id IS NOT NULL;
    CREATE INDEX sessions_platform_resource_id ON %1$ssessions (platform_resource_id) WHERE platform_resource_id IS NOT NULL;

    CREATE TABLE %1$sagent_commands (
      command_id   text PRIMARY KEY CHECK (command_id <> ''),
      agent_id     text NOT NULL REFERENCES %1$sagents ON UPDATE CASCADE,
      session_id   text,
      action       text NOT NULL,
      payload      jsonb NOT NULL DEFAULT '{}',
      status       text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'ack', 'completed', 'failed')),
      attempt      integer NOT NULL DEFAULT 1 CHECK (attempt > 0),
      created_at   timestamptz NOT NULL DEFAULT now(),
      sent_at      timestamptz,
      completed_at timestamptz,
      error        text
    );
    COMMENT ON TABLE %1$sagent_commands IS 'Commands to agents. session_id has no foreign key: a command may outlive its session.';
    CREATE INDEX agent_commands_session_id ON %1$sagent_commands (session_id, created_at) WHERE session_id IS NOT NULL;
    CREATE INDEX agent_commands_agent_id ON %1$sagent_commands (agent_id, created_at);
    CREATE INDEX agent_commands_stops ON %1$sagent_commands (created_at) WHERE action = 'stop_session';

    CREATE TABLE %1$saudit_log (
      id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      at            timestamptz NOT NULL DEFAULT now(),
      actor         text NOT NULL DEFAULT session_user,
      action        text NOT NULL,
      resource_type text NOT NULL,
      resource_id   text NOT NULL,
      changes       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(changes) = 'object'),
      ip_address    text
    );
    COMMENT ON TABLE %1$saudit_log IS 'Who changed what.';
    CREATE INDEX audit_log_resource ON %1$saudit_log (resource_type, resource_id, id);
    CREATE INDEX audit_log_at ON %1$saudit_log USING brin (at);
  $ddl$, at_home);
  -- What a pass reads: the sessions of one state, oldest first. Their size follows what is in the state.
  FOREACH watched IN ARRAY ARRAY['terminating', 'pending', 'starting', 'hibernating', 'waking', 'running', 'hibernated'] LOOP
    EXECUTE format('CREATE INDEX %I ON %ssessions (updated_at, id) WHERE state = %L', 'sessions_' || watched, at_home, watched);
  END LOOP;

  RETURN QUERY VALUES ('tables', 'ok', format('created in schema %I: agents, sessions, agent_commands, audit_log', schema_name));
  RETURN QUERY SELECT a.item, a.status, a.detail FROM @extschema@.attach_sessions((at_home || 'sessions')::regclass, 'standard',
    jsonb_build_object('mode', 'enforce', 'agents_table', at_home || 'agents', 'commands_table', at_home || 'agent_commands',
                       'audit_table', at_home || 'audit_log', 'pools', true)) AS a;
END $$;
REVOKE ALL ON FUNCTION create_control_plane(name) FROM PUBLIC;
COMMENT ON FUNCTION create_control_plane(name) IS
  'For a new platform: creates sessions, agents, agent_commands and audit_log in the current schema (or the one named), with constraints and the indexes that passes need, and attaches sessions in mode enforce. Returns the report of attach_sessions(). Error 42P07, with nothing created, when one of the names is taken.';
