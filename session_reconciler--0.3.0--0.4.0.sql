-- From 0.3.0 to 0.4.0. What is new in tables stands at their end in the install script too: both ways lead to the same.
\echo Use "ALTER EXTENSION session_reconciler UPDATE" to load this file. \quit

CREATE OR REPLACE FUNCTION reconciler.check_terminal_states() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  clash record;
  edited text := to_jsonb(NEW)->>'state';  -- NULL: the binding's row. Only what is edited is judged:
  before text[] := ARRAY(SELECT o.value FROM jsonb_each_text(to_jsonb(OLD)) AS o WHERE to_jsonb(OLD)->>'enabled' = 'true' AND o.key IN ('state', 'becomes', 'completed_becomes') AND o.value IS NOT NULL);
BEGIN
  -- A state that the column's type does not have would end every pass with an error.
  SELECT s.state, format_type(l.type, NULL) AS type, array_to_string(l.labels, ', ') AS known INTO clash
    FROM reconciler.binding AS b,
         LATERAL (SELECT e.enumtypid AS type, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
                    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
                    JOIN pg_enum AS e ON e.enumtypid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
                    WHERE a.attrelid = b.sessions AND a.attname = b.columns->>'state' GROUP BY e.enumtypid) AS l,
         LATERAL (SELECT unnest(CASE WHEN p.enabled THEN ARRAY[p.state, p.becomes, p.completed_becomes] ELSE ARRAY[p.state] END)
                    FROM reconciler.policy AS p WHERE p.binding_id = b.binding_id AND p.state = edited) AS s(state)
    WHERE b.binding_id = NEW.binding_id AND s.state <> ALL (l.labels) AND s.state <> ALL (before)
    ORDER BY s.state LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '"%" is no label of type %', clash.state, clash.type USING ERRCODE = 'check_violation',
      DETAIL = format('Its labels: %s.', clash.known), HINT = format('Name one of them, or: ALTER TYPE %s ADD VALUE %L.', clash.type, clash.state);
  END IF;
  SELECT p.state, p.becomes, p.state = ANY (b.terminal_states) AS ended,
         format('Terminal states of %I.%I: %s.', b.schema_name, b.table_name, array_to_string(b.terminal_states, ', ')) AS known INTO clash
    FROM reconciler.binding AS b JOIN reconciler.policy AS p USING (binding_id)
    WHERE b.binding_id = NEW.binding_id AND (edited IS NULL OR p.state = edited) AND (p.state = ANY (b.terminal_states) OR (p.enabled AND p.becomes <> ALL (b.terminal_states)))
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

CREATE OR REPLACE FUNCTION reconciler.set_guard(about reconciler.binding, wanted boolean) RETURNS void
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

CREATE OR REPLACE FUNCTION reconciler.guard_changed() RETURNS trigger
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
