#!/usr/bin/env bash
# Does the hub do what README.md says? Starts a hub and agents on free ports, exercises endpoints, faults and agents.
# The database part needs initdb and a user other than root; it is skipped otherwise.
set -u
here=$(cd "$(dirname "$0")" && pwd)
bin=${BUILD:-$here/../../build/hub}
dir=$(mktemp -d)
started=()
failures=0 checks=0

cleanup() {
    local pid
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
    [ -d "$dir/data" ] && "$(pg_config --bindir)/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1
    for pid in "$dir"/cluster/*.pid; do [ -f "$pid" ] && kill -9 "$(cat "$pid")" 2>/dev/null; done
    rm -rf "$dir"
}
trap cleanup EXIT

# check NAME WANTED-PATTERN TEXT: the text must contain the extended regular expression
check() {
    checks=$((checks + 1))
    if ! grep -qE -- "$2" <<<"$3"; then
        failures=$((failures + 1))
        printf 'FAIL %s\n  wanted: %s\n  got:    %s\n' "$1" "$2" "${3:0:600}"
    fi
}
# until_true COMMAND…: up to 10 s
until_true() {
    local i
    for i in $(seq 200); do "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done
    return 1
}
# call [curl options] PATH: body, then the status as " [200]"
call() {
    local path=${*: -1}
    curl -sS --max-time 5 -w ' [%{http_code}]' -H 'Authorization: Bearer secret' "${@:1:$#-1}" "http://$hub$path" 2>&1
}
control() { curl -sS --max-time 5 -d "$2" "http://$hub/control/$1"; }
fault() { control faults "[$1]" >/dev/null; }
start_hub() {  # NAME options…
    local name=$1; shift
    "$bin/test-hub" --listen 127.0.0.1:0 --port-file "$dir/$name.port" --log "$dir/$name.log" --token secret \
        --parent-watch "$@" >"$dir/$name.out" 2>&1 &
    started+=($!)
    last=$!
    until_true test -s "$dir/$name.port" || { cat "$dir/$name.out"; exit 1; }
    hub=$(cat "$dir/$name.port")
}
start_agent() {  # ID options…
    local id=$1; shift
    "$bin/test-agent" --hub "$hub" --id "$id" --heartbeat-seconds 0.1 --retry-seconds 0.1 --parent-watch \
        --state-dir "$dir/cluster" "$@" >>"$dir/$id.out" 2>&1 &
    last=$!
    started+=("$last")
    disown
}
runs() { [ -n "$(tr -d '\0' 2>/dev/null <"/proc/$1/cmdline")" ]; }  # a zombie does not; kill -0 would say it does
connected() { call /v1/agents/"$1" | grep -q '"status":"connected"'; }
status_is() { call "$1" | grep -q "\"status\":\"$2\""; }
post() {  # AGENT KEY ACTION SESSION
    call -H "Idempotency-Key: $2" -d "{\"command_id\":\"$2\",\"action\":\"$3\",\"session_id\":\"$4\"}" "/v1/agents/$1/commands"
}

standard_profile() {
    start_hub standard --instance hub-1
    check 'no agents yet' '"agents":\[\],"complete":true.*"instance_id":"hub-1","scope":"fleet".*"next":null' "$(call /v1/agents)"
    check 'unknown agent' 'agent_not_found.*404' "$(call /v1/agents/nobody)"
    check 'command to an unknown agent' 'agent_not_found.*404' "$(post nobody k0 stop_session s1)"
    check 'no token' '401' "$(curl -sS -w '[%{http_code}]' "http://$hub/v1/agents")"
    start_agent a1 --pool blue --region eu --capacity 7 --incarnation life-1
    a1=$last
    until_true connected a1
    check 'agent' '"capacity":7,"id":"a1","incarnation":"life-1".*"platform":"kubernetes","pool":"blue","region":"eu"' "$(call /v1/agents/a1)"

    check 'start' '"command_id":"k1","status":"accepted".*202' "$(post a1 k1 start_session 'user/one two')"
    until_true status_is /v1/commands/k1 completed
    check 'started' '"platform_resource_id":"process-[0-9]+","status":"running"' "$(call /v1/sessions/user%2Fone%20two)"
    pid=$(cat "$dir/cluster/user%2Fone%20two.pid")
    check 'a real process' 'session-runtime:user/one two' "$(tr '\0' ' ' <"/proc/$pid/cmdline")"
    check 'same key, same answer' '"command_id":"k1".*202' "$(post a1 k1 start_session 'user/one two')"
    post a1 k2 hibernate_session 'user/one two' >/dev/null
    until_true status_is /v1/sessions/user%2Fone%20two suspended
    check 'suspended' suspended "$(call /v1/sessions/user%2Fone%20two)"
    post a1 k3 resume_session 'user/one two' >/dev/null
    until_true status_is /v1/commands/k3 completed
    check 'resumed' running "$(call /v1/sessions/user%2Fone%20two)"
    check 'bad action' 'invalid_request.*400' "$(post a1 k9 dance s)"

    kill -9 "$a1"; until_true status_is /v1/agents/a1 disconnected
    check 'disconnected' 'agent_not_connected.*409' "$(post a1 k4 stop_session 'user/one two')"
    check 'the runtime outlives its agent' yes "$(runs "$pid" && echo yes)"
    start_agent a2; until_true connected a2
    check 'a sibling of the cluster can stop it' 202 "$(post a2 k5 stop_session 'user/one two')"
    until_true status_is /v1/commands/k5 completed
    check 'the process has ended' gone "$(runs "$pid" || echo gone)"
    check 'session gone' 'session_gone.*410' "$(post a2 k6 stop_session 'user/one two')"
    check 'counts' '"key":"k1","posts":2' "$(curl -sS "http://$hub/control/log-counts")"
    check 'log' '"idempotency_key":"k5".*"status":202' "$(grep '"k5"' "$dir/standard.log")"
}

paging() {
    control fake_agents '{"count":25,"prefix":"p-","complete_after_ms":0}' >/dev/null
    local next=/v1/agents?limit=10 pages=0 seen=0 body
    while [ "$next" != null ]; do
        body=$(curl -sS -H 'Authorization: Bearer secret' "http://$hub$next")
        seen=$((seen + $(grep -o '"id":"p-' <<<"$body" | wc -l)))
        next=$(sed -E 's/.*"next":("([^"]*)"|null).*/\2/' <<<"$body"); next=${next:-null}
        pages=$((pages + 1))
    done
    check 'pages' '^3 25$' "$pages $seen"
    post p-3 f1 stop_session fake-1 >/dev/null; until_true status_is /v1/commands/f1 completed
    check 'fake agents complete' 410 "$(post p-3 f2 stop_session fake-1)"
    control fake_agents '{"ids":["p-3"],"status":"disconnected"}' >/dev/null
    check 'fake agents disconnect' 409 "$(post p-3 f3 stop_session fake-2)"
}

faults() {
    local list='"match":{"method":"GET","path_prefix":"/v1/agents"}'
    fault "{$list,\"kind\":\"status\",\"value\":429,\"retry_after\":7,\"times\":1}"
    check 'status' 'Retry-After: 7.*429' "$(call -i /v1/agents | tr -d '\r' | tr '\n' ' ')"
    check 'used up' 200 "$(call /v1/agents)"
    fault "{$list,\"kind\":\"garbage\"}";       check garbage '<html>.*\[200\]' "$(call /v1/agents)"
    fault "{$list,\"kind\":\"ok_to_all\"}";     check ok_to_all '^\{\} \[200\]' "$(call /v1/agents)"
    fault "{$list,\"kind\":\"wrong_json\"}";    check wrong_json 'components.*200' "$(call /v1/agents)"
    fault "{$list,\"kind\":\"half_body\"}";     check half_body '(18|transfer closed)' "$(call /v1/agents)"
    fault "{$list,\"kind\":\"reset\"}";         check reset '(reset|\(56\))' "$(call /v1/agents)"
    fault "{$list,\"kind\":\"close_before_headers\"}"; check close 'Empty reply' "$(call /v1/agents)"
    fault "{$list,\"kind\":\"redirect http://127.0.0.1:1/x\"}"
    check redirect 'Location: http://127.0.0.1:1/x.*\[302\]' "$(call -i /v1/agents | tr -d '\r' | tr '\n' ' ')"
    fault "{$list,\"kind\":\"big_body 3000000\"}"; check big_body '^30000' "$(call /v1/agents | wc -c)"
    fault "{$list,\"kind\":\"never_answer\"}";  check never_answer 'timed out' "$(call --max-time 0.5 /v1/agents)"
    fault "{$list,\"kind\":\"slow_bytes 5\"}";  check slow_bytes timed "$(call --max-time 0.5 /v1/agents)"
    fault "{$list,\"kind\":\"delay_ms 300\"}"
    check delay_ms '^0\.[3-9]|^[1-4]' "$(curl -sS -o /dev/null -w '%{time_total}' "http://$hub/v1/agents")"
    fault '{"match":{"agent":"a2"},"kind":"status 503"}'
    check 'by agent' 503 "$(call /v1/agents/a2)"; check 'not others' 200 "$(call /v1/agents/p-1)"
    fault '{"match":{"method":"POST"},"kind":"close_before_headers","executes":true,"times":1}'
    check 'carried out, answer lost' 'Empty reply' "$(post p-1 lost stop_session s-lost)"
    check 'carried out' 200 "$(call /v1/commands/lost)"
    check 'bad rule' 'unknown kind' "$(control faults '[{"kind":"nonsense"}]')"
    control faults '[]' >/dev/null
}

switches() {
    check 'restart' instance_id "$(control restart '{"refuse_connections_seconds":0.5}')"
    check 'restarted: another instance, agents known but not connected' 409 "$(post a2 r1 stop_session s-restart)"
    until_true connected a2
    check 'reconnected' '"status":"connected"' "$(call /v1/agents/a2)"
    control restart '{"keep_known":false,"refuse_connections_seconds":0.5}' >/dev/null
    check 'forgotten' 404 "$(call /v1/agents/a2)"
    until_true connected a2
    control clock '{"offset_seconds":-86400}' >/dev/null; sleep 0.3
    check 'clock' "$(date -u -d '-1 day' +%Y-%m-%d)" "$(call /v1/agents/a2)"
    control clock '{"offset_seconds":0}' >/dev/null; control heartbeats '{"paused":true}' >/dev/null
    local before; before=$(call /v1/agents/a2 | grep -o 'last_seen_at":"[^"]*'); sleep 0.3
    check 'heartbeats paused' "$before" "$(call /v1/agents/a2)"
    control heartbeats '{"paused":false}' >/dev/null
}

misbehaviour() {
    start_agent dies --die-on-stop; local dies=$last; until_true connected dies
    post dies d1 start_session s-dies >/dev/null; until_true status_is /v1/commands/d1 completed
    post dies d2 stop_session s-dies >/dev/null; until_true status_is /v1/agents/dies disconnected
    check 'died on stop' dead "$(kill -0 "$dies" 2>/dev/null || echo dead)"
    check 'not delivered' accepted "$(call /v1/commands/d2)"
    check 'its runtime runs on' running "$(call /v1/sessions/s-dies)"
    start_agent fails --fail-stops 'disk on fire'; until_true connected fails
    post fails e1 stop_session s-dies >/dev/null; until_true status_is /v1/commands/e1 failed
    check 'failed stop' 'disk on fire' "$(call /v1/commands/e1)"
    start_agent ignores --ignore-stops; until_true connected ignores
    post ignores i1 stop_session s-dies >/dev/null; until_true status_is /v1/commands/i1 delivered
    check 'acknowledged only' delivered "$(call /v1/commands/i1)"
    start_agent mute --mute; local mute=$last; until_true connected mute
    post mute m1 stop_session s-dies >/dev/null; sleep 0.3
    check 'mute agents act' gone "$([ -e "$dir/cluster/s-dies.pid" ] || echo gone)"
    check 'and say nothing' accepted "$(call /v1/commands/m1)"
    kill "$mute"; start_agent kills --kill-runtimes-on-exit; local kills=$last; until_true connected kills
    post kills x1 start_session s-kills >/dev/null; until_true status_is /v1/commands/x1 completed
    local pid; pid=$(cat "$dir/cluster/s-kills.pid"); kill "$kills"; until_true eval "! runs $pid"
    check 'runtimes end with their agent' gone "$(runs "$pid" || echo gone)"
}

streamspace_profile() {  # in memory
    local base=/api/v1/admin/agents
    control fake_agents '{"ids":["off"],"status":"disconnected"}' >/dev/null
    check 'no header' 'Authorization header required' "$(curl -sS "http://$hub$base")"
    check 'wrong token' 'Invalid or expired token' "$(curl -sS -H 'Authorization: Bearer x' "http://$hub$base")"
    check 'list' '"agentId":"a2".*"total":' "$(call $base)"
    check 'one' '"agentId":"a2".*"status":"online".*"approvalStatus":""' "$(call $base/a2)"
    check 'unknown' '"error":"Agent not found","agentId":"zz".*404' "$(call $base/zz)"
    check 'validation' '"error":"Validation failed","fields":\{"action":"Must be one of.*400' "$(call -d '{"action":"dance"}' $base/a2/command)"
    check 'bad request' 'Invalid request format.*400' "$(call -d 'not json' $base/a2/command)"
    check 'queued' '"commandId":"cmd-.*"sessionId":"s9","action":"stop_session","payload":.*"status":"pending","createdAt".*201' \
        "$(call -d '{"action":"stop_session","sessionId":"s9","payload":{"sessionId":"s9","deletePVC":false}}' $base/a2/command)"
    check 'not connected' '"error":"Agent not connected".*"agentId":"off","status":"offline".*503' "$(call -d '{"action":"stop_session","sessionId":"s9"}' $base/off/command)"
    control queue '{"full":true}' >/dev/null
    check 'queue full' 'command queue is full.*500' "$(call -d '{"action":"stop_session","sessionId":"s9"}' $base/a2/command)"
    control queue '{"full":false}' >/dev/null
}

frames_and_shared_port() {
    start_hub coalescing --coalesce-ms 300
    local coalescing=$last
    start_agent joined; until_true connected joined
    sleep 0.5
    post joined j1 stop_session s1 >/dev/null; post joined j2 stop_session s2 >/dev/null; sleep 0.6
    check 'two commands in one frame are lost' 'dropped a frame' "$(cat "$dir/joined.out")"
    kill "$coalescing"; wait "$coalescing"
    check 'clean exit' '^0$' $?
    local shared=127.0.0.1:$((20000 + RANDOM % 10000)) one
    start_hub left --instance left --listen-shared $shared
    start_hub right --instance right --listen-shared $shared
    for one in $(seq 30); do curl -sS -H 'Authorization: Bearer secret' "http://$shared/v1/agents" | grep -o '"instance_id":"[a-z]*"'; done |
        sort -u >"$dir/instances"
    check 'two hubs behind one port' '^2$' "$(wc -l <"$dir/instances")"
}

sql_true() { psql -XAtq -h "$dir" -d postgres -c "$1" | grep -q .; }
database() {  # VARIANT: with or without agent_commands.updated_at
    local psql="psql -XAtq -h $dir -d postgres" base=/api/v1/admin/agents variant=$1
    $psql -c "DROP TABLE IF EXISTS agents, agent_commands, sessions CASCADE;
      CREATE TABLE agents (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), agent_id varchar(255) NOT NULL UNIQUE, platform varchar(50) NOT NULL,
        region varchar(100), status varchar(50) DEFAULT 'offline', capacity jsonb, last_heartbeat timestamp, metadata jsonb,
        created_at timestamp DEFAULT CURRENT_TIMESTAMP, updated_at timestamp DEFAULT CURRENT_TIMESTAMP, approval_status varchar(20) DEFAULT 'approved');
      CREATE TABLE agent_commands (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), command_id varchar(255) NOT NULL UNIQUE,
        agent_id varchar(255) REFERENCES agents(agent_id), session_id varchar(255), action varchar(50) NOT NULL, payload jsonb,
        status varchar(50) DEFAULT 'pending', error_message text, created_at timestamp DEFAULT CURRENT_TIMESTAMP, sent_at timestamp,
        acknowledged_at timestamp, completed_at timestamp $([ "$variant" = B ] && echo ', updated_at timestamp'));
      CREATE TABLE sessions (id varchar(255) PRIMARY KEY, state varchar(50), url text, pod_name varchar(255), updated_at timestamp);
      INSERT INTO agents (agent_id, platform, region) VALUES ('asleep', 'kubernetes', 'eu');
      INSERT INTO sessions (id, state) VALUES ('db-1', 'pending');" 2>/dev/null
    start_hub "db$variant" --database "host=$dir dbname=postgres" --new-agents pending
    start_agent "awake$variant" --region eu; until_true connected "awake$variant"
    check "$variant: its row" online "$($psql -c "SELECT status FROM agents WHERE agent_id = 'awake$variant' AND last_heartbeat > now() AT TIME ZONE 'UTC' - interval '5 s'")"
    call -d '{"action":"start_session","sessionId":"db-1","payload":{"sessionId":"db-1"}}' "$base/awake$variant/command" >/dev/null
    call -d '{"action":"stop_session","sessionId":"db-1","payload":{"sessionId":"db-1"}}' "$base/awake$variant/command" >/dev/null
    until_true sql_true "SELECT 1 FROM sessions WHERE state = 'running'"; sleep 0.5
    check "$variant: the session" 'running\|/api/v1/sessions/db-1/vnc' "$($psql -c 'SELECT state, url FROM sessions')"
    local wanted='pending\|f\|f'; [ "$variant" = B ] && wanted='completed\|t\|t'
    check "$variant: the command" "^$wanted$" "$($psql -c "SELECT status, sent_at IS NOT NULL, completed_at IS NOT NULL FROM agent_commands WHERE action = 'stop_session'")"
    check "$variant: known, not connected" 'not connected.*"status":"offline".*503' "$(call -d '{"action":"stop_session","sessionId":"x"}' $base/asleep/command)"
    check "$variant: no row" 404 "$(call -d '{"action":"stop_session","sessionId":"x"}' $base/nobody/command)"
    check "$variant: list" '"total":2' "$(call $base)"
    start_agent new --approved-check register --register-seconds 0.2; local new=$last
    until_true sql_true "SELECT 1 FROM agents WHERE agent_id = 'new' AND status = 'online'"; sleep 0.5
    check "$variant: looks online unapproved, without connection" 'not connected.*"status":"online".*503' "$(call -d '{"action":"stop_session","sessionId":"x"}' $base/new/command)"
    check "$variant: approve" 200 "$(call -X POST $base/new/approve)"; until_true connected new
    check "$variant: approved" '"status":"connected"' "$(call /v1/agents/new)"
    kill "$new"
    until_true sql_true "SELECT 1 FROM agents WHERE agent_id = 'new' AND status = 'offline'"
    control fake_agents '{"ids":["fake"],"region":"eu","complete_after_ms":0,"register":true}' >/dev/null
    until_true sql_true "SELECT 1 FROM agents WHERE agent_id = 'fake' AND status = 'online'"
    call -d '{"action":"stop_session","sessionId":"db-9","payload":{"sessionId":"db-9"}}' $base/fake/command >/dev/null; sleep 0.5
    wanted=pending; [ "$variant" = B ] && wanted=completed
    check "$variant: a fake agent completes" "^$wanted$" "$($psql -c "SELECT status FROM agent_commands WHERE session_id = 'db-9'")"
    $psql -c "UPDATE agents SET region = NULL WHERE agent_id = 'asleep'"
    check "$variant: a NULL spoils the list" 500 "$(call $base)"
    start_hub "strict$variant" --database "host=$dir dbname=postgres" --register never
    start_agent "stranger$variant"; sleep 0.5
    check "$variant: an agent without a row is refused" refused "$(cat "$dir/stranger$variant.out")"
}

standard_profile
paging
faults
switches
misbehaviour
streamspace_profile
frames_and_shared_port
initdb=$(pg_config --bindir 2>/dev/null)/initdb
if [ "$(id -u)" != 0 ] && [ -x "$initdb" ]; then
    "$initdb" -D "$dir/data" -A trust --no-sync >/dev/null &&
        "$(dirname "$initdb")/pg_ctl" -D "$dir/data" -w -l "$dir/pg.log" \
            -o "-c listen_addresses='' -c unix_socket_directories='$dir' -c fsync=off" start >/dev/null
    export PGUSER; PGUSER=$(id -un)
    database A
    database B
else
    echo 'database part skipped (needs initdb and a user other than root)'
fi
echo "$checks checks, $failures failures"
[ "$failures" = 0 ]
