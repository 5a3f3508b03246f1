# The incident that the repair is for: 2,206 suspended rows whose pods are gone, in tables of centaur's own shape. Evidence is pushed,
# no connection leaves the database. What is dead is repaired once a person has seen how many; what lives is left alone.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Test::More;

my $tables = <<'END';
CREATE TABLE sandbox_sessions (
    thread_key          text        NOT NULL,
    sandbox_id          text        NOT NULL,
    harness             text        NOT NULL DEFAULT 'amp',
    engine              text        NOT NULL DEFAULT 'amp',
    state               text        NOT NULL DEFAULT 'creating',
    last_delivered_id   text,
    thread_name         text,
    started_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    wire_lease_id       text,
    wire_connected_at   timestamptz,
    wire_last_seen_at   timestamptz,
    agent_thread_id     text,
    inflight_turn_id    text,
    inflight_turn_input jsonb,
    inflight_started_at timestamptz,
    inflight_attempts   integer     NOT NULL DEFAULT 0,
    last_result         text,
    last_result_at      timestamptz,
    trace_id            uuid        NOT NULL DEFAULT gen_random_uuid(),
    CONSTRAINT sandbox_sessions_pkey PRIMARY KEY (thread_key),
    CONSTRAINT sandbox_sessions_state_check CHECK (state IN
        ('creating','running','idle','error','stopped','gone','delivering','suspended'))
);
CREATE INDEX idx_sandbox_sessions_wire ON sandbox_sessions (wire_lease_id) WHERE wire_lease_id IS NOT NULL;
CREATE INDEX idx_sandbox_sessions_inflight ON sandbox_sessions (inflight_started_at) WHERE inflight_turn_id IS NOT NULL;
CREATE UNIQUE INDEX idx_sandbox_sessions_trace_id ON sandbox_sessions (trace_id);
CREATE TABLE agent_runtime_assignments (
    thread_key                 text        NOT NULL,
    assignment_generation      bigint      NOT NULL,
    runtime_id                 text        NOT NULL,
    harness                    text        NOT NULL,
    engine                     text        NOT NULL,
    persona_id                 text,
    prompt_ref                 text,
    effective_agents_md_sha256 text        NOT NULL,
    state                      text        NOT NULL CHECK (state IN ('active','released')),
    created_at                 timestamptz NOT NULL DEFAULT now(),
    updated_at                 timestamptz NOT NULL DEFAULT now(),
    released_at                timestamptz,
    agents_md_override         text,
    PRIMARY KEY (thread_key, assignment_generation)
);
CREATE UNIQUE INDEX idx_agent_runtime_assignments_active_thread ON agent_runtime_assignments (thread_key) WHERE state = 'active';
CREATE UNIQUE INDEX idx_agent_runtime_assignments_active_runtime ON agent_runtime_assignments (runtime_id) WHERE state = 'active';
CREATE TABLE agent_execution_requests (
    execution_id            text        NOT NULL PRIMARY KEY,
    thread_key              text        NOT NULL,
    assignment_generation   bigint      NOT NULL,
    execute_id              text        NOT NULL,
    request_hash            text        NOT NULL,
    durable_turn_id         text,
    status                  text        NOT NULL CHECK (status IN
        ('queued','running','retry_wait','cancel_requested','completed','failed_permanent','cancelled')),
    delivery                jsonb       NOT NULL DEFAULT '{}'::jsonb,
    metadata                jsonb       NOT NULL DEFAULT '{}'::jsonb,
    created_at              timestamptz NOT NULL DEFAULT now(),
    claimed_at              timestamptz,
    started_at              timestamptz,
    last_progress_at        timestamptz,
    silence_deadline_at     timestamptz,
    hard_deadline_at        timestamptz,
    stream_break_count      integer     NOT NULL DEFAULT 0,
    last_stream_break_at    timestamptz,
    completed_at            timestamptz,
    terminal_reason         text,
    result_text             text,
    result_json             jsonb,
    error_text              text,
    updated_at              timestamptz NOT NULL DEFAULT now(),
    worker_id               text,
    worker_lease_expires_at timestamptz,
    UNIQUE (thread_key, execute_id)
);
CREATE INDEX idx_agent_execution_requests_thread_created ON agent_execution_requests (thread_key, created_at);
END

my $r = Reconciler->new('centaur', preload => '', conf => "session_reconciler.outbound = off\n");
$r->do('CREATE ROLE tempo; CREATE ROLE prober LOGIN; GRANT CREATE ON SCHEMA public TO tempo');
$r->do("SET ROLE tempo; $tables; RESET ROLE");
$r->do(<<'END');
-- Long since suspended, their pods gone; four of five have a conversation on the pod's disk, every second one an assignment.
INSERT INTO sandbox_sessions (thread_key, sandbox_id, state, started_at, updated_at, agent_thread_id, last_delivered_id, wire_lease_id, inflight_turn_id, inflight_turn_input, inflight_attempts)
  SELECT 'slack:C0:' || i, 'pod-dead-' || i, 'suspended', now() - interval '5 days', now() - interval '2 days' - i * interval '1 s', CASE WHEN i % 5 > 0 THEN 'rollout-' || i END, 'm-' || i,
         CASE WHEN i % 7 = 0 THEN 'lease' END, CASE WHEN i % 11 = 0 THEN 'turn' END, CASE WHEN i % 11 = 0 THEN '"{\"text\": \"double encoded\"}"'::jsonb END, CASE WHEN i % 11 = 0 THEN 3 ELSE 0 END
  FROM generate_series(1, 2206) AS i;
INSERT INTO agent_runtime_assignments (thread_key, assignment_generation, runtime_id, harness, engine, effective_agents_md_sha256, state)
  SELECT 'slack:C0:' || i, 1, 'pod-dead-' || i, 'amp', 'amp', 'x', 'active' FROM generate_series(2, 2206, 2) AS i;
INSERT INTO agent_execution_requests (execution_id, thread_key, assignment_generation, execute_id, request_hash, status, created_at)
  SELECT 'x-' || i, 'slack:C0:' || i, 1, 'e', 'h', 'queued', now() - interval '1 day' FROM generate_series(1, 2206, 100) AS i;
-- What lives.
INSERT INTO sandbox_sessions (thread_key, sandbox_id, state, updated_at) SELECT 'slack:idle:' || i, 'pod-idle-' || i, 'idle', now() - interval '1 hour' FROM generate_series(1, 40) AS i;
INSERT INTO sandbox_sessions (thread_key, sandbox_id, state, updated_at, agent_thread_id) SELECT 'slack:paused:' || i, 'cr-' || i, 'suspended', now() - interval '3 days', 'rollout' FROM generate_series(1, 25) AS i;
INSERT INTO sandbox_sessions (thread_key, sandbox_id, state) SELECT 'slack:over:' || i, 'pod-over-' || i, CASE WHEN i % 2 = 0 THEN 'gone' ELSE 'stopped' END FROM generate_series(1, 163) AS i;
-- One with a stream that renews itself, two that share a pod, one from the future, one that is being given another pod, one that
-- the application is about to replace.
INSERT INTO sandbox_sessions (thread_key, sandbox_id, state, updated_at, wire_last_seen_at) VALUES
  ('slack:wired', 'pod-wired', 'running', now() - interval '1 hour', now()),
  ('slack:twin:1', 'pod-twin', 'suspended', now() - interval '1 hour', NULL), ('slack:twin:2', 'pod-twin', 'suspended', now() - interval '1 hour', NULL),
  ('slack:future', 'pod-future', 'suspended', now() + interval '30 days', NULL),
  ('slack:asked', 'pod-asked', 'idle', now() - interval '1 hour', NULL),
  ('slack:respawned', 'pod-respawned', 'suspended', now() - interval '1 hour', NULL);
INSERT INTO agent_execution_requests (execution_id, thread_key, assignment_generation, execute_id, request_hash, status, created_at) VALUES ('x-asked', 'slack:asked', 1, 'e', 'h', 'queued', now());
-- Of a thread whose row has aged out.
INSERT INTO agent_runtime_assignments (thread_key, assignment_generation, runtime_id, harness, engine, effective_agents_md_sha256, state)
  VALUES ('slack:aged-out', 3, 'pod-aged-out', 'amp', 'amp', 'x', 'active'), ('slack:aged-out-lives', 1, 'pod-idle-1', 'amp', 'amp', 'x', 'active');
ANALYZE;
END

my @said = $r->attach('sandbox_sessions', 'centaur', { mode => 'enforce', start_grace => '0 s' });
my %said = map { $_->{item} => "$_->{status} $_->{detail}" } @said;
like($said{version_column}, qr/^ok updated_at /, 'attached: the version is found');
like($said{sign_of_life_columns}, qr/^ok wire_last_seen_at/, '... the sign of life');
like($said{executions_table}, qr/^ok public\.agent_execution_requests /, '... what is asked of sessions');
like($said{'policy suspended'}, qr/^ok runtime gone for 00:10:00: gone \(runtime_gone\); sets agent_thread_id NULL, .*; with it rows of "public"\."agent_runtime_assignments": .*state 'released'/, '... and what an end writes is said');
is($said{'index executions'}, 'ok agent_execution_requests_thread_key_execute_id_key', '... an index that finds them');
is(scalar(grep { $_->{status} eq 'warn' && $_->{item} ne 'owner' } @said), 0, 'nothing is wrong') or diag(map { "$_->{item}: $_->{detail}\n" } grep { $_->{status} eq 'warn' } @said);
is($r->one("SELECT count(*) FROM session_coverage() WHERE watched_by NOT IN ('policy', 'terminal')"), 0, 'every state is looked at');
$r->do("UPDATE reconciler.binding SET brake_pace = 100000");
$r->one("SELECT declare_backend('pod', false)");
$r->one("SELECT reconciler_grant('prober', 'evidence')");

my $prober = $r->connect(user => 'prober');
my $dead = encode([ (map { "pod-dead-$_" } 1 .. 2206), qw(pod-wired pod-twin pod-future pod-asked pod-respawned pod-aged-out) ]);
my $alive = encode([ (map { "pod-idle-$_" } 1 .. 40), (map { "cr-$_" } 1 .. 25) ]);
sub push_evidence
{
	my (@more) = @_;
	$prober->do(<<'END', undef, $dead, $alive);
SELECT report_evidence((SELECT jsonb_agg(jsonb_build_object('kind', 'resource', 'subject', s.id, 'verdict', s.verdict, 'observed_at', clock_timestamp())) FROM (
  SELECT jsonb_array_elements_text(?::jsonb), 'gone' UNION ALL SELECT jsonb_array_elements_text(?::jsonb), 'present') AS s(id, verdict)))
END
	return;
}
# Minutes pass; the stream goes on being renewed, and the one that is being replaced is asked again and again.
sub live
{
	my ($minutes) = @_;
	for (1 .. $minutes)
	{
		$r->advance(60);
		$r->do("UPDATE sandbox_sessions SET wire_last_seen_at = reconciler.clock() WHERE thread_key = 'slack:wired'");
		$r->do("UPDATE agent_execution_requests SET claimed_at = reconciler.clock() - interval '5 s' WHERE execution_id = 'x-asked'");
		push_evidence();
		$r->pass;
	}
	return;
}
sub state_of { my ($key) = @_; return $r->one('SELECT state FROM sandbox_sessions WHERE thread_key = ?', $key) }
sub gone { return $r->one("SELECT count(*) FROM sandbox_sessions WHERE state = 'gone' AND thread_key NOT LIKE 'slack:over:%'") }
sub image { return $r->one("SELECT md5(string_agg(s::text, '' ORDER BY thread_key)) FROM sandbox_sessions AS s WHERE thread_key LIKE 'slack:C0:%'")
	  . $r->one("SELECT md5(string_agg(a::text, '' ORDER BY thread_key)) FROM agent_runtime_assignments AS a") }

is($r->one('SELECT count(*) FROM sandbox_sessions'), 2440, 'as many rows as there were');
push_evidence();
$r->pass;
live(9);
is(gone(), 0, 'nothing is closed before its time');

# Whoever looks at the pods falls silent: nothing follows, and it is said.
$r->live_through(20 * 60, 300);
is(gone(), 0, 'a silent prober changes nothing');
is($r->one("SELECT count(*) FROM preflight() WHERE check_name LIKE '%: runtimes' AND status = 'warn'"), 1, '... and preflight() says so');

my $before = image();
my ($assignments, $executions) = ($r->one("SELECT count(*) FROM agent_runtime_assignments WHERE state = 'active'"), $r->one("SELECT md5(string_agg(e::text, '' ORDER BY execution_id)) FROM agent_execution_requests AS e WHERE execution_id <> 'x-asked'"));
live(12);
is(gone(), 0, 'ten minutes of it: the brake has tripped before the first row');
my $status = $r->row('SELECT * FROM reconciler_status()');
is($status->{brake_due}, 2208, 'for all that are due');
my $details = decode($status->{brake_details});
is_deeply($details->{by_reason}, { runtime_gone => 2208 }, '... by reason');
is_deeply($details->{by_state}, { suspended => 2208 }, '... by state');
is(scalar @{ $status->{brake_waiting} }, 10, '... with samples');
is($r->one("SELECT count(*) FROM reconcile_plan() WHERE action = 'force' AND becomes = 'gone' AND reason = 'runtime_gone' AND blocked_by = 'brake'"), 2208, 'the plan has each of them');
like($r->one("SELECT reason FROM stuck_sessions() WHERE session_id = 'slack:wired'"), qr/but the session showed a sign of life/, 'a stream that is renewed speaks for its session');
like($r->one("SELECT reason FROM stuck_sessions() WHERE session_id = 'slack:asked'"), qr/but something was asked of it/, 'so does an execution that was just claimed');
is($r->one("SELECT string_agg(session_id, ' ' ORDER BY session_id) FROM reconciler.event WHERE kind = 'shared_runtime'"), 'slack:twin:1 slack:twin:2', 'those that share a pod are reported, once');
my ($explained) = $r->rows("SELECT * FROM explain_session('slack:C0:2') WHERE rule = 'write' AND outcome = 'step'");
like($explained->{detail}, qr/agent_runtime_assignments/, 'explain_session() shows what would be written beside the row');

# While it waits for a person the application replaces one, as it does: the row goes and comes back with another pod.
$r->do("DELETE FROM sandbox_sessions WHERE thread_key = 'slack:respawned'");
$r->do("INSERT INTO sandbox_sessions (thread_key, sandbox_id, state) VALUES ('slack:respawned', 'pod-new', 'running')");
$r->one("SELECT reset_brake('2,206 of them, all from before the upgrade')");
my @notices;
{
	local $r->db->{PrintWarn} = 1;
	local $SIG{__WARN__} = sub { push @notices, @_ };
	$r->pass;
}
is(gone(), 2207, 'then all are repaired');
like($notices[-1], qr/^NOTICE:  public\.sandbox_sessions: \d+ more closed, 1 left of those that reset_brake\(\) let through/, 'the CALL says how far it is, batch by batch');
cmp_ok(scalar @notices, '>=', 5, '... in bounded batches');
my $repaired = "thread_key LIKE 'slack:C0:%'";
is($r->one("SELECT count(*) FROM sandbox_sessions WHERE $repaired AND num_nulls(agent_thread_id, last_delivered_id, wire_lease_id, wire_connected_at, wire_last_seen_at, inflight_turn_id, inflight_turn_input,"
	  . " inflight_started_at) = 8 AND inflight_attempts = 0 AND updated_at > reconciler.clock() - interval '1 min'"), 2206, '... their columns are cleared');
is(state_of('slack:future'), 'gone', 'one from the future, too');
is($r->one("SELECT string_agg(DISTINCT state, ' ') FROM agent_runtime_assignments WHERE $repaired"), 'released', 'their assignments are released');
is($r->one("SELECT md5(string_agg(e::text, '' ORDER BY execution_id)) FROM agent_execution_requests AS e WHERE execution_id <> 'x-asked'"), $executions, 'what is queued stays queued');
is($r->one("SELECT string_agg(DISTINCT state, ' ') FROM sandbox_sessions WHERE thread_key LIKE 'slack:idle:%'"), 'idle', 'sessions that run are untouched');
is($r->one("SELECT string_agg(DISTINCT state || coalesce(agent_thread_id, ''), ' ') FROM sandbox_sessions WHERE thread_key LIKE 'slack:paused:%'"), 'suspendedrollout', 'so are those that can be resumed');
is(join(' ', map { state_of("slack:$_") } qw(wired twin:1 twin:2 asked respawned)), 'running suspended suspended idle running', '... and those of which something else is known');
is($r->one('SELECT count(*) FROM reconciler.event WHERE kind = \'force\' AND session_id IS NOT NULL'), 2207, 'each has its event');
is($r->metric('reconciler_forced_total', reason => 'runtime_gone'), 2207, '... and is counted');

# A person takes it back: rows and what hangs on them are as they were, but for one that was used since.
$r->do("UPDATE sandbox_sessions SET state = 'stopped', updated_at = clock_timestamp() WHERE thread_key = 'slack:future'");
my $pass = $r->one("SELECT pass_id FROM reconciler.event WHERE kind = 'force' LIMIT 1");
my %outcomes = map { $_->{outcome} => $_->{n} } $r->rows('SELECT outcome, count(*) AS n FROM undo_pass(?) GROUP BY 1', $pass);
is_deeply(\%outcomes, { undone => 2206, changed => 1 }, 'undo_pass()');
is(image(), $before, '... puts back every column and every assignment');

# Held for an hour; then they are due again, in a brake that trips again.
subtest 'what hangs on a thread that is no more' => sub {
	live(12);
	is($r->one("SELECT state FROM agent_runtime_assignments WHERE thread_key = 'slack:aged-out'"), 'released', 'its assignment is released');
	is($r->one("SELECT state FROM agent_runtime_assignments WHERE thread_key = 'slack:aged-out-lives'"), 'active', '... but not one whose pod is there');
	my ($event) = $r->rows("SELECT * FROM reconciler.event WHERE kind = 'force' AND session_id IS NULL");
	is($event->{reason}, 'runtime_gone', 'with an event');
	is($r->one('SELECT outcome FROM undo_event(?)', $event->{id}), 'undone', '... that can be undone');
	is($r->one("SELECT state FROM agent_runtime_assignments WHERE thread_key = 'slack:aged-out'"), 'active', '... as it was');
	is($r->one('SELECT outcome FROM undo_event(?)', $event->{id}), 'already_undone', '... once');
};

done_testing();
