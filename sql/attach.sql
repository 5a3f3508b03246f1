-- Setting up: a table is attached, its hub is named, and everything that can't work is refused with a reason.
\set SHOW_CONTEXT never
CREATE EXTENSION session_reconciler;
\pset format unaligned
\pset fieldsep ' | '
\pset footer off

-- The platform's role owns the tables; the reconciler works with its rights.
CREATE ROLE regress_platform;
CREATE SCHEMA shop AUTHORIZATION regress_platform;
SET ROLE regress_platform;
SET search_path = shop, public;

--
-- 1. A table of one's own: columns are found by their names, never assumed.
--
CREATE TABLE sessions (
  id uuid PRIMARY KEY,
  status text NOT NULL,
  agent_id text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
-- Only who was given the right may attach, and only its own tables.
SELECT * FROM attach_sessions('sessions');
RESET ROLE;
SELECT reconciler_grant('regress_platform', 'admin');
CREATE ROLE regress_other;
CREATE TABLE shop.not_theirs (id text PRIMARY KEY, state text);
ALTER TABLE shop.not_theirs OWNER TO regress_other;
SET ROLE regress_platform;
SELECT * FROM attach_sessions('not_theirs');

SELECT * FROM attach_sessions('sessions');
-- What was written.
SELECT sessions, preset, hub, mode, columns, related, terminal_states, time_zone FROM reconciler.binding;
SELECT state, enabled, stuck_after, gone_after, becomes, reason, user_requested, no_agent, retry_action, when_spent
  FROM reconciler.policy ORDER BY enabled DESC, state DESC;
SELECT kind, schema_name, table_name, actor, evidence->'columns' AS columns FROM reconciler.event;
-- Once is enough.
SELECT * FROM attach_sessions('sessions');

-- A literal finds the text form of detach_sessions(), which finds live tables; a regclass works as well.
SELECT detach_sessions('shop.sessions');
SELECT detach_sessions('shop.sessions');
SELECT item, status FROM attach_sessions('sessions') WHERE item = 'mode';
SELECT detach_sessions('sessions'::regclass);
-- A table that has vanished is forgotten by the name that it had. (In one transaction, so that the worker, which would
-- find its binding broken, sees nothing of it.)
BEGIN;
CREATE TABLE gone (id integer PRIMARY KEY, state text);
SELECT item, status, detail FROM attach_sessions('gone') WHERE item IN ('agent_column', 'entered_column');
DROP TABLE gone;
CREATE TABLE gone (id integer PRIMARY KEY, state text);
SAVEPOINT s;
SELECT * FROM attach_sessions('gone');
ROLLBACK TO s;
SELECT detach_sessions('gone');
DROP TABLE gone;
COMMIT;
SELECT kind, table_name, evidence->>'mode' AS mode, jsonb_array_length(evidence->'policies') AS policies FROM reconciler.event
  WHERE kind IN ('attached', 'detached') ORDER BY id;

--
-- 2. Options say what the names don't.
--
CREATE TYPE phase AS ENUM ('alive', 'stopping', 'ended');
CREATE TABLE workspaces (
  tenant integer NOT NULL,
  name varchar(40) NOT NULL,
  phase phase NOT NULL,
  host integer,
  since timestamp,
  PRIMARY KEY (tenant, name)
) PARTITION BY LIST (tenant);
CREATE TABLE workspaces_1 PARTITION OF workspaces FOR VALUES IN (1);
CREATE TABLE hosts (id integer PRIMARY KEY, seen timestamptz);
SELECT * FROM attach_sessions('workspaces', options => '{"state_column": "phase"}');
SELECT * FROM attach_sessions('workspaces', options => '{
  "key_column": "name", "route_columns": ["tenant"], "state_column": "phase", "agent_column": "host", "entered_column": "since",
  "time_zone": "Europe/Berlin", "batch_size": 100, "hub_grace": "3 min", "mode": "enforce",
  "policies": {"stopping": {"becomes": "ended", "user_requested": true, "no_agent": "close", "retry_action": "stop_session"}}}');
SELECT columns, terminal_states, time_zone, batch_size, hub_grace, mode FROM reconciler.binding;
SELECT detach_sessions('workspaces');
INSERT INTO workspaces VALUES (1, 'twice', 'alive');
CREATE TABLE workspaces_2 PARTITION OF workspaces FOR VALUES IN (2);
INSERT INTO workspaces VALUES (2, 'twice', 'alive');
SELECT * FROM attach_sessions('workspaces', options => '{"key_column": "name", "route_columns": ["tenant"], "state_column": "phase"}');
DROP TABLE workspaces, hosts;

--
-- 3. What can't be attached.
--
SELECT * FROM attach_sessions('sessions', 'kubernetes');
SELECT * FROM attach_sessions('sessions', options => '{"agent": "agent_id"}');
SELECT * FROM attach_sessions('sessions', options => '{"batch_size": 1e999}');
SELECT * FROM attach_sessions('sessions', options => '[]');
SELECT * FROM attach_sessions('sessions', options => '{"agent_column": 7}');
SELECT * FROM attach_sessions('sessions', options => '{"agent_column": "agent"}');
SELECT * FROM attach_sessions('sessions', options => '{"entered_column": "status"}');
SELECT * FROM attach_sessions('sessions', options => '{"key_column": "agent_id"}');
SELECT * FROM attach_sessions('sessions', options => '{"key_column": "status"}');
SELECT * FROM attach_sessions('sessions', options => '{"state_column": "created_at"}');
SELECT * FROM attach_sessions('sessions', options => '{"agents_table": "agents"}');
SELECT * FROM attach_sessions('sessions', options => '{"agents_table": "not_theirs"}');
SELECT * FROM attach_sessions('sessions', options => '{"hub": "main"}');
SELECT * FROM attach_sessions('sessions', options => '{"mode": "on"}');
SELECT * FROM attach_sessions('sessions', options => '{"time_zone": "Mars/Phobos"}');
SELECT * FROM attach_sessions('sessions', options => '{"hub_grace": "soon"}');
SELECT * FROM attach_sessions('sessions', options => '{"batch_size": 0}');
-- Policies that could not work.
SELECT * FROM attach_sessions('sessions', options => '{"policies": {"terminating": {"gone_after": "1 min"}}}');
SELECT * FROM attach_sessions('sessions', options => '{"policies": {"terminating": {"give_up": "1 min"}}}');
SELECT * FROM attach_sessions('sessions', options => '{"policies": {"terminating": {"stuck_after": "a while"}}}');
SELECT * FROM attach_sessions('sessions', options => '{"policies": {"terminating": {"max_attempts": 0}}}');
SELECT * FROM attach_sessions('sessions', options => '{"policies": {"running": {"when_spent": "close_unconfirmed"}}}');
SELECT * FROM attach_sessions('sessions', options => '{"policies": {"failed": {}}}');
ALTER TABLE sessions ADD CONSTRAINT known CHECK (status IN ('running', 'terminating', 'closed'));
SELECT * FROM attach_sessions('sessions');
ALTER TABLE sessions DROP CONSTRAINT known;
-- Tables that are none, that have no key, or whose owner is kept from seeing rows.
CREATE VIEW all_sessions AS SELECT * FROM sessions;
SELECT * FROM attach_sessions('all_sessions');
CREATE TEMPORARY TABLE passing (id integer PRIMARY KEY, state text);
SELECT * FROM attach_sessions('passing');
CREATE TABLE keyless (id text, state text);
SELECT * FROM attach_sessions('keyless');
CREATE UNIQUE INDEX ON keyless (id);
SELECT * FROM attach_sessions('keyless', options => '{"key_column": "id"}');
CREATE TABLE stateless (id text PRIMARY KEY, phase text);
SELECT * FROM attach_sessions('stateless');
CREATE TABLE numbered (id text PRIMARY KEY, state integer);
SELECT * FROM attach_sessions('numbered');
CREATE TABLE short_state (id text PRIMARY KEY, state varchar(8));
SELECT * FROM attach_sessions('short_state');
CREATE TYPE coarse AS ENUM ('on', 'off', 'terminating');
CREATE TABLE coarse_state (id text PRIMARY KEY, state coarse);
SELECT * FROM attach_sessions('coarse_state');
SELECT item, status, detail FROM attach_sessions('coarse_state', options => '{"policies": {"terminating": {"becomes": "off"}}}')
  WHERE item ~ 'policy|terminal';
SELECT detach_sessions('coarse_state');
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
SELECT * FROM attach_sessions('sessions');
ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY;
SELECT item, status, detail FROM attach_sessions('sessions') WHERE item = 'row security';
SELECT detach_sessions('sessions');
-- Nothing is left of all that.
SELECT count(*) AS bindings FROM reconciler.binding;
DROP TABLE keyless, stateless, numbered, short_state, coarse_state;

--
-- 4. The hub: an address and a protocol, and no secret.
--
SELECT set_hub('main', 'http://127.0.0.1:9');
SELECT name, base_urls, profile, connect_timeout, max_in_flight FROM reconciler.hub;
SELECT set_hub('main', ARRAY['http://127.0.0.1:9', 'http://127.0.0.1:10'], 'streamspace', '{"max_in_flight": 8, "connect_timeout": "1 s"}');
SELECT name, base_urls, profile, connect_timeout, max_in_flight FROM reconciler.hub;
SELECT set_hub('main', 'http://admin:hunter2@127.0.0.1:9');
SELECT set_hub('main', 'file:///etc/passwd');
SELECT set_hub('main', 'https://hub.example.com');
SELECT set_hub('main', 'http://169.254.169.254');
SELECT set_hub('main', 'http://127.0.0.1:9?token=hunter2');
SELECT set_hub('main', 'http://127.0.0.1:9,http://127.0.0.1:10');
SELECT set_hub('main', '{}'::text[]);
SELECT set_hub('', 'http://127.0.0.1:9');
SELECT set_hub('main', 'http://127.0.0.1:9', 'rest');
SELECT set_hub('main', 'http://127.0.0.1:9', 'standard', '{"timeout": "1 s"}');
SELECT set_hub('main', 'http://127.0.0.1:9', 'standard', '{"max_in_flight": 0}');
SELECT set_hub('main', 'http://127.0.0.1:9', 'standard', '{"sessions": "orders"}');
-- The only table without a hub gets it; the only hub goes to the next table.
SELECT item, status FROM attach_sessions('sessions', options => '{"hub": null}') WHERE item = 'hub';
SELECT set_hub('main', 'http://127.0.0.1:9');
SELECT detach_sessions('sessions');
SELECT item, status, detail FROM attach_sessions('sessions') WHERE item = 'hub';
SELECT detach_sessions('sessions');
RESET ROLE;
SELECT reconciler_revoke('regress_platform', 'admin');

--
-- 5. StreamSpace, as its API makes it.
--
CREATE SCHEMA streamspace AUTHORIZATION regress_platform;
GRANT regress_platform TO CURRENT_USER;
SET ROLE regress_platform;
SET search_path = streamspace;
\set ECHO none
\i test/schema/streamspace_a.sql
\set ECHO all
RESET ROLE;
SET search_path = streamspace, public;
INSERT INTO agents (agent_id, platform) VALUES ('k8s-1', 'kubernetes');
INSERT INTO sessions (id, state, agent_id, updated_at) VALUES
  ('admin-brave-f7b5e0f5', 'terminating', 'k8s-1', (now() - interval '48 min') AT TIME ZONE 'UTC'),
  ('admin-brave-fa96fa51', 'running', 'k8s-1', now() AT TIME ZONE 'UTC');
SELECT * FROM attach_sessions('sessions', 'streamspace');
SELECT columns, jsonb_pretty(related) AS related FROM reconciler.binding;
SELECT state, when_spent FROM reconciler.policy ORDER BY state;
SELECT detach_sessions('sessions');
-- Its owner must be able to read what is beside it.
ALTER TABLE agents OWNER TO CURRENT_USER;
SELECT * FROM attach_sessions('sessions', 'streamspace');
GRANT SELECT ON agents TO regress_platform;
ALTER TABLE audit_log OWNER TO CURRENT_USER;
GRANT INSERT ON audit_log TO regress_platform;
SELECT * FROM attach_sessions('sessions', 'streamspace');
ALTER TABLE audit_log OWNER TO regress_platform;
-- The files that some operators apply by hand.
ALTER TABLE agents OWNER TO regress_platform;
SET search_path = streamspace;
\set ECHO none
\i test/schema/streamspace_b.sql
\set ECHO all
SET search_path = streamspace, public;
SELECT item, status, detail FROM attach_sessions('sessions', 'streamspace')
  WHERE item IN ('reason_column', 'closed_column', 'commands', 'foreign writers', 'triggers', 'policy terminating', 'index terminating', 'time zone');
SELECT detach_sessions('sessions');

--
-- 6. A new platform: everything in one call.
--
CREATE SCHEMA fresh;
SET search_path = fresh, public;
SELECT item, status, detail FROM create_control_plane() WHERE (status <> 'ok' OR item ~ 'table|index|policy') AND item <> 'owner';
SELECT * FROM create_control_plane();
SELECT sessions, mode, hub FROM reconciler.binding;
SET search_path = nowhere;
SELECT * FROM public.create_control_plane();

-- Editing the configuration by hand is an event, with what it was and what it is.
SET search_path = public;
UPDATE reconciler.policy SET gone_after = '15 min' WHERE state = 'terminating';
UPDATE reconciler.policy SET gone_after = '1 min' WHERE state = 'terminating';
UPDATE reconciler.binding SET brake_floor = 5;
DELETE FROM reconciler.policy WHERE state = 'hibernated';
UPDATE reconciler.hub SET total_timeout = '8 s';
SELECT set_mode('observe', 'to look first');
SELECT kind, table_name, evidence->>'table' AS changed, evidence->>'operation' AS operation, evidence->>'state' AS state,
       (evidence->'old') - 'binding_id' AS old, evidence->'new' AS new
  FROM reconciler.event WHERE rule = 'by hand' ORDER BY id;
SELECT kind, actor = current_user AS by_me, from_state, to_state, reason FROM reconciler.event WHERE kind = 'mode_changed';
-- A hub of set_hub() is one event.
SELECT kind, table_name, actor, evidence->'old'->>'profile' AS old, evidence->'new'->>'profile' AS new
  FROM reconciler.event WHERE rule = 'set_hub' ORDER BY id;

RESET search_path;
DROP EXTENSION session_reconciler;
SET client_min_messages = warning;
DROP SCHEMA shop, streamspace, fresh CASCADE;
DROP OWNED BY regress_platform;
DROP ROLE regress_platform, regress_other;
