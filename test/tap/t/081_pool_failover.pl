# Agents of a pool are lost: the others take over, what runs and what is to be stopped, and nobody gets more than it takes.
use strict;
use warnings FATAL => 'all';

use DBD::Pg qw(:async);
use JSON::PP ();
use Reconciler;
use Test::More;

my $r = Reconciler->new('failover', preload => '');    # passes by CALL, one at a time

# A database of its own with a hub and a pool whose runtimes outlive its agents.
sub platform
{
	my ($name, %options) = @_;
	my $hub = $r->hub($name, '--profile', 'standard');
	$r->do("CREATE DATABASE $name");
	$r->use_database($name);
	$r->do('CREATE EXTENSION session_reconciler');
	$r->one(q{SELECT create_agent_pool('blue', 'kubernetes', 'eu', '{"namespace": "sessions", "runtimes_outlive_agents": true}')});
	$r->sessions_at($hub, { pools => JSON::PP::true }, { command_spacing => '0 s', %options });
	$r->do('CREATE INDEX ON sessions (agent_id)');
	# What would close a lost agent's sessions is on: that they are given away comes before it.
	$r->do("UPDATE reconciler.policy SET enabled = true WHERE state = 'running'");
	return $hub;
}

my @pool = (pool => 'blue', platform => 'kubernetes', region => 'eu');
sub fakes { my ($hub, $ids, %how) = @_; return $hub->control(fake_agents => { ids => $ids, @pool, %how }) }

sub add_sessions
{
	my ($prefix, $count, $state, $agent) = @_;
	my $then = $r->now . " - interval '20 min'";
	return $r->do("INSERT INTO sessions (id, state, agent_id, created_at, updated_at) SELECT ? || n, ?, ?, $then, $then FROM generate_series(1, ?) AS n", $prefix, $state, $agent, $count);
}

sub of_agent { my ($agent) = @_; return $r->one("SELECT count(*) FROM sessions WHERE agent_id = ? AND state <> 'terminated'", $agent) }
sub events_of { my ($kind) = @_; return $r->one('SELECT count(*) FROM reconciler.event WHERE kind = ?', $kind) }
sub passes { return $r->one('SELECT count(DISTINCT pass_id) FROM reconciler.event WHERE kind = ?', 'reassign') }

# Whatever happened: no agent has more than it takes, and what is counted is what there is.
sub is_in_order
{
	is($r->one("SELECT string_agg(agent_id, ', ') FROM (SELECT a.agent_id, count(s.id) AS n, a.capacity, a.load FROM reconciler.agent a LEFT JOIN sessions s"
			  . " ON s.agent_id = a.agent_id AND s.state NOT IN ('terminated', 'terminating') GROUP BY a.agent_id) AS t WHERE n > capacity OR n <> load"), undef, 'nobody is over capacity, and loads are what there is');
	return;
}

subtest 'a thousand in one pass' => sub {
	my $hub = platform('thousand');
	my @others = map { "blue-$_" } 1 .. 20;
	fakes($hub, [ 'lost', @others ], capacity => 1000);
	add_sessions('s', 1000, 'running', 'lost');
	$r->pass;
	$r->one("SELECT hold_session('s1000', 'infinity', 'a user looks at it')");
	$r->one("SELECT set_mode('observe', 'first look')");
	fakes($hub, [ @others ], capacity => 60);
	fakes($hub, ['lost'], status => 'disconnected');
	$r->live_through(20, 10);
	is(events_of('would_reassign'), 0, 'within the grace nothing would be done');
	$r->live_through(20, 10);
	is_deeply([ $r->column(q{SELECT concat_ws(' ', action, rule, count(*)) FROM reconcile_plan() WHERE action = 'reassign' GROUP BY action, rule}) ],
		['reassign agent_replaced 999'], 'after it the plan gives them away');
	$r->pass;
	is(events_of('would_reassign'), 999, 'observe mode says once what it would do');
	is(of_agent('lost'), 1000, '... and does not');
	is_deeply([ $r->column(q{SELECT concat_ws(' ', next_action, count(*)) FROM stuck_sessions() WHERE blocked_by <> 'hold' GROUP BY next_action}) ], ['reassign 999'], 'stuck_sessions() says what is next');

	$r->one("SELECT set_mode('enforce', 'it is right')");
	$r->one("SELECT pause_reconciler('wait')");
	$r->pass;
	is(of_agent('lost'), 1000, 'a pause stops it');
	$r->one("SELECT unpause_reconciler('go on')");
	$r->pass;
	is(of_agent('lost'), 1, 'one pass gives them to the others');
	is($r->one("SELECT agent_id FROM sessions WHERE id = 's1000'"), 'lost', '... but not the one that is held');
	is(passes(), 1, '... which its events name');
	is(events_of('reassign'), 999, '... one for each');
	my @spread = map { of_agent($_) } @others;
	ok(!(grep { $_ != 50 && $_ != 49 } @spread), "evenly: @spread");
	is_in_order();
	is($r->metric('reconciler_reassigned_total'), 999, 'the metric counts them');

	# Whoever undoes one of them: it is of an agent that is there in the end.
	my ($event, $session) = $r->db->selectrow_array("SELECT id, session_id FROM reconciler.event WHERE kind = 'reassign' ORDER BY id LIMIT 1");
	$r->row("SELECT * FROM undo_event(?, '0 s')", $event);
	$r->live_through(120);
	like($r->one('SELECT agent_id FROM sessions WHERE id = ?', $session), qr/^blue-/, 'an undo leaves nothing with an agent that is not there');
	is_in_order();
	fakes($hub, ['lost'], capacity => 1000);
	$r->live_through(120);
	is(of_agent('lost'), 1, 'the agent that comes back gets none of them back');
	is($r->one("SELECT count(*) FROM sessions WHERE state <> 'running'"), 0, 'all of them run on');
	is_in_order();
	$hub->end;
};

subtest 'the pool is full' => sub {
	my $hub = platform('full_pool');
	fakes($hub, ['lost'], capacity => 100);
	fakes($hub, [ 'blue-1', 'blue-2' ], capacity => 10);
	add_sessions('s', 30, 'running', 'lost');
	$r->pass;
	$r->one("SELECT hold_session('s1', 'infinity', 'a user looks at it')");
	fakes($hub, ['lost'], status => 'disconnected');
	$r->live_through(60, 20);
	is($r->one("SELECT count(*) FROM sessions WHERE agent_id LIKE 'blue-%'"), 20, 'those for whom there is room are given away, and who is held takes none of it');
	is_in_order();
	$r->live_through(600);
	is($r->one("SELECT count(*) FROM sessions WHERE agent_id = 'lost' AND state = 'running'"), 10, 'the others are not closed');
	my $left = $r->one("SELECT id FROM sessions WHERE agent_id = 'lost' AND id <> 's1' LIMIT 1");
	is($r->stuck($left)->{blocked_by}, 'no_room', 'they are shown');
	like(join("\n", $r->column('SELECT detail FROM explain_session(?)', $left)), qr/every other agent of its pool is full/, '... and explain_session() says why');
	is_in_order();
	$r->do("UPDATE sessions SET state = 'terminating', updated_at = " . $r->now . ' WHERE id = ?', $left);
	$r->live_through(360);
	like($r->one('SELECT agent_id FROM sessions WHERE id = ?', $left), qr/^blue-/, 'a stop needs no room');
	is_in_order();
	fakes($hub, ['blue-3'], capacity => 10);
	$r->live_through(60);
	is(of_agent('blue-3'), 8, 'who joins gets them');
	is(of_agent('lost'), 1, '... all but the one that is held');
	is_in_order();
	$hub->end;
};

subtest 'killed while stopping' => sub {
	my $hub = platform('killed');
	my ($first, $other) = map { $hub->agent(@$_, '--pool', 'blue', '--platform', 'kubernetes', '--region', 'eu') } [ 'first', '--die-on-stop' ], ['other'];
	$r->add_session('stops', 'first', state => 'running');
	$hub->request('POST', '/v1/agents/first/commands', { command_id => 'start', action => 'start_session', session_id => 'stops' }, 'Idempotency-Key' => 'start');
	wait_until { $hub->runtime('stops') } 'the session to run';
	$r->pass;
	$r->do("UPDATE sessions SET state = 'terminating', updated_at = " . $r->now);
	$r->live_through(360);
	wait_until { !$first->running } 'the agent to die of its stop';
	wait_until { !$hub->is_connected('first') } 'the hub to miss it';
	$r->live_through(180);
	is_deeply([ map { $_->{evidence}{agent_id} } grep { $_->{reason} eq 'accepted' } $r->events('retry_result', 'stops') ], [ 'first', 'other' ], 'its stop was accepted, then that of another');
	wait_until { !$hub->runtime('stops') } 'the session to end';
	$r->live_through(120);
	is($r->state_of('stops'), 'terminated', 'which finishes it');
	my ($moved) = $r->events('reassign', 'stops');
	is_deeply([ @{ $moved->{evidence} }{qw(from_agent to_agent)} ], [ 'first', 'other' ], '... which has it then');
	is(scalar $r->events('force'), 0, '... and nothing is inferred');
	is_in_order();
	$hub->end;
};

subtest 'the row is locked when the other has accepted' => sub {
	my $hub = platform('locked');
	fakes($hub, [ 'lost', 'other' ], capacity => 10);
	$r->pass;
	fakes($hub, ['lost'], status => 'disconnected');
	$r->add_session('stops', 'lost');
	$hub->fault({ match => { method => 'POST', agent => 'other' }, kind => 'delay_ms 2000', executes => JSON::PP::true });
	my $passes = $r->connect;
	$r->advance(60);
	$passes->do('CALL reconcile()', { pg_async => PG_ASYNC });
	wait_until { $hub->met } 'the other to be asked';
	my $user = $r->connect;
	$user->begin_work;
	$user->do("SELECT FROM sessions WHERE id = 'stops' FOR UPDATE");
	$passes->pg_result;
	$hub->fault;
	my $posts = sub { return scalar grep { ($_->{body}{session_id} // '') eq 'stops' } $hub->logged(event => 'request', method => 'POST') };
	is($posts->(), 1, 'the other was asked');
	is($r->one("SELECT agent_id FROM sessions WHERE id = 'stops'"), 'lost', 'the row does not say so yet');
	is($r->episode('stops')->{sent_to}, 'other', '... but the episode does');
	$user->commit;
	$r->live_through(60);
	is($r->one("SELECT agent_id FROM sessions WHERE id = 'stops'"), 'other', 'the next pass writes it');
	is($posts->(), 1, '... without a second command');
	is(events_of('reassign'), 1, '... once');
	is_in_order();
	$hub->end;
};

subtest 'the other refuses' => sub {
	my $hub = platform('refused');
	fakes($hub, [ 'lost', 'other' ], capacity => 10);
	$r->pass;
	fakes($hub, ['lost'], status => 'disconnected');
	$r->add_session('stops', 'lost');
	$hub->fault({ match => { method => 'POST', agent => 'other' }, kind => 'status 422', body => '{"error": {"code": "no", "message": "not mine"}}' });
	$r->live_through(300, 60);
	my @results = map { "$_->{evidence}{agent_id} $_->{reason}" } $r->events('retry_result', 'stops');
	is($results[0], 'other rejected', 'the other was asked');
	is($r->state_of('stops'), 'terminating', 'nothing is inferred before its agent has been gone for long enough');
	is($r->one("SELECT agent_id FROM sessions WHERE id = 'stops'"), 'lost', '... and it stays whose it was');
	$r->live_through(420, 60);
	is($r->state_of('stops'), 'terminated', 'then it is closed');
	is_deeply([ map { "$_->{rule} $_->{reason}" } $r->events('force', 'stops') ], ['agent_gone agent_unavailable'], '... because its agent is gone');
	is(events_of('reassign'), 0, 'nobody got it');
	is_in_order();
	$hub->end;
};

$r->node->stop;
done_testing();
