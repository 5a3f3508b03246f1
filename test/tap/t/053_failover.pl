# Patroni and two servers. The primary dies with its machine in the middle of a pass: the other one is promoted, takes over
# what was begun under the same keys, and the old one comes back as its standby. Then the primary is cut off and frozen, is
# replaced, and comes back for a while as a second primary: it may tell the hub what it was told already, and what it
# writes is lost.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Reconciler::Patroni;
use Test::More;

my $cluster = Reconciler::Patroni->start;
my ($one, $two) = $cluster->members;
my $r = Reconciler->around($one, { offset => 0, hubs => [], database => 'postgres' });
$r->do('CREATE EXTENSION session_reconciler');
my $hub = $r->hub('hub', '--profile', 'standard');
my $agent = $hub->agent('agent-1');
$hub->control(fake_agents => { ids => ['agent-2'], status => 'disconnected' });
$r->sessions_at($hub, { disconnect_cleanup => JSON::PP::true, mode => 'enforce' }, { total_timeout => '20 s', command_spacing => '0 s' });

sub run_session
{
	my ($id) = @_;
	$hub->request('POST', '/v1/agents/agent-1/commands', { command_id => "start-$id", action => 'start_session', session_id => $id, attempt => 1 }, 'idempotency-key' => "start-$id");
	wait_until { $hub->runtime($id) } "$id to run";
	return;
}

# A session of agent-1, with its runtime
sub begin
{
	my ($id, %row) = @_;
	run_session($id);
	$r->add_session($id, 'agent-1', %row);
	return;
}

# Two stops are due; one is out when this returns, and carried out, and the hub does not answer.
sub command_out
{
	my ($silent, $other) = @_;
	run_session($_) for $silent, $other;
	$hub->fault({ match => { method => 'POST', body_contains => "\"$silent\"" }, kind => 'never_answer', executes => JSON::PP::true, times => 1 });
	$r->add_session($_, 'agent-1') for $silent, $other;
	$r->do('SELECT reconciler.wake_worker()');
	wait_until { $hub->met } "the command for $silent to be out";
	return;
}

# The other member is the primary from now on.
sub taken_over_by
{
	my ($member) = @_;
	wait_until { $member->leads } $member->name . ' to be promoted';
	$r = Reconciler->around($member, $r);
	$r->wait_for_server('SELECT reconciler.worker_pid()');
	$hub->fault;
	$r->pass;
	is($r->metric('reconciler_identity_confirmed'), 1, $member->name . ' is promoted, has a worker, and is the same database');
	return;
}

sub told_once
{
	my ($who, @sessions) = @_;
	for my $id (@sessions)
	{
		my %keys = map { $_->{body}{command_id} => 1 } grep { $_->{body}{action} eq 'stop_session' && $_->{body}{session_id} eq $id } $hub->logged(event => 'request', method => 'POST');
		is(scalar keys %keys, 1, "$id: $who, under one key");
		is(scalar(grep { $_->{action} eq 'stop_session' } $hub->commands_of($id)), 1, '... and done once');
		ok(!$hub->runtime($id), '... it has stopped');
	}
	return;
}

sub closed_once
{
	my ($kind, @sessions) = @_;
	is_deeply([ map { [ $_, $r->state_of($_), scalar $r->events($kind, $_), $r->one("SELECT count(*)::int FROM reconciler.event WHERE to_state = 'terminated' AND session_id = ?", $_) ] } @sessions ],
		[ map { [ $_, 'terminated', 1, 1 ] } @sessions ], "closed once, by $kind: @sessions");
	return;
}

sub healthy_as_ever
{
	my ($when) = @_;
	is($r->one("SELECT count(*) FROM sessions WHERE id LIKE 'healthy%' AND state = 'running'"), 3, "$when: nothing healthy is closed");
	is(scalar(grep { $hub->runtime("healthy-$_") } 1 .. 3), 3, '... or stopped');
	return;
}

# Nothing of it differs on the standby, and nothing of us runs there.
sub follows_quietly
{
	my ($member) = @_;
	wait_until { $member->follows } $member->name . ' to be a standby';
	my $standby = Reconciler->around($member, $r);
	my $all = "SELECT md5(string_agg(t, '|' ORDER BY t)) FROM (SELECT s::text FROM sessions s UNION ALL SELECT e::text FROM reconciler.event e) AS rows(t)";
	wait_until { eval { $standby->one($all) eq $r->one($all) } } $member->name . ' to be the same';    # it may start more than once
	is($standby->one("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'session_reconciler%'"), 0, $member->name . ' follows, and nothing of us runs there');
	return;
}

begin("healthy-$_", state => 'running') for 1 .. 3;
$r->add_session('lost-1', 'agent-2');
$r->wait_for_worker;
$r->live_through(420);

subtest 'the primary dies with its machine' => sub {
	command_out('asked-1', 'asked-2');
	$one->signal('KILL');
	taken_over_by($two);
	$r->live_through(270);
	told_once('by both', 'asked-1', 'asked-2');
	closed_once('finalize', 'asked-1', 'asked-2');
	cmp_ok($r->one("SELECT extract(epoch FROM gone_time) FROM reconciler.agent_evidence WHERE agent_id = 'agent-2'"), '>=', 600, 'agent-2 is gone for ten minutes, of which the old primary saw seven');
	is($r->stuck('lost-1')->{blocked_by}, 'start_grace', '... nothing is closed by inference so soon after a promotion');
	$r->live_through(60);
	closed_once('force', 'lost-1');
	healthy_as_ever('after the failover');

	$one->start_again;
	follows_quietly($one);
};

subtest 'the primary is cut off and comes back' => sub {
	$r->add_session('lost-2', 'agent-2');
	begin('soon', age => '4 min');    # due when nobody knows who is the primary
	command_out('asked-3', 'asked-4');
	wait_until { $r->one('SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication') } 'the standby to have it all';
	my $past = Reconciler->around($two, $r);
	$two->signal('STOP');
	taken_over_by($one);
	$r->live_through(420);
	my @ended = ('asked-3', 'asked-4', 'soon');
	told_once('by both', @ended);
	closed_once('finalize', @ended);
	closed_once('force', 'lost-2');

	# The old one goes on where it was, and patroni does not yet stop it.
	$two->signal_server('CONT');
	$past->{offset} = $r->{offset};
	$past->live_through(120, 30);
	is_deeply([ map { $past->state_of($_) } @ended ], [ ('terminated') x 3 ], 'there are two primaries, and the old one acts');
	told_once('told again by the old one', @ended);
	healthy_as_ever('with two primaries');
	$two->signal('CONT');
	follows_quietly($two);
	closed_once('finalize', @ended);
	closed_once('force', 'lost-2');
	healthy_as_ever('with one again');
};

done_testing();
