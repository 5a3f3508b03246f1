# shellcheck shell=bash
# One stuck session on each of many agents that accept everything.
retry_setup() {
  control_plane "$1"
  curl -sf -o /dev/null -d "{\"count\": $2, \"prefix\": \"agent-\", \"status\": \"connected\"}" "http://$hub/control/fake_agents"
  sql "SELECT set_hub('hub', 'http://$hub', 'standard', '{\"sessions\": \"sessions\", \"command_spacing\": \"500 ms\", \"max_in_flight\": 64}')" > /dev/null
  sql "INSERT INTO agents (agent_id, platform) SELECT 'agent-' || n, 'kubernetes' FROM generate_series(1, $2) AS n"
  sql "INSERT INTO sessions (id, user_id, state, platform, assigned_agent_id, created_at, updated_at)
         SELECT 's-' || n, 'u', 'terminating', 'kubernetes', 'agent-' || n, now() - interval '1 hour', now() - interval '1 hour' FROM generate_series(1, $2) AS n"
  sql "VACUUM ANALYZE"
  sql "CHECKPOINT"
}
