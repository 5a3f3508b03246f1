-- The pass by hand, the Look functions, and the acting functions that write a user's table.

CREATE PROCEDURE reconcile(sessions regclass DEFAULT NULL) LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_reconcile';
REVOKE ALL ON PROCEDURE reconcile(regclass) FROM PUBLIC;
COMMENT ON PROCEDURE reconcile(regclass) IS
  'One whole pass here, over one attached table or (NULL) all: asks hubs, retries, closes. Commits between its phases, so it cannot run inside a transaction block (2D000). Safe beside the worker and itself.';

CREATE PROCEDURE probe_hub(name text) LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_probe_hub';
REVOKE ALL ON PROCEDURE probe_hub(text) FROM PUBLIC;
COMMENT ON PROCEDURE probe_hub(text) IS
  'Asks every address of a hub once and says what came back; preflight() shows it afterwards. Sends no command.';

CREATE PROCEDURE stop_worker() LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_stop_worker';
REVOKE ALL ON PROCEDURE stop_worker() FROM PUBLIC;
COMMENT ON PROCEDURE stop_worker() IS
  'Stops this database''s worker and waits until it has gone, so that DROP DATABASE or CREATE DATABASE … TEMPLATE work. It starts again with the server, or when attach_sessions() or set_mode() asks for it.';

CREATE FUNCTION stuck_sessions(sessions regclass DEFAULT NULL)
  RETURNS TABLE (table_name text, session_id text, state text, stuck_since timestamptz, stuck_for interval, agent_id text,
                 agent_evidence text, agent_gone_for interval, evidence_age interval, attempts integer, max_attempts integer,
                 last_attempt_at timestamptz, last_result text, rule text, next_action text, next_action_at timestamptz,
                 blocked_by text, reason text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_stuck_sessions';
REVOKE ALL ON FUNCTION stuck_sessions(regclass) FROM PUBLIC;
COMMENT ON FUNCTION stuck_sessions(regclass) IS
  'Every stuck session, why, and what happens to it next, by the last recorded evidence (no HTTP). Quarantined first, then what is due next. Runs with the caller''s rights on the sessions table.';

CREATE FUNCTION reconcile_plan(sessions regclass DEFAULT NULL, policy jsonb DEFAULT NULL, at timestamptz DEFAULT NULL)
  RETURNS TABLE (table_name text, session_id text, state text, action text, becomes text, rule text, due timestamptz,
                 blocked_by text, reason text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_reconcile_plan';
REVOKE ALL ON FUNCTION reconcile_plan(regclass, jsonb, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION reconcile_plan(regclass, jsonb, timestamptz) IS
  'What a pass would do now, with the pass''s own code and the last recorded evidence; changes nothing. policy: {"state": {"column": value}} overrides policies; at: judge at that time.';

CREATE FUNCTION session_coverage(sessions regclass DEFAULT NULL)
  RETURNS TABLE (table_name text, state text, sessions bigint, oldest interval, watched_by text, threshold interval, over_threshold bigint, note text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_session_coverage';
REVOKE ALL ON FUNCTION session_coverage(regclass) FROM PUBLIC;
COMMENT ON FUNCTION session_coverage(regclass) IS
  'Every state that sessions are in, and what looks at it: watched_by is policy, policy_off, completion (only a completed stop closes them), terminal or nothing. oldest: longest time in the state. threshold: of its policy, else the longest of the table''s policies; NULL: the policy has none. over_threshold: sessions older than that. Reads the whole table, with the caller''s rights on it.';

CREATE FUNCTION explain_session(session_id text, sessions regclass DEFAULT NULL)
  RETURNS TABLE (step integer, rule text, outcome text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_explain_session';
REVOKE ALL ON FUNCTION explain_session(text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION explain_session(text, regclass) IS
  'Why a session is treated as it is: every rule in order with its inputs, their source and age, the brake''s arithmetic, the WHERE of the write, the request that would be sent, the last attempts, and what you can do.';

CREATE FUNCTION request_termination(session_id text, reason text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_request_termination';
REVOKE ALL ON FUNCTION request_termination(text, text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION request_termination(text, text, regclass) IS
  'Sets the state that the application''s own delete sets (terminating) and wakes the worker, which stops the session. Returns requested. Errors: unknown session (P0002), terminal or already terminating, or a copy whose identity is not confirmed (55000).';

CREATE FUNCTION resume_or_respawn(session_id text, sessions regclass DEFAULT NULL) RETURNS TABLE (outcome text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_resume_or_respawn';
REVOKE ALL ON FUNCTION resume_or_respawn(text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION resume_or_respawn(text, regclass) IS
  'What a user who wants a session back is to be told, by the evidence on record. respawn_requested: its runtime is gone, in two looks, and given up at once: the row is written as its policy ends it, with an event respawn, so that the application starts a new one; so is it said to everybody who calls again. already_running: its runtime is there. refused: why is in detail. sessions: the attached table; NULL: the only one. Errors: unknown session (P0002), or a copy whose identity is not confirmed (55000).';

CREATE FUNCTION force_terminate_session(session_id text, reason text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_force_terminate_session';
REVOKE ALL ON FUNCTION force_terminate_session(text, text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION force_terminate_session(text, text, regclass) IS
  'Closes a session now, on an operator''s word, in the caller''s transaction with its event; no evidence is asked for and no command is sent. Returns the state it has then. Errors: unknown session (P0002), already terminal or held, or a copy whose identity is not confirmed (55000).';

CREATE FUNCTION undo_event(event_id bigint, hold_for interval DEFAULT '1 hour') RETURNS TABLE (event_id bigint, outcome text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_undo_event';
REVOKE ALL ON FUNCTION undo_event(bigint, interval) FROM PUBLIC;
COMMENT ON FUNCTION undo_event(bigint, interval) IS
  'Puts back what a finalize, a force or a reassign wrote, if the row still is what it left, and holds the session for hold_for. outcome: undone, changed (the row is different now), missing, not_undoable, already_undone. Error: a copy whose identity is not confirmed (55000).';

CREATE FUNCTION undo_pass(pass_id bigint, hold_for interval DEFAULT '1 hour') RETURNS TABLE (event_id bigint, outcome text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_undo_pass';
REVOKE ALL ON FUNCTION undo_pass(bigint, interval) FROM PUBLIC;
COMMENT ON FUNCTION undo_pass(bigint, interval) IS 'undo_event() for everything that one pass closed or gave to another agent.';
