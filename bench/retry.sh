# shellcheck shell=bash
# Retries, claim and record included, over many agents, against a bare libcurl-multi loop on the same hub: once on a
# hub that does nothing but answer, once on one that logs and completes every command.
source bench/retry-setup.sh
retry_rows=20000

retry_on() {
  local what=$1 bare pass
  shift
  start_hub "$@"
  bare=$(build/bench/bare_multi "http://$hub" "$retry_rows" 64)
  start_hub "$@"
  retry_setup retry "$retry_rows"
  pass=$(rate "$retry_rows" "$(seconds psql -qX -v ON_ERROR_STOP=1 -c 'CALL reconcile()')")
  [ "$(sql "SELECT count(*) FROM reconciler.event WHERE kind = 'retry_result' AND reason = 'accepted'")" = "$retry_rows" ] || echo "not all were accepted"
  result "retries, $what (commands/s)" "$pass" "$bare" "$(ratio "$pass" "$bare")" ">= 0.5"
  dropdb retry --maintenance-db=postgres
}
retry_on "hub that only answers"
retry_on "hub that logs each" --log "$RUN/hub.jsonl"
