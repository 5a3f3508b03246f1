-- The guard of suspensions: a session that is suspended on a backend that can't pause has nothing to come back to. What the
-- application writes as suspended is written as the end that the policy has for it, with the columns that go with it.

CREATE FUNCTION reconciler.suspended_as(binding integer, names text[], types oid[], was text[], becomes text[]) RETURNS jsonb
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  about reconciler.binding;
  policy reconciler.policy;
  backend text;
  old_row jsonb;
  new_row jsonb;
  key text;
  changes jsonb;
BEGIN
  SELECT b.* INTO about FROM reconciler.binding AS b WHERE b.binding_id = suspended_as.binding AND b.guard_suspended AND reconciler.armed_here(b.binding_id);
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  SELECT p.* INTO policy FROM reconciler.policy AS p WHERE p.binding_id = suspended_as.binding AND p.state = suspended_as.becomes[array_position(names, about.columns->>'state')] AND p.enabled;
  backend := coalesce(nullif(suspended_as.becomes[array_position(names, about.columns->>'backend')], ''), about.backend);
  IF policy.state IS NULL
     OR NOT EXISTS (SELECT FROM reconciler.backend AS k WHERE backend IS NULL OR k.name = backend)
     OR EXISTS (SELECT FROM reconciler.backend AS k WHERE k.supports_pause AND (backend IS NULL OR k.name = backend)) THEN
    RETURN NULL;
  END IF;
  SELECT jsonb_build_object(about.columns->>'state', policy.becomes) || coalesce(jsonb_object_agg(s.key, CASE
           WHEN jsonb_typeof(s.value) <> 'object' THEN s.value
           WHEN c.type = 'timestamp'::regtype THEN to_jsonb((reconciler.clock() AT TIME ZONE about.time_zone)::text)
           ELSE to_jsonb(reconciler.clock()::text) END), '{}') INTO changes
    FROM jsonb_each(policy.sets) AS s JOIN unnest(names, types) AS c(name, type) ON c.name = s.key;

  key := reconciler.plain_text(was[array_position(names, about.columns->>'key')], types[array_position(names, about.columns->>'key')]);
  SELECT jsonb_object_agg(c.name, reconciler.plain_text(c.was, c.type)), jsonb_object_agg(c.name, reconciler.plain_text(c.becomes, c.type)) || changes INTO old_row, new_row
    FROM unnest(names, types, was, becomes) AS c(name, type, was, becomes)
    WHERE changes ? c.name OR c.name IN (about.columns->>'key', about.columns->>'agent', about.columns->>'runtime', about.columns->>'created', about.columns->>'updated');
  IF about.mode <> 'enforce' OR about.paused_at IS NOT NULL
     OR EXISTS (SELECT FROM reconciler.hold AS h WHERE h.binding_id = suspended_as.binding AND h.session_id = key AND h.until > reconciler.clock()) THEN
    PERFORM reconciler.note(suspended_as.binding, key, 'would_guard', policy.reason, jsonb_build_object('backend', backend, 'attempted', policy.state),
                            old_row->>(about.columns->>'state'), policy.becomes, 'guard_suspended', old_row, new_row);
    RETURN NULL;
  END IF;
  PERFORM reconciler.note(suspended_as.binding, key, 'guard', policy.reason, jsonb_build_object('backend', backend, 'attempted', policy.state),
                          old_row->>(about.columns->>'state'), policy.becomes, 'guard_suspended', old_row, new_row);
  RETURN changes;
END $$;
COMMENT ON FUNCTION reconciler.suspended_as(integer, text[], oid[], text[], text[]) IS
  'What a write that suspends a session writes instead, where no backend that its runtime may be in can pause: columns and their texts; NULL: it passes. Writes a guard or would_guard event. names, types, was, becomes: the row''s columns before and after.';

CREATE FUNCTION reconciler.guard_suspended() RETURNS trigger
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_guard_suspended';
COMMENT ON FUNCTION reconciler.guard_suspended() IS
  'The trigger session_reconciler_suspend_guard of a sessions table: writes what reconciler.suspended_as() says of an UPDATE, lets our own pass. An error of the guard itself is a WARNING, and the write passes.';

-- As reconciler.set_guard() does it.
CREATE FUNCTION reconciler.set_suspend_guard(about reconciler.binding, wanted boolean) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = about.sessions AND t.tgfoid = 'reconciler.guard_suspended()'::regprocedure AND t.tgparentid = 0) THEN
    EXECUTE format('DROP TRIGGER session_reconciler_suspend_guard ON %s', about.sessions);
  END IF;
  IF wanted THEN
    EXECUTE format('CREATE TRIGGER session_reconciler_suspend_guard BEFORE UPDATE ON %s FOR EACH ROW'
                   ' WHEN (NEW.%I::text = ''suspended'' AND OLD.%2$I IS DISTINCT FROM NEW.%2$I) EXECUTE FUNCTION reconciler.guard_suspended(%L)',
                   about.sessions, about.columns->>'state', about.binding_id);
    EXECUTE format('ALTER TRIGGER session_reconciler_suspend_guard ON %s DEPENDS ON EXTENSION session_reconciler', about.sessions);
    EXECUTE format('COMMENT ON TRIGGER session_reconciler_suspend_guard ON %s IS %L', about.sessions,
                   'What can''t be paused is not suspended: see guard_suspended in reconciler.binding.');
  END IF;
END $$;
COMMENT ON FUNCTION reconciler.set_suspend_guard(reconciler.binding, boolean) IS 'Makes the trigger of guard_suspended on an attached table anew, or takes it away.';

CREATE FUNCTION reconciler.suspend_guard_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  about reconciler.binding := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  owner name;
BEGIN
  SELECT pg_get_userbyid(c.relowner) INTO owner FROM pg_class AS c WHERE c.oid = about.sessions;
  IF NOT FOUND THEN
    RETURN NULL;  -- a table that has vanished
  END IF;
  IF NOT pg_has_role(reconciler.acting_role(), owner, 'USAGE') THEN
    RAISE EXCEPTION 'must be owner of table %', about.sessions USING ERRCODE = 'insufficient_privilege',
      DETAIL = 'Its guard is a trigger on it.', HINT = format('Its owner is %I; a superuser may change the guard of any table.', owner);
  END IF;
  PERFORM reconciler.set_suspend_guard(about, TG_OP <> 'DELETE' AND about.guard_suspended);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION reconciler.suspend_guard_changed() IS 'Makes, remakes or removes the trigger on the sessions table when guard_suspended or the columns are written. Error 42501: the table is somebody else''s.';
CREATE TRIGGER suspend_guarded AFTER UPDATE OF guard_suspended, columns ON reconciler.binding
  FOR EACH ROW WHEN (OLD.guard_suspended OR NEW.guard_suspended) EXECUTE FUNCTION reconciler.suspend_guard_changed();
CREATE TRIGGER suspend_guard_goes AFTER DELETE ON reconciler.binding
  FOR EACH ROW WHEN (OLD.guard_suspended) EXECUTE FUNCTION reconciler.suspend_guard_changed();

REVOKE ALL ON FUNCTION reconciler.suspended_as(integer, text[], oid[], text[], text[]), reconciler.guard_suspended(),
  reconciler.set_suspend_guard(reconciler.binding, boolean), reconciler.suspend_guard_changed()
  FROM PUBLIC;
