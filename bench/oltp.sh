# shellcheck shell=bash
# What the application notices: transactions that read and write healthy sessions, while the worker retries stuck ones
# beside it, against the same with the table's mode off. In turns, so that both see the same machine.
source bench/retry-setup.sh
oltp_seconds=${BENCH_OLTP_SECONDS:-10}

start_hub
retry_setup oltp 500
sql "INSERT INTO sessions (id, user_id, state) SELECT 'h-' || n, 'u', 'running' FROM generate_series(1, 200000) AS n"
sql "VACUUM ANALYZE sessions"
cat > "$RUN/oltp.sql" << 'END'
\set n random(1, 200000)
SELECT state FROM sessions WHERE id = 'h-' || :n;
UPDATE sessions SET updated_at = now() WHERE id = 'h-' || :n;
END
tps() { pgbench -n -c 4 -T "$oltp_seconds" -f "$RUN/oltp.sql" 2> /dev/null | sed -nE 's/^tps = ([0-9]+).*/\1/p'; }
tps > /dev/null
without=0 with=0
for _ in 1 2 3; do
  sql "SELECT set_mode('off', 'benchmark')" > /dev/null
  without=$((without + $(tps)))
  sql "SELECT set_mode('enforce', 'benchmark')" > /dev/null
  sql "SELECT reconciler.request_worker()" > /dev/null
  with=$((with + $(tps)))
done
result "the application's transactions (/s)" "$((with / 3))" "$((without / 3))" "$(ratio "$with" "$without")" ">= 0.97"
sql "CALL stop_worker()"
dropdb oltp --maintenance-db=postgres
