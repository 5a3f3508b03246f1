-- A session is found by what its key means, not by how it was typed; and what a table calls things is its own affair.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION session_reconciler;
CREATE SCHEMA keys;

-- ---- uuid: a hold holds, however the id was written
CREATE TABLE keys.by_uuid (id uuid PRIMARY KEY, state text, agent_id text NOT NULL DEFAULT '', updated_at timestamptz);
INSERT INTO keys.by_uuid VALUES ('550e8400-e29b-41d4-a716-446655440000', 'terminating', '', now() - interval '1 hour'),
                                ('550e8400-e29b-41d4-a716-446655440001', 'terminating', '', now() - interval '1 hour');
SELECT count(*) > 0 AS attached FROM attach_sessions('keys.by_uuid', 'standard', '{"mode": "enforce", "start_grace": "0 s",
  "policies": {"terminating": {"stuck_after": "0 s", "gone_after": "0 s"}}}');
CALL stop_worker();  -- attach asked for one; here the passes are CALLed
SELECT hold_session('{550E8400-E29B-41D4-A716-446655440000}', 'infinity', 'look at it first');
SELECT session_id FROM reconciler.hold;
CALL reconcile();
SELECT id, state FROM keys.by_uuid ORDER BY id;
SELECT session_id, kind, reason FROM reconciler.event WHERE session_id IS NOT NULL ORDER BY id;
SELECT release_session('550E8400-E29B-41D4-A716-446655440000', 'looked at it');
-- What is shown is what a close writes by: no agent, however the column says that.
SELECT detail FROM explain_session('550e8400-e29b-41d4-a716-446655440000') WHERE rule = 'write';
-- Between two passes a table may have had another name.
ALTER TABLE keys.by_uuid RENAME TO renamed;
ALTER TABLE keys.renamed RENAME TO by_uuid;
CALL reconcile();
SELECT id, state FROM keys.by_uuid ORDER BY id;
SELECT table_name, mode FROM reconciler_status();
SELECT hold_session('no uuid', 'infinity', 'typed wrong');
SELECT outcome FROM explain_session('no uuid');
SELECT detach_sessions('keys.by_uuid');

-- ---- a key that is too long is no other key; the states are in the application's own words
CREATE TABLE keys.short (id varchar(5) PRIMARY KEY, state text, agent_id text, updated_at timestamptz);
INSERT INTO keys.short VALUES ('abcde', 'up', 'a', now()), ('first', 'up', NULL, now() - interval '1 hour');
SELECT count(*) > 0 AS attached FROM attach_sessions('keys.short', 'standard', '{"mode": "enforce", "start_grace": "0 s", "terminal_states": ["deleted"],
  "policies": {"terminating": null, "running": null, "hibernated": null,
               "deleting": {"stuck_after": "0 s", "gone_after": "0 s", "becomes": "deleted", "user_requested": true, "no_agent": "close", "retry_action": "stop_session"}}}');
CALL stop_worker();
SELECT force_terminate_session('abcdefgh', 'a typing error');
SELECT hold_session('abcdefgh', 'infinity', 'a typing error');
SELECT request_termination('first', 'not needed any more');
SELECT id, state FROM keys.short ORDER BY id;
CALL reconcile();
SELECT id, state FROM keys.short ORDER BY id;
SELECT force_terminate_session('abcde', 'meant this one');
SELECT id, state FROM keys.short ORDER BY id;
UPDATE reconciler.policy SET becomes = 'deleting';
SELECT detach_sessions('keys.short');

-- ---- credentials stay out of the catalog, by any door
INSERT INTO reconciler.hub (name, base_urls, profile) VALUES ('bad', '{http://user:secret@127.0.0.1/}', 'standard');
INSERT INTO reconciler.hub (name, base_urls, profile) VALUES ('good', '{http://127.0.0.1/}', 'standard');
UPDATE reconciler.hub SET base_urls = '{http://127.0.0.1/?token=secret}';
SELECT name, base_urls FROM reconciler.hub;
DROP EXTENSION session_reconciler CASCADE;
DROP SCHEMA keys CASCADE;
