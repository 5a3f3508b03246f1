# shellcheck shell=bash
# Who gets a session is found by walking an index, whatever the number of agents: assign_session(), four callers at once, against
# the UPDATE that an application would write if it knew the agent already. Each assignment is an event with its NOTIFY, and
# the server lets only one transaction with a NOTIFY commit at a time: so also without waiting for the disk.
per_second() { PGOPTIONS="-c synchronous_commit=$1" pgbench -n -c 4 -j 2 -t 500 -f "$RUN/$2.sql" 2> /dev/null | sed -nE 's/^tps = ([0-9]+).*/\1/p'; }

for agents in 10 1000 10000; do
  control_plane assign
  sql "INSERT INTO agents (agent_id) SELECT 'agent-' || n FROM generate_series(1, $agents) AS n"
  sql "SELECT count(register_agent('agent-' || n, capacity => 1000)) FROM generate_series(1, $agents) AS n" > /dev/null
  sql "INSERT INTO sessions (id, user_id) SELECT 's' || n, 'u' FROM generate_series(1, 8000) AS n"
  sql "CREATE SEQUENCE turn"
  sql "VACUUM ANALYZE"
  echo "UPDATE sessions SET assigned_agent_id = 'agent-' || 1 + :client_id, agent_pool = 'default', updated_at = now() WHERE id = (SELECT 's' || nextval('turn'));" > "$RUN/by_hand.sql"
  echo "SELECT assign_session('s' || nextval('turn'));" > "$RUN/assign.sql"
  for waits in on off; do
    assigned=$(per_second $waits assign)
    by_hand=$(per_second $waits by_hand)
    result "assign, $agents agents, synchronous_commit $waits (/s)" "$assigned" "$by_hand" "$(ratio "$assigned" "$by_hand")" ""
  done
  dropdb assign --maintenance-db=postgres
done
