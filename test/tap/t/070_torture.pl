# Everything at once, in an order drawn by chance: the worker and the server are killed and stopped, the hub loses and
# delays answers and restarts, the application writes the same rows, tables are locked and altered, rights come and go, an
# old snapshot is held throughout. Afterwards what the events, the counters, the sessions and the hub's memory say of it
# has to fit together. TORTURE_SEED repeats an order, TORTURE_ROUNDS sets how many rounds (24).
use strict;
use warnings FATAL => 'all';

use List::Util qw(first);
use Reconciler;
use Test::More;

my $seed = $ENV{TORTURE_SEED} // time;
srand $seed;
note "TORTURE_SEED=$seed";

my $r = Reconciler->new('torture', conf => "restart_after_crash = on\nsession_reconciler.lock_timeout = '200ms'\nautovacuum_naptime = 1");
my $hub = $r->hub('hub', '--profile', 'standard');
$r->do('CREATE ROLE platform LOGIN');
$r->sessions_at($hub, { disconnect_cleanup => JSON::PP::true }, { total_timeout => '1 s', command_spacing => '0 s' });
$r->do('UPDATE reconciler.binding SET brake_floor = 1000');
$r->do('ALTER TABLE sessions OWNER TO platform');
# One row that can't be closed.
$r->do(<<'END');
CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 'poison' THEN RAISE EXCEPTION 'poisoned'; END IF; RETURN NEW; END $$;
CREATE TRIGGER poison BEFORE UPDATE OF state ON sessions FOR EACH ROW EXECUTE FUNCTION poison();
END
$r->wait_for_worker;

# agent-1 to agent-4 are there and do what they are told, at once or after a while; dead-1 and dead-2 never come back.
sub living_agents
{
	$hub->control(fake_agents => { ids => [ 'agent-1', 'agent-2' ], complete_after_ms => 0 });
	$hub->control(fake_agents => { ids => [ 'agent-3', 'agent-4' ], complete_after_ms => 300 });
	$hub->control(fake_agents => { ids => [ 'dead-1', 'dead-2' ], status => 'disconnected' });
	return;
}
living_agents();

my (@stuck, @orphans, @healthy, @held);
for my $n (1 .. 60)
{
	push @stuck,   "stuck-$n";
	push @orphans, "orphan-$n";
	push @healthy, "healthy-$n";
	$r->add_session("stuck-$n", 'agent-' . (1 + $n % 4));
	$r->add_session("orphan-$n", 'dead-' . (1 + $n % 2), state => $n % 3 ? 'terminating' : 'running');
	$r->add_session("healthy-$n", 'agent-' . (1 + $n % 4), state => 'running');
}
for my $n (1 .. 5)
{
	push @held, "held-$n";
	$r->add_session("held-$n", 'dead-1');
	$r->one("SELECT hold_session(?, 'infinity', 'torture')", "held-$n");
}
$r->add_session('poison', 'dead-1');

my $snapshot;    # held for as long as the server lives
sub hold_snapshot
{
	$snapshot = $r->connect;
	$snapshot->{InactiveDestroy} = 1;
	$snapshot->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$snapshot->do('SELECT txid_current_snapshot()');    # a snapshot, and no lock on a table
	return;
}
hold_snapshot();

# The application, in a process of its own: it touches rows, ends some by itself, asks for the end of others, and creates.
my $writer = fork // die;
if (!$writer)
{
	my $n = 0;
	for (;;)
	{
		eval {
			my $db = $r->connect;
			$db->{InactiveDestroy} = 1;
			$db->do('SET ROLE platform');
			for (;;)
			{
				++$n;
				my ($one, $agent) = (1 + int rand 60, 1 + int rand 4);
				$db->do("UPDATE sessions SET updated_at = now() WHERE id = 'healthy-$one'");
				$db->do("UPDATE sessions SET updated_at = updated_at WHERE id = 'stuck-$one'");
				$db->do("UPDATE sessions SET state = 'terminated', termination_reason = 'the application' WHERE id = 'stuck-$one' AND state = 'terminating'") if $n % 40 == 0;
				$db->do("INSERT INTO sessions (id, state, agent_id, created_at, updated_at) VALUES ('new-$n', 'running', 'agent-1', now(), now())") if $n % 50 == 0;
				$db->do("INSERT INTO sessions (id, state, agent_id, created_at, updated_at) VALUES ('stuck-$n', 'terminating', 'agent-$agent', now() - interval '1 hour', now() - interval '1 hour')") if $n > 60 && $n % 10 == 0;
				select undef, undef, undef, 0.004;
			}
		};
		select undef, undef, undef, 0.05;
	}
	POSIX::_exit(0);
}
END { if ($writer) { local $?; kill 'KILL', $writer; waitpid $writer, 0 } }

my %crashes = map { $_ => 1 } ('kill the worker', 'kill the postmaster', 'stop the server at once');
sub restart { $r->wait_for_server; $r->set_clock; hold_snapshot(); return }
my %disturb = (
	'kill the worker' => sub { my $pid = $r->worker or return; kill 'KILL', $pid; select undef, undef, undef, 0.3; restart() },
	'kill the postmaster' => sub {
		my ($pid) = PostgreSQL::Test::Utils::slurp_file($r->node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
		kill 'KILL', $pid;
		$r->node->{_pid} = undef;
		wait_until { !kill 0, $pid } 'its end';
		select undef, undef, undef, 0.5;    # its children notice
		$r->node->start;
		restart();
	},
	'stop the server at once' => sub { $r->node->stop('immediate'); $r->node->start; restart() },
	'stop the server fast' => sub { $r->node->stop('fast'); $r->node->start; restart() },
	'terminate the worker' => sub { $r->one('SELECT pg_terminate_backend(reconciler.worker_pid())') },
	'cancel the worker' => sub { $r->one('SELECT pg_cancel_backend(reconciler.worker_pid())') },
	'a CALL beside the worker' => sub { eval { $r->do('CALL reconcile()') } },
	'restart the hub' => sub { $hub->control(restart => { keep_known => JSON::PP::true }); living_agents() },
	'the hub loses answers' => sub { $hub->fault({ match => { method => 'POST' }, kind => 'reset', executes => JSON::PP::true, percent => 50, times => 20 }) },
	'the hub is slow' => sub { $hub->fault({ match => {}, kind => 'delay_ms 300', percent => 50, times => 30 }) },
	'the hub is ill' => sub { $hub->fault({ match => {}, kind => 'status 503', percent => 60, times => 30 }) },
	'the hub talks nonsense' => sub { $hub->fault({ match => {}, kind => 'garbage', percent => 50, times => 20 }) },
	'lock the table' => sub {
		my $db = $r->connect;
		$db->begin_work, $db->do('LOCK TABLE sessions'), $r->do('SELECT reconciler.wake_worker()');
		select undef, undef, undef, 0.6;
		$db->rollback;
	},
	'lock rows' => sub {
		my $db = $r->connect;
		$db->begin_work, $db->do("SELECT FROM sessions WHERE id LIKE '%-1%' FOR UPDATE"), $r->do('SELECT reconciler.wake_worker()');
		select undef, undef, undef, 0.6;
		$db->rollback;
	},
	'alter the table' => sub { my $n = int rand 1e6; $r->do("SET lock_timeout = '5s'"); eval { $r->do("ALTER TABLE sessions ADD COLUMN extra_$n text, ALTER COLUMN termination_reason TYPE varchar(100)"); $r->do('ALTER TABLE sessions ALTER COLUMN termination_reason TYPE text') } },
	'rights go and come' => sub {
		$r->do('ALTER TABLE sessions OWNER TO postgres'), $r->do('SELECT reconciler.wake_worker()');
		select undef, undef, undef, 0.2;
		$r->do('ALTER TABLE sessions OWNER TO platform');
	},
	'pause, and go on' => sub { $r->one("SELECT pause_reconciler('torture')"), $r->do('SELECT reconciler.wake_worker()'), select(undef, undef, undef, 0.3), $r->one("SELECT unpause_reconciler('torture')") },
	'vacuum' => sub { $r->do('VACUUM reconciler.episode') },
);

my @kinds = sort keys %disturb;
for my $round (1 .. $ENV{TORTURE_ROUNDS} // 24)
{
	my $kind = $kinds[ rand @kinds ];
	note "$round: $kind";
	$r->do('SELECT reconciler.wake_worker()');
	select undef, undef, undef, rand 0.3;
	$disturb{$kind}->();
	# Three crashes within ten minutes would be safe mode, as they should.
	$r->advance($crashes{$kind} ? 250 : 60);
	eval { $r->do('SELECT reconciler.wake_worker()') };
	select undef, undef, undef, 0.2;
}

kill 'KILL', $writer;
waitpid $writer, 0;
$writer = 0;
$hub->fault;
living_agents();
is($r->one("SELECT mode FROM reconciler.binding"), 'enforce', 'the binding is whole');
$r->one("SELECT set_mode('enforce', 'torture is over')");
$r->wait_for_worker;
$r->live_through(1500);

# ---- what has to hold

my @open = $r->column("SELECT id FROM sessions WHERE state = 'terminating' ORDER BY id");
is_deeply(\@open, [ sort @held, 'poison' ], 'everything that was stuck has ended, but what is held and what refuses');
is($r->one("SELECT count(*) FROM sessions WHERE id LIKE 'orphan%' AND state <> 'terminated'"), 0, '... every orphan, too');
is($r->one("SELECT count(*) FROM sessions WHERE (id LIKE 'healthy%' OR id LIKE 'new%') AND state <> 'running'"), 0, 'no healthy session was touched');
is($r->one("SELECT count(*) FROM reconciler.event WHERE session_id ~ '^(healthy|new)' AND kind IN ('force', 'finalize', 'retry')"), 0, '... or written about');
is($r->one("SELECT count(*) FROM reconciler.event WHERE session_id ~ '^held' AND kind IN ('force', 'finalize', 'retry')"), 0, 'nothing was done to what is held');
isnt($r->one("SELECT quarantined FROM reconciler.episode WHERE session_id = 'poison'"), undef, 'the row that refuses is set aside');

is($r->one("SELECT count(*) FROM (SELECT FROM reconciler.event WHERE kind IN ('force', 'finalize') GROUP BY session_id HAVING count(*) > 1) AS x"), 0, 'no session was closed twice');
is($r->one(<<'END'), 0, 'each session that we closed is as its one event says');
SELECT count(*) FROM sessions s FULL JOIN (SELECT * FROM reconciler.event WHERE kind IN ('force', 'finalize')) e ON e.session_id = s.id
WHERE (s.id IS NULL AND e.id IS NOT NULL) OR (e.id IS NULL AND s.state = 'terminated' AND s.termination_reason IS DISTINCT FROM 'the application')
   OR (e.id IS NOT NULL AND (s.state <> e.to_state OR s.termination_reason IS DISTINCT FROM e.reason OR e.before->>'state' IS DISTINCT FROM e.from_state OR e.after->>'state' IS DISTINCT FROM s.state
     OR e.evidence->>'text' IS NULL))
END
is($r->one(<<'END'), 0, 'the counters are exact');
SELECT count(*) FROM (SELECT CASE kind WHEN 'force' THEN 'reconciler_forced_total' ELSE 'reconciler_finalized_total' END AS name, reason AS label, count(*) AS n
                        FROM reconciler.event WHERE kind IN ('force', 'finalize') GROUP BY 1, 2
                      UNION ALL SELECT 'reconciler_retries_total', reason, count(*) FROM reconciler.event WHERE kind = 'retry_result' GROUP BY 2) AS e
  FULL JOIN (SELECT * FROM reconciler.counter WHERE name IN ('reconciler_forced_total', 'reconciler_finalized_total', 'reconciler_retries_total') AND value > 0) AS c USING (name, label)
WHERE e.n IS DISTINCT FROM c.value
END
is($r->one('SELECT count(*) FROM (SELECT FROM reconciler.event WHERE kind = \'retry\' GROUP BY session_id HAVING count(DISTINCT evidence->>\'command_id\') > 8) AS x'), 0, 'nobody was tried more often than the cap');
# A retry whose answer was lost keeps its key until the outcome is known: at most one key of a session has no outcome.
is($r->one(<<'END'), 0, 'no key was given up before its outcome was known');
SELECT count(*) FROM (
  SELECT session_id FROM (SELECT session_id, evidence->>'command_id' AS key, max(id) AS last FROM reconciler.event WHERE kind = 'retry' GROUP BY 1, 2) AS t
  WHERE NOT EXISTS (SELECT FROM reconciler.event e WHERE e.session_id = t.session_id AND e.kind = 'retry_result' AND e.evidence->>'command_id' = t.key AND e.reason NOT IN ('unknown', 'unclear', 'unreachable', 'not_connected', 'busy', 'unknown_agent'))
    AND EXISTS (SELECT FROM reconciler.event e WHERE e.session_id = t.session_id AND e.kind = 'retry' AND e.evidence->>'command_id' <> t.key AND e.id > t.last)) AS x
END
my %told = %{ $hub->control('log-counts')->{sessions} };
my %tried = map { $_->{session_id} => $_->{n} } $r->rows("SELECT session_id, count(DISTINCT evidence->>'command_id') AS n FROM reconciler.event WHERE kind = 'retry' GROUP BY session_id");
is_deeply([ grep { $told{$_}{distinct_keys} > ($tried{$_} // 0) } sort keys %told ], [], 'the hub was told nothing that is not on record');
is($r->one('SELECT count(*) FROM reconciler.pass'), 0, 'no pass is left open');
is($r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'brake_tripped'"), 0, 'the brake did not trip') or diag($r->one("SELECT tripped_why FROM reconciler.brake"));

done_testing();
