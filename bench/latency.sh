# shellcheck shell=bash
# Hubs that take a time to answer: the pass must keep its connections busy. Ideal: concurrency / latency.
source bench/retry-setup.sh

# latency MILLISECONDS CONCURRENCY GOAL: a hundred rounds
latency() {
  local rows=$((100 * $2)) ideal pass
  start_hub --latency-ms "$1"
  retry_setup latency "$rows" "$2"
  ideal=$((1000 * $2 / $1))
  pass=$(rate "$rows" "$(seconds psql -qX -v ON_ERROR_STOP=1 -c 'CALL reconcile()')")
  result "retries, hub of $1 ms, $2 in flight (/s)" "$pass" "$ideal" "$(ratio "$pass" "$ideal")" "$3"
  dropdb latency --maintenance-db=postgres
}
latency 50 8 ""
latency 50 64 ">= 0.85, later 0.9"
latency 50 256 ""
latency 5 8 ""
latency 5 64 ""
