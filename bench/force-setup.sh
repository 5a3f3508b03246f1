# shellcheck shell=bash
# Orphans as they stand ten minutes after their agents died: every session seen before, every agent gone for long.
# force_setup DATABASE ROWS
force_setup() {
  control_plane "$1"
  sql "INSERT INTO agents (agent_id, platform) SELECT 'a-' || n, 'kubernetes' FROM generate_series(0, 99) AS n"
  sql "INSERT INTO sessions (id, user_id, state, platform, assigned_agent_id, created_at, updated_at)
         SELECT 's-' || n, 'u', 'terminating', 'kubernetes', 'a-' || n % 100, now() - interval '1 hour', now() - interval '1 hour' FROM generate_series(1, $2) AS n"
  sql "UPDATE reconciler.binding SET hub = NULL, leftover = '{\"resources\": [\"deployment/{session_id}\"], \"cleanup\": \"kubectl delete deployment {session_id}\"}'"
  sql "CALL reconcile()"
  sql "INSERT INTO reconciler.agent_evidence (binding_id, agent_id, presence, provisional, observed_at, source, instance, incarnation, unauthorized, detail, heartbeat_changed, gone_time, gone_observations)
         SELECT binding_id, 'a-' || n, 'gone', false, now(), 'hub', '', '', false, '', false, '1 hour', 60 FROM reconciler.binding, generate_series(0, 99) AS n
       ON CONFLICT (binding_id, agent_id) DO UPDATE SET presence = 'gone', observed_at = now(), gone_time = '1 hour', gone_observations = 60"
  sql "VACUUM ANALYZE"
  sql "CHECKPOINT"
}

