# shellcheck shell=bash
# Twenty rounds of retries while somebody holds a snapshot from before the first of them: what may not be pruned is read
# again and again. The last round against the same without that snapshot.
source bench/retry-setup.sh
snapshot_rows=2000

last_round_ms() {
  local round took=0
  for round in $(seq 20); do
    took=$(seconds psql -qX -v ON_ERROR_STOP=1 -c "SET session_reconciler.clock_offset = '$((round * 20)) min'" -c 'CALL reconcile()')
  done
  awk -v s="$took" 'BEGIN { printf "%.0f", s * 1000 }'
}

start_hub
retry_setup snapshot "$snapshot_rows"
sql "UPDATE reconciler.policy SET max_attempts = 1000, unreachable_limit = '30 days'"
without=$(last_round_ms)
dropdb snapshot --maintenance-db=postgres
start_hub
retry_setup snapshot "$snapshot_rows"
sql "UPDATE reconciler.policy SET max_attempts = 1000, unreachable_limit = '30 days'"
psql -qX -c "BEGIN ISOLATION LEVEL REPEATABLE READ" -c "SELECT count(*) FROM sessions" -c "SELECT pg_sleep(600)" > /dev/null 2>&1 &
holder=$!
until [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")" = 1 ]; do sleep 0.1; done
with=$(last_round_ms)
kill "$holder" && wait "$holder" 2> /dev/null || true
sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'" > /dev/null
result "20th round of 2000 retries, old snapshot (ms)" "$with" "$without" "$(ratio "$with" "$without")" ""
dropdb snapshot --force --maintenance-db=postgres
