# shellcheck shell=bash
# The Look functions over 1,000 stuck sessions of a million, against the plain query for those sessions.
source bench/retry-setup.sh

start_hub
retry_setup look 1000
sql "INSERT INTO sessions (id, user_id, state) SELECT 'h-' || n, 'u', 'running' FROM generate_series(1, 1000000) AS n"
sql "VACUUM ANALYZE sessions"
mean_ms() {
  echo "$1" > "$RUN/look.sql"
  pgbench -n -t "$2" -f "$RUN/look.sql" 2> /dev/null | sed -nE 's/^latency average = ([0-9.]+) ms/\1/p'
}
plain=$(mean_ms "SELECT * FROM sessions WHERE state = 'terminating' AND updated_at < now() - interval '5 min' ORDER BY updated_at, id;" 50)
stuck=$(mean_ms "SELECT * FROM stuck_sessions();" 20)
result "stuck_sessions() of 1000 (ms)" "$stuck" "$plain" "$(ratio "$stuck" "$plain")" ""
plain=$(mean_ms "SELECT * FROM sessions WHERE id = 's-500';" 200)
explained=$(mean_ms "SELECT * FROM explain_session('s-500');" 200)
result "explain_session() (ms)" "$explained" "$plain" "$(ratio "$explained" "$plain")" ""
dropdb look --maintenance-db=postgres
