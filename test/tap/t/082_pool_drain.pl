# Agents of pools are drained while sessions are assigned: they get nothing new, what runs moves where that is possible, what is
# on its way ends with them, and one event says when nothing is left.
use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use PostgreSQL::Test::Utils qw(append_to_file);
use Reconciler;
use Test::More;

my $r = Reconciler->new('drain', preload => '');    # passes by CALL, one at a time
my $hub = $r->hub('hub', '--profile', 'standard');
$r->one(q{SELECT create_agent_pool('blue', 'kubernetes', 'eu', '{"namespace": "sessions", "runtimes_outlive_agents": true}')});
$r->sessions_at($hub, { pools => JSON::PP::true }, { command_spacing => '0 s' });
$r->do('CREATE INDEX ON sessions (agent_id)');
my @names = map { "blue-$_" } 1 .. 5;
$hub->control(fake_agents => { ids => \@names, pool => 'blue', platform => 'kubernetes', region => 'eu', capacity => 300, complete_after_ms => 10 });
$r->pass;

sub add_sessions
{
	my ($prefix, $count, $state, $agent) = @_;
	my $now = $r->now;
	return $r->do("INSERT INTO sessions (id, state, agent_id, created_at, updated_at) SELECT ? || n, ?, ?, $now, $now FROM generate_series(1, ?) AS n", $prefix, $state, $agent, $count);
}
sub states_of
{
	my ($agent) = @_;
	return $r->one("SELECT coalesce(string_agg(state || ' ' || n, ', ' ORDER BY state), '') FROM (SELECT state, count(*) AS n FROM sessions WHERE agent_id = ? AND state <> 'terminated' GROUP BY state) AS s", $agent);
}
sub pool_agent { my ($agent) = @_; return $r->row('SELECT * FROM pool_agents() WHERE agent_id = ?', $agent) }

add_sessions('run', 60, 'running', 'blue-1');
add_sessions('end', 3, 'terminating', 'blue-1');
add_sessions('begin', 2, 'pending', 'blue-1');
add_sessions('new', 600, 'pending', undef);
$r->do('CREATE SEQUENCE turn');

subtest 'under load' => sub {
	my $script = PostgreSQL::Test::Utils::tempdir('drain') . '/assign.sql';
	append_to_file($script, "SELECT assign_session('new' || nextval('turn'));\n");
	my $callers = Reconciler::Process->run('callers', 'pgbench', '-n', '-h', $r->node->host, '-p', $r->node->port, '-c', 8, '-j', 2, '-t', 75, '-R', 200, '-f', $script, 'postgres');
	$r->wait_for('SELECT last_value > 100 FROM turn');
	is($r->one("SELECT drain_agent('blue-1', 'its node goes')"), 'requested', 'it is drained');
	my $had = $r->one("SELECT count(*) FROM sessions WHERE agent_id = 'blue-1' AND id LIKE 'new%'");
	ok($had > 0, "it had got $had until then");
	$r->pass while $r->one('SELECT last_value < 600 FROM turn');
	wait_until { !$callers->running } 'the callers to end';
	is($r->one("SELECT count(*) FROM sessions WHERE agent_id IS NULL"), 0, 'everybody got an agent');
	is($r->one("SELECT count(*) FROM sessions WHERE agent_id = 'blue-1' AND id LIKE 'new%'"), $had, '... and nobody this one');
	$r->live_through(60);
	is(states_of('blue-1'), 'pending ' . (2 + $had) . ', terminating 3', 'what ran has moved, what is on its way has not');
	is($r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'reassign' AND rule = 'agent_replaced' AND reason = 'drained' AND evidence->>'from_agent' = 'blue-1'"), 60, '... with an event each');
	is($r->one(q{SELECT count(*) FROM stuck_sessions()}), 0, 'nothing is stuck');
	ok(!pool_agent('blue-1')->{drained}, 'it is not drained yet');
	is(pool_agent('blue-1')->{sessions}, 5 + $had, '... and pool_agents() says what is left');

	$r->live_through(420);
	is(states_of('blue-1'), 'pending ' . (2 + $had), 'what was to end has ended');
	is($r->one("SELECT string_agg(DISTINCT evidence->>'agent_id', ',') FROM reconciler.event WHERE kind = 'retry' AND session_id LIKE 'end%'"), 'blue-1', '... with this agent');
	$r->do("UPDATE sessions SET state = 'running' WHERE agent_id = 'blue-1' AND state = 'pending'");
	$r->live_through(60);
	is(states_of('blue-1'), '', 'what has begun moves too');
	$r->live_through(120);
	ok(pool_agent('blue-1')->{drained}, 'then it is drained');
	is_deeply([ map { $_->{evidence}{agent_id} . ': ' . $_->{evidence}{reason} } $r->events('drained') ], ['blue-1: its node goes'], '... which one event says');
	is($r->one("SELECT max(n) - min(n) <= 30 FROM (SELECT count(*) AS n FROM sessions WHERE agent_id <> 'blue-1' AND state <> 'terminated' GROUP BY agent_id) AS t"), 1, 'the others have about as many each');
};

subtest 'and back' => sub {
	is($r->one("SELECT undrain_agent('blue-1', 'its node stays')"), 'undrained', 'it is not drained any more');
	add_sessions('again', 1, 'pending', undef);
	is($r->one("SELECT assign_session('again1')"), 'blue-1', 'it gets the next session');
	my $agent = pool_agent('blue-1');
	ok(!$agent->{draining} && !$agent->{drained}, '... and nothing says that it is');
};

subtest 'without moving' => sub {
	my $runs = $r->one("SELECT count(*) FROM sessions WHERE agent_id = 'blue-2' AND state = 'running'");
	$r->one("SELECT drain_agent('blue-2', 'slowly', false)");
	$r->live_through(180);
	is($r->one("SELECT count(*) FROM sessions WHERE agent_id = 'blue-2' AND state = 'running'"), $runs, 'its sessions stay');
	ok(!pool_agent('blue-2')->{drained}, '... and it is not drained');
	$r->do("UPDATE sessions SET state = 'terminated' WHERE agent_id = 'blue-2'");
	$r->live_through(120);
	ok(pool_agent('blue-2')->{drained}, 'it is when they have ended');
};

subtest 'runtimes that do not outlive their agent' => sub {
	$hub->control(fake_agents => { ids => [ 'docker-1', 'docker-2' ], pool => 'hosts', platform => 'docker', capacity => 10 });
	$r->live_through(60);
	$r->add_session('local', 'docker-1', state => 'running');
	$r->one("SELECT drain_agent('docker-1', 'host goes')");
	$r->live_through(180);
	is(states_of('docker-1'), 'running 1', 'stay where they are');
	is($r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'reassign' AND session_id = 'local'"), 0, '... without an event');
	$r->do("UPDATE sessions SET state = 'terminated' WHERE id = 'local'");
	$r->live_through(120);
	ok(pool_agent('docker-1')->{drained}, '... until they end');
};

is(scalar $r->events('drained'), 3, 'one event for each agent that was drained');
$hub->end;
$r->node->stop;
done_testing();
