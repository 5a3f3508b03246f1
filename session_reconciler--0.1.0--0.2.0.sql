-- From 0.1.0 to 0.2.0. What is new in tables stands at their end in the install script too: both ways lead to the same.
\echo Use "ALTER EXTENSION session_reconciler UPDATE" to load this file. \quit

-- Policies of sessions on their way: pending, starting, hibernating, waking.
ALTER TABLE reconciler.policy
  DROP CONSTRAINT policy_retry_action_check,
  ADD CONSTRAINT policy_retry_action_check CHECK (retry_action IN ('stop_session', 'start_session')),
  ADD COLUMN infers boolean NOT NULL DEFAULT true,
  ADD COLUMN awaits text CHECK (awaits IN ('start_session', 'hibernate_session', 'wake_session')),
  ADD COLUMN completed_becomes text,
  ADD COLUMN acknowledged_timeout interval NOT NULL DEFAULT '10 min' CHECK (acknowledged_timeout BETWEEN '0' AND '365 days'),
  ADD CONSTRAINT completed_becomes_another_state CHECK (completed_becomes <> state),
  ADD CONSTRAINT start_is_sent_where_awaited CHECK (retry_action IS DISTINCT FROM 'start_session' OR awaits IS NOT DISTINCT FROM 'start_session');
COMMENT ON COLUMN reconciler.policy.retry_action IS 'Command sent to an agent that is there; NULL: none. A start is sent only as the application sent it, and never once acknowledged.';
COMMENT ON COLUMN reconciler.policy.infers IS 'An agent that is gone closes its sessions; off: such a session is shown, and only proof changes it.';
COMMENT ON COLUMN reconciler.policy.awaits IS 'Command that such a session waits for beside a stop; NULL: none. wake_session is resume_session too.';
COMMENT ON COLUMN reconciler.policy.completed_becomes IS 'State that is written when that command is proven to have completed; NULL: the session is shown.';
COMMENT ON COLUMN reconciler.policy.acknowledged_timeout IS 'A start that its agent acknowledged so long ago has failed.';

-- Signs of life, and the grace of a new runtime.
ALTER TABLE reconciler.binding
  ADD COLUMN sign_fresh_for interval NOT NULL DEFAULT '120 s' CHECK (sign_fresh_for BETWEEN '0' AND '1 day'),
  ADD COLUMN sign_ceiling interval NOT NULL DEFAULT '30 min' CHECK (sign_ceiling BETWEEN '0' AND '365 days'),
  ADD COLUMN replacement_grace interval NOT NULL DEFAULT '120 s' CHECK (replacement_grace BETWEEN '0' AND '1 day');
COMMENT ON COLUMN reconciler.binding.columns IS 'Which column is what: key, state, agent, runtime, created, entered, updated, reason, closed, route and signs (lists).';
COMMENT ON COLUMN reconciler.binding.sign_fresh_for IS 'A session''s own sign of life is heard that long.';
COMMENT ON COLUMN reconciler.binding.sign_ceiling IS 'Once the end of a session is known or inferred for so long, signs of life are heard no more.';
COMMENT ON COLUMN reconciler.binding.replacement_grace IS 'Nothing is inferred of a session whose runtime we have known for less.';
CREATE OR REPLACE FUNCTION reconciler.grant_tables(grantee text, level text, give boolean) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  verb text := CASE WHEN give THEN 'GRANT %s ON %s TO %s' ELSE 'REVOKE %s ON %s FROM %s' END;
  readable text;
BEGIN
  verb := verb || CASE WHEN give THEN '' ELSE ' CASCADE' END;
  SELECT string_agg(d.objid::regclass::text, ', ') INTO STRICT readable
    FROM pg_extension AS e JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
      JOIN pg_class AS c ON c.oid = d.objid AND c.relkind IN ('r', 'v')
    WHERE e.extname = 'session_reconciler';
  IF level IN ('viewer', 'operator', 'admin') AND (give OR level = 'viewer') THEN
    EXECUTE format(verb, 'SELECT', 'TABLE ' || readable, grantee);
  END IF;
  IF level = 'admin' OR (NOT give AND level IN ('viewer', 'operator')) THEN
    EXECUTE format(verb, 'INSERT, UPDATE, DELETE', 'TABLE reconciler.policy', grantee);
    EXECUTE format(verb, 'UPDATE (time_zone, batch_size, observation_spacing, hub_grace, heartbeat_fresh, start_grace, instance_grace,'
                         ' promotion_grace, sign_fresh_for, sign_ceiling, replacement_grace, brake_floor, brake_share, user_rate_floor, user_rate_share)', 'TABLE reconciler.binding', grantee);
    EXECUTE format(verb, 'UPDATE (connect_timeout, total_timeout, command_spacing, max_in_flight)', 'TABLE reconciler.hub', grantee);
  END IF;
END $$;

-- What is owed to agents that come back late.
ALTER TABLE reconciler.policy
  ADD COLUMN late_return text NOT NULL DEFAULT 'keep_terminated' CHECK (late_return IN ('keep_terminated', 'readopt')),
  ADD CONSTRAINT readopt_where_no_user_asked CHECK (late_return = 'keep_terminated' OR NOT user_requested);
COMMENT ON COLUMN reconciler.policy.late_return IS 'A session that was closed because its agent was gone, and the agent comes back: keep_terminated sends it a stop; readopt puts the session back if the hub says that it still runs, as far as its profile can ask.';
ALTER TABLE reconciler.episode
  ADD COLUMN owed text CHECK (owed IN ('stop', 'readopt')),
  ADD COLUMN owed_since timestamptz,
  ADD COLUMN owed_until timestamptz,
  ADD COLUMN incarnation text NOT NULL DEFAULT '',
  ADD COLUMN session_running timestamptz,
  ADD COLUMN start_failed timestamptz;
CREATE INDEX episode_owed ON reconciler.episode (binding_id, session_id) WHERE owed IS NOT NULL;
COMMENT ON COLUMN reconciler.episode.owed IS 'The session was closed without its agent: what the agent gets when it comes back; NULL: nothing.';
COMMENT ON COLUMN reconciler.episode.owed_since IS 'Closed at.';
COMMENT ON COLUMN reconciler.episode.owed_until IS 'An agent that comes back later gets nothing.';
COMMENT ON COLUMN reconciler.episode.incarnation IS 'The agent''s incarnation when last seen with the session; empty: not known.';
COMMENT ON COLUMN reconciler.episode.session_running IS 'When the hub said last that it runs.';
COMMENT ON COLUMN reconciler.episode.start_failed IS 'The agent failed our start.';
COMMENT ON COLUMN reconciler.episode.last_would IS 'What was noted last: of observe mode, or a contradiction.';

-- A start carries what the application sent with it.
UPDATE reconciler.hub_profile SET definition = $profile${
  "description": "StreamSpace's admin API. It can't say whether an agent is connected, so the heartbeat is judged; it knows no idempotency key.",
  "authoritative": false,
  "idempotent": false,

  "agent": {
    "id": "/agentId",
    "heartbeat": "/lastHeartbeat"
  },

  "ask_agent": {
    "method": "GET", "path": "/api/v1/admin/agents/{agent_id}",
    "answers": [
      {"status": 200, "means": "agent"},
      {"status": 404, "where": {"/error": "Agent not found"}, "means": "unknown_agent"}
    ]
  },
  "send": {
    "method": "POST", "path": "/api/v1/admin/agents/{agent_id}/command",
    "body": {
      "action": "{action}",
      "sessionId": "{session_id}",
      "payload": {"sessionId": "{session_id}", "deletePVC": false}
    },
    "bodies": {
      "start_session": {"action": "{action}", "sessionId": "{session_id}", "payload": "{payload}"}
    },
    "hub_command_id": "/commandId",
    "detail": "/error",
    "answers": [
      {"status": 201, "where": {"/agentId": "{agent_id}", "/sessionId": "{session_id}"}, "means": "accepted"},
      {"status": 404, "where": {"/error": "Agent not found"}, "means": "unknown_agent"},
      {"status": 503, "where": {"/error": "Agent not connected"}, "means": "not_connected"},
      {"status": [401, 403], "means": "unauthorized"},
      {"status": 429, "means": "busy"},
      {"status": 503, "retry_after": true, "means": "busy"},
      {"status": "4xx", "where": {"/error": {"is": "string"}}, "means": "rejected"}
    ]
  }
}$profile$ WHERE name = 'streamspace' AND built_in;

-- Indexes for those states too.
CREATE OR REPLACE FUNCTION create_control_plane(schema_name name DEFAULT current_schema())
  RETURNS TABLE (item text, status text, detail text)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  taken text;
  watched text;
  at_home text := quote_ident(schema_name) || '.';
BEGIN
  IF schema_name IS NULL OR to_regnamespace(quote_ident(schema_name)) IS NULL THEN
    RAISE EXCEPTION 'no schema has been selected to create in' USING ERRCODE = 'invalid_schema_name',
      HINT = 'SET search_path, or name one: create_control_plane(''app'').';
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
                       'audit_table', at_home || 'audit_log')) AS a;
END $$;
