# shellcheck shell=bash
# A million orphans (BENCH_ORPHANS) closed by the worker: how long, and how much its memory grows. Against 60 s and 50 MB.
source bench/force-setup.sh
orphans=${BENCH_ORPHANS:-1000000}

start_hub
force_setup orphans "$orphans"
# Their agents are gone by a hub that goes on saying so, and was met before.
curl -sf -o /dev/null -d '{"count": 100, "prefix": "a-", "status": "disconnected"}' "http://$hub/control/fake_agents"
sql "SELECT set_mode('observe', 'benchmark')" > /dev/null
sql "SELECT set_hub('hub', 'http://$hub', 'standard', '{\"sessions\": \"sessions\"}')" > /dev/null
sql "UPDATE reconciler.policy SET enabled = state = 'running'"  # nothing is in that state: agents are looked at for the registry
sql "CALL reconcile()"
sql "UPDATE reconciler.policy SET enabled = state = 'terminating'"
sql "UPDATE reconciler.agent_evidence SET gone_time = '1 hour', gone_observations = 60, observed_at = now()"
sql "VACUUM ANALYZE reconciler.episode"
sql "SELECT set_mode('off', 'benchmark')" > /dev/null
left() { sql "SELECT count(*) FROM sessions WHERE state = 'terminating'"; }
# Private memory in kB: shared buffers that it touches are not its own.
private() { awk '/^RssAnon/ { print $2 }' "/proc/$1/status"; }
sql "SELECT reconciler.request_worker()" > /dev/null
until worker=$(sql "SELECT reconciler.worker_pid()") && [ -n "$worker" ]; do sleep 0.1; done
sleep 2
before=$(private "$worker")
most=$before
start=$EPOCHREALTIME
sql "SELECT set_mode('enforce', 'benchmark')" > /dev/null
until [ "$(left)" = 0 ]; do
  now=$(private "$worker")
  [ "$now" -le "$most" ] || most=$now
  sleep 1
done
took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
grown=$(((most - before) / 1024))
result "$orphans orphans (s)" "$took" 60 "$(ratio "$took" 60)" "<= 1"
result "worker's growth in that (MB)" "$grown" 50 "$(ratio "$grown" 50)" "<= 1"
sql "CALL stop_worker()"
dropdb orphans --maintenance-db=postgres
