# shellcheck shell=bash
# retry_setup DATABASE N [MAX_IN_FLIGHT]: N stuck sessions over 2000 agents that accept everything. No spacing between the commands to one agent: it would
# be all that is measured.
agents=2000
retry_setup() {
  control_plane "$1"
  curl -sf -o /dev/null -d "{\"count\": $agents, \"prefix\": \"agent-\", \"status\": \"connected\"}" "http://$hub/control/fake_agents"
  sql "SELECT set_hub('hub', 'http://$hub', 'standard', '{\"sessions\": \"sessions\", \"command_spacing\": \"0\", \"max_in_flight\": ${3:-64}}')" > /dev/null
  sql "INSERT INTO agents (agent_id, platform) SELECT 'agent-' || n, 'kubernetes' FROM generate_series(1, $agents) AS n"
  sql "INSERT INTO sessions (id, user_id, state, platform, assigned_agent_id, created_at, updated_at)
         SELECT 's-' || n, 'u', 'terminating', 'kubernetes', 'agent-' || 1 + n % $agents, now() - interval '1 hour', now() - interval '1 hour' FROM generate_series(1, $2) AS n"
  # As it stands when they become due: seen by a pass before.
  psql -qX -v ON_ERROR_STOP=1 -c "SET session_reconciler.clock_offset = '-58 min'" -c 'CALL reconcile()'
  sql "VACUUM ANALYZE"
  sql "CHECKPOINT"
}
