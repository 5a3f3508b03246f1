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
COMMENT ON CONSTRAINT completed_becomes_another_state ON reconciler.policy IS 'Let completed_becomes be the state that such a session goes on to.';
COMMENT ON CONSTRAINT start_is_sent_where_awaited ON reconciler.policy IS 'A start is sent again only where one is awaited: set awaits to start_session, or let retry_action be stop_session or NULL.';

-- Signs of life, and the grace of a new runtime.
ALTER TABLE reconciler.binding
  ADD COLUMN sign_fresh_for interval NOT NULL DEFAULT '120 s' CHECK (sign_fresh_for BETWEEN '0' AND '1 day'),
  ADD COLUMN sign_ceiling interval NOT NULL DEFAULT '30 min' CHECK (sign_ceiling BETWEEN '0' AND '365 days'),
  ADD COLUMN replacement_grace interval NOT NULL DEFAULT '120 s' CHECK (replacement_grace BETWEEN '0' AND '1 day');
COMMENT ON COLUMN reconciler.binding.columns IS 'Which column is what: key, state, agent, runtime, created, entered, updated, reason, closed, route and signs (lists).';
COMMENT ON COLUMN reconciler.binding.sign_fresh_for IS 'A session''s own sign of life is heard that long.';
COMMENT ON COLUMN reconciler.binding.sign_ceiling IS 'Once the end of a session is known or inferred for so long, signs of life are heard no more.';
COMMENT ON COLUMN reconciler.binding.replacement_grace IS 'Nothing is inferred of a session whose runtime we have known for less.';
-- What is owed to agents that come back late.
ALTER TABLE reconciler.policy
  ADD COLUMN late_return text NOT NULL DEFAULT 'keep_terminated' CHECK (late_return IN ('keep_terminated', 'readopt')),
  ADD CONSTRAINT readopt_where_no_user_asked CHECK (late_return = 'keep_terminated' OR NOT user_requested);
COMMENT ON COLUMN reconciler.policy.late_return IS 'A session that was closed because its agent was gone, and the agent comes back: keep_terminated sends it a stop; readopt puts the session back if the hub says that it still runs, as far as its profile can ask.';
COMMENT ON CONSTRAINT readopt_where_no_user_asked ON reconciler.policy IS 'What a user asked to end is not taken back: choose keep_terminated.';
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

-- States that a type does not have, and addresses that no hub can have, are refused.
CREATE OR REPLACE FUNCTION reconciler.check_terminal_states() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  clash record;
BEGIN
  -- A state that the column's type does not have would end every pass with an error.
  SELECT s.state, format_type(l.type, NULL) AS type, array_to_string(l.labels, ', ') AS known INTO clash
    FROM reconciler.binding AS b,
         LATERAL (SELECT e.enumtypid AS type, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
                    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
                    JOIN pg_enum AS e ON e.enumtypid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
                    WHERE a.attrelid = b.sessions AND a.attname = b.columns->>'state' GROUP BY e.enumtypid) AS l,
         LATERAL (SELECT unnest(CASE WHEN p.enabled THEN ARRAY[p.state, p.becomes, p.completed_becomes] ELSE ARRAY[p.state] END)
                    FROM reconciler.policy AS p WHERE p.binding_id = b.binding_id) AS s(state)
    WHERE b.binding_id = NEW.binding_id AND s.state <> ALL (l.labels)
    ORDER BY s.state LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '"%" is no label of type %', clash.state, clash.type USING ERRCODE = 'check_violation',
      DETAIL = format('Its labels: %s.', clash.known), HINT = format('Name one of them, or: ALTER TYPE %s ADD VALUE %L.', clash.type, clash.state);
  END IF;
  SELECT p.state, p.becomes, p.state = ANY (b.terminal_states) AS ended,
         format('Terminal states of %I.%I: %s.', b.schema_name, b.table_name, array_to_string(b.terminal_states, ', ')) AS known INTO clash
    FROM reconciler.binding AS b JOIN reconciler.policy AS p USING (binding_id)
    WHERE b.binding_id = NEW.binding_id AND (p.state = ANY (b.terminal_states) OR (p.enabled AND p.becomes <> ALL (b.terminal_states)))
    ORDER BY p.state LIMIT 1;
  IF FOUND AND clash.ended THEN
    RAISE EXCEPTION 'state "%" is terminal and can''t have a policy', clash.state USING ERRCODE = 'check_violation',
      DETAIL = clash.known, HINT = 'Delete the policy, or take the state out of terminal_states in reconciler.binding.';
  ELSIF FOUND THEN
    RAISE EXCEPTION 'the policy of state "%" would write "%", in which no session has ended', clash.state, clash.becomes USING ERRCODE = 'check_violation',
      DETAIL = clash.known, HINT = 'Let becomes be one of them, or add the state to terminal_states in reconciler.binding first.';
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION reconciler.check_terminal_states() IS 'Refuses a policy that watches a terminal state, an enabled one that writes a state that is not terminal, and a state that the type of the state column does not have (23514).';
DROP TRIGGER checked_states ON reconciler.policy;
CREATE TRIGGER checked_states AFTER INSERT OR UPDATE OF binding_id, state, enabled, becomes, completed_becomes ON reconciler.policy
  FOR EACH ROW EXECUTE FUNCTION reconciler.check_terminal_states();
CREATE OR REPLACE FUNCTION reconciler.refuse_credentials_in_urls() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF array_to_string(NEW.base_urls, ' ') ~ '[@?#]' THEN
    RAISE EXCEPTION 'an address of hub "%" has a user, a query or a fragment', NEW.name USING ERRCODE = 'invalid_parameter_value',
      DETAIL = 'The address is not shown: it may hold a password. The server log may have the statement.',
      HINT = 'Name scheme, host, port and path only; credentials go into the file session_reconciler.credentials_file.';
  END IF;
  IF EXISTS (SELECT FROM unnest(NEW.base_urls) AS u(address) WHERE u.address !~* '^https?://[^/,]+(/[^,]*)?$') THEN
    RAISE EXCEPTION 'an address of hub "%" is no http or https URL', NEW.name USING ERRCODE = 'invalid_parameter_value',
      HINT = 'An address looks like "https://hub.example.com:8443/prefix".';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION reconciler.refuse_credentials_in_urls() IS 'Refuses hub addresses with a user, query or fragment, however they are written, and those that are neither http nor https, without printing them.';

-- Indexes for those states too.
CREATE OR REPLACE FUNCTION create_control_plane(schema_name name DEFAULT current_schema())
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
                       'audit_table', at_home || 'audit_log')) AS a;
END $$;

-- The brake looks at losses, and inferred forces have a pace.
ALTER TABLE reconciler.binding ADD COLUMN brake_pace integer NOT NULL DEFAULT 50 CHECK (brake_pace > 0);
COMMENT ON COLUMN reconciler.binding.brake_pace IS 'Inferred forces per second inside that budget; a tenth of it while most of the agents seen lately are gone.';
ALTER TABLE reconciler.brake
  ADD COLUMN tripped_by_losses boolean NOT NULL DEFAULT false,
  ADD COLUMN losses_from timestamptz,
  ADD COLUMN slowed text NOT NULL DEFAULT '',
  ADD COLUMN pace_tokens double precision NOT NULL DEFAULT 0,
  ADD COLUMN pace_filled timestamptz;
COMMENT ON COLUMN reconciler.brake.tripped_by_losses IS 'Tripped because every agent seen lately is gone: it ends by itself when one is back.';
COMMENT ON COLUMN reconciler.brake.losses_from IS 'The last reset_brake(): agents that were lost before it no longer count as losses.';
COMMENT ON COLUMN reconciler.brake.slowed IS 'Why inferred forces go at a tenth of their pace; empty: they do not.';
COMMENT ON COLUMN reconciler.brake.pace_tokens IS 'Inferred forces that the pace leaves, as of pace_filled.';
COMMENT ON COLUMN reconciler.brake.pace_filled IS 'When pace_tokens was last filled up.';

-- What is told about agents from outside, and which states nothing looks at.
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

CREATE FUNCTION session_coverage(sessions regclass DEFAULT NULL)
  RETURNS TABLE (table_name text, state text, sessions bigint, oldest interval, watched_by text, threshold interval, over_threshold bigint, note text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_session_coverage';
REVOKE ALL ON FUNCTION session_coverage(regclass) FROM PUBLIC;
COMMENT ON FUNCTION session_coverage(regclass) IS
  'Every state that sessions are in, and what looks at it: watched_by is policy, policy_off, completion (only a completed stop closes them), terminal or nothing. oldest: longest time in the state. threshold: of its policy, else the longest of the table''s policies; over_threshold: sessions older than that. Reads the whole table, with the caller''s rights on it.';

-- Functions that have changed.
CREATE OR REPLACE FUNCTION reset_brake(reason text, allow integer DEFAULT NULL, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id integer := reconciler.one_binding(sessions);
  was reconciler.brake;
  granted bigint;
BEGIN
  PERFORM reconciler.required_reason(reason);
  IF allow < 0 THEN
    RAISE EXCEPTION 'allow must not be negative' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'It is how many sessions may be closed beside the normal budget; NULL: as many as were due when the brake tripped.';
  END IF;
  SELECT k.* INTO was FROM reconciler.brake AS k WHERE k.binding_id = id FOR UPDATE;
  IF was.tripped IS NULL THEN
    RETURN 'not tripped';
  END IF;
  granted := coalesce(allow, was.tripped_due);
  IF granted > 0 THEN
    UPDATE reconciler.brake AS k SET allowance = granted, losses_from = reconciler.clock() WHERE k.binding_id = id;
  ELSE
    UPDATE reconciler.brake AS k SET tripped = NULL, tripped_due = 0, tripped_why = '', tripped_by_losses = false, allowance = 0, losses_from = reconciler.clock()
      WHERE k.binding_id = id;
  END IF;
  PERFORM reconciler.note(id, NULL, 'brake_reset', reason, jsonb_build_object('allowed', granted, 'tripped_at', was.tripped,
                          'due', was.tripped_due, 'why', was.tripped_why), rule => 'operator');
  RAISE LOG 'session_reconciler: brake of % reset by %: % let through', (SELECT format('%I.%I', b.schema_name, b.table_name) FROM reconciler.binding AS b WHERE b.binding_id = id), session_user, granted;
  PERFORM reconciler.wake_worker();
  RETURN 'reset';
END $$;
COMMENT ON FUNCTION reset_brake(text, integer, regclass) IS
  'Lets a tripped brake''s sessions through: the next passes judge each again and close them, in batches. reason: kept in the audit. allow: how many; NULL: as many as were due when it tripped; 0: none. sessions: the attached table; NULL: the only one. Then, or when nothing more is due, the normal budget holds again. Returns reset, or not tripped. Errors: blank reason, negative allow (22023).';

CREATE OR REPLACE FUNCTION hold_session(session_id text, until timestamptz, reason text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id integer := reconciler.one_binding(sessions);
  present text;
BEGIN
  PERFORM reconciler.required_reason(reason);
  PERFORM reconciler.required('until', until::text);
  IF until <= reconciler.clock() THEN
    RAISE EXCEPTION 'until must be in the future' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', until),
      HINT = 'Give a time like now() + interval ''1 hour'', or ''infinity'' to hold until release_session().';
  END IF;
  present := reconciler.existing_session(id, session_id);
  session_id := reconciler.session_key(id, session_id);
  IF EXISTS (SELECT FROM reconciler.policy AS p WHERE p.binding_id = id AND p.state = present) THEN
    PERFORM reconciler.begin_episode(id, session_id);
  END IF;
  INSERT INTO reconciler.hold (binding_id, session_id, until, reason, actor)
    VALUES (id, hold_session.session_id, hold_session.until, hold_session.reason, reconciler.acting_role())
    ON CONFLICT ON CONSTRAINT hold_pkey DO UPDATE SET until = excluded.until, reason = excluded.reason, actor = excluded.actor;
  -- A pass that is closing the session has locked its episode: either it sees the hold, or we wait and see its result.
  PERFORM FROM reconciler.episode AS e WHERE e.binding_id = id AND e.session_id = hold_session.session_id FOR UPDATE;
  present := reconciler.existing_session(id, session_id);
  PERFORM reconciler.note(id, session_id, 'hold', reason, jsonb_build_object('until', until), from_state => present, rule => 'operator');
  IF EXISTS (SELECT FROM reconciler.binding AS b WHERE b.binding_id = id AND present = ANY (b.terminal_states)) THEN
    RAISE NOTICE 'session "%" has ended: its state is %', session_id, present;
  END IF;
  RETURN 'held';
END $$;

CREATE OR REPLACE FUNCTION retry_session(session_id text, reason text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id integer := reconciler.one_binding(sessions);
  present text;
  held reconciler.hold;
  policy reconciler.policy;
  episode reconciler.episode;
  about reconciler.binding;
  unanswered timestamptz;
  obstacle text;
BEGIN
  PERFORM reconciler.required_reason(reason);
  PERFORM reconciler.refuse_copy(id);
  present := reconciler.existing_session(id, session_id);
  session_id := reconciler.session_key(id, session_id);
  SELECT b.* INTO STRICT about FROM reconciler.binding AS b WHERE b.binding_id = id;
  IF present = ANY (about.terminal_states) THEN
    RAISE EXCEPTION 'session "%" has ended already', session_id USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = format('Its state is %s.', present);
  END IF;
  IF present = '' THEN
    RAISE EXCEPTION 'session "%" has no state', session_id USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = 'Set its state first; a session without one is never written.';
  END IF;
  SELECT h.* INTO held FROM reconciler.hold AS h
    WHERE h.binding_id = id AND h.session_id = retry_session.session_id AND h.until > reconciler.clock();
  IF FOUND THEN
    RAISE EXCEPTION 'session "%" is held', session_id USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = format('Held by %s until %s: %s.', held.actor, held.until, held.reason), HINT = 'Release it with release_session() first.';
  END IF;
  SELECT p.* INTO policy FROM reconciler.policy AS p WHERE p.binding_id = id AND p.state = present AND p.enabled;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no enabled policy watches state %', present USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = format('Session "%s" is in it.', session_id),
      HINT = 'request_termination() asks for its end; reconciler.policy says which states are watched.';
  END IF;
  PERFORM reconciler.begin_episode(id, session_id);
  SELECT e.* INTO STRICT episode FROM reconciler.episode AS e WHERE e.binding_id = id AND e.session_id = retry_session.session_id FOR UPDATE;
  IF policy.retry_action IS NULL AND episode.quarantined IS NULL THEN
    RAISE EXCEPTION 'no command is sent for sessions in state %', present USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = 'explain_session() says what happens to it by itself, and when.';
  END IF;
  -- The judgement compares the two times: later than the last try or the quarantine, whatever the clock does.
  UPDATE reconciler.episode AS e
    SET next_attempt = NULL,
        retry_requested = greatest(reconciler.clock(), e.last_attempt + interval '1 microsecond', e.quarantined + interval '1 microsecond')
    WHERE e.binding_id = id AND e.session_id = retry_session.session_id;
  PERFORM reconciler.note(id, session_id, 'retry', reason,
    jsonb_build_object('requested', true, 'attempts', episode.attempts, 'quarantined', episode.quarantined), from_state => present, rule => 'operator');
  SELECT s.hub_unknown_since INTO unanswered FROM reconciler.binding_state AS s WHERE s.binding_id = id;
  obstacle := CASE WHEN about.mode <> 'enforce' THEN format('the mode of the table is %s', about.mode)
                   WHEN about.paused_at IS NOT NULL THEN format('the reconciler is paused: %s', about.pause_reason)
                   WHEN episode.agent_id IS NULL THEN 'the session names no agent'
                   WHEN about.hub IS NULL THEN 'the table has no hub'
                   WHEN unanswered IS NOT NULL THEN format('hub "%s" has not answered properly since %s', about.hub, unanswered) END;
  IF obstacle IS NOT NULL THEN
    RAISE NOTICE 'the request waits: %', obstacle;
  END IF;
  PERFORM reconciler.wake_worker();
  RETURN 'requested';
END $$;

CREATE OR REPLACE FUNCTION reconciler_revoke(role text, level text) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  grantee text := reconciler.grantee(role);
  callable regprocedure;
  had boolean;
BEGIN
  SELECT EXISTS (SELECT FROM pg_proc AS p, aclexplode(p.proacl) AS a
                  WHERE p.oid IN (SELECT reconciler.granted_functions(level, true)) AND a.grantee = reconciler_revoke.grantee::regrole) INTO had;
  FOR callable IN SELECT reconciler.granted_functions(level, true) LOOP
    EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM %s CASCADE', callable, grantee);
  END LOOP;
  PERFORM reconciler.grant_tables(grantee, level, false);
  IF level = 'viewer' THEN
    EXECUTE format('REVOKE USAGE ON SCHEMA reconciler FROM %s CASCADE', grantee);
  END IF;
  RETURN format(CASE WHEN had THEN '%s is not %s any more' ELSE '%s was not %s' END, grantee, level);
END $$;

CREATE OR REPLACE FUNCTION reconciler_metrics()
  RETURNS TABLE (name text, type text, help text, labels jsonb, value double precision)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
  WITH families (rank, name, type, help) AS (VALUES
    (1, 'sessions_stuck_terminating', 'gauge', 'Sessions that a user asked to end and that were stuck at the last pass.'),
    (2, 'sessions_stuck_terminating_total', 'counter', 'Sessions that a user asked to end and that were found stuck.'),
    (3, 'sessions_stuck', 'gauge', 'Stuck sessions by state at the last pass.'),
    (4, 'sessions_stuck_total', 'counter', 'Sessions found stuck, by state.'),
    (5, 'reconciler_forced_total', 'counter', 'Orphaned sessions closed by inference or by an operator, by reason.'),
    (6, 'reconciler_finalized_total', 'counter', 'Sessions closed because they were proven to have ended, by reason.'),
    (7, 'reconciler_retries_total', 'counter', 'Outcomes of commands sent again, and of their execution.'),
    (8, 'reconciler_quarantined', 'gauge', 'Sessions in quarantine.'),
    (9, 'reconciler_quarantined_total', 'counter', 'Sessions put in quarantine.'),
    (10, 'reconciler_brake_tripped', 'gauge', '1: the brake is tripped, nothing is closed by inference until reset_brake().'),
    (11, 'reconciler_brake_slowed', 'gauge', '1: most agents seen lately are gone, inferred forces go at a tenth of their pace.'),
    (12, 'reconciler_brake_waiting', 'gauge', 'Sessions that were due when the brake tripped; 0: it is not tripped.'),
    (13, 'reconciler_paused', 'gauge', '1: paused by an operator.'),
    (14, 'reconciler_safe_mode', 'gauge', '1: stopped because passes crashed the server.'),
    (15, 'reconciler_mode', 'gauge', '1 for the mode of the table.'),
    (16, 'reconciler_identity_confirmed', 'gauge', '0: a copy that only observes until confirm_identity().'),
    (17, 'reconciler_worker_up', 'gauge', '1: a worker runs in this database.'),
    (18, 'reconciler_last_success_timestamp_seconds', 'gauge', 'End of the last pass that ended well, Unix time; 0: none yet.'),
    (19, 'reconciler_detection_lag_seconds_sum', 'summary', 'Time from when a session was stuck to its detection.'),
    (20, 'reconciler_detection_lag_seconds_count', 'summary', 'Time from when a session was stuck to its detection.'),
    (21, 'reconciler_hub_up', 'gauge', '1: the hub answered properly when last asked; NaN: never asked.'),
    (22, 'reconciler_hub_request_seconds_sum', 'summary', 'Duration of requests to the hub.'),
    (23, 'reconciler_hub_request_seconds_count', 'summary', 'Duration of requests to the hub.'),
    (24, 'reconciler_hub_requests_failed_total', 'counter', 'Requests to the hub without a proper answer.')
  ), tables AS MATERIALIZED (
    SELECT b.*, jsonb_build_object('table', format('%I.%I', b.schema_name, b.table_name)) AS label, s.stuck, s.hub_up, s.safe_mode_since,
           s.last_success_at, k.tripped, k.tripped_due, k.slowed, reconciler.armed_here(b.binding_id) AS armed, reconciler.worker_pid() IS NOT NULL AS worker
    FROM reconciler.binding AS b LEFT JOIN reconciler.binding_state AS s USING (binding_id) LEFT JOIN reconciler.brake AS k USING (binding_id)
  ), reasons AS (  -- whatever else an event carries must not become a label: operators write sentences
    SELECT t.binding_id, r.reason FROM tables AS t CROSS JOIN unnest(ARRAY['user_requested', 'agent_unavailable', 'agent_disconnected',
      'no_agent', 'timeout', 'error', 'runtime_gone', 'stop_unconfirmed']) AS r(reason)
    UNION SELECT p.binding_id, p.reason FROM reconciler.policy AS p
  ), states AS (
    SELECT p.binding_id, p.state, p.user_requested OR p.state = 'terminating' AS users_wish FROM reconciler.policy AS p
    UNION SELECT t.binding_id, n.key, n.key = 'terminating' FROM tables AS t CROSS JOIN jsonb_each_text(t.stuck) AS n
      WHERE NOT EXISTS (SELECT FROM reconciler.policy AS p WHERE (p.binding_id, p.state) = (t.binding_id, n.key))
    UNION SELECT c.binding_id, c.label, c.label = 'terminating' FROM reconciler.counter AS c
      WHERE c.name = 'sessions_stuck_total' AND NOT EXISTS (SELECT FROM reconciler.policy AS p WHERE (p.binding_id, p.state) = (c.binding_id, c.label))
  ), known (binding_id, name, key, label) AS (  -- so that a counter is there, and zero, before it first counts
    SELECT r.binding_id, n.name, 'reason', r.reason FROM reasons AS r CROSS JOIN (VALUES ('reconciler_forced_total'), ('reconciler_finalized_total')) AS n(name)
    UNION ALL SELECT s.binding_id, 'sessions_stuck_total', 'state', s.state FROM states AS s
    UNION ALL SELECT t.binding_id, 'reconciler_retries_total', 'outcome', o.outcome FROM tables AS t
      CROSS JOIN unnest(ARRAY['accepted', 'completed', 'failed', 'rejected', 'session_gone', 'not_connected', 'unknown_agent', 'busy',
                              'unauthorized', 'unclear', 'unreachable', 'unknown']) AS o(outcome)
    UNION ALL SELECT t.binding_id, n.name, NULL, '' FROM tables AS t CROSS JOIN (VALUES ('reconciler_quarantined_total'),
      ('reconciler_detection_lag_seconds_sum'), ('reconciler_detection_lag_seconds_count'), ('reconciler_hub_request_seconds_sum'),
      ('reconciler_hub_requests_total'), ('reconciler_hub_requests_failed_total')) AS n(name)
  ), counted (binding_id, name, label, value) AS (
    SELECT c.binding_id, c.name, CASE WHEN c.name NOT IN ('reconciler_forced_total', 'reconciler_finalized_total')
        OR EXISTS (SELECT FROM reasons AS r WHERE (r.binding_id, r.reason) = (c.binding_id, c.label)) THEN c.label ELSE 'other' END AS shown, sum(c.value)
    FROM reconciler.counter AS c GROUP BY c.binding_id, c.name, shown
  ), counters (binding_id, name, labels, value) AS (
    SELECT t.binding_id, x.name, t.label || CASE WHEN x.key IS NULL THEN '{}' ELSE jsonb_build_object(x.key, x.label) END, x.value
    FROM (SELECT binding_id, name, label, coalesce(k.key, CASE WHEN name IN ('reconciler_forced_total', 'reconciler_finalized_total') THEN 'reason'
                   WHEN name = 'reconciler_retries_total' THEN 'outcome' END) AS key, coalesce(c.value, 0) AS value
          FROM known AS k FULL JOIN counted AS c USING (binding_id, name, label)) AS x
    JOIN tables AS t USING (binding_id)
  ), samples (name, labels, value) AS (
    SELECT CASE c.name WHEN 'reconciler_hub_requests_total' THEN 'reconciler_hub_request_seconds_count' ELSE c.name END, c.labels, c.value FROM counters AS c
    UNION ALL SELECT 'sessions_stuck_terminating_total', t.label,
      (SELECT coalesce(sum(c.value), 0) FROM reconciler.counter AS c JOIN states AS s ON (s.binding_id, s.state) = (c.binding_id, c.label)
        WHERE c.binding_id = t.binding_id AND c.name = 'sessions_stuck_total' AND s.users_wish) FROM tables AS t
    UNION ALL SELECT 'sessions_stuck_terminating', t.label,
      (SELECT coalesce(sum((t.stuck->>s.state)::float8), 0) FROM states AS s WHERE s.binding_id = t.binding_id AND s.users_wish) FROM tables AS t
    UNION ALL SELECT 'sessions_stuck', t.label || jsonb_build_object('state', s.state), coalesce((t.stuck->>s.state)::float8, 0)
      FROM tables AS t JOIN states AS s USING (binding_id)
    UNION ALL SELECT 'reconciler_quarantined', t.label,
      (SELECT count(*) FROM reconciler.episode AS e WHERE e.binding_id = t.binding_id AND e.quarantined IS NOT NULL) FROM tables AS t
    UNION ALL SELECT 'reconciler_brake_tripped', t.label, (t.tripped IS NOT NULL)::int FROM tables AS t
    UNION ALL SELECT 'reconciler_brake_slowed', t.label, (t.tripped IS NULL AND coalesce(t.slowed, '') <> '')::int FROM tables AS t
    UNION ALL SELECT 'reconciler_brake_waiting', t.label, CASE WHEN t.tripped IS NULL THEN 0 ELSE t.tripped_due END FROM tables AS t
    UNION ALL SELECT 'reconciler_paused', t.label, (t.paused_at IS NOT NULL)::int FROM tables AS t
    UNION ALL SELECT 'reconciler_safe_mode', t.label, (t.safe_mode_since IS NOT NULL)::int FROM tables AS t
    UNION ALL SELECT 'reconciler_mode', t.label || jsonb_build_object('mode', m.mode), (t.mode = m.mode)::int
      FROM tables AS t CROSS JOIN unnest(ARRAY['observe', 'enforce', 'off', 'broken']) AS m(mode)
    UNION ALL SELECT 'reconciler_identity_confirmed', t.label, t.armed::int FROM tables AS t
    UNION ALL SELECT 'reconciler_worker_up', t.label, t.worker::int FROM tables AS t
    UNION ALL SELECT 'reconciler_last_success_timestamp_seconds', t.label, coalesce(extract(epoch FROM t.last_success_at)::float8, 0) FROM tables AS t
    UNION ALL SELECT 'reconciler_hub_up', t.label || jsonb_build_object('hub', t.hub), coalesce(t.hub_up::int::float8, 'NaN') FROM tables AS t WHERE t.hub IS NOT NULL
  )
  SELECT f.name, f.type, f.help, s.labels, s.value FROM samples AS s JOIN families AS f USING (name) ORDER BY f.rank, s.labels::text
$$;
REVOKE ALL ON FUNCTION reconciler_metrics() FROM PUBLIC;
COMMENT ON FUNCTION reconciler_metrics() IS
  'Metrics of every attached table, one row per sample; each has the label table. Counters are exact and start at attach_sessions(); those that never counted are there as 0. A reason that is neither built in nor in a policy counts as other. Units: seconds.';

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
                         ' promotion_grace, sign_fresh_for, sign_ceiling, replacement_grace, brake_floor, brake_share, brake_pace, user_rate_floor, user_rate_share)', 'TABLE reconciler.binding', grantee);
    EXECUTE format(verb, 'UPDATE (connect_timeout, total_timeout, command_spacing, max_in_flight)', 'TABLE reconciler.hub', grantee);
  END IF;
END $$;
COMMENT ON FUNCTION reconciler.grant_tables(text, text, boolean) IS 'The tables of a level: SELECT on all for viewer and above; for admin also policies, limits of bindings and timeouts of hubs.';

CREATE OR REPLACE FUNCTION reconciler.level_of(OUT function_name text, OUT level text) RETURNS SETOF record
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  VALUES
    -- looks
    ('stuck_sessions', 'viewer'), ('explain_session', 'viewer'), ('reconcile_plan', 'viewer'), ('session_coverage', 'viewer'), ('preflight', 'viewer'),
    ('reconciler_status', 'viewer'), ('reconciler_metrics', 'viewer'), ('reconciler_metrics_text', 'viewer'),
    -- acts, within what policies and brakes allow
    ('reconcile', 'operator'), ('probe_hub', 'operator'), ('pause_reconciler', 'operator'), ('unpause_reconciler', 'operator'),
    ('hold_session', 'operator'), ('release_session', 'operator'), ('retry_session', 'operator'),
    ('request_termination', 'operator'), ('undo_event', 'operator'), ('undo_pass', 'operator'),
    -- sets up, and acts past policies and brakes
    ('attach_sessions', 'admin'), ('detach_sessions', 'admin'), ('create_control_plane', 'admin'), ('set_hub', 'admin'),
    ('set_mode', 'admin'), ('reset_brake', 'admin'), ('force_terminate_session', 'admin'), ('confirm_identity', 'admin'),
    ('stop_worker', 'admin'),
    -- says what it knows of agents
    ('agent_connected', 'evidence'), ('agent_disconnected', 'evidence'),
    -- the extension's owner only
    ('reconciler_grant', 'owner'), ('reconciler_revoke', 'owner'),
    ('reconciler.level_of', 'owner'), ('reconciler.granted_functions', 'owner'), ('reconciler.grantee', 'owner'), ('reconciler.grant_tables', 'owner'),
    ('reconciler.event_is_append_only', 'owner'), ('reconciler.configuration_changed', 'owner'), ('reconciler.own_change', 'owner'), ('reconciler.refuse_credentials_in_urls', 'owner'),
    ('reconciler.check_row', 'owner'), ('reconciler.check_terminal_states', 'owner'),
    ('reconciler.clock', 'owner'), ('reconciler.acting_role', 'owner'), ('reconciler.library_version', 'owner'),
    ('reconciler.one_binding', 'owner'), ('reconciler.bindings', 'owner'), ('reconciler.check_binding', 'owner'),
    ('reconciler.change_binding', 'owner'), ('reconciler.session_key', 'owner'), ('reconciler.begin_episode', 'owner'),
    ('reconciler.wake_worker', 'owner'), ('reconciler.request_worker', 'owner'), ('reconciler.worker_pid', 'owner'),
    ('reconciler.server_identity', 'owner'), ('reconciler.armed_here', 'owner'), ('reconciler.refuse_copy', 'owner'), ('reconciler.required', 'owner'), ('reconciler.required_reason', 'owner'),
    ('reconciler.note', 'owner'), ('reconciler.existing_session', 'owner')
$$;
COMMENT ON FUNCTION reconciler.level_of() IS
  'Level of every function of the extension: viewer, operator, admin, evidence, or owner for those that nobody is granted. Names of the catalog''s functions are with their schema.';

CREATE OR REPLACE FUNCTION reconciler_revoke(role text, level text) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  grantee text := reconciler.grantee(role);
  callable regprocedure;
  had boolean;
BEGIN
  SELECT EXISTS (SELECT FROM pg_proc AS p, aclexplode(p.proacl) AS a(grantor, holder)
                  WHERE p.oid IN (SELECT reconciler.granted_functions(level, true)) AND a.holder = grantee::regrole) INTO had;
  FOR callable IN SELECT reconciler.granted_functions(level, true) LOOP
    EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM %s CASCADE', callable, grantee);
  END LOOP;
  PERFORM reconciler.grant_tables(grantee, level, false);
  IF level = 'viewer' THEN
    EXECUTE format('REVOKE USAGE ON SCHEMA reconciler FROM %s CASCADE', grantee);
  END IF;
  RETURN format(CASE WHEN had THEN '%s is not %s any more' ELSE '%s was not %s' END, grantee, level);
END $$;
COMMENT ON FUNCTION reconciler_revoke(text, text) IS
  'Takes a level from a role, and the levels that contain it: without admin an admin is an operator still, without viewer it is nothing. USAGE on the schema of the functions stays. Only the extension''s owner. Errors: no such level (22023), no such role (42704).';

-- It has one column more: those who might call it may call the new one.
DO $$ BEGIN
  PERFORM set_config('reconciler_update.acl', (SELECT p.proacl::text FROM pg_proc AS p WHERE p.oid = '@extschema@.reconciler_status()'::regprocedure), true);
END $$;
DROP FUNCTION reconciler_status();
CREATE FUNCTION reconciler_status()
  RETURNS TABLE (table_name text, mode text, mode_reason text, worker_pid integer, last_pass_at timestamptz, last_pass_took interval,
                 last_scanned bigint, last_acted bigint, last_error text, next_wake_up timestamptz, stuck bigint, stuck_by_state jsonb,
                 held bigint, quarantined bigint, brake_tripped_at timestamptz, brake_why text, brake_due bigint, brake_waiting text[],
                 brake_details jsonb, brake_allowance bigint, brake_used bigint, brake_budget bigint, brake_left bigint, paused_at timestamptz, paused_by text,
                 pause_reason text, pause_everything boolean, hub text, hub_state text, hub_unknown_since timestamptz, hub_instance text,
                 identity_confirmed boolean, safe_mode_since timestamptz, library_version text, extension_version text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
  WITH here AS MATERIALIZED (
    SELECT reconciler.clock() AS at, reconciler.worker_pid() AS worker, reconciler.library_version() AS library,
           (SELECT e.extversion FROM pg_extension AS e WHERE e.extname = 'session_reconciler') AS extension,
           coalesce(current_setting('session_reconciler.interval', true)::interval, '60 s') AS longest_sleep
  )
  SELECT format('%I.%I', b.schema_name, b.table_name), b.mode, b.mode_reason, h.worker,
         s.last_pass_at, s.last_pass_took, s.last_scanned, s.last_acted, coalesce(s.last_error, ''),
         CASE WHEN h.worker IS NOT NULL AND b.mode IN ('observe', 'enforce')
              THEN greatest(least(s.next_due, s.last_pass_at + s.last_pass_took + h.longest_sleep), s.no_pass_before) END,
         (SELECT coalesce(sum(n.value::bigint), 0)::bigint FROM jsonb_each_text(s.stuck) AS n), coalesce(s.stuck, '{}'),
         (SELECT count(*) FROM reconciler.hold AS x WHERE x.binding_id = b.binding_id AND x.until > h.at),
         (SELECT count(*) FROM reconciler.episode AS e WHERE e.binding_id = b.binding_id AND e.quarantined IS NOT NULL),
         k.tripped, nullif(CASE WHEN k.tripped IS NULL THEN k.slowed ELSE k.tripped_why END, ''), CASE WHEN k.tripped IS NOT NULL THEN k.tripped_due END,
         CASE WHEN k.tripped IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(v.evidence->'samples')) END,
         CASE WHEN k.tripped IS NOT NULL THEN v.evidence - 'samples' END,
         coalesce(k.allowance, 0), w.used, b.brake_floor::bigint,
         CASE WHEN k.tripped IS NULL THEN greatest(b.brake_floor - w.used, 0) ELSE k.allowance END,
         b.paused_at, b.paused_by, b.pause_reason, b.pause_everything,
         b.hub, CASE WHEN b.hub IS NULL THEN 'none' WHEN s.hub_unauthorized THEN 'auth_failed' WHEN s.hub_up IS NULL THEN 'never_asked'
                     WHEN s.hub_up THEN 'up' ELSE 'unknown' END,
         s.hub_unknown_since,
         (SELECT nullif(i.instance, '') FROM reconciler.hub_instance AS i WHERE i.hub = b.hub ORDER BY i.last_answer DESC LIMIT 1),
         reconciler.armed_here(b.binding_id), s.safe_mode_since, h.library, h.extension
  FROM reconciler.binding AS b CROSS JOIN here AS h
  LEFT JOIN reconciler.binding_state AS s USING (binding_id)
  LEFT JOIN reconciler.brake AS k USING (binding_id)
  LEFT JOIN LATERAL (SELECT v.evidence FROM reconciler.event AS v
                      WHERE v.at = k.tripped AND v.kind = 'brake_tripped' AND (v.schema_name, v.table_name) = (b.schema_name, b.table_name)
                      ORDER BY v.id DESC LIMIT 1) AS v ON true
  -- As Window::total() in src/core/brake.cpp: the buckets of the last 10 minutes.
  CROSS JOIN LATERAL (SELECT coalesce(sum(u.n), 0)::bigint AS used FROM unnest(k.inferred) WITH ORDINALITY AS u(n, i)
                      WHERE k.minute - (u.i - 1) > floor(extract(epoch FROM h.at) / 60) - 10) AS w
  ORDER BY b.binding_id
$$;
REVOKE ALL ON FUNCTION reconciler_status() FROM PUBLIC;
COMMENT ON FUNCTION reconciler_status() IS
  'One row per attached table: what the last pass did and when the next comes, what is stuck, brake, pause, hub and identity. worker_pid: NULL: no worker runs here, and next_wake_up is NULL. brake_why: why it is tripped, or why inferred forces are slowed down. brake_waiting: ten of the sessions that it holds back. brake_details: how many, by state, reason and agent, and how to go on. brake_budget and brake_left: inferred forces per 10 minutes, at least; the share of large tables comes on top and is counted when it matters. hub_state: up, unknown (no proper answer since hub_unknown_since), auth_failed, never_asked, none. identity_confirmed: false in a copy, until confirm_identity().';

DO $$
DECLARE
  role text;
BEGIN
  FOR role IN SELECT a.grantee::regrole::text FROM aclexplode(current_setting('reconciler_update.acl')::aclitem[]) AS a WHERE a.grantee <> a.grantor LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION @extschema@.reconciler_status() TO %s', role);
  END LOOP;
  FOR role IN SELECT a.grantee::regrole::text FROM pg_proc AS p, aclexplode(p.proacl) AS a
               WHERE p.oid = '@extschema@.stuck_sessions(regclass)'::regprocedure AND a.grantee <> a.grantor LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION @extschema@.session_coverage(regclass) TO %s', role);
  END LOOP;
  FOR role IN SELECT a.grantee::regrole::text FROM pg_attribute AS c, aclexplode(c.attacl) AS a
               WHERE c.attrelid = 'reconciler.binding'::regclass AND c.attname = 'time_zone' AND a.privilege_type = 'UPDATE' LOOP
    EXECUTE format('GRANT UPDATE (sign_fresh_for, sign_ceiling, replacement_grace, brake_pace) ON TABLE reconciler.binding TO %s', role);
  END LOOP;
END $$;
