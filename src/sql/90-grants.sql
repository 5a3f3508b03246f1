-- Who may call what. PUBLIC may nothing. The list of functions by level is here, once; a test holds it against what
-- the extension really has.

CREATE FUNCTION reconciler.level_of(OUT function_name text, OUT level text) RETURNS SETOF record
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  VALUES
    -- looks
    ('stuck_sessions', 'viewer'), ('explain_session', 'viewer'), ('reconcile_plan', 'viewer'), ('session_coverage', 'viewer'), ('preflight', 'viewer'),
    ('orphaned_resources', 'viewer'), ('leftover_resources', 'viewer'), ('reconciler_status', 'viewer'), ('reconciler_metrics', 'viewer'), ('reconciler_metrics_text', 'viewer'), ('agent_pools', 'viewer'), ('pool_agents', 'viewer'),
    -- acts, within what policies and brakes allow
    ('reconcile', 'operator'), ('probe_hub', 'operator'), ('collect_garbage', 'operator'), ('pause_reconciler', 'operator'), ('unpause_reconciler', 'operator'),
    ('hold_session', 'operator'), ('release_session', 'operator'), ('retry_session', 'operator'),
    ('request_termination', 'operator'), ('resume_or_respawn', 'operator'), ('undo_event', 'operator'), ('accept_inventory', 'operator'), ('undo_pass', 'operator'), ('assign_session', 'operator'), ('drain_agent', 'operator'), ('undrain_agent', 'operator'), ('rebalance_pool', 'operator'),
    -- sets up, and acts past policies and brakes
    ('attach_sessions', 'admin'), ('detach_sessions', 'admin'), ('create_control_plane', 'admin'), ('set_hub', 'admin'), ('set_cluster', 'admin'), ('reset_cluster_brake', 'admin'),
    ('set_mode', 'admin'), ('reset_brake', 'admin'), ('force_terminate_session', 'admin'), ('confirm_identity', 'admin'),
    ('stop_worker', 'admin'), ('create_agent_pool', 'admin'), ('declare_backend', 'admin'), ('migrate_to_pools', 'admin'),
    -- says what it knows of agents
    ('agent_connected', 'evidence'), ('agent_disconnected', 'evidence'), ('register_agent', 'evidence'), ('agent_heartbeat', 'evidence'),
    ('report_evidence', 'evidence'), ('report_inventory', 'evidence'), ('report_resource', 'evidence'), ('next_commands', 'evidence'), ('report_command', 'evidence'),
    -- collects what sessions left behind, from outside of the server
    ('gc_begin', 'collector'), ('gc_classify', 'collector'), ('gc_listed', 'collector'), ('gc_deletions', 'collector'), ('gc_report', 'collector'), ('gc_end', 'collector'),
    -- the extension's owner only
    ('reconciler_grant', 'owner'), ('reconciler_revoke', 'owner'),
    ('reconciler.level_of', 'owner'), ('reconciler.granted_functions', 'owner'), ('reconciler.grantee', 'owner'), ('reconciler.grant_tables', 'owner'),
    ('reconciler.event_is_append_only', 'owner'), ('reconciler.configuration_changed', 'owner'), ('reconciler.own_change', 'owner'), ('reconciler.refuse_credentials_in_urls', 'owner'),
    ('reconciler.check_row', 'owner'), ('reconciler.check_terminal_states', 'owner'), ('reconciler.trust_dump', 'owner'), ('reconciler.check_mapping', 'owner'), ('reconciler.check_hub_profile', 'owner'), ('reconciler.check_repair', 'owner'), ('reconciler.suspended_as', 'owner'), ('reconciler.guard_suspended', 'owner'), ('reconciler.set_suspend_guard', 'owner'), ('reconciler.suspend_guard_changed', 'owner'),
    ('reconciler.plain_text', 'owner'), ('reconciler.closing', 'owner'), ('reconciler.guard', 'owner'), ('reconciler.guard_terminal', 'owner'), ('reconciler.set_guard', 'owner'), ('reconciler.guard_changed', 'owner'),
    ('reconciler.clock', 'owner'), ('reconciler.acting_role', 'owner'), ('reconciler.library_version', 'owner'),
    ('reconciler.one_binding', 'owner'), ('reconciler.bindings', 'owner'), ('reconciler.check_binding', 'owner'), ('reconciler.check_profile', 'owner'),
    ('reconciler.change_binding', 'owner'), ('reconciler.session_key', 'owner'), ('reconciler.begin_episode', 'owner'),
    ('reconciler.wake_worker', 'owner'), ('reconciler.request_worker', 'owner'), ('reconciler.worker_pid', 'owner'),
    ('reconciler.server_identity', 'owner'), ('reconciler.wal_timeline', 'owner'), ('reconciler.armed_here', 'owner'), ('reconciler.refuse_copy', 'owner'), ('reconciler.required', 'owner'), ('reconciler.required_reason', 'owner'),
    ('reconciler.note', 'owner'), ('reconciler.take_inbox', 'owner'), ('reconciler.existing_session', 'owner')
$$;
COMMENT ON FUNCTION reconciler.level_of() IS
  'Level of every function of the extension: viewer, operator, admin, evidence, collector, or owner for those that nobody is granted. Names of the catalog''s functions are with their schema.';

-- A level and what it contains. evidence and collector stand by themselves: who has one of them need not see anything.
CREATE FUNCTION reconciler.granted_functions(level text, upwards boolean) RETURNS SETOF regprocedure
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ladder text[] := ARRAY['viewer', 'operator', 'admin'];
  here integer := array_position(ladder, level);
BEGIN
  PERFORM reconciler.required('level', level);
  IF here IS NULL AND level NOT IN ('evidence', 'collector') THEN
    RAISE EXCEPTION 'there is no level %', quote_literal(level) USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Valid levels are viewer, operator, admin, evidence and collector.';
  END IF;
  RETURN QUERY
    SELECT p.oid::regprocedure FROM pg_extension AS e
      JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
      JOIN pg_proc AS p ON p.oid = d.objid
      JOIN reconciler.level_of() AS l ON l.function_name = CASE WHEN p.pronamespace = e.extnamespace THEN p.proname ELSE 'reconciler.' || p.proname END
    WHERE e.extname = 'session_reconciler'
      AND CASE WHEN here IS NULL THEN l.level = granted_functions.level
               WHEN upwards THEN array_position(ladder, l.level) >= here
               ELSE array_position(ladder, l.level) <= here END
    ORDER BY p.oid;
END $$;
COMMENT ON FUNCTION reconciler.granted_functions(text, boolean) IS 'Functions that a level may call; upwards: those that it and the levels above have more than the level below. Error 22023: no such level.';

-- Checks who grants to whom; returns the role, quoted.
CREATE FUNCTION reconciler.grantee(role text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found text;
BEGIN
  IF NOT (SELECT pg_has_role(e.extowner, 'USAGE') FROM pg_extension AS e WHERE e.extname = 'session_reconciler') THEN
    RAISE EXCEPTION 'must be owner of extension session_reconciler' USING ERRCODE = 'insufficient_privilege',
      HINT = 'Its owner, or a superuser, grants the levels.';
  END IF;
  PERFORM reconciler.required('role', role);
  -- As it stands in pg_roles, or as it is written in SQL.
  SELECT quote_ident(r.rolname) INTO found FROM pg_roles AS r WHERE r.rolname = role OR quote_ident(r.rolname) = role OR r.rolname = lower(role)
    ORDER BY r.rolname = role DESC, quote_ident(r.rolname) = role DESC LIMIT 1;
  IF found IS NULL THEN
    RAISE EXCEPTION 'role % does not exist', quote_literal(role) USING ERRCODE = 'undefined_object',
      HINT = CASE WHEN lower(role) = 'public' THEN 'Nothing is granted to PUBLIC: create a role for those who shall have the level.' ELSE 'CREATE ROLE it first.' END;
  END IF;
  RETURN found;
END $$;
COMMENT ON FUNCTION reconciler.grantee(text) IS 'The role, quoted. Errors: the caller does not own the extension (42501), no such role (42704).';

-- Tables are for reading; an admin edits thresholds and limits as well, with UPDATE, and adds or removes policies. What
-- is a way to act in somebody else's rights is not among it: the mapping, the mode, the identity, hub addresses.
CREATE FUNCTION reconciler.grant_tables(grantee text, level text, give boolean) RETURNS void
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
    EXECUTE format(verb, 'UPDATE (mode, collect_every, young, warm_young, grace, absent_spacing, delete_volumes, dry_run)', 'TABLE reconciler.cluster', grantee);
  END IF;
END $$;
COMMENT ON FUNCTION reconciler.grant_tables(text, text, boolean) IS 'The tables of a level: SELECT on all for viewer and above; for admin also policies, backends, sources of evidence, limits of bindings, timeouts of hubs, mode and limits of clusters; for evidence INSERT into the inbox.';

CREATE FUNCTION reconciler_grant(role text, level text) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  grantee text := reconciler.grantee(role);
  callable regprocedure;
  home name;
  n integer := 0;
BEGIN
  FOR callable IN SELECT reconciler.granted_functions(level, false) LOOP
    EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s', callable, grantee);
    n := n + 1;
  END LOOP;
  EXECUTE format('GRANT USAGE ON SCHEMA reconciler TO %s', grantee);
  -- Often it is public already.
  SELECT s.nspname INTO home FROM pg_extension AS e JOIN pg_namespace AS s ON s.oid = e.extnamespace
    WHERE e.extname = 'session_reconciler'
      AND NOT has_schema_privilege((SELECT r.oid FROM pg_roles AS r WHERE quote_ident(r.rolname) = grantee), s.oid, 'USAGE');
  IF FOUND THEN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %s', home, grantee);
  END IF;
  PERFORM reconciler.grant_tables(grantee, level, true);
  RETURN format('%s is %s now: %s functions', grantee, level, n);
END $$;
COMMENT ON FUNCTION reconciler_grant(text, text) IS
  'Gives a role a level: viewer (look), operator (also pause, hold, retry, undo, reconcile), admin (also attach, hubs, modes, brakes, force; policies and limits by UPDATE), evidence (push evidence, nothing else), or collector (session-reconciler-gc, nothing else). Each of the first three contains the one before. Only the extension''s owner. Errors: no such level (22023), no such role (42704).';

CREATE FUNCTION reconciler_revoke(role text, level text) RETURNS text
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  grantee text := reconciler.grantee(role);
  callable regprocedure;
  had boolean;
BEGIN
  SELECT EXISTS (SELECT FROM pg_proc AS p, aclexplode(p.proacl) AS a(grantor, holder)
                  WHERE p.oid IN (SELECT reconciler.granted_functions(level, true)) AND a.holder = grantee::regrole) INTO had;
  FOR callable IN SELECT reconciler.granted_functions(level, true) LOOP
    EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM %s CASCADE', callable, grantee);
  END LOOP;
  PERFORM reconciler.grant_tables(grantee, level, false);
  IF level = 'viewer' THEN
    EXECUTE format('REVOKE USAGE ON SCHEMA reconciler FROM %s CASCADE', grantee);
  END IF;
  RETURN format(CASE WHEN had THEN '%s is not %s any more' ELSE '%s was not %s' END, grantee, level);
END $$;
COMMENT ON FUNCTION reconciler_revoke(text, text) IS
  'Takes a level from a role, and the levels that contain it: without admin an admin is an operator still, without viewer it is nothing. USAGE on the schema of the functions stays. Only the extension''s owner. Errors: no such level (22023), no such role (42704).';

REVOKE ALL ON FUNCTION reconciler.level_of(), reconciler.granted_functions(text, boolean), reconciler.grantee(text),
  reconciler.grant_tables(text, text, boolean), reconciler_grant(text, text), reconciler_revoke(text, text)
  FROM PUBLIC;

-- Monitoring sees the state, not the sessions.
GRANT EXECUTE ON FUNCTION reconciler_status(), reconciler_metrics(), reconciler_metrics_text(), preflight() TO pg_monitor;
DO $$
BEGIN
  IF NOT (SELECT pg_catalog.has_schema_privilege('pg_monitor', extnamespace, 'USAGE')
          FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'session_reconciler') THEN
    GRANT USAGE ON SCHEMA @extschema@ TO pg_monitor;
  END IF;
END
$$;
