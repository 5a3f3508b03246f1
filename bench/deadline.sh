# shellcheck shell=bash
# A worker that sleeps until something is due: 400 sessions become stuck one after the other, 75 ms apart. From the
# moment that each was due to its answer on record.
deadline_rows=400

start_hub
control_plane deadline
curl -sf -o /dev/null -d "{\"count\": 50, \"prefix\": \"agent-\", \"status\": \"connected\"}" "http://$hub/control/fake_agents"
sql "SELECT set_hub('hub', 'http://$hub', 'standard', '{\"sessions\": \"sessions\", \"command_spacing\": \"0\"}')" > /dev/null
sql "INSERT INTO agents (agent_id, platform) SELECT 'agent-' || n, 'kubernetes' FROM generate_series(1, 50) AS n"
sql "INSERT INTO sessions (id, user_id, state, platform, assigned_agent_id, created_at, updated_at)
       SELECT 's-' || n, 'u', 'terminating', 'kubernetes', 'agent-' || 1 + n % 50, now() - interval '1 hour', now() - interval '5 min' + interval '3 s' + n * interval '75 ms'
       FROM generate_series(1, $deadline_rows) AS n"
sql "SELECT reconciler.request_worker()" > /dev/null
for _ in $(seq 600); do
  [ "$(sql "SELECT count(*) FROM reconciler.event WHERE kind = 'retry_result' AND reason = 'accepted'")" != "$deadline_rows" ] || break
  sleep 0.2
done
late=$(sql "SELECT string_agg(round(1000 * extract(epoch FROM p))::text, ' ' ORDER BY p) FROM unnest((SELECT percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY late)
              FROM (SELECT min(e.at) - (s.updated_at + interval '5 min') AS late FROM sessions s JOIN reconciler.event e ON e.session_id = s.id AND e.kind = 'retry_result' GROUP BY s.id, s.updated_at) AS x)) AS p")
result "from due to done, p50 and p99 (ms)" "$late" "" "" "p99 <= 250"
sql "CALL stop_worker()"
dropdb deadline --maintenance-db=postgres
