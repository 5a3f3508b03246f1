# A hub that can't say who is connected, with policies that infer: the heartbeat, our own looks and the hub's words
# contradict each other, and no healthy session is touched. Who is silent for good loses its sessions.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Reconciler::StreamSpace;
use Test::More;

my $r = Reconciler->new('heartbeats', preload => '', extension => 0);    # passes by CALL, one at a time
my $space = start_platform($r, 'b', attach => { disconnect_cleanup => JSON::PP::true, observation_spacing => '10 ms' });
my $hub = $space->hub;
my $now = sub { $space->now };

sub session
{
	my ($id, $agent, $state) = @_;
	return $r->do("INSERT INTO sessions (id, user_id, template_name, state, agent_id, org_id, created_at, updated_at)"
		  . " VALUES (?, 'admin', 'firefox', ?, ?, 'default-org', " . $now->() . ', ' . $now->() . ')', $id, $state // 'running', $agent);
}

# An agent of which only the row is here: another replica holds it, which writes its heartbeats.
sub beats { return $r->do("UPDATE agents SET last_heartbeat = " . $now->() . ' WHERE agent_id = ?', $_[0]) }

# Half a minute after the other, in each of which the agents named are heard of.
sub live
{
	my ($halves, @beating) = @_;
	for (1 .. $halves)
	{
		$r->advance(30);
		beats($_) for @beating;
		$r->pass;
	}
	return;
}
sub running { return join ' ', $r->column("SELECT id FROM sessions WHERE state = 'running' ORDER BY id") }

my %agent = map { $_ => $space->agent($_, '--ignore-stops') } map { "k8s-$_" } 1 .. 4;
$r->do("INSERT INTO agents (agent_id, platform, status, last_heartbeat) VALUES ('elsewhere', 'kubernetes', 'online', " . $now->() . ')');
$r->do("INSERT INTO agents (agent_id, platform, status, last_heartbeat) SELECT 'dead-' || n, 'kubernetes', 'online', " . $now->() . " - interval '30 days' FROM generate_series(1, 300) AS n");
session("on-$_", $_) for sort(keys %agent), 'elsewhere';
session('left', 'dead-7', 'terminating');
live(6, 'elsewhere');
my $all = 'on-elsewhere on-k8s-1 on-k8s-2 on-k8s-3 on-k8s-4';
is(running(), $all, 'all run');

subtest 'an agent that is not approved, and heartbeats' => sub {
	session('unapproved', 'k8s-2', 'terminating');
	$r->do("UPDATE agents SET approval_status = 'pending' WHERE agent_id = 'k8s-2'");
	live(28, 'elsewhere');
	is(running(), $all, 'its session runs on');
	is($r->stuck('unapproved')->{agent_evidence}, 'unknown', 'it is not known to be there');
	is($hub->seen_of('unapproved')->{posts}, 0, '... so nothing is sent to it');
	is($space->state_of('unapproved'), 'terminating', '... and nothing closed for it');
	is($space->state_of('left'), 'terminated', 'meanwhile what an agent left that died long ago is closed');
	$r->do("UPDATE agents SET approval_status = 'approved' WHERE agent_id = 'k8s-2'");
	live(2, 'elsewhere');
	is($hub->seen_of('unapproved')->{accepted}, 1, 'approved, it is told');
	$r->do("DELETE FROM sessions WHERE id = 'unapproved'");
};

subtest 'a fresh heartbeat, and a hub that does not have the agent' => sub {
	session('absent', 'elsewhere', 'terminating');
	live(24, 'elsewhere');
	like($r->episode('absent')->{last_result}, qr/^not_connected/, 'the hub does not hold it');
	is($space->state_of('absent'), 'terminating', '... which closes nothing');
	is(running(), $all, '... nor what runs there');
	$hub->fault({ match => { method => 'GET', agent => 'elsewhere' }, kind => 'status 404', body => '{"error":"Agent not found"}', content_type => 'application/json' });
	live(2, 'elsewhere');
	is($r->stuck('absent')->{agent_evidence}, 'unknown', 'a hub that never heard of it is another hub');
	live(8);
	is($r->stuck('absent')->{agent_evidence}, 'unknown', '... also when the agent falls silent');
	is(running(), $all, '... and proves nothing');
	$hub->fault;
	$r->do("DELETE FROM sessions WHERE id = 'absent'");
	live(3, 'elsewhere');
	is(running(), $all, 'nothing of it is left');
};

subtest 'a hub that holds its agents, and no heartbeat' => sub {
	$hub->control(heartbeats => { paused => JSON::PP::true });
	my $hubs = $r->{hubs};
	$r->{hubs} = [];    # by whose clock no heartbeat would come
	live(12);
	like($r->one('SELECT brake_why FROM reconciler_status()'), qr/^all 5 agents seen present within 30 minutes are gone/, 'of one that records none the brake says so');
	is(running(), $all, '... and nothing is closed');
	$hub->control(heartbeats => { paused => JSON::PP::false });
	$r->{hubs} = $hubs;
	live(6, 'elsewhere');
	is($r->one('SELECT brake_tripped_at FROM reconciler_status()'), undef, 'heard of again');
	is(running(), $all, '... all run');
	live(6);
	is(running(), 'on-k8s-1 on-k8s-2 on-k8s-3 on-k8s-4', 'the only one that is silent loses its session');
};

$r->node->stop;
done_testing();
