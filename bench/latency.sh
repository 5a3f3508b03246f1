# shellcheck shell=bash
# A hub that takes 50 ms: the pass must keep its connections busy. Ideal: concurrency / latency.
source bench/retry-setup.sh
latency_rows=6400

start_hub --latency-ms 50
retry_setup latency "$latency_rows"
ideal=$((64 * 1000 / 50))
pass=$(rate "$latency_rows" "$(seconds psql -qX -v ON_ERROR_STOP=1 -c 'CALL reconcile()')")
result "retries on a hub of 50 ms (commands/s)" "$pass" "$ideal" "$(ratio "$pass" "$ideal")" ">= 0.85"
dropdb latency --maintenance-db=postgres
