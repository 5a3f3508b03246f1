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

small=
for rows in 100000 1000000 "${BENCH_ROWS:-10000000}"; do
  idle_table "$rows"
  took=$(idle_pass_ms)
  small=${small:-$took}
  result "idle pass, $rows rows (ms; against 100000)" "$took" "$small" "$(ratio "$took" "$small")" "<= 1.5 and <= 1 ms"
done
for rows in 100000 1000000 "${BENCH_ROWS:-10000000}"; do dropdb --if-exists "idle_$rows" --maintenance-db=postgres; done
