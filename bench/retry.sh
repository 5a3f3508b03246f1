# shellcheck shell=bash
# Retries, claim and record included, over many agents, against two baselines: a bare libcurl-multi loop on the same hub,
# which keeps nothing, and the same loop plus what makes its tries durable, written by hand. Once on a hub that does
# nothing but answer, once on one that logs and completes every command.
source bench/retry-setup.sh
retry_rows=20000

# Claims and records of all tries, 250 to a transaction, as statements that know what they will find.
cat > "$RUN/tries_by_hand.sql" << 'END'
DO $$
DECLARE ids text[] := '{}'; at timestamptz;
BEGIN
  LOOP
    ids := ARRAY(SELECT session_id FROM reconciler.episode WHERE binding_id = 1 AND session_id > coalesce(ids[250], '') ORDER BY session_id LIMIT 250);
    EXIT WHEN ids = '{}';
    at := clock_timestamp();
    WITH claimed AS (
      UPDATE reconciler.episode SET lease_until = at + interval '1 min', last_attempt = at, tries = tries + 1, command_id = gen_random_uuid()::text
        WHERE binding_id = 1 AND session_id = ANY (ids) AND lease_until IS NULL RETURNING session_id, command_id, attempts + 1 AS attempt, agent_id)
      INSERT INTO reconciler.event (at, schema_name, table_name, actor, session_id, kind, from_state, rule, evidence)
        SELECT at, 'public', 'sessions', 'by hand', session_id, 'retry', 'terminating', 'retry_due',
               jsonb_build_object('command_id', command_id, 'attempt', attempt, 'agent_id', agent_id) FROM claimed;
    COMMIT;
    at := clock_timestamp();
    WITH recorded AS (
      UPDATE reconciler.episode SET lease_until = NULL, last_result = 'accepted', next_attempt = at + interval '1 min', attempts = attempts + 1, accepted = accepted + 1,
             first_accepted = coalesce(first_accepted, at), accepted_at = at, hub_command_id = command_id
        WHERE binding_id = 1 AND session_id = ANY (ids) RETURNING session_id, command_id, attempts, agent_id)
      INSERT INTO reconciler.event (at, schema_name, table_name, actor, session_id, kind, from_state, reason, evidence)
        SELECT at, 'public', 'sessions', 'by hand', session_id, 'retry_result', 'terminating', 'accepted',
               jsonb_build_object('command_id', command_id, 'attempt', attempts, 'outcome', 'accepted', 'agent_id', agent_id, 'took_ms', 0.5) FROM recorded;
    COMMIT;
  END LOOP;
END $$;
END

retry_on() {
  local what=$1 bare pass by_hand
  shift
  start_hub "$@"
  bare=$(build/bench/bare_multi "http://$hub" "$retry_rows" 64)
  start_hub "$@"
  retry_setup retry_by_hand "$retry_rows"
  by_hand=$(awk -v n="$retry_rows" -v bare="$bare" -v written="$(seconds psql -qX -v ON_ERROR_STOP=1 -f "$RUN/tries_by_hand.sql")" 'BEGIN { printf "%.0f", n / (n / bare + written) }')
  start_hub "$@"
  retry_setup retry "$retry_rows"
  pass=$(rate "$retry_rows" "$(seconds psql -qX -v ON_ERROR_STOP=1 -c 'CALL reconcile()')")
  [ "$(sql "SELECT count(*) FROM reconciler.event WHERE kind = 'retry_result' AND reason = 'accepted'")" = "$retry_rows" ] || echo "not all were accepted"
  result "retries, $what (commands/s)" "$pass" "$bare" "$(ratio "$pass" "$bare")" ">= 0.5"
  result "... against durable tries by hand" "$pass" "$by_hand" "$(ratio "$pass" "$by_hand")" ">= 0.5"
  dropdb retry_by_hand --maintenance-db=postgres
  dropdb retry --maintenance-db=postgres
}
retry_on "hub that only answers"
retry_on "hub that logs each" --log "$RUN/hub.jsonl"
