# shellcheck shell=bash
# A pass that finds nothing to do: its cost must not follow the size of the table.
# Database time: the mean of 300 CALLs after 20 to warm up, on one connection, less nothing.
idle_pass_ms() {
  echo 'CALL reconcile();' > "$RUN/idle.sql"
  pgbench -n -t 20 -f "$RUN/idle.sql" > /dev/null 2>&1
  pgbench -n -t 300 -f "$RUN/idle.sql" 2> /dev/null | sed -nE 's/^latency average = ([0-9.]+) ms/\1/p'
}

idle_table() {
  control_plane "idle_$1"
  sql "ALTER TABLE sessions SET (autovacuum_enabled = off)"
  sql "INSERT INTO sessions (id, user_id, state) SELECT 's-' || n, 'u', CASE WHEN n % 3 = 0 THEN 'running' ELSE 'terminated' END FROM generate_series(1, $1) AS n"
  sql "VACUUM ANALYZE sessions"
  sql "CHECKPOINT"
}

idle_table 100000
small=$(idle_pass_ms)
idle_table "${BENCH_ROWS:-10000000}"
large=$(idle_pass_ms)
result "idle pass, ${BENCH_ROWS:-10000000} rows / 100000 rows (ms)" "$large" "$small" "$(ratio "$large" "$small")" "<= 1.5 and <= 1 ms"
dropdb "idle_${BENCH_ROWS:-10000000}" --maintenance-db=postgres
dropdb idle_100000 --maintenance-db=postgres
