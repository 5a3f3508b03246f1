# Mass losses: what a broken hub, network or API makes look dead is not closed; what is really lost is, in the end.
# Policies that act on inference are on here; `terminating` has its own rate and is tested elsewhere.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils qw(slurp_file);
use Reconciler;
use Test::More;

my $r = Reconciler->new('brakes', preload => '');    # passes by CALL, one at a time

# A database of its own with $agents agents of a new hub, $each running sessions on each.
sub platform
{
	my ($name, $agents, $each, %options) = @_;
	my $hub = $r->hub($name, '--profile', 'standard');
	$r->do("CREATE DATABASE $name");
	$r->use_database($name);
	$r->do('CREATE EXTENSION session_reconciler');
	$r->sessions_at($hub, $options{attach} // {}, { total_timeout => '500 ms', connect_timeout => '500 ms', command_spacing => '0 s' });
	$r->do("UPDATE reconciler.policy SET enabled = true WHERE state IN ('running', 'hibernated')");
	fleet($hub, 'connected', 1 .. $agents);
	$r->do('INSERT INTO sessions (id, state, agent_id, created_at, updated_at) SELECT \'s-\' || a || \'-\' || n, \'running\', \'a\' || a, '
		  . $r->now . ", " . $r->now . " FROM generate_series(1, $agents) AS a, generate_series(1, $each) AS n");
	$r->live_through(120);
	return $hub;
}

sub fleet { my ($hub, $status, @numbers) = @_; $hub->control(fake_agents => { ids => [ map { "a$_" } @numbers ], status => $status }); return }
sub status { return $r->row('SELECT * FROM reconciler_status()') }
sub alive  { return $r->one("SELECT count(*) FROM sessions WHERE state = 'running'") }
sub log_of { my ($offset) = @_; return substr slurp_file($r->node->logfile), $offset }

subtest 'one agent of many dies' => sub {
	my $hub = platform('one_of_many', 10, 5);
	fleet($hub, 'disconnected', 3);
	$r->live_through(20, 10);
	is(alive(), 50, 'within the grace nothing is closed');
	$r->live_through(30, 10);
	is(alive(), 45, 'after it its sessions are');
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'terminated' AND termination_reason = 'agent_disconnected' AND terminated_at IS NOT NULL AND agent_id = 'a3'"), 5,
		'... with reason and time');
	is(scalar(grep { $_->{kind} eq 'force' } $r->rows("SELECT kind FROM reconciler.event")), 5, '... and their events');
	is(status()->{brake_tripped_at}, undef, 'no brake has tripped');
	$hub->end;
};

subtest 'every agent is gone' => sub {
	my $hub = platform('all_gone', 6, 3);
	my $offset = -s $r->node->logfile;
	fleet($hub, 'disconnected', 1 .. 6);
	$r->live_through(3600, 60);
	is(alive(), 18, 'nothing is closed, however long it lasts');
	my $status = status();
	ok($status->{brake_tripped_at}, 'the brake has tripped');
	like($status->{brake_why}, qr/^all 6 agents seen present within 30 minutes are gone, and 18 forces due; it ends by itself when one of them is back$/, '... and says why');
	is($status->{brake_due}, 18, '... for how many');
	is(scalar @{ $status->{brake_waiting} }, 10, '... ten by name');
	my $details = decode($status->{brake_details});
	is_deeply($details->{by_state}, { running => 18 }, '... by state');
	is_deeply($details->{by_reason}, { agent_disconnected => 18 }, '... by reason');
	is_deeply($details->{by_agent}, { map { ("a$_" => 3) } 1 .. 6 }, '... by agent');
	like($details->{next}, qr/reset_brake\('reason', sessions => 'public\.sessions'\)/, '... and how to go on');
	is($r->metric('reconciler_brake_tripped'), 1, 'the metric tells');
	is($r->metric('reconciler_brake_waiting'), 18, '... how many wait');
	is($r->one("SELECT status FROM preflight() WHERE check_name LIKE '%: brake'"), 'fail', 'preflight fails');
	is(scalar $r->events('brake_tripped'), 1, 'one event in that hour');
	my @lines = grep { /tripped/ } split /\n/, log_of($offset);
	is(scalar(grep { /WARNING:/ } @lines), 1, 'one line of log');
	is($r->stuck('s-1-1')->{blocked_by}, 'brake', 'the sessions say what holds them');

	fleet($hub, 'connected', 1 .. 6);
	$r->live_through(20, 10);
	is(status()->{brake_tripped_at}, undef, 'an agent that is back releases it');
	is((($r->events('brake_reset'))[0])->{reason} =~ /^agent "a\d" is present$/, 1, '... with an event');
	is(alive(), 18, 'every session lives');
	$r->live_through(600, 60);
	is(alive(), 18, '... and stays so');
	$hub->end;
};

subtest 'all are gone, and an operator says that it is so' => sub {
	my $hub = platform('really_gone', 4, 3);
	fleet($hub, 'disconnected', 1 .. 4);
	$r->live_through(120, 30);
	is(alive(), 12, 'stopped');
	is($r->one("SELECT reset_brake('rack is lost')"), 'reset', 'reset');
	$r->live_through(60, 30);
	is(alive(), 0, 'these are closed');
	is(status()->{brake_tripped_at}, undef, '... and the brake is free');
	is(scalar $r->events('brake_tripped'), 1, '... and does not trip again for the same loss');
	$hub->end;
};

subtest 'most are gone' => sub {
	my $hub = platform('most_gone', 10, 1);
	fleet($hub, 'disconnected', 1 .. 6);
	$r->live_through(60, 20);
	like(status()->{brake_why}, qr/^6 of the 10 agents seen present within 30 minutes are gone$/, 'slowed down');
	is($r->metric('reconciler_brake_slowed'), 1, '... says the metric');
	is($r->one("SELECT status FROM preflight() WHERE check_name LIKE '%: brake'"), 'warn', '... and preflight');
	is(alive(), 4, 'their sessions are closed');
	my @at = $r->column("SELECT extract(epoch FROM at - min(at) OVER ()) FROM reconciler.event WHERE kind = 'force' ORDER BY id");
	cmp_ok($at[5] - $at[0], '>=', 0.19, '... at a tenth of the pace: the sixth a fifth of a second after the first five');
	fleet($hub, 'connected', 1 .. 6);
	$r->live_through(60, 30);
	is(status()->{brake_why}, undef, 'forgotten when they are back');
	$hub->end;
};

subtest 'the only agent of a platform dies' => sub {
	my $hub = platform('only_agent', 1, 3);
	$r->add_session("ending-$_", 'a1', age => '0 s') for 1 .. 3;
	fleet($hub, 'disconnected', 1);
	$r->live_through(720);
	is($r->one("SELECT string_agg(DISTINCT state || ' ' || termination_reason, ', ') FROM sessions WHERE id LIKE 'ending-%'"), 'terminated agent_unavailable', 'what its users ended has ended');
	is($r->one("SELECT string_agg(DISTINCT state || ' ' || termination_reason, ', ') FROM sessions WHERE id LIKE 's-%'"), 'terminated agent_disconnected', 'and so has what it ran');
	is(status()->{brake_tripped_at}, undef, '... without a brake');
	$hub->end;
};

# Pools, as the hub's list labels them: four agents of eu, eight of us, two running sessions on each.
subtest 'pools that are lost' => sub {
	my $hub = platform('pools', 12, 2);
	my %pool = (eu => [ 1 .. 4 ], us => [ 5 .. 12 ]);
	my $pool = sub { my ($name, $status) = @_; $hub->control(fake_agents => { ids => [ map { "a$_" } @{ $pool{$name} } ], pool => $name, status => $status }) };
	my $left = sub { [ map { scalar $r->one("SELECT count(*) FROM sessions WHERE state = 'running' AND agent_id = ANY (?)", [ map { "a$_" } @{ $pool{$_} } ]) } qw(eu us) ] };
	$pool->($_, 'connected') for qw(eu us);
	$r->add_session("ending-$_", $_ eq 'eu' ? 'a1' : 'a5', age => '0 s') for qw(eu us);
	$r->pass;

	$pool->('us', 'disconnected');
	$r->live_through(10);
	$pool->('eu', 'disconnected');
	$r->live_through(660, 30);
	is_deeply($left->(), [ 8, 16 ], 'of all pools, nothing that runs is closed');
	like(status()->{brake_why}, qr/^all 12 agents seen present within 30 minutes are gone/, '... and the brake says why');
	is($r->one("SELECT count(*) FROM sessions WHERE id LIKE 'ending-%' AND state = 'terminated'"), 2, '... what users ended has ended all the same');
	$pool->('us', 'connected');
	$r->live_through(120, 30);
	is_deeply($left->(), [ 0, 16 ], 'one pool is back and lives on; the other is closed');
	is(status()->{brake_tripped_at}, undef, '... since the brake let go');
	is($r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'force' AND session_id NOT LIKE 'ending-%'"), 8, '... eight in all');
	$r->live_through(600, 60);
	is_deeply($left->(), [ 0, 16 ], '... and it stays so');
	$hub->end;
};

subtest 'one pool is lost while another lives' => sub {
	my $hub = platform('one_pool', 12, 2);
	fleet($hub, 'connected', 13 .. 15);    # agents without sessions count as well
	$hub->control(fake_agents => { ids => [ map { "a$_" } 1 .. 4 ], pool => 'eu', status => 'disconnected' });
	$r->live_through(60, 10);
	is($r->one("SELECT string_agg(DISTINCT agent_id, ' ' ORDER BY agent_id) FROM sessions WHERE state = 'terminated'"), 'a1 a2 a3 a4', 'its sessions are closed');
	is(alive(), 16, '... and no other');
	is(status()->{brake_why}, undef, '... at full pace');
	$hub->end;
};

subtest 'ids that died long ago' => sub {
	my $hub = platform('long_dead', 3, 1);
	$r->do("INSERT INTO sessions (id, state, agent_id, created_at, updated_at) SELECT 'old-' || n, 'terminated', 'dead-' || n, now(), now() FROM generate_series(1, 300) AS n");
	$r->do("INSERT INTO reconciler.agent_evidence (binding_id, agent_id, presence, provisional, observed_at, source, instance, incarnation, unauthorized, detail, heartbeat_changed,"
		  . " gone_time, gone_observations, last_present) SELECT binding_id, 'dead-' || n, 'gone', false, reconciler.clock(), 'hub', '', '', false, '', false, '5 days', 9,"
		  . " reconciler.clock() - interval '5 days' FROM reconciler.binding, generate_series(1, 300) AS n");
	fleet($hub, 'disconnected', 2);
	$r->live_through(60, 20);
	is(alive(), 2, 'count as no loss: the one that died now is closed');
	is(status()->{brake_why}, undef, '... at full pace');
	$hub->end;
};

subtest '500 sessions that a broken hub calls dead' => sub {
	my $hub = platform('broken_hub', 100, 10);
	fleet($hub, 'disconnected', 1 .. 50);    # it lost half of its map
	$r->live_through(600, 60);
	is(alive(), 1000, 'none is touched');
	my $status = status();
	like($status->{brake_why}, qr/^500 forces due, 50 left of 50 per 10 minutes$/, 'the brake says so');
	my $details = decode($status->{brake_details});
	is($details->{agents}, 50, '... and by how many agents');
	is(scalar keys %{ $details->{by_agent} }, 20, '... and names some');

	is($r->one("SELECT reset_brake('looked fine to me')"), 'reset', 'a mistaken reset');
	$r->pass;
	is(alive(), 500, '... closes them');
	my @passes = $r->column("SELECT DISTINCT pass_id FROM reconciler.event WHERE kind = 'force'");
	my %outcomes;
	$outcomes{ $_->{outcome} }++ for map { $r->rows("SELECT * FROM undo_pass($_)") } @passes;
	is_deeply(\%outcomes, { undone => 500 }, 'undo_pass() puts them back');
	is(alive(), 1000, '... all');
	$r->live_through(600, 60);
	is(alive(), 1000, '... and they stay');
	fleet($hub, 'connected', 1 .. 100);
	$r->live_through(7200, 600);
	is(alive(), 1000, '... also when their hold has ended and the hub is well');
	$hub->end;
};

subtest 'connected and disconnected, told by the hub' => sub {
	my $hub = platform('told', 5, 1);
	fleet($hub, 'disconnected', 1);
	is($r->one("SELECT agent_disconnected('a1')"), 'recorded', 'told');
	is($r->stuck('s-1-1')->{agent_evidence}, 'gone', 'a first observation');
	$r->advance(29), $r->pass;
	is($r->state_of('s-1-1'), 'running', 'within the grace');
	$r->advance(2), $r->pass;
	is($r->state_of('s-1-1'), 'terminated', 'after it');

	fleet($hub, 'disconnected', 2);
	$r->one("SELECT agent_disconnected('a2')");
	$r->advance(29), $r->pass;
	fleet($hub, 'connected', 2);
	is($r->one("SELECT agent_connected('a2', 'second start')"), 'recorded', 'back after 29 seconds');
	$r->live_through(600, 60);
	is($r->state_of('s-2-1'), 'running', '... keeps its sessions');

	# Somebody who is wrong, or lies: our own looks decide.
	$r->one("SELECT agent_disconnected('a3')") for 1 .. 5;
	$r->live_through(600, 60);
	is($r->state_of('s-3-1'), 'running', 'a report that the hub contradicts closes nothing');
	# Said again and again without a look of ours between: still one observation, whatever time has passed.
	for (1 .. 4) { $r->one("SELECT agent_disconnected('a4')"); $r->advance(31) }
	is_deeply([ $r->column("SELECT gone_time::text || ' ' || gone_observations FROM reconciler.agent_evidence WHERE agent_id = 'a4'") ], ['00:00:00 1'],
		'reports alone add up to nothing');
	like($r->error("SELECT agent_disconnected('  ')"), qr/^22023 ERROR:  an agent_id is required/, 'a blank id');
	like($r->error('SELECT agent_disconnected(NULL)'), qr/^22004/, 'no id');
	$hub->end;
};

$r->node->stop;
done_testing();
