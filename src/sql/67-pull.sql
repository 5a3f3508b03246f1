-- Agents, or hubs, that can't be called fetch their commands here and answer here: hubs of profile pull.

CREATE TABLE reconciler.command (
  command_id           text PRIMARY KEY,
  binding_id           integer NOT NULL REFERENCES reconciler.binding ON DELETE CASCADE,
  session_id           text NOT NULL,
  agent_id             text NOT NULL,
  action               text NOT NULL,
  platform_resource_id text,
  attempt              integer NOT NULL,
  reason               text NOT NULL,
  payload              jsonb,
  session_state        text NOT NULL,
  session_agent        text,
  session_created      text,
  owed                 boolean NOT NULL,
  created              timestamptz NOT NULL,
  not_before           timestamptz NOT NULL,
  state                text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'leased', 'accepted', 'completed', 'failed', 'withdrawn')),
  leased_until         timestamptz,
  leased_count         integer NOT NULL DEFAULT 0,
  reported             text CHECK (reported IN ('accepted', 'completed', 'failed')),
  detail               text NOT NULL DEFAULT '',
  finished_at          timestamptz,
  CHECK ((finished_at IS NULL) = (state IN ('queued', 'leased', 'accepted')))
) WITH (fillfactor = 70);
CREATE INDEX command_of_agent ON reconciler.command (agent_id, created) WHERE finished_at IS NULL;
-- A session has one command at a time, whoever queues it.
CREATE UNIQUE INDEX command_open ON reconciler.command (binding_id, session_id) WHERE finished_at IS NULL;
CREATE INDEX command_finished ON reconciler.command (finished_at) WHERE finished_at IS NOT NULL;
COMMENT ON TABLE reconciler.command IS 'Commands for agents that fetch them with next_commands(). Those that have ended leave by session_reconciler.event_retention. Not dumped.';
COMMENT ON COLUMN reconciler.command.command_id IS 'Our idempotency key: a command that is handed out again has the same one.';
COMMENT ON COLUMN reconciler.command.binding_id IS 'Whose session.';
COMMENT ON COLUMN reconciler.command.session_id IS 'Key of the session as text.';
COMMENT ON COLUMN reconciler.command.agent_id IS 'Agent that fetches it.';
COMMENT ON COLUMN reconciler.command.action IS 'stop_session, start_session, ….';
COMMENT ON COLUMN reconciler.command.platform_resource_id IS 'Runtime id of the session when it was queued; NULL: none, or none is mapped.';
COMMENT ON COLUMN reconciler.command.attempt IS 'Which try of the session''s stay in its state.';
COMMENT ON COLUMN reconciler.command.reason IS 'Why, for people.';
COMMENT ON COLUMN reconciler.command.payload IS 'A start: what the application sent with it; NULL: not known.';
COMMENT ON COLUMN reconciler.command.session_state IS 'State of the session when it was queued.';
COMMENT ON COLUMN reconciler.command.session_agent IS 'Agent of the session when it was queued.';
COMMENT ON COLUMN reconciler.command.session_created IS 'Creation time of the session as text, where mapped.';
COMMENT ON COLUMN reconciler.command.owed IS 'A stop for a session that was closed while its agent was away.';
COMMENT ON COLUMN reconciler.command.created IS 'When it was queued.';
COMMENT ON COLUMN reconciler.command.not_before IS 'Not handed out before: commands to one agent have a distance.';
COMMENT ON COLUMN reconciler.command.state IS 'queued; leased: handed out; accepted, completed, failed: so its agent said; withdrawn: detail says why.';
COMMENT ON COLUMN reconciler.command.leased_until IS 'Handed out: again from then on, if nothing is heard of it.';
COMMENT ON COLUMN reconciler.command.leased_count IS 'How often it was handed out.';
COMMENT ON COLUMN reconciler.command.reported IS 'What its agent said last, since it was handed out last.';
COMMENT ON COLUMN reconciler.command.detail IS 'Its agent''s words, or why it was withdrawn.';
COMMENT ON COLUMN reconciler.command.finished_at IS 'When it was completed, failed or withdrawn; NULL: it is open.';

CREATE FUNCTION next_commands(agent_id text, max integer DEFAULT 10)
  RETURNS TABLE (command_id text, session_id text, table_name text, action text, platform_resource_id text, attempt integer, reason text, payload jsonb, leased_until timestamptz)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_next_commands';
REVOKE ALL ON FUNCTION next_commands(text, integer) FROM PUBLIC;
COMMENT ON FUNCTION next_commands(text, integer) IS
  'For an agent, or its hub, that fetches: leases its open commands to it, oldest first, and is its heartbeat. A lease lasts a fifth of the policy''s command_timeout (a minute by default), after report_command(…, ''accepted'') the whole of it; then the command is handed out again with the same command_id, so a known one is to be ignored or answered again. What has been overtaken (the session ended, has another agent, is held) is withdrawn instead. agent_id: as the sessions table names it. max: 1 to 1000. Errors: blank agent_id, max out of range (22023), an agent that is in no pool: register_agent() (P0002).';

CREATE FUNCTION report_command(command_id text, outcome text, detail text DEFAULT '') RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_report_command';
REVOKE ALL ON FUNCTION report_command(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION report_command(text, text, text) IS
  'Says what became of a command of next_commands(). outcome: accepted (it is being worked on), completed or failed. detail: for people. Returns recorded; already recorded, for what was said before; or late, for what can''t count: the command is unknown or was withdrawn, said to have ended otherwise, or its session has ended or has another agent by now. That is noted as event late_report and changes nothing. The worker looks at once at what has ended. Errors: blank command_id, another outcome (22023).';
