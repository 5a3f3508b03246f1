-- Acting on bindings and sessions. Each writes its audit event in the caller's transaction, as the role that acts,
-- and wakes the worker when it commits. Who may call them: reconciler_grant(). The functions that write a user's
-- table are in 65-pass.sql.

CREATE FUNCTION set_mode(mode text, reason text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id integer := reconciler.one_binding(sessions);
  was reconciler.binding;
BEGIN
  PERFORM reconciler.required_reason(reason);
  PERFORM reconciler.required('mode', mode);
  IF mode NOT IN ('observe', 'enforce', 'off') THEN
    RAISE EXCEPTION 'invalid mode %', quote_literal(mode) USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Valid modes are observe, enforce and off.';
  END IF;
  -- Not FOR UPDATE: passes write records that refer to the binding, and would wait for it with a lock on its state.
  SELECT b.* INTO STRICT was FROM reconciler.binding AS b WHERE b.binding_id = id FOR NO KEY UPDATE;
  IF mode = 'enforce' THEN
    PERFORM reconciler.refuse_copy(id);
  END IF;
  IF mode <> 'off' THEN
    PERFORM reconciler.check_binding(id);  -- a binding that is still broken says so here, not in its next pass
  END IF;
  PERFORM reconciler.change_binding(id, jsonb_build_object('mode', mode, 'mode_reason', reason));
  UPDATE reconciler.binding_state AS s SET safe_mode_since = NULL, crashes = '{}' WHERE s.binding_id = id;
  PERFORM reconciler.note(id, NULL, 'mode_changed', reason, from_state => was.mode, to_state => set_mode.mode, rule => 'operator');
  IF mode = 'off' THEN
    PERFORM reconciler.wake_worker();
  ELSE
    PERFORM reconciler.request_worker();
  END IF;
  RETURN mode;
END $$;
COMMENT ON FUNCTION set_mode(text, text, regclass) IS
  'Sets what passes may do with a table: observe (look and note), enforce, or off (not looked at); also ends mode broken and safe mode. reason: kept in the audit. sessions: the attached table; NULL: the only one. Returns the mode. Errors: invalid mode or blank reason (22023), a copy whose identity is not confirmed, or a table that has vanished (55000), a column that has (42703) or whose type does not fit any more (42804).';

CREATE FUNCTION pause_reconciler(reason text, everything boolean DEFAULT false, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id integer := reconciler.one_binding(sessions);
  since timestamptz;
BEGIN
  PERFORM reconciler.required_reason(reason);
  SELECT coalesce(b.paused_at, reconciler.clock()) INTO STRICT since FROM reconciler.binding AS b WHERE b.binding_id = id FOR NO KEY UPDATE;
  PERFORM reconciler.change_binding(id, jsonb_build_object('paused_at', since, 'paused_by', reconciler.acting_role(),
                                    'pause_reason', reason, 'pause_everything', coalesce(everything, false)));
  PERFORM reconciler.note(id, NULL, 'pause', reason, jsonb_build_object('everything', coalesce(everything, false)), rule => 'operator');
  RETURN 'paused';
END $$;
COMMENT ON FUNCTION pause_reconciler(text, boolean, regclass) IS
  'Stops retries and forces until unpause_reconciler(); survives restart and failover. reason: kept in the audit and shown by reconciler_status(). everything: proven completions wait too. sessions: the attached table; NULL: the only one. Paused already: the reason and everything are replaced, the time stays. Returns paused. Error: blank reason (22023).';

CREATE FUNCTION unpause_reconciler(reason text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id integer := reconciler.one_binding(sessions);
  was reconciler.binding;
BEGIN
  PERFORM reconciler.required_reason(reason);
  SELECT b.* INTO STRICT was FROM reconciler.binding AS b WHERE b.binding_id = id FOR NO KEY UPDATE;
  IF was.paused_at IS NULL THEN
    RETURN 'not paused';
  END IF;
  PERFORM reconciler.change_binding(id, '{"paused_at": null, "paused_by": null, "pause_reason": null, "pause_everything": false}');
  PERFORM reconciler.note(id, NULL, 'unpause', reason, jsonb_build_object('paused_at', was.paused_at, 'paused_by', was.paused_by,
                          'pause_reason', was.pause_reason, 'everything', was.pause_everything), rule => 'operator');
  PERFORM reconciler.wake_worker();
  RETURN 'unpaused';
END $$;
COMMENT ON FUNCTION unpause_reconciler(text, regclass) IS
  'Ends pause_reconciler(). reason: kept in the audit. sessions: the attached table; NULL: the only one. Returns unpaused, or not paused. Error: blank reason (22023).';

-- The brake stays tripped while the allowance lasts: spend() and may_force() in src/postgres/store_brake.cpp spend
-- it and release the brake when it is used up or nothing more is due.
CREATE FUNCTION reset_brake(reason text, allow integer DEFAULT NULL, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id integer := reconciler.one_binding(sessions);
  was reconciler.brake;
  granted bigint;
BEGIN
  PERFORM reconciler.required_reason(reason);
  IF allow < 0 THEN
    RAISE EXCEPTION 'allow must not be negative' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'It is how many sessions may be closed beside the normal budget; NULL: as many as were due when the brake tripped.';
  END IF;
  SELECT k.* INTO was FROM reconciler.brake AS k WHERE k.binding_id = id FOR UPDATE;
  IF was.tripped IS NULL THEN
    RETURN 'not tripped';
  END IF;
  granted := coalesce(allow, was.tripped_due);
  IF granted > 0 THEN
    UPDATE reconciler.brake AS k SET allowance = granted, losses_from = reconciler.clock() WHERE k.binding_id = id;
  ELSE
    UPDATE reconciler.brake AS k SET tripped = NULL, tripped_due = 0, tripped_why = '', tripped_by_losses = false, allowance = 0, losses_from = reconciler.clock()
      WHERE k.binding_id = id;
  END IF;
  PERFORM reconciler.note(id, NULL, 'brake_reset', reason, jsonb_build_object('allowed', granted, 'tripped_at', was.tripped,
                          'due', was.tripped_due, 'why', was.tripped_why), rule => 'operator');
  RAISE LOG 'session_reconciler: brake of % reset by %: % let through', (SELECT format('%I.%I', b.schema_name, b.table_name) FROM reconciler.binding AS b WHERE b.binding_id = id), session_user, granted;
  PERFORM reconciler.wake_worker();
  RETURN 'reset';
END $$;
COMMENT ON FUNCTION reset_brake(text, integer, regclass) IS
  'Lets a tripped brake''s sessions through: the next passes judge each again and close them, in batches. reason: kept in the audit. allow: how many; NULL: as many as were due when it tripped; 0: none. sessions: the attached table; NULL: the only one. Then, or when nothing more is due, the normal budget holds again. Returns reset, or not tripped. Errors: blank reason, negative allow (22023).';

CREATE FUNCTION confirm_identity(reason text) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was reconciler.binding;
  here record;
  confirmed integer := 0;
BEGIN
  PERFORM reconciler.required_reason(reason);
  SELECT h.* INTO here FROM reconciler.server_identity() AS h;
  FOR was IN SELECT b.* FROM reconciler.binding AS b WHERE NOT reconciler.armed_here(b.binding_id) ORDER BY b.binding_id FOR NO KEY UPDATE LOOP
    PERFORM reconciler.change_binding(was.binding_id, jsonb_build_object('armed_system', here.system, 'armed_database', here.database,
                                      'armed_name', here.name));
    -- Its graces run as after a promotion: what it remembers of agents may be another server's knowledge.
    INSERT INTO reconciler.binding_state AS s (binding_id, promoted_at) VALUES (was.binding_id, reconciler.clock())
      ON CONFLICT (binding_id) DO UPDATE SET first_pass_at = NULL, promoted_at = excluded.promoted_at;
    PERFORM reconciler.note(was.binding_id, NULL, 'mode_changed', reason,
      jsonb_build_object('was_armed_for', jsonb_build_object('system', was.armed_system::text, 'database', was.armed_database::bigint, 'name', was.armed_name),
                         'armed_for', jsonb_build_object('system', here.system::text, 'database', here.database::bigint, 'name', here.name)),
      from_state => was.mode, to_state => was.mode, rule => 'confirm_identity');
    confirmed := confirmed + 1;
  END LOOP;
  -- Sessions that the database has no row of really are none, from now on.
  FOR was IN SELECT b.* FROM reconciler.binding AS b WHERE EXISTS (SELECT FROM reconciler.cluster AS c LEFT JOIN reconciler.cluster_state AS s ON s.cluster = c.name
      WHERE c.binding_id = b.binding_id AND s.timeline IS DISTINCT FROM reconciler.wal_timeline()) ORDER BY b.binding_id LOOP
    INSERT INTO reconciler.cluster_state AS s (cluster, timeline) SELECT c.name, reconciler.wal_timeline() FROM reconciler.cluster AS c WHERE c.binding_id = was.binding_id
      ON CONFLICT ON CONSTRAINT cluster_state_pkey DO UPDATE SET timeline = excluded.timeline;
    UPDATE reconciler.resource AS r SET absent_looks = 0, absent_counted = NULL FROM reconciler.cluster AS c WHERE c.name = r.cluster AND c.binding_id = was.binding_id;
    PERFORM reconciler.note(was.binding_id, NULL, 'mode_changed', reason, jsonb_build_object('timeline', reconciler.wal_timeline()),
      from_state => was.mode, to_state => was.mode, rule => 'confirm_identity');
    confirmed := confirmed + 1;
  END LOOP;
  IF confirmed = 0 THEN
    RETURN 'nothing to confirm';
  END IF;
  PERFORM reconciler.request_worker();
  RETURN 'confirmed';
END $$;
COMMENT ON FUNCTION confirm_identity(text) IS
  'Says that this server and database are to act for every attached table, after a restore, a clone or pg_upgrade; until then they only observe; and that after a restore or a promotion what has no row here, in clusters, has no session. Make sure that the original no longer acts. Grace periods start again. reason: kept in the audit. Returns confirmed, or nothing to confirm. Error: blank reason (22023).';

CREATE FUNCTION hold_session(session_id text, until timestamptz, reason text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id integer := reconciler.one_binding(sessions);
  present text;
BEGIN
  PERFORM reconciler.required_reason(reason);
  PERFORM reconciler.required('until', until::text);
  IF until <= reconciler.clock() THEN
    RAISE EXCEPTION 'until must be in the future' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', until),
      HINT = 'Give a time like now() + interval ''1 hour'', or ''infinity'' to hold until release_session().';
  END IF;
  present := reconciler.existing_session(id, session_id);
  session_id := reconciler.session_key(id, session_id);
  IF EXISTS (SELECT FROM reconciler.policy AS p WHERE p.binding_id = id AND p.state = present) THEN
    PERFORM reconciler.begin_episode(id, session_id);
  END IF;
  INSERT INTO reconciler.hold (binding_id, session_id, until, reason, actor)
    VALUES (id, hold_session.session_id, hold_session.until, hold_session.reason, reconciler.acting_role())
    ON CONFLICT ON CONSTRAINT hold_pkey DO UPDATE SET until = excluded.until, reason = excluded.reason, actor = excluded.actor;
  -- A pass that is closing the session has locked its episode: either it sees the hold, or we wait and see its result.
  PERFORM FROM reconciler.episode AS e WHERE e.binding_id = id AND e.session_id = hold_session.session_id FOR UPDATE;
  present := reconciler.existing_session(id, session_id);
  PERFORM reconciler.note(id, session_id, 'hold', reason, jsonb_build_object('until', until), from_state => present, rule => 'operator');
  IF EXISTS (SELECT FROM reconciler.binding AS b WHERE b.binding_id = id AND present = ANY (b.terminal_states)) THEN
    RAISE NOTICE 'session "%" has ended: its state is %', session_id, present;
  END IF;
  RETURN 'held';
END $$;
COMMENT ON FUNCTION hold_session(text, timestamptz, text, regclass) IS
  'Nothing is done to a session until a time, not even when it is proven to have ended; a command that is on its way stays so. until: in the future; infinity: until release_session(). reason: kept in the audit and shown. sessions: the attached table; NULL: the only one. Held already: time, reason and holder are replaced. Returns held. Errors: unknown session (P0002), blank reason or past time (22023).';

CREATE FUNCTION release_session(session_id text, reason text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id integer := reconciler.one_binding(sessions);
  was reconciler.hold;
BEGIN
  PERFORM reconciler.required_reason(reason);
  session_id := coalesce(reconciler.session_key(id, session_id), session_id);
  DELETE FROM reconciler.hold AS h WHERE h.binding_id = id AND h.session_id = release_session.session_id RETURNING h.* INTO was;
  IF was.until IS NULL OR was.until <= reconciler.clock() THEN
    IF was.until IS NULL THEN
      PERFORM reconciler.existing_session(id, session_id);
    END IF;
    RETURN 'not held';
  END IF;
  PERFORM reconciler.note(id, session_id, 'release', reason, jsonb_build_object('until', was.until, 'held_by', was.actor,
                          'hold_reason', was.reason), rule => 'operator');
  PERFORM reconciler.wake_worker();
  RETURN 'released';
END $$;
COMMENT ON FUNCTION release_session(text, text, regclass) IS
  'Ends hold_session(). reason: kept in the audit. sessions: the attached table; NULL: the only one. Returns released, or not held. Errors: neither held nor a session of that id (P0002), blank reason (22023).';

CREATE FUNCTION retry_session(session_id text, reason text, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id integer := reconciler.one_binding(sessions);
  present text;
  held reconciler.hold;
  policy reconciler.policy;
  episode reconciler.episode;
  about reconciler.binding;
  unanswered timestamptz;
  obstacle text;
BEGIN
  PERFORM reconciler.required_reason(reason);
  PERFORM reconciler.refuse_copy(id);
  present := reconciler.existing_session(id, session_id);
  session_id := reconciler.session_key(id, session_id);
  SELECT b.* INTO STRICT about FROM reconciler.binding AS b WHERE b.binding_id = id;
  IF present = ANY (about.terminal_states) THEN
    RAISE EXCEPTION 'session "%" has ended already', session_id USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = format('Its state is %s.', present);
  END IF;
  IF present = '' THEN
    RAISE EXCEPTION 'session "%" has no state', session_id USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = 'Set its state first; a session without one is never written.';
  END IF;
  SELECT h.* INTO held FROM reconciler.hold AS h
    WHERE h.binding_id = id AND h.session_id = retry_session.session_id AND h.until > reconciler.clock();
  IF FOUND THEN
    RAISE EXCEPTION 'session "%" is held', session_id USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = format('Held by %s until %s: %s.', held.actor, held.until, held.reason), HINT = 'Release it with release_session() first.';
  END IF;
  SELECT p.* INTO policy FROM reconciler.policy AS p WHERE p.binding_id = id AND p.state = present AND p.enabled;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no enabled policy watches state %', present USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = format('Session "%s" is in it.', session_id),
      HINT = 'request_termination() asks for its end; reconciler.policy says which states are watched.';
  END IF;
  PERFORM reconciler.begin_episode(id, session_id);
  SELECT e.* INTO STRICT episode FROM reconciler.episode AS e WHERE e.binding_id = id AND e.session_id = retry_session.session_id FOR UPDATE;
  IF policy.retry_action IS NULL AND episode.quarantined IS NULL THEN
    RAISE EXCEPTION 'no command is sent for sessions in state %', present USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = 'explain_session() says what happens to it by itself, and when.';
  END IF;
  -- The judgement compares the two times: later than the last try or the quarantine, whatever the clock does.
  UPDATE reconciler.episode AS e
    SET next_attempt = NULL,
        retry_requested = greatest(reconciler.clock(), e.last_attempt + interval '1 microsecond', e.quarantined + interval '1 microsecond')
    WHERE e.binding_id = id AND e.session_id = retry_session.session_id;
  PERFORM reconciler.note(id, session_id, 'retry', reason,
    jsonb_build_object('requested', true, 'attempts', episode.attempts, 'quarantined', episode.quarantined), from_state => present, rule => 'operator');
  SELECT s.hub_unknown_since INTO unanswered FROM reconciler.binding_state AS s WHERE s.binding_id = id;
  obstacle := CASE WHEN about.mode <> 'enforce' THEN format('the mode of the table is %s', about.mode)
                   WHEN about.paused_at IS NOT NULL THEN format('the reconciler is paused: %s', about.pause_reason)
                   WHEN episode.agent_id IS NULL THEN 'the session names no agent'
                   WHEN about.hub IS NULL THEN 'the table has no hub'
                   WHEN unanswered IS NOT NULL THEN format('hub "%s" has not answered properly since %s', about.hub, unanswered) END;
  IF obstacle IS NOT NULL THEN
    RAISE NOTICE 'the request waits: %', obstacle;
  END IF;
  PERFORM reconciler.wake_worker();
  RETURN 'requested';
END $$;
COMMENT ON FUNCTION retry_session(text, text, regclass) IS
  'Asks for one more try now, past the backoff, a spent cap and a quarantine; the next pass judges it like any other and sends the command if the agent is there. reason: kept in the audit. sessions: the attached table; NULL: the only one. Returns requested. Errors: unknown session (P0002), blank reason (22023); ended, held, in a state that no enabled policy watches or for which no command is sent, or a copy whose identity is not confirmed (55000).';

REVOKE ALL ON FUNCTION set_mode(text, text, regclass), pause_reconciler(text, boolean, regclass),
  unpause_reconciler(text, regclass), reset_brake(text, integer, regclass), confirm_identity(text),
  hold_session(text, timestamptz, text, regclass),
  release_session(text, text, regclass), retry_session(text, text, regclass)
  FROM PUBLIC;
