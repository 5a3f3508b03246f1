-- The guard of a sessions table: a write that would take a session which we closed out of its end is turned into an
-- event and, for its agent, a stop. One trigger on the user's table, where guard_terminal asks for it.

-- Text of a column as Statements::as_text() has it, from what the type's output function printed: no setting and no
-- cast of the user's making has a part in it. type: of a domain, what it is made of.
CREATE FUNCTION reconciler.plain_text(value text, type oid) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE type
    WHEN 'timestamptz'::regtype THEN coalesce(to_char(value::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00', value)
    WHEN 'timestamp'::regtype THEN coalesce(to_char(value::timestamp, 'YYYY-MM-DD HH24:MI:SS.US'), value)
    WHEN 'bpchar'::regtype THEN rtrim(value, ' ')
    WHEN 'inet'::regtype THEN value::inet::text
    ELSE value END
$$;
COMMENT ON FUNCTION reconciler.plain_text(text, oid) IS 'A column''s text as keys, agents and creation times are recorded, from what its type prints.';

-- The newest event that moved a session says whether its end is ours: a write that the guard lets pass is one, too, so
-- what the application makes of the session afterwards is its own. Only closings lead into a terminal state. Another end
-- that the application has written over ours since is no way around.
CREATE FUNCTION reconciler.closing(about reconciler.binding, key text) RETURNS reconciler.event
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT moved FROM (
    SELECT e AS moved, e.to_state FROM reconciler.event AS e
      WHERE e.session_id = key AND (e.schema_name, e.table_name) = (about.schema_name, about.table_name)
        AND e.kind IN ('force', 'finalize', 'respawn', 'undo', 'late_report', 'guard', 'would_guard') AND e.to_state IS NOT NULL
      ORDER BY e.id DESC LIMIT 1) AS newest
    WHERE to_state = ANY (about.terminal_states)
$$;
COMMENT ON FUNCTION reconciler.closing(reconciler.binding, text) IS 'The event by which we closed a session whose end still is ours; NULL: it is the application''s, or open.';

CREATE FUNCTION reconciler.guard(binding integer, names text[], types oid[], was text[], becomes text[]) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  about reconciler.binding;
  closing reconciler.event;
  old_row jsonb;
  new_row jsonb;
  key text;
  agent text;
  runtime text;
  creation text;
  ends_in text;
  wanted text;
  missing text;
  why text;
  stops record;
BEGIN
  SELECT b.* INTO about FROM reconciler.binding AS b WHERE b.binding_id = guard.binding AND b.guard_terminal AND reconciler.armed_here(b.binding_id);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  SELECT m.value INTO missing FROM jsonb_each_text(about.columns) AS m
    WHERE m.key IN ('key', 'state', 'agent', 'runtime', 'created') AND m.value <> ALL (names) ORDER BY m.key LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'column "%" does not exist', missing USING ERRCODE = 'undefined_column',
      HINT = format('Give the column its name back, or detach_sessions(%L) and attach again.', format('%I.%I', about.schema_name, about.table_name));
  END IF;
  key := reconciler.plain_text(was[array_position(names, about.columns->>'key')], types[array_position(names, about.columns->>'key')]);
  ends_in := was[array_position(names, about.columns->>'state')];
  closing := reconciler.closing(about, key);
  IF closing.id IS NULL THEN
    RETURN false;
  END IF;

  SELECT jsonb_object_agg(c.name, reconciler.plain_text(c.was, c.type)), jsonb_object_agg(c.name, reconciler.plain_text(c.becomes, c.type)) INTO old_row, new_row
    FROM unnest(names, types, was, becomes) AS c(name, type, was, becomes)
    WHERE c.name IN (SELECT n.name FROM jsonb_each(about.columns) AS m(what, name),
                            jsonb_array_elements_text(CASE jsonb_typeof(m.name) WHEN 'array' THEN m.name ELSE jsonb_build_array(m.name) END) AS n(name)
                       WHERE m.what NOT IN ('entered', 'signs'));
  agent := nullif(old_row->>(about.columns->>'agent'), '');
  runtime := old_row->>(about.columns->>'runtime');
  creation := old_row->>(about.columns->>'created');
  wanted := new_row->>(about.columns->>'state');
  IF EXISTS (SELECT FROM unnest(names, types) AS c(name, type)
               WHERE c.name IN (about.columns->>'agent', about.columns->>'created')
                 AND reconciler.plain_text(closing.after->>c.name, c.type) IS DISTINCT FROM old_row->>c.name) THEN
    RETURN false;  -- another session of that id
  END IF;

  why := CASE
    WHEN agent IS DISTINCT FROM nullif(new_row->>(about.columns->>'agent'), '') OR creation IS DISTINCT FROM new_row->>(about.columns->>'created') THEN 'recreated'
    WHEN EXISTS (SELECT FROM reconciler.policy AS p WHERE p.binding_id = binding AND p.state = wanted AND p.awaits = 'start_session') THEN 'recreated'
    WHEN EXISTS (SELECT FROM reconciler.policy AS p WHERE p.binding_id = binding AND p.state = wanted AND p.user_requested) THEN 'user_requested'
    ELSE 'late_write' END;
  IF why <> 'late_write' OR about.mode <> 'enforce' OR about.paused_at IS NOT NULL
     OR EXISTS (SELECT FROM reconciler.hold AS h WHERE h.binding_id = binding AND h.session_id = key AND h.until > reconciler.clock())
     OR EXISTS (SELECT FROM reconciler.binding_state AS s WHERE s.binding_id = binding AND s.safe_mode_since IS NOT NULL) THEN
    PERFORM reconciler.note(binding, key, CASE why WHEN 'late_write' THEN 'would_guard' ELSE 'guard' END, why, jsonb_build_object('closed_by', closing.id),
                            ends_in, wanted, 'guard_terminal', old_row, new_row);
    RETURN false;
  END IF;

  -- An agent that goes on gets further stops, at the pace of every retry.
  SELECT count(*) AS n, max(e.id) AS last, max(e.at) + least(interval '15 min', interval '1 min' * 2 ^ least(count(*) - 1, 4)) AS next INTO stops
    FROM reconciler.event AS e
    WHERE e.session_id = key AND e.id > closing.id AND e.kind = 'late_report' AND (e.schema_name, e.table_name) = (about.schema_name, about.table_name);
  -- Who writes the same every second is noted once for each of them.
  IF NOT EXISTS (SELECT FROM reconciler.event AS e
                   WHERE e.session_id = key AND e.id > greatest(closing.id, stops.last) AND e.kind = 'guard' AND (e.schema_name, e.table_name) = (about.schema_name, about.table_name)
                     AND e.evidence->'attempted'->>(about.columns->>'state') IS NOT DISTINCT FROM wanted) THEN
    -- A counter of its own, which the next pass adds to the sum: writers don't wait for each other.
    INSERT INTO reconciler.counter (binding_id, name, value, label)
      VALUES (binding, 'reconciler_guarded_total', 1,
              reconciler.note(binding, key, 'guard', why, jsonb_build_object('closed_by', closing.id, 'attempted', new_row), ends_in, NULL, 'guard_terminal', old_row));
  END IF;
  -- What was refused is not taken back either: readopt is owed no more.
  IF agent IS NOT NULL
     AND NOT EXISTS (SELECT FROM reconciler.episode AS e WHERE e.binding_id = guard.binding AND e.session_id = key AND e.owed = 'stop' AND e.owed_until > reconciler.clock()
                       AND (e.state, e.agent_id) = (ends_in, agent) AND e.runtime_id IS NOT DISTINCT FROM runtime AND e.created IS NOT DISTINCT FROM creation) THEN
    DELETE FROM reconciler.episode AS e WHERE e.binding_id = guard.binding AND e.session_id = key;
    INSERT INTO reconciler.episode (binding_id, session_id, state, agent_id, runtime_id, created, first_seen, entered, owed, owed_since, owed_until, next_attempt)
      SELECT guard.binding, key, ends_in, agent, runtime, creation, c.at, c.at, 'stop', c.at, c.at + interval '24 hours', stops.next
        FROM reconciler.clock() AS c(at)
      ON CONFLICT DO NOTHING;
    PERFORM reconciler.wake_worker();
  END IF;
  RAISE NOTICE 'session "%" was closed by the reconciler: it stays "%"', key, ends_in
    USING DETAIL = format('The write of %s is refused by the guard of %I.%I; event %s closed the session.', coalesce('"' || wanted || '"', 'NULL'), about.schema_name, about.table_name, closing.id),
    HINT = format('undo_event(%s) brings it back; where its row was written since, hold_session(), the write, release_session().', closing.id);
  RETURN true;
END $$;
COMMENT ON FUNCTION reconciler.guard(integer, text[], oid[], text[], text[]) IS
  'Whether a write that takes a session out of its end is refused: when we closed it, and the write is neither a re-creation nor a user''s request. Writes a guard or would_guard event, and owes the agent a stop. names, types, was, becomes: the row''s columns before and after.';

CREATE FUNCTION reconciler.guard_terminal() RETURNS trigger
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_guard_terminal';
COMMENT ON FUNCTION reconciler.guard_terminal() IS
  'The trigger session_reconciler_guard of a sessions table: asks reconciler.guard() about an UPDATE, lets our own pass. An error of the guard itself is a WARNING, and the write passes.';

-- Makes the trigger anew, or takes it away. Which states end a session is in its WHEN, so that other writes cost next
-- to nothing. It goes with the extension, without CASCADE. Those that are there are known by their function, and by the
-- binding that they name: a table that was restored in the place of the attached one has brought one along.
CREATE FUNCTION reconciler.set_guard(about reconciler.binding, wanted boolean) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found record;
BEGIN
  FOR found IN
    SELECT t.tgrelid, format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) AS statement, c.relowner
      FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
      WHERE t.tgfoid = 'reconciler.guard_terminal()'::regprocedure AND t.tgparentid = 0
        AND (t.tgrelid = about.sessions OR encode(t.tgargs, 'escape') = about.binding_id || E'\\000')
  LOOP
    IF found.tgrelid <> about.sessions AND NOT pg_has_role(reconciler.acting_role(), found.relowner, 'USAGE') THEN
      RAISE WARNING 'a guard is left on table %', found.tgrelid::regclass
        USING DETAIL = 'It guards nothing. Its table is not the attached one, and belongs to somebody else.', HINT = found.statement || ';';
    ELSE
      EXECUTE found.statement;
    END IF;
  END LOOP;
  IF wanted THEN
    EXECUTE format('CREATE TRIGGER session_reconciler_guard BEFORE UPDATE ON %s FOR EACH ROW'
                   ' WHEN (OLD.%I::text = ANY (%L::text[]) AND (NEW.%2$I::text = ANY (%3$L::text[])) IS NOT TRUE) EXECUTE FUNCTION reconciler.guard_terminal(%L)',
                   about.sessions, about.columns->>'state', about.terminal_states, about.binding_id);
    EXECUTE format('ALTER TRIGGER session_reconciler_guard ON %s DEPENDS ON EXTENSION session_reconciler', about.sessions);
    EXECUTE format('COMMENT ON TRIGGER session_reconciler_guard ON %s IS %L', about.sessions,
                   'A session that session_reconciler closed stays closed: see guard_terminal in reconciler.binding.');
  END IF;
END $$;
COMMENT ON FUNCTION reconciler.set_guard(reconciler.binding, boolean) IS 'Makes the trigger of guard_terminal on an attached table anew, or takes it away.';

CREATE FUNCTION reconciler.guard_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  owner name;
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF NOT reconciler.own_change() THEN  -- detach_sessions() has done so
      PERFORM reconciler.set_guard(OLD, false);
    END IF;
    RETURN NULL;
  END IF;
  SELECT pg_get_userbyid(c.relowner) INTO owner FROM pg_class AS c WHERE c.oid = NEW.sessions;
  IF NOT FOUND THEN
    RETURN NULL;  -- a table that has vanished
  END IF;
  IF NOT pg_has_role(reconciler.acting_role(), owner, 'USAGE') THEN
    RAISE EXCEPTION 'must be owner of table %', NEW.sessions USING ERRCODE = 'insufficient_privilege',
      DETAIL = 'Its guard is a trigger on it.', HINT = format('Its owner is %I; a superuser may change the guard of any table.', owner);
  END IF;
  PERFORM reconciler.set_guard(NEW, NEW.guard_terminal);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION reconciler.guard_changed() IS 'Makes, remakes or removes the trigger on the sessions table when guard_terminal or what it rests on is written. Error 42501: the table is somebody else''s.';
-- Not on INSERT: a restored dump brings the trigger along.
CREATE TRIGGER guarded AFTER UPDATE OF guard_terminal, terminal_states, columns ON reconciler.binding
  FOR EACH ROW WHEN (OLD.guard_terminal OR NEW.guard_terminal) EXECUTE FUNCTION reconciler.guard_changed();
CREATE TRIGGER guard_goes AFTER DELETE ON reconciler.binding
  FOR EACH ROW WHEN (OLD.guard_terminal) EXECUTE FUNCTION reconciler.guard_changed();

REVOKE ALL ON FUNCTION reconciler.plain_text(text, oid), reconciler.closing(reconciler.binding, text), reconciler.guard(integer, text[], oid[], text[], text[]), reconciler.guard_terminal(),
  reconciler.set_guard(reconciler.binding, boolean), reconciler.guard_changed()
  FROM PUBLIC;
