-- What a person edits by hand in the configuration is an event, and the worker looks at once. Our own functions say
-- so themselves (reconciler.own_change()). Nothing happens while a dump is restored: its rows come by INSERT triggers
-- too, and events of theirs would take the ids that the dumped events bring along.

CREATE FUNCTION reconciler.configuration_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres AS $$
DECLARE
  was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
  becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
  whole jsonb := coalesce(becomes, was);
  about reconciler.binding;
  written bigint;
  happened text := 'policy_changed';
BEGIN
  -- pg_dump and pg_restore put this in front of everything; nobody else has a reason to.
  IF reconciler.own_change() OR (TG_OP = 'INSERT' AND current_setting('check_function_bodies') = 'off') THEN
    RETURN NULL;
  END IF;
  IF TG_TABLE_NAME = 'policy' THEN
    SELECT b.* INTO about FROM reconciler.binding AS b WHERE b.binding_id = (whole->>'binding_id')::integer;
    IF NOT FOUND THEN
      RETURN NULL;  -- it goes with its binding
    END IF;
  ELSIF TG_TABLE_NAME = 'binding' THEN
    about := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    happened := CASE WHEN TG_OP = 'DELETE' THEN 'detached' WHEN was->>'mode' <> becomes->>'mode' THEN 'mode_changed' ELSE happened END;
  END IF;
  -- Of an update only what differs; else the whole row.
  IF TG_OP = 'UPDATE' THEN
    SELECT jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, becomes->o.key) INTO was, becomes
      FROM jsonb_each(was) AS o WHERE o.value IS DISTINCT FROM becomes->o.key;
  END IF;
  INSERT INTO reconciler.event (at, schema_name, table_name, kind, from_state, to_state, reason, rule, actor, evidence)
    VALUES (reconciler.clock(), about.schema_name, about.table_name, happened,
            CASE WHEN happened = 'mode_changed' THEN was->>'mode' END, CASE WHEN happened = 'mode_changed' THEN becomes->>'mode' END,
            CASE WHEN happened = 'mode_changed' THEN becomes->>'mode_reason' END, 'by hand', reconciler.acting_role(),
            jsonb_strip_nulls(jsonb_build_object('table', 'reconciler.' || TG_TABLE_NAME, 'operation', TG_OP, 'state', whole->'state', 'hub', CASE WHEN TG_TABLE_NAME = 'hub' THEN whole->'name' END, 'cluster', CASE WHEN TG_TABLE_NAME = 'cluster' THEN whole->'name' END))
              || jsonb_build_object('old', was, 'new', becomes))
    RETURNING id INTO written;
  PERFORM pg_notify('session_reconciler', json_build_object('table', about.schema_name || '.' || about.table_name,
                    'pass_id', NULL, 'first', written, 'last', written)::text);
  PERFORM reconciler.wake_worker();
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.configuration_changed() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.configuration_changed() IS
  'Notes what is changed by hand in reconciler.policy, hub, cluster and binding: kind policy_changed, mode_changed or detached, old and new values in evidence.';

CREATE TRIGGER noted AFTER INSERT OR DELETE ON reconciler.policy FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.policy FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted AFTER INSERT OR DELETE ON reconciler.hub FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.hub FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted AFTER INSERT OR DELETE ON reconciler.cluster FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.cluster FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted AFTER DELETE ON reconciler.binding FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
-- A pass that finds its table broken writes an event of kind error itself.
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.binding FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.* AND NOT (NEW.mode = 'broken' AND OLD.mode <> 'broken'))
  EXECUTE FUNCTION reconciler.configuration_changed();

CREATE TRIGGER noted AFTER INSERT OR DELETE ON reconciler.backend FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.backend FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted AFTER INSERT OR DELETE ON reconciler.evidence_source FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.evidence_source FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION reconciler.configuration_changed();

-- A trigger and no CHECK: a violated CHECK prints the failing row, and with it the password that it refuses.
CREATE FUNCTION reconciler.refuse_credentials_in_urls() RETURNS trigger
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
REVOKE ALL ON FUNCTION reconciler.refuse_credentials_in_urls() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.refuse_credentials_in_urls() IS 'Refuses hub addresses with a user, query or fragment, however they are written, and those that are neither http nor https, without printing them.';
CREATE TRIGGER no_credentials BEFORE INSERT OR UPDATE OF base_urls ON reconciler.hub
  FOR EACH ROW EXECUTE FUNCTION reconciler.refuse_credentials_in_urls();

-- A violated CHECK prints its name and the failing row. Here it says what is wrong and what would be right, in the
-- words of its comment or of its column's.
CREATE FUNCTION reconciler.check_row() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  rule record;
  kept boolean;
BEGIN
  FOR rule IN
    SELECT c.conname, pg_get_expr(c.conbin, c.conrelid) AS condition, pg_get_constraintdef(c.oid, true) AS definition,
           k.columns, coalesce(obj_description(c.oid, 'pg_constraint'), k.advice) AS advice
      FROM pg_constraint AS c CROSS JOIN LATERAL (
        SELECT string_agg(quote_ident(a.attname), ' and ' ORDER BY a.attnum) AS columns,
               min(a.attname || ': ' || col_description(a.attrelid, a.attnum)) AS advice
          FROM pg_attribute AS a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)) AS k
      WHERE c.conrelid = TG_RELID AND c.contype = 'c' ORDER BY c.conname
  LOOP
    BEGIN
      EXECUTE format('SELECT %s FROM (SELECT ($1).*) AS row', rule.condition) INTO kept USING NEW;
    EXCEPTION WHEN data_exception THEN  -- a time zone that is not known
      kept := false;
    END;
    IF NOT kept THEN
      RAISE EXCEPTION 'invalid % in %', rule.columns, TG_RELID::regclass
        USING ERRCODE = 'check_violation', CONSTRAINT = rule.conname, SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
        DETAIL = format('It breaks a rule of %s: %s.', TG_RELID::regclass, rule.definition), HINT = rule.advice;
    END IF;
  END LOOP;
  RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION reconciler.check_row() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.check_row() IS 'Raises what a violated CHECK of the configuration would (23514), with the rule and a hint, and without the row.';
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.hub FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.cluster FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.binding FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.policy FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.backend FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.evidence_source FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();

-- A session that is closed into a state that is not the end would be picked up again.
CREATE FUNCTION reconciler.check_terminal_states() RETURNS trigger
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
REVOKE ALL ON FUNCTION reconciler.check_terminal_states() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.check_terminal_states() IS 'Refuses a policy that watches a terminal state, an enabled one that writes a state that is not terminal, and a state that the type of the state column does not have (23514).';
CREATE TRIGGER checked_states AFTER INSERT OR UPDATE OF binding_id, state, enabled, becomes, completed_becomes ON reconciler.policy
  FOR EACH ROW EXECUTE FUNCTION reconciler.check_terminal_states();
CREATE TRIGGER checked_states AFTER UPDATE OF terminal_states ON reconciler.binding
  FOR EACH ROW EXECUTE FUNCTION reconciler.check_terminal_states();

-- A mapping that no pass could load is refused where it is written.
CREATE FUNCTION reconciler.check_mapping() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM reconciler.check_binding(NEW.binding_id);
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.check_mapping() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.check_mapping() IS 'Raises what would break the next pass, when the mapping is edited (22023, 42703, 42804, 55000).';
CREATE TRIGGER checked_mapping AFTER UPDATE OF columns, related, leftover ON reconciler.binding
  FOR EACH ROW WHEN (OLD.columns <> NEW.columns OR OLD.related <> NEW.related OR OLD.leftover <> NEW.leftover) EXECUTE FUNCTION reconciler.check_mapping();

-- What a policy lets a close write besides the state is written with the rights of the table's owner.
CREATE FUNCTION reconciler.check_repair() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  attached regclass;
  owner name;
BEGIN
  SELECT c.oid, pg_get_userbyid(c.relowner) INTO attached, owner FROM reconciler.binding AS b JOIN pg_class AS c ON c.oid = b.sessions WHERE b.binding_id = NEW.binding_id;
  IF NOT FOUND THEN
    RETURN NULL;  -- a table that has vanished
  END IF;
  IF NOT pg_has_role(reconciler.acting_role(), owner, 'USAGE') THEN
    RAISE EXCEPTION 'must be owner of table %', attached USING ERRCODE = 'insufficient_privilege',
      DETAIL = 'The sets and steps of a policy are written with its rights.', HINT = format('Its owner is %I; a superuser may change the policies of any table.', owner);
  END IF;
  PERFORM reconciler.check_binding(NEW.binding_id);
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.check_repair() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.check_repair() IS 'Refuses sets and steps of a policy that no close could write (22023, 42703, 55000), and those for somebody else''s table (42501).';
CREATE TRIGGER checked_repair AFTER INSERT OR UPDATE OF sets, steps ON reconciler.policy
  FOR EACH ROW WHEN (NEW.sets <> '{}' OR NEW.steps <> '[]') EXECUTE FUNCTION reconciler.check_repair();

-- A hub profile that can't be used would end every pass. What a dump brings along is believed, and found by preflight().
CREATE FUNCTION reconciler.check_hub_profile() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM reconciler.check_profile(NEW.name, NEW.definition);
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.check_hub_profile() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.check_hub_profile() IS 'Refuses a hub profile that can''t be used (22023).';
CREATE TRIGGER checked_profile AFTER INSERT OR UPDATE ON reconciler.hub_profile
  FOR EACH ROW WHEN (current_setting('check_function_bodies') = 'on') EXECUTE FUNCTION reconciler.check_hub_profile();

-- pg_dump orders the rows of these tables by their foreign keys, and pg_restore -j forgets that order. What is restored
-- agreed when it was dumped: the statement by which a superuser restores it is as with --disable-triggers, and no other,
-- since in one transaction (pg_restore -1) the application's own tables follow. The two settings are what every dump begins
-- with; inside our own functions search_path is another.
CREATE FUNCTION reconciler.trust_dump() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('is_superuser') = 'off' THEN
    NULL;
  ELSIF TG_WHEN = 'BEFORE' AND current_setting('session_replication_role') = 'origin' THEN
    PERFORM set_config('session_replication_role', 'replica', true), set_config('reconciler.trusts_dump', 'on', true);
  ELSIF TG_WHEN = 'AFTER' AND current_setting('reconciler.trusts_dump', true) = 'on' THEN
    PERFORM set_config('session_replication_role', 'origin', true), set_config('reconciler.trusts_dump', '', true);
  END IF;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.trust_dump() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.trust_dump() IS 'Rows of a dump that a superuser restores may come before those that they refer to.';
CREATE TRIGGER restored BEFORE INSERT ON reconciler.hub WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
CREATE TRIGGER restored_all AFTER INSERT ON reconciler.hub WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
ALTER TABLE reconciler.hub ENABLE ALWAYS TRIGGER restored_all;
CREATE TRIGGER restored BEFORE INSERT ON reconciler.binding WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
CREATE TRIGGER restored_all AFTER INSERT ON reconciler.binding WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
ALTER TABLE reconciler.binding ENABLE ALWAYS TRIGGER restored_all;
CREATE TRIGGER restored BEFORE INSERT ON reconciler.policy WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
CREATE TRIGGER restored_all AFTER INSERT ON reconciler.policy WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
ALTER TABLE reconciler.policy ENABLE ALWAYS TRIGGER restored_all;
CREATE TRIGGER restored BEFORE INSERT ON reconciler.hold WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
CREATE TRIGGER restored_all AFTER INSERT ON reconciler.hold WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
ALTER TABLE reconciler.hold ENABLE ALWAYS TRIGGER restored_all;
CREATE TRIGGER restored BEFORE INSERT ON reconciler.cluster WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
CREATE TRIGGER restored_all AFTER INSERT ON reconciler.cluster WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
ALTER TABLE reconciler.cluster ENABLE ALWAYS TRIGGER restored_all;
