# shellcheck shell=bash
# Closing orphans with their events, against the same rows written by hand: one statement per 500 sessions that
# updates them, writes both events and the application's audit row, and forgets the episodes.
source bench/force-setup.sh
force_rows=50000

force_setup force_by_hand "$force_rows"
cat > "$RUN/by_hand.sql" << 'END'
DO $$
DECLARE n bigint;
BEGIN
  LOOP
    WITH due AS (SELECT id FROM sessions WHERE state = 'terminating' ORDER BY updated_at, id LIMIT 500),
    closed AS (
      UPDATE sessions s SET state = 'terminated', termination_reason = 'agent_unavailable', terminated_at = clock_timestamp(), updated_at = clock_timestamp()
        FROM due, sessions o WHERE s.id = due.id AND o.id = s.id AND s.state = 'terminating'
        RETURNING s.id, jsonb_build_object('id', o.id, 'state', o.state, 'assigned_agent_id', o.assigned_agent_id, 'created_at', o.created_at, 'termination_reason', o.termination_reason,
                    'terminated_at', o.terminated_at, 'updated_at', o.updated_at) AS before,
                  jsonb_build_object('id', s.id, 'state', s.state, 'assigned_agent_id', s.assigned_agent_id, 'created_at', s.created_at, 'termination_reason', s.termination_reason,
                    'terminated_at', s.terminated_at, 'updated_at', s.updated_at) AS after, s.assigned_agent_id AS agent),
    events AS (
      INSERT INTO reconciler.event (at, schema_name, table_name, session_id, kind, from_state, to_state, reason, rule, actor, evidence, before, after)
        SELECT clock_timestamp(), 'public', 'sessions', id, kind, 'terminating', 'terminated', 'agent_unavailable', 'agent_gone', 'by hand',
               CASE kind WHEN 'force' THEN jsonb_build_object('agent_id', agent, 'text', 'gone', 'attempts', 0, 'in_state_seconds', 3600, 'stuck_after_seconds', 300, 'gone_after_seconds', 600,
                 'agent', jsonb_build_object('presence', 'gone', 'source', 'hub', 'age_seconds', 1.0, 'gone_seconds', 3600.0, 'gone_observations', 60, 'detail', ''))
               ELSE jsonb_build_object('agent_id', agent, 'namespace', 'default', 'resources', jsonb_build_array('deployment/' || id), 'cleanup', 'kubectl delete deployment ' || id, 'user_data', '[]'::jsonb) END,
               CASE kind WHEN 'force' THEN before END, CASE kind WHEN 'force' THEN after END
          FROM closed, unnest(ARRAY['force', 'leftover']) AS kind),
    audited AS (
      INSERT INTO audit_log (actor, action, resource_type, resource_id, changes)
        SELECT 'by hand', 'UPDATE', 'session', id, jsonb_build_object('action', 'force', 'rule', 'agent_gone', 'reason', 'agent_unavailable', 'before', before, 'after', after) FROM closed),
    forgotten AS (DELETE FROM reconciler.episode e USING closed WHERE e.binding_id = 1 AND e.session_id = closed.id)
    SELECT count(*) INTO n FROM closed;
    COMMIT;
    EXIT WHEN n = 0;
  END LOOP;
END $$;
END
hand=$(rate "$force_rows" "$(seconds psql -qX -v ON_ERROR_STOP=1 -f "$RUN/by_hand.sql")")
force_setup force_by_pass "$force_rows"
pass=$(rate "$force_rows" "$(seconds psql -qX -v ON_ERROR_STOP=1 -c 'CALL reconcile()')")
[ "$(sql "SELECT count(*) FROM reconciler.event WHERE kind = 'force'")" = "$force_rows" ] || echo "not all were closed"
result "forcing orphans with events (rows/s)" "$pass" "$hand" "$(ratio "$pass" "$hand")" ">= 0.7"
dropdb force_by_hand --maintenance-db=postgres
dropdb force_by_pass --maintenance-db=postgres
