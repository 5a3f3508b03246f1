# A crash anywhere loses nothing and doubles nothing: the worker is killed with a command out, with its answer not yet on
# record, with a closing not yet committed; the server with a command out. Each time the session ends once, and the hub
# executes one command, however often it was told.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Test::More;

my $r = Reconciler->new('crash', conf => "restart_after_crash = on\nsession_reconciler.lock_timeout = '5min'");
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub, {}, { total_timeout => '2 min' });
$hub->control(fake_agents => { ids => ['agent-1'], complete_after_ms => 0 });
$hub->control(fake_agents => { ids => ['agent-2'], status => 'disconnected' });
$r->wait_for_worker;

# The hub takes the command of a session, its agent carries it out, and the answer does not come.
sub hold_answer
{
	my ($session) = @_;
	$hub->fault({ match => { method => 'POST', body_contains => "\"$session\"" }, kind => 'never_answer', executes => JSON::PP::true, times => 1 });
	return;
}

# A due session whose command is out when this returns
sub command_out
{
	my ($session) = @_;
	hold_answer($session);
	$r->add_session($session, 'agent-1');
	$r->do('SELECT reconciler.wake_worker()');
	wait_until { $hub->met } "the command for $session to be out";
	return $r->worker;
}

# Another session counts, and does not commit: what the worker counts in its own transaction has to wait.
sub block_counting
{
	my ($name, $label) = @_;
	my $blocker = $r->connect;
	$blocker->{InactiveDestroy} = 1;    # the crash that follows ends it; DBD::Pg stumbles over a rollback then
	$blocker->begin_work;
	$blocker->do('INSERT INTO reconciler.counter (binding_id, name, label, value) SELECT binding_id, ?, ?, 0 FROM reconciler.binding', undef, $name, $label);
	return $blocker;
}

# Lets time pass until the worker waits for that, in the middle of its transaction. Returns its pid.
sub wait_for_blocked_worker
{
	my $worker = $r->worker;
	my $blocked;
	for (1 .. 15)
	{
		my $since = $r->one('SELECT reconciler.clock()');
		$r->do('SELECT reconciler.wake_worker()');
		wait_until
		{
			$blocked = $r->one("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = ?", $worker);
			$blocked || $r->one('SELECT last_pass_at > ? FROM reconciler.binding_state', $since);
		}
		'the worker to be blocked, or through';
		last if $blocked;
		$r->advance(60);
	}
	ok($blocked, 'the worker is in the middle of its transaction');
	return $worker;
}

sub kill_worker
{
	my ($worker) = @_;
	kill 'KILL', $worker;
	wait_until { my $next = eval { $r->worker }; $next && $next != $worker } 'the next worker';
	return;
}

# It ends by itself, once, and the hub did one thing for it.
sub ends_well
{
	my ($session, $how, $posts) = @_;
	$hub->fault;
	my $lease = $r->one('SELECT ceil(extract(epoch FROM lease_until - reconciler.clock())) FROM reconciler.episode WHERE session_id = ?', $session);
	$r->advance($lease) if ($lease // 0) > 0;    # nobody knows that who has it is dead
	$r->live_through(240);
	is($r->state_of($session), 'terminated', "$session: closed");
	is($r->one("SELECT count(*) FROM reconciler.event WHERE session_id = ? AND kind IN ('finalize', 'force')", $session), 1, '... once');
	is(scalar $r->events($how, $session), 1, "... by $how");
	my $seen = $hub->seen_of($session);
	is($seen->{posts}, $posts, "... the hub was told $posts times");
	is(scalar $hub->commands_of($session), $posts ? 1 : 0, '... and did it once');
	cmp_ok($seen->{distinct_keys}, '<=', 1, '... under one key');
	return;
}

subtest 'killed with a command out' => sub {
	kill_worker(command_out('in-flight'));
	ok($r->episode('in-flight')->{command_id}, 'the try is on record, with its key');
	$r->pass;
	is($r->one('SELECT cardinality(crashes) FROM reconciler.binding_state'), 1, 'the next pass has noticed the crash');
	ends_well('in-flight', 'finalize', 2);
};
$r->advance(700);

subtest 'killed with an answer that is not on record' => sub {
	my $blocker = block_counting('reconciler_retries_total', 'accepted-later');
	$blocker->do("UPDATE reconciler.counter SET value = value WHERE name = 'reconciler_retries_total' AND label = 'accepted'");
	$r->add_session('answered', 'agent-1');
	my $worker = wait_for_blocked_worker();
	is($hub->seen_of('answered')->{accepted}, 1, 'the hub has answered');
	is($r->episode('answered')->{last_result}, '', 'the answer is not on record');
	kill_worker($worker);
	ends_well('answered', 'finalize', 2);
};
$r->advance(700);

subtest 'killed while it closes a session' => sub {
	my $blocker = block_counting('reconciler_forced_total', 'agent_unavailable');
	$r->add_session('lost', 'agent-2');
	my $worker = wait_for_blocked_worker();
	is($r->state_of('lost'), 'terminating', 'the row is not yet closed for others');
	kill_worker($worker);
	ends_well('lost', 'force', 0);
	is($r->metric('reconciler_forced_total', reason => 'agent_unavailable'), 1, '... counted once');
	is(scalar $r->events('leftover', 'lost'), 0, '... without resources to name');
};
$r->advance(700);

subtest 'the whole server dies with a command out' => sub {
	command_out('powerless');
	$r->node->stop('immediate');
	$r->node->start;
	$r->wait_for_server('SELECT reconciler.worker_pid()');
	ends_well('powerless', 'finalize', 2);
};
$r->advance(700);

subtest 'orderly ends with a command out are no crashes' => sub {
	my $crashes = $r->one('SELECT crashes FROM reconciler.binding_state');
	command_out('shut-down');
	$r->node->stop('fast');    # fails if it hangs until pg_ctl's patience ends
	pass('a fast shutdown does not wait for the hub');
	$r->node->start;
	$r->wait_for_server('SELECT reconciler.worker_pid()');
	$r->advance(75), $r->pass;
	is_deeply($r->one('SELECT crashes FROM reconciler.binding_state'), $crashes, '... and is no crash');
	ends_well('shut-down', 'finalize', 2);

	my $worker = command_out('terminated');
	$r->do('SELECT pg_terminate_backend(?)', $worker);
	$r->wait_for('SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ?', $worker);
	pass('a worker that is terminated does not wait for the hub either');
	$r->do('SELECT reconciler.request_worker()');    # not to wait for the launcher's pause
	$r->wait_for_worker;
	ends_well('terminated', 'finalize', 2);
	is_deeply($r->one('SELECT crashes FROM reconciler.binding_state'), $crashes, '... and is no crash');
};

subtest 'three crashes in ten minutes: safe mode' => sub {
	$r->advance(700), $r->pass;
	for my $n (1 .. 3)
	{
		is($r->one('SELECT safe_mode_since FROM reconciler_status()'), undef, "crash $n: not yet in safe mode");
		kill_worker(command_out("poison-$n"));
	}
	$r->advance(75), $r->pass;
	ok($r->one('SELECT safe_mode_since FROM reconciler_status()'), 'in safe mode, and the status says so');
	is($r->metric('reconciler_safe_mode'), 1, '... the metric too');
	ok((grep { ($_->{reason} // '') =~ /safe mode/ } $r->events('error')), '... and an event');
	is($r->stuck('poison-1')->{blocked_by}, 'safe_mode', '... and the session');
	my $posts = $hub->control('log-counts')->{posts};
	$r->add_session('later', 'agent-1');
	$r->live_through(300);
	is($hub->control('log-counts')->{posts}, $posts, 'nothing is sent');
	is($r->episode('later'), undef, 'nothing is looked at');

	$r->do("SELECT set_mode('enforce', 'the poison is gone')");
	is($r->one('SELECT safe_mode_since FROM reconciler_status()'), undef, 'set_mode() ends it');
	ends_well("poison-$_", 'finalize', 2) for 1 .. 3;
};

$r->node->stop;
done_testing();
