-- From 0.5.0 to 0.6.0. What is new in tables stands at their end in the install script too: both ways lead to the same.
\echo Use "ALTER EXTENSION session_reconciler UPDATE" to load this file. \quit

DO $$
BEGIN
  IF string_to_array(reconciler.library_version(), '.')::integer[] < '{0,6,0}' THEN
    RAISE EXCEPTION 'the library in memory is of version %, this is the upgrade to 0.6.0', reconciler.library_version() USING ERRCODE = 'feature_not_supported',
      HINT = 'Restart the server, or connect again where it does not preload the library; then repeat ALTER EXTENSION session_reconciler UPDATE.';
  END IF;
END $$;

-- Sessions that are judged by their runtime, and evidence that is pushed.

ALTER TABLE reconciler.policy ADD COLUMN judged_by text NOT NULL DEFAULT 'agent' CHECK (judged_by IN ('agent', 'runtime', 'row'));
ALTER TABLE reconciler.policy ADD CONSTRAINT sent_where_agents_judge CHECK (judged_by = 'agent' OR retry_action IS NULL);
COMMENT ON COLUMN reconciler.policy.judged_by IS 'Whose absence closes: agent; runtime: of what the session runs in, whatever its agent does; row: nobody is asked, what stands in the database is proof enough.';
COMMENT ON CONSTRAINT sent_where_agents_judge ON reconciler.policy IS 'A command goes to an agent that is there: let judged_by be agent, or retry_action NULL.';
ALTER TABLE reconciler.binding ADD COLUMN backend text CHECK (backend <> '');
COMMENT ON COLUMN reconciler.binding.backend IS 'Backend in which the runtimes of its sessions are, where no column says so; NULL: in any that is declared.';
COMMENT ON COLUMN reconciler.binding.columns IS 'Which column is what: key, state, agent, runtime, created, entered, updated, reason, closed, pool, platform, region, backend, route and signs (lists).';
ALTER TABLE reconciler.agent_evidence ADD COLUMN stated_at timestamptz;
COMMENT ON COLUMN reconciler.agent_evidence.stated_at IS 'When it was so by the clock of who pushed it; NULL: not pushed.';
COMMENT ON COLUMN reconciler.agent_evidence.source IS 'hub, heartbeat, event, or who pushed it.';

CREATE TABLE reconciler.backend (
  name           text PRIMARY KEY CHECK (name <> ''),
  supports_pause boolean NOT NULL
);
COMMENT ON TABLE reconciler.backend IS 'Where runtimes are, and what that can do. Written by declare_backend().';
COMMENT ON COLUMN reconciler.backend.name IS 'As the sessions'' backend column, a binding or who pushes evidence names it.';
COMMENT ON COLUMN reconciler.backend.supports_pause IS 'A runtime there can be suspended and come back: such a session is resumed before it is given a new one.';
SELECT pg_catalog.pg_extension_config_dump('reconciler.backend', '');
CREATE TRIGGER noted AFTER INSERT OR DELETE ON reconciler.backend FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.backend FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.backend FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();

CREATE TABLE reconciler.evidence_source (
  name    text PRIMARY KEY CHECK (name <> ''),
  max_age interval CHECK (max_age BETWEEN '1 s' AND '7 days'),
  backend text CHECK (backend <> '')
);
COMMENT ON TABLE reconciler.evidence_source IS 'What is to be known of those who push evidence. One that is not named here may push all the same.';
COMMENT ON COLUMN reconciler.evidence_source.name IS 'Source as report_evidence() has it: the role, unless it says otherwise; with a scope also role/scope, which comes first.';
COMMENT ON COLUMN reconciler.evidence_source.max_age IS 'What it says is worth nothing when it is older (1 s to 7 days): twice the distance at which it pushes, at least. NULL: two intervals.';
COMMENT ON COLUMN reconciler.evidence_source.backend IS 'Backend of which it speaks, where a report does not name one; NULL: of none by name.';
SELECT pg_catalog.pg_extension_config_dump('reconciler.evidence_source', '');
CREATE TRIGGER noted AFTER INSERT OR DELETE ON reconciler.evidence_source FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.evidence_source FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.evidence_source FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();

CREATE TABLE reconciler.runtime_evidence (
  binding_id        integer NOT NULL REFERENCES reconciler.binding ON DELETE CASCADE,
  runtime_id        text NOT NULL,
  source            text NOT NULL,
  backend           text NOT NULL,
  presence          text NOT NULL CHECK (presence IN ('present', 'gone', 'unknown')),
  observed_at       timestamptz NOT NULL,
  stated_at         timestamptz,
  unauthorized      boolean NOT NULL,
  detail            text NOT NULL,
  gone_time         interval NOT NULL,
  gone_observations integer NOT NULL,
  last_gone_counted timestamptz,
  unknown_since     timestamptz,
  last_present      timestamptz,
  PRIMARY KEY (binding_id, runtime_id, source)
) WITH (fillfactor = 50);
COMMENT ON TABLE reconciler.runtime_evidence IS 'What each source says of each runtime that sessions are judged by; gone time is accumulated here, for each source by itself.';
COMMENT ON COLUMN reconciler.runtime_evidence.binding_id IS 'For which binding.';
COMMENT ON COLUMN reconciler.runtime_evidence.runtime_id IS 'The runtime, as the sessions'' runtime column names it.';
COMMENT ON COLUMN reconciler.runtime_evidence.source IS 'hub, or who pushed it: a role, or role/scope of an inventory.';
COMMENT ON COLUMN reconciler.runtime_evidence.backend IS 'Backend that it speaks of; empty: none by name.';
COMMENT ON COLUMN reconciler.runtime_evidence.presence IS 'present, gone or unknown when last heard.';
COMMENT ON COLUMN reconciler.runtime_evidence.observed_at IS 'When that was asked or received: it ages from here.';
COMMENT ON COLUMN reconciler.runtime_evidence.stated_at IS 'When it was so by the clock of its source; NULL: not pushed.';
COMMENT ON COLUMN reconciler.runtime_evidence.unauthorized IS 'The hub refused our credential.';
COMMENT ON COLUMN reconciler.runtime_evidence.detail IS 'One sentence about it.';
COMMENT ON COLUMN reconciler.runtime_evidence.gone_time IS 'Accumulated time gone.';
COMMENT ON COLUMN reconciler.runtime_evidence.gone_observations IS 'Words that said gone, each observation_spacing apart.';
COMMENT ON COLUMN reconciler.runtime_evidence.last_gone_counted IS 'The last of them.';
COMMENT ON COLUMN reconciler.runtime_evidence.unknown_since IS 'Unknown since.';
COMMENT ON COLUMN reconciler.runtime_evidence.last_present IS 'Last seen present.';

CREATE TABLE reconciler.inventory (
  inventory_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source       text NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('agent', 'session', 'resource')),
  scope        text NOT NULL,
  as_of        timestamptz NOT NULL,
  received_at  timestamptz NOT NULL,
  complete     boolean NOT NULL,
  state        text NOT NULL CHECK (state IN ('accepted', 'rejected', 'incomplete')),
  why          text NOT NULL,
  listed       integer NOT NULL,
  subjects     text[] NOT NULL,
  UNIQUE (source, kind, scope, state)
);
COMMENT ON TABLE reconciler.inventory IS 'The last list of all that is there that report_inventory() took, of each source, kind, scope and state.';
COMMENT ON COLUMN reconciler.inventory.inventory_id IS 'Number that accept_inventory() takes.';
COMMENT ON COLUMN reconciler.inventory.source IS 'The role that reported it.';
COMMENT ON COLUMN reconciler.inventory.kind IS 'What its subjects are: agent, session (keys) or resource (ids of runtimes).';
COMMENT ON COLUMN reconciler.inventory.scope IS 'Of what it is all: a cluster, a namespace; empty: of everything.';
COMMENT ON COLUMN reconciler.inventory.as_of IS 'When it was so, by the clock of its source.';
COMMENT ON COLUMN reconciler.inventory.received_at IS 'When it came.';
COMMENT ON COLUMN reconciler.inventory.complete IS 'What it does not name is not there.';
COMMENT ON COLUMN reconciler.inventory.state IS 'accepted; rejected: it proves nothing before accept_inventory(); incomplete: what it names is there, and it says no more.';
COMMENT ON COLUMN reconciler.inventory.why IS 'Why it is not accepted; empty: it is.';
COMMENT ON COLUMN reconciler.inventory.listed IS 'How many subjects it names.';
COMMENT ON COLUMN reconciler.inventory.subjects IS 'They, where it is complete: what the next one is measured by.';

CREATE FUNCTION report_evidence(kind text, subject text, verdict text, detail jsonb DEFAULT '{}', observed_at timestamptz DEFAULT now(), source text DEFAULT current_user, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_report_evidence';
REVOKE ALL ON FUNCTION report_evidence(text, text, text, jsonb, timestamptz, text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION report_evidence(text, text, text, jsonb, timestamptz, text, regclass) IS
  'Says what somebody sees of an agent, of a session (its key: worth as much as a word about the runtime that its row names now) or of a resource (a runtime''s id): one look of that source. kind: agent, session, resource. verdict: present, gone, unknown. detail: for people; backend names the one that is spoken of, platform_resource_id the runtime of a session. observed_at: when it was so by the clock of the source; it orders the reports of that source and nothing else, age counts from receipt. source: who says so; reconciler.evidence_source may know more of it. sessions: the attached table; NULL: for agents and resources all, for a session the only one. Returns recorded; ignored: not newer than the last word of that source, or of another runtime; unknown_session; no_runtime. Errors: no such kind or verdict, blank subject or source, a source that is ours (22023).';

CREATE FUNCTION report_evidence(batch jsonb) RETURNS TABLE (outcome text, reports bigint)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_report_evidence_batch';
REVOKE ALL ON FUNCTION report_evidence(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION report_evidence(jsonb) IS
  'Says many things at once: an array of objects with the members kind, subject, verdict, and as far as needed detail, observed_at, source, sessions (a table''s name). All or none. Returns how many reports had which outcome. Error: an element that can''t be taken, with its number (22023).';

CREATE FUNCTION report_inventory(kind text, scope text, as_of timestamptz, complete boolean, subjects jsonb) RETURNS TABLE (inventory_id bigint, outcome text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_report_inventory';
REVOKE ALL ON FUNCTION report_inventory(text, text, timestamptz, boolean, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION report_inventory(text, text, timestamptz, boolean, jsonb) IS
  'Says that this list is all there is in a scope as of a time: what it names is present, what it does not name is gone. kind: agent, session (keys), resource (ids of runtimes). scope: a cluster, a namespace; empty: everything. The source is the role that calls. complete: false where anything may be missing; what is not named is not gone then. Returns accepted; incomplete; ignored: it was taken already; rejected: it is empty, older than the last accepted one, or lacks more than half of that. A rejected one makes all of it unknown and preflight() fail, until accept_inventory() or one that is accepted. Error: no such kind, subjects that are no array of strings (22023).';

CREATE FUNCTION accept_inventory(inventory_id bigint, reason text) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_accept_inventory';
REVOKE ALL ON FUNCTION accept_inventory(bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION accept_inventory(bigint, text) IS
  'Says that a rejected inventory is right: what its source says next is measured by it. Returns accepted…, or already accepted. Errors: replaced by a newer one meanwhile (P0002), not a complete one (55000), no reason (22023).';

CREATE FUNCTION declare_backend(name text, supports_pause boolean, options jsonb DEFAULT '{}') RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_declare_backend';
REVOKE ALL ON FUNCTION declare_backend(text, boolean, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION declare_backend(text, boolean, jsonb) IS
  'Says where runtimes can be, and whether one there can be suspended and come back. Which backend a session''s runtime is in says the table''s backend column, else the binding''s backend; else every backend that is declared has to say that it is gone. options: sources (names of who pushes evidence of it). What a backend can do never replaces evidence. Returns declared, or changed. Errors: blank name, unknown option (22023).';

CREATE TABLE reconciler.evidence_inbox (
  kind        text NOT NULL,
  subject     text NOT NULL,
  verdict     text NOT NULL,
  detail      jsonb NOT NULL DEFAULT '{}',
  observed_at timestamptz NOT NULL DEFAULT now(),
  source      text NOT NULL DEFAULT current_user,
  sessions    text
);
COMMENT ON TABLE reconciler.evidence_inbox IS 'COPY or INSERT into it is report_evidence() for each row, all or none; it is empty again then.';
COMMENT ON COLUMN reconciler.evidence_inbox.kind IS 'agent, session or resource.';
COMMENT ON COLUMN reconciler.evidence_inbox.subject IS 'An agent''s id, a session''s key, or the id of a runtime.';
COMMENT ON COLUMN reconciler.evidence_inbox.verdict IS 'present, gone or unknown.';
COMMENT ON COLUMN reconciler.evidence_inbox.detail IS 'As report_evidence() takes it.';
COMMENT ON COLUMN reconciler.evidence_inbox.observed_at IS 'When it was so, by the clock of the source.';
COMMENT ON COLUMN reconciler.evidence_inbox.source IS 'Who says so.';
COMMENT ON COLUMN reconciler.evidence_inbox.sessions IS 'The attached table; NULL: as for report_evidence().';

CREATE FUNCTION reconciler.take_inbox() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM @extschema@.report_evidence((SELECT coalesce(jsonb_agg(to_jsonb(n)), '[]') FROM arrived AS n));
  DELETE FROM reconciler.evidence_inbox;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.take_inbox() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.take_inbox() IS 'Reports what was written to reconciler.evidence_inbox, and empties it.';
CREATE TRIGGER taken AFTER INSERT ON reconciler.evidence_inbox REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION reconciler.take_inbox();

CREATE OR REPLACE FUNCTION reconciler.level_of(OUT function_name text, OUT level text) RETURNS SETOF record
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  VALUES
    -- looks
    ('stuck_sessions', 'viewer'), ('explain_session', 'viewer'), ('reconcile_plan', 'viewer'), ('session_coverage', 'viewer'), ('preflight', 'viewer'),
    ('reconciler_status', 'viewer'), ('reconciler_metrics', 'viewer'), ('reconciler_metrics_text', 'viewer'), ('agent_pools', 'viewer'), ('pool_agents', 'viewer'),
    -- acts, within what policies and brakes allow
    ('reconcile', 'operator'), ('probe_hub', 'operator'), ('pause_reconciler', 'operator'), ('unpause_reconciler', 'operator'),
    ('hold_session', 'operator'), ('release_session', 'operator'), ('retry_session', 'operator'),
    ('request_termination', 'operator'), ('undo_event', 'operator'), ('accept_inventory', 'operator'), ('undo_pass', 'operator'), ('assign_session', 'operator'), ('drain_agent', 'operator'), ('undrain_agent', 'operator'), ('rebalance_pool', 'operator'),
    -- sets up, and acts past policies and brakes
    ('attach_sessions', 'admin'), ('detach_sessions', 'admin'), ('create_control_plane', 'admin'), ('set_hub', 'admin'),
    ('set_mode', 'admin'), ('reset_brake', 'admin'), ('force_terminate_session', 'admin'), ('confirm_identity', 'admin'),
    ('stop_worker', 'admin'), ('create_agent_pool', 'admin'), ('declare_backend', 'admin'), ('migrate_to_pools', 'admin'),
    -- says what it knows of agents
    ('agent_connected', 'evidence'), ('agent_disconnected', 'evidence'), ('register_agent', 'evidence'), ('agent_heartbeat', 'evidence'),
    ('report_evidence', 'evidence'), ('report_inventory', 'evidence'), ('report_resource', 'evidence'), ('next_commands', 'evidence'), ('report_command', 'evidence'),
    -- the extension's owner only
    ('reconciler_grant', 'owner'), ('reconciler_revoke', 'owner'),
    ('reconciler.level_of', 'owner'), ('reconciler.granted_functions', 'owner'), ('reconciler.grantee', 'owner'), ('reconciler.grant_tables', 'owner'),
    ('reconciler.event_is_append_only', 'owner'), ('reconciler.configuration_changed', 'owner'), ('reconciler.own_change', 'owner'), ('reconciler.refuse_credentials_in_urls', 'owner'),
    ('reconciler.check_row', 'owner'), ('reconciler.check_terminal_states', 'owner'), ('reconciler.trust_dump', 'owner'), ('reconciler.check_mapping', 'owner'), ('reconciler.check_hub_profile', 'owner'),
    ('reconciler.plain_text', 'owner'), ('reconciler.closing', 'owner'), ('reconciler.guard', 'owner'), ('reconciler.guard_terminal', 'owner'), ('reconciler.set_guard', 'owner'), ('reconciler.guard_changed', 'owner'),
    ('reconciler.clock', 'owner'), ('reconciler.acting_role', 'owner'), ('reconciler.library_version', 'owner'),
    ('reconciler.one_binding', 'owner'), ('reconciler.bindings', 'owner'), ('reconciler.check_binding', 'owner'), ('reconciler.check_profile', 'owner'),
    ('reconciler.change_binding', 'owner'), ('reconciler.session_key', 'owner'), ('reconciler.begin_episode', 'owner'),
    ('reconciler.wake_worker', 'owner'), ('reconciler.request_worker', 'owner'), ('reconciler.worker_pid', 'owner'),
    ('reconciler.server_identity', 'owner'), ('reconciler.armed_here', 'owner'), ('reconciler.refuse_copy', 'owner'), ('reconciler.required', 'owner'), ('reconciler.required_reason', 'owner'),
    ('reconciler.note', 'owner'), ('reconciler.take_inbox', 'owner'), ('reconciler.existing_session', 'owner')
$$;
COMMENT ON FUNCTION reconciler.level_of() IS
  'Level of every function of the extension: viewer, operator, admin, evidence, or owner for those that nobody is granted. Names of the catalog''s functions are with their schema.';

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
  IF level = 'evidence' THEN
    EXECUTE format(verb, 'INSERT', 'TABLE reconciler.evidence_inbox', grantee);
  END IF;
  IF level = 'admin' OR (NOT give AND level IN ('viewer', 'operator')) THEN
    EXECUTE format(verb, 'INSERT, UPDATE, DELETE', 'TABLE reconciler.policy, reconciler.backend, reconciler.evidence_source', grantee);
    EXECUTE format(verb, 'UPDATE (time_zone, batch_size, observation_spacing, hub_grace, heartbeat_fresh, start_grace, instance_grace,'
                         ' promotion_grace, sign_fresh_for, sign_ceiling, replacement_grace, brake_floor, brake_share, brake_pace, user_rate_floor, user_rate_share, guard_terminal, pools, backend)', 'TABLE reconciler.binding', grantee);
    EXECUTE format(verb, 'UPDATE (connect_timeout, total_timeout, command_spacing, max_in_flight)', 'TABLE reconciler.hub', grantee);
  END IF;
END $$;
COMMENT ON FUNCTION reconciler.grant_tables(text, text, boolean) IS 'The tables of a level: SELECT on all for viewer and above; for admin also policies, backends, sources of evidence, limits of bindings and timeouts of hubs; for evidence INSERT into the inbox.';

UPDATE reconciler.hub_profile SET definition = $profile${
  "description": "The project's own protocol: authoritative answers, idempotency keys, paged lists.",
  "authoritative": true,
  "idempotent": true,

  "hub": {
    "instance": "/hub/instance_id",
    "scope": "/hub/scope",
    "scopes": {"fleet": true, "instance": false},
    "complete": "/complete"
  },
  "agent": {
    "id": "/id",
    "status": "/status",
    "statuses": {"connected": "connected", "draining": "draining", "disconnected": "disconnected"},
    "incarnation": "/incarnation",
    "pool": "/pool",
    "platform": "/platform",
    "region": "/region",
    "capacity": "/capacity",
    "sessions": "/sessions"
  },

  "list_agents": {
    "method": "GET", "path": "/v1/agents",
    "agents": "/agents", "next": "/next", "next_parameter": "next",
    "answers": [{"status": 200, "means": "agents"}]
  },
  "ask_agent": {
    "method": "GET", "path": "/v1/agents/{agent_id}",
    "answers": [
      {"status": 200, "means": "agent"},
      {"status": 404, "where": {"/error/code": "agent_not_found"}, "means": "unknown_agent"}
    ]
  },
  "send": {
    "method": "POST", "path": "/v1/agents/{agent_id}/commands",
    "headers": {"Idempotency-Key": "{command_id}"},
    "body": {
      "command_id": "{command_id}",
      "action": "{action}",
      "session_id": "{session_id}",
      "platform_resource_id": "{platform_resource_id}",
      "attempt": "{attempt}",
      "reason": "{reason}"
    },
    "hub_command_id": "/command_id",
    "detail": "/error/code",
    "answers": [
      {"status": 202, "where": {"/command_id": "{command_id}", "/status": "accepted"}, "means": "accepted"},
      {"status": 404, "where": {"/error/code": "agent_not_found"}, "means": "unknown_agent"},
      {"status": 409, "where": {"/error/code": "agent_not_connected"}, "means": "not_connected"},
      {"status": 410, "where": {"/error/code": "session_gone"}, "means": "session_gone"},
      {"status": [401, 403], "means": "unauthorized"},
      {"status": 429, "means": "busy"},
      {"status": 503, "retry_after": true, "means": "busy"},
      {"status": "4xx", "where": {"/error/code": {"is": "string"}}, "means": "rejected"}
    ]
  },
  "ask_command": {
    "method": "GET", "path": "/v1/commands/{command_id}",
    "detail": "/error",
    "answers": [
      {"status": 200, "where": {"/status": "accepted"}, "means": "open"},
      {"status": 200, "where": {"/status": "delivered"}, "means": "open"},
      {"status": 200, "where": {"/status": "completed"}, "means": "completed"},
      {"status": 200, "where": {"/status": "failed"}, "means": "failed"}
    ]
  },
  "ask_session": {
    "method": "GET", "path": "/v1/sessions/{session_id}",
    "platform_resource_id": "/platform_resource_id",
    "answers": [
      {"status": 200, "where": {"/status": "running"}, "means": "running"},
      {"status": 200, "where": {"/status": "suspended"}, "means": "suspended"},
      {"status": 200, "where": {"/status": "gone"}, "means": "gone"},
      {"status": 404, "where": {"/error/code": "session_not_found"}, "means": "unclear"}
    ]
  }
}
$profile$ WHERE name = 'standard';

INSERT INTO reconciler.hub_profile (name, definition, built_in) VALUES ('centaur', $profile${
  "description": "centaur's Python API, which knows of sessions alone. Asked about one whose runtime is gone it writes state gone into its row itself.",
  "authoritative": false,
  "idempotent": false,

  "ask_session": {
    "method": "GET", "path": "/agent/status?key={session_id}",
    "platform_resource_id": "/active_assignment/runtime_id",
    "answers": [
      {"status": 200, "where": {"/status": "running"}, "means": "running"},
      {"status": 200, "where": {"/status": "created"}, "means": "running"},
      {"status": 200, "where": {"/status": "suspended"}, "means": "suspended"},
      {"status": 200, "where": {"/status": "gone"}, "means": "gone"},
      {"status": 200, "where": {"/status": "stopped"}, "means": "unclear"},
      {"status": 200, "where": {"/status": "not_found"}, "means": "unclear"}
    ]
  }
}
$profile$, true) ON CONFLICT DO NOTHING;
