-- What the functions below are made of. Nobody but the extension's owner calls these.

CREATE FUNCTION reconciler.clock() RETURNS timestamptz
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_clock';
COMMENT ON FUNCTION reconciler.clock() IS 'The clock of every decision: clock_timestamp(), moved by session_reconciler.clock_offset.';

CREATE FUNCTION reconciler.acting_role() RETURNS text
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'reconciler_sql_acting_role';
COMMENT ON FUNCTION reconciler.acting_role() IS 'Who acts: the role of SET ROLE, else the session''s; right inside SECURITY DEFINER too.';

CREATE FUNCTION reconciler.library_version() RETURNS text
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_library_version';
COMMENT ON FUNCTION reconciler.library_version() IS 'Version of the library that this process has loaded.';

CREATE FUNCTION reconciler.one_binding(sessions regclass) RETURNS integer
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'reconciler_sql_one_binding';
COMMENT ON FUNCTION reconciler.one_binding(regclass) IS 'Binding of a table; NULL: the only one there is. Errors: 42704 not attached, 55000 none attached, 42725 several attached.';

CREATE FUNCTION reconciler.bindings(sessions regclass) RETURNS integer[]
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'reconciler_sql_bindings';
COMMENT ON FUNCTION reconciler.bindings(regclass) IS 'Binding of a table; NULL: all. Error 42704: not attached.';

CREATE FUNCTION reconciler.check_binding(binding integer) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_check_binding';
COMMENT ON FUNCTION reconciler.check_binding(integer) IS 'Raises what would break the next pass: the table, a mapped column or a related table has vanished (55000, 42703), or a column has got a type that does not fit (42804).';

CREATE FUNCTION reconciler.check_profile(name text, definition jsonb) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_check_profile';
COMMENT ON FUNCTION reconciler.check_profile(text, jsonb) IS 'Raises what makes a hub profile one that can''t be used (22023).';

CREATE FUNCTION reconciler.change_binding(binding integer, changes jsonb) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_change_binding';
COMMENT ON FUNCTION reconciler.change_binding(integer, jsonb) IS 'Writes columns of mode, pause and identity of a binding as a change of our own, of which the caller writes the event. Error 42704: no such binding.';

CREATE FUNCTION reconciler.existing_session(binding integer, session_id text) RETURNS text
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_existing_session';
COMMENT ON FUNCTION reconciler.existing_session(integer, text) IS 'State of a session as the table has it now, read as the table''s owner. Errors: no such session (P0002), NULL (22004).';
CREATE FUNCTION reconciler.session_key(binding integer, session_id text) RETURNS text
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_session_key';
COMMENT ON FUNCTION reconciler.session_key(integer, text) IS 'Key of a session as its column prints it, however it was typed; NULL: no such session.';

CREATE FUNCTION reconciler.begin_episode(binding integer, session_id text) RETURNS text
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_begin_episode';
COMMENT ON FUNCTION reconciler.begin_episode(integer, text) IS 'State of a session, which has an episode of that state afterwards; NULL: no such session.';

CREATE FUNCTION reconciler.wake_worker() RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_wake_worker';
COMMENT ON FUNCTION reconciler.wake_worker() IS 'When this transaction commits, the worker looks at once.';

CREATE FUNCTION reconciler.request_worker() RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_request_worker';
COMMENT ON FUNCTION reconciler.request_worker() IS 'The same, and starts a worker also after stop_worker().';

CREATE FUNCTION reconciler.worker_pid() RETURNS integer
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_worker_pid';
COMMENT ON FUNCTION reconciler.worker_pid() IS 'Process id of this database''s worker; NULL: none runs.';

CREATE FUNCTION reconciler.server_identity(OUT system numeric, OUT database oid, OUT name name) RETURNS SETOF record
  LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'reconciler_sql_server_identity';
COMMENT ON FUNCTION reconciler.server_identity() IS 'What a binding is armed for: system identifier, database oid and name of here. One row.';

CREATE FUNCTION reconciler.wal_timeline() RETURNS bigint
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_wal_timeline';
COMMENT ON FUNCTION reconciler.wal_timeline() IS 'WAL timeline that is written: another one after a promotion or a restore to a point in time.';

CREATE FUNCTION reconciler.armed_here(binding integer) RETURNS boolean
  LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT (b.armed_system, b.armed_database, b.armed_name) = (h.system, h.database, h.name)
    FROM reconciler.binding AS b, reconciler.server_identity() AS h WHERE b.binding_id = armed_here.binding
$$;
COMMENT ON FUNCTION reconciler.armed_here(integer) IS 'Whether a binding is armed for this server and database, and not for one that this is a copy of.';

CREATE FUNCTION reconciler.refuse_copy(binding integer) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  here record;
  armed reconciler.binding;
BEGIN
  IF reconciler.armed_here(binding) THEN
    RETURN;
  END IF;
  SELECT h.* INTO here FROM reconciler.server_identity() AS h;
  SELECT b.* INTO STRICT armed FROM reconciler.binding AS b WHERE b.binding_id = binding;
  RAISE EXCEPTION '%.% is attached for another server or database', quote_ident(armed.schema_name), quote_ident(armed.table_name)
    USING ERRCODE = 'object_not_in_prerequisite_state',
    DETAIL = format('It is armed for database %I (oid %s) of system %s; this is database %I (oid %s) of system %s.',
                    armed.armed_name, armed.armed_database, armed.armed_system, here.name, here.database, here.system),
    HINT = 'If this is not a mere copy and nothing else acts on these sessions: SELECT confirm_identity(''reason'').';
END $$;
COMMENT ON FUNCTION reconciler.refuse_copy(integer) IS 'Error 55000 where a binding is armed for another server or database than this copy.';

CREATE FUNCTION reconciler.required(argument text, value text) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF value IS NULL THEN
    RAISE EXCEPTION '% must not be null', argument USING ERRCODE = 'null_value_not_allowed';
  END IF;
END $$;
COMMENT ON FUNCTION reconciler.required(text, text) IS 'Raises 22004 where an argument is NULL.';

-- A reason stands in the audit for ever: a blank one says nothing.
CREATE FUNCTION reconciler.required_reason(reason text) RETURNS text
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM reconciler.required('reason', reason);
  IF reason !~ '\S' THEN
    RAISE EXCEPTION 'a reason is required' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Say in a few words why; it is kept in reconciler.event.';
  END IF;
  RETURN reason;
END $$;
COMMENT ON FUNCTION reconciler.required_reason(text) IS 'The reason itself. Errors: NULL (22004), blank (22023).';

-- In the layout of write_events() in src/postgres/events.cpp; also for bindings that no longer load.
CREATE FUNCTION reconciler.note(binding integer, session_id text, kind text, reason text, evidence jsonb DEFAULT NULL,
    from_state text DEFAULT NULL, to_state text DEFAULT NULL, rule text DEFAULT NULL, before jsonb DEFAULT NULL,
    after jsonb DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  about reconciler.binding;
  written bigint;
BEGIN
  SELECT b.* INTO STRICT about FROM reconciler.binding AS b WHERE b.binding_id = note.binding;
  INSERT INTO reconciler.event (at, schema_name, table_name, session_id, kind, from_state, to_state, reason, rule, actor,
                                evidence, before, after)
    VALUES (reconciler.clock(), about.schema_name, about.table_name, note.session_id, note.kind, note.from_state,
            note.to_state, note.reason, note.rule, reconciler.acting_role(), note.evidence, note.before, note.after)
    RETURNING id INTO written;
  PERFORM pg_notify('session_reconciler', json_build_object('table', about.schema_name || '.' || about.table_name,
                    'pass_id', NULL, 'first', written, 'last', written)::text);
  RETURN written;
END $$;
COMMENT ON FUNCTION reconciler.note(integer, text, text, text, jsonb, text, text, text, jsonb, jsonb) IS
  'Writes one audit event of the acting role, outside of a pass, with its NOTIFY. Returns its id.';

REVOKE ALL ON FUNCTION reconciler.clock(), reconciler.acting_role(), reconciler.library_version(),
  reconciler.one_binding(regclass), reconciler.bindings(regclass), reconciler.check_binding(integer), reconciler.check_profile(text, jsonb),
  reconciler.change_binding(integer, jsonb),
  reconciler.existing_session(integer, text), reconciler.session_key(integer, text), reconciler.begin_episode(integer, text), reconciler.wake_worker(),
  reconciler.request_worker(), reconciler.worker_pid(), reconciler.server_identity(), reconciler.wal_timeline(), reconciler.armed_here(integer), reconciler.refuse_copy(integer),
  reconciler.required(text, text), reconciler.required_reason(text), reconciler.note(integer, text, text, text, jsonb, text, text, text, jsonb, jsonb),
  reconciler.event_is_append_only()
  FROM PUBLIC;
