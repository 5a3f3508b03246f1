# shellcheck shell=bash
# SIGTERM to the worker's exit, with requests in flight at a hub that never answers.
source bench/retry-setup.sh

start_hub
retry_setup shutdown 64
curl -sf -o /dev/null -d '[{"match": {"method": "POST"}, "kind": "never_answer"}]' "http://$hub/control/faults"
sql "SELECT set_mode('enforce', 'benchmark')" > /dev/null
worker() { sql "SELECT reconciler.worker_pid()"; }
until [ "$(curl -sf "http://$hub/control/log-counts" | grep -c posts)" -gt 0 ] && [ -n "$(worker)" ]; do sleep 0.1; done
pid=$(worker)
start=$EPOCHREALTIME
kill -TERM "$pid"
while kill -0 "$pid" 2> /dev/null; do :; done
took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", (b - a) * 1000 }')
result "SIGTERM to exit, 64 requests in flight (ms)" "$took" "100" "$(ratio "$took" 100)" "<= 1"
sql "CALL stop_worker()" 2> /dev/null
dropdb shutdown --maintenance-db=postgres
