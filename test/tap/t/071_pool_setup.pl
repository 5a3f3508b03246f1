# StreamSpace's agents, whose ids hold the name of their pod, are put into pools: on both variants of its tables, which stay
# as they are. Passes then follow: who is there, how many sessions it has, who is forgotten.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use JSON::PP ();
use Reconciler;
use Reconciler::StreamSpace;
use Test::More;

my $stem = 'k8s-prod-cluster-streamspace-agent';
my ($old, $new, $newer) = ("$stem-7d9f8c6b5d-x2x4z", "$stem-5b8fd84c9-qm7tw", "$stem-5b8fd84c9-zz2xv");
my $everything = "SELECT string_agg(t, '|' ORDER BY t) FROM (SELECT s::text FROM sessions s UNION ALL SELECT a::text FROM reconciler.agent a UNION ALL SELECT p::text FROM reconciler.agent_pool p"
  . ' UNION ALL SELECT b::text FROM reconciler.binding b UNION ALL SELECT e::text FROM reconciler.event e) AS u(t)';

for my $variant ('a', 'b')
{
	my $r = Reconciler->new("pools_$variant", preload => '');    # passes by CALL, one at a time
	# Only observed: the registry is looked at here, not what becomes of sessions.
	my $platform = start_platform($r, $variant, attach => { mode => 'observe', start_grace => '0 s', instance_grace => '0 s', observation_spacing => '10 ms' });

	my $add = sub {
		my ($id, $on, $region, $namespace, $silent) = @_;
		return $r->do('INSERT INTO agents (agent_id, platform, region, status, capacity, last_heartbeat, metadata, approval_status)'
			  . " VALUES (?, ?, ?, 'online', '{\"maxSessions\": 40, \"cpu\": \"64 cores\"}', " . $platform->now . " - ?::interval, jsonb_build_object('namespace', ?::text), 'approved')",
			$id, $on, $region, $silent, $namespace);
	};
	my $session = sub {
		my ($id, $agent, $state) = @_;
		return $r->do('INSERT INTO sessions (id, user_id, template_name, state, agent_id, org_id, created_at, updated_at)'
			  . " VALUES (?, 'admin', 'firefox', ?, ?, 'default-org', " . $platform->now . ', ' . $platform->now . ')', $id, $state, $agent);
	};
	$add->($old, 'kubernetes', 'us-east', 'streamspace', '2 hours');
	$add->($new, 'kubernetes', 'us-east', 'streamspace', '0');
	$add->("$stem-0", 'kubernetes', 'us-east', 'elsewhere', '0');
	$add->('k8s-west', 'kubernetes', 'eu', 'streamspace', '0');
	$add->('k8s-east', 'kubernetes', 'eu', 'streamspace', '0');
	$add->('docker-1', 'docker', undef, undef, '0');
	$add->('forgotten', 'docker', undef, undef, '2 hours');
	$session->("on-old-$_", $old, 'running') for 1 .. 5;
	$session->("on-new-$_", $new, 'running') for 1 .. 3;
	$session->('over', $new, 'terminated');
	$session->('nobodys', undef, 'pending');

	my $mapping = sub {
		my ($dry) = @_;
		return join "\n", $r->column("SELECT concat_ws(' ', coalesce(agent_id, '-'), coalesce(platform, '-'), coalesce(region, '-'), coalesce(pool, '-'), sessions, status) FROM migrate_to_pools(dry_run => ?)", $dry);
	};
	my $expected = sub {
		my ($status) = @_;
		return join "\n", "docker-1 docker - docker-1 0 $status", "k8s-east kubernetes eu streamspace 0 $status",
		  "$stem-0 kubernetes us-east - 0 unplaced", "$new kubernetes us-east $stem 4 $status", "$old kubernetes us-east $stem 5 $status",
		  "k8s-west kubernetes eu streamspace 0 $status", 'forgotten - - - 0 left_out', '- - - - 1 no_agent';
	};
	my $sorted = sub { return join "\n", sort split /\n/, $_[0] };

	my $before = $r->one($everything);
	is($sorted->($mapping->(1)), $sorted->($expected->('would_place')), "$variant: a dry run shows the mapping");
	is($r->one($everything), $before, '... and writes nothing');

	is($sorted->($mapping->(0)), $sorted->($expected->('placed')), 'a real one');
	is($r->one("SELECT detail FROM migrate_to_pools() WHERE agent_id = '$stem-0'"), qq{pool "$stem" works in namespace streamspace, the agent in elsewhere}, '... which guesses nothing');
	is_deeply([ $r->column("SELECT concat_ws(' ', platform, region, name, namespace, runtimes_outlive_agents) FROM reconciler.agent_pool ORDER BY 1") ],
		[ 'docker  docker-1  f', 'kubernetes eu streamspace streamspace t', "kubernetes us-east $stem streamspace t" ], 'pools of Kubernetes outlive their agents');
	is($r->one("SELECT string_agg(DISTINCT capacity || ' ' || connected || ' ' || approved, ',') FROM reconciler.agent"), '40 false true', 'maxSessions is the capacity; nobody is connected by its status');
	ok($r->one('SELECT pools FROM reconciler.binding'), 'pools are on');

	my $after = $r->one($everything);
	$mapping->(0);
	is($r->one($everything), $after, 'twice changes nothing');
	is($r->one("SELECT string_agg(DISTINCT status, ',' ORDER BY status) FROM migrate_to_pools(dry_run => false)"), 'left_out,no_agent,unchanged,unplaced', '... and says so');

	# Passes follow. Heartbeats by hand: the hub answers for these agents, which have no process.
	my $live = sub {
		for my $minute (1 .. $_[0])
		{
			$r->advance(30), $r->do('UPDATE agents SET last_heartbeat = ' . $platform->now . " WHERE agent_id = ANY(?)", $_[1]) for 1 .. 2;
			$r->pass;
		}
	};
	$live->(2, [ $new, 'k8s-east' ]);
	is_deeply([ $r->column("SELECT agent_id || ' ' || load FROM reconciler.agent WHERE connected ORDER BY 1") ], [ 'k8s-east 0', "$new 3" ], 'connected is who was seen; a load is what has not ended');
	is($r->one('SELECT load FROM reconciler.agent WHERE agent_id = ?', $old), 5, '... of the others too');
	ok($r->one("SELECT bool_and(last_seen > reconciler.clock() - interval '2 minutes') FROM reconciler.agent WHERE connected"), 'seen within two intervals');

	$add->($newer, 'kubernetes', 'us-east', 'streamspace', '0');
	$live->(2, [ $new, $newer, 'k8s-east' ]);
	is($r->one('SELECT name FROM reconciler.agent JOIN reconciler.agent_pool USING (pool_id) WHERE connected AND agent_id = ?', $newer), $stem, 'a replacement joins the pool by itself');
	my $rows = $r->one('SELECT string_agg(xmin::text, \',\' ORDER BY agent_id) FROM reconciler.agent');
	$r->pass;
	is($r->one('SELECT string_agg(xmin::text, \',\' ORDER BY agent_id) FROM reconciler.agent'), $rows, 'a pass that finds nothing new writes nothing');

	$r->do("UPDATE agents SET approval_status = 'pending', capacity = '{\"maxSessions\": 7}' WHERE agent_id = ?", $newer);
	$r->do("UPDATE sessions SET state = 'terminated' WHERE id = 'on-new-1'");
	$live->(4, [ $new, $newer ]);
	is($r->one("SELECT approved || ' ' || capacity FROM reconciler.agent WHERE agent_id = ?", $newer), 'false 7', 'approval and capacity are the table\'s');
	is($r->one('SELECT load FROM reconciler.agent WHERE agent_id = ?', $new), 2, 'a session that ended is counted no more');
	ok(!$r->one("SELECT connected FROM reconciler.agent WHERE agent_id = 'k8s-east'"), 'an agent that fell silent is not connected');

	$r->do("UPDATE reconciler.agent SET draining = reconciler.clock() WHERE agent_id = 'k8s-west'");
	$live->(70, [ $new ]);
	is_deeply([ $r->column('SELECT agent_id FROM reconciler.agent ORDER BY 1') ], [ sort('k8s-west', $new, $old) ], 'who is gone for an hour is forgotten, but not who has sessions or drains');
	is($r->one('SELECT count(*) FROM reconciler.agent_evidence WHERE agent_id IN (?, ?)', $newer, 'k8s-east'), 0, '... with what was known of it');
	$r->node->stop;
}

# A hub that lists its agents: those that are there join, by ten thousands.
my $r = Reconciler->new('pools_listed', preload => '');
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub, { pools => JSON::PP::true });
$hub->control('fake_agents', { prefix => 'blue-', count => 10000, pool => 'blue', region => 'eu', capacity => 5 });
$hub->control('fake_agents', { ids => ['drains'], pool => 'blue', region => 'eu', status => 'draining' });
$hub->control('fake_agents', { ids => ['not-there'], pool => 'blue', region => 'eu', status => 'disconnected' });
$r->pass;
is($r->one("SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE connected), count(*) FILTER (WHERE capacity = 5), min(source)) FROM reconciler.agent WHERE agent_id LIKE 'blue-%'"), '10000 10000 10000 hub', 'who is listed joins');
is($r->one("SELECT connected || ' ' || drain_moves || ' ' || drain_reason FROM reconciler.agent WHERE agent_id = 'drains' AND draining IS NOT NULL"), 'true false as its hub says', 'one that drains is connected, and gets no new work');
is($r->one("SELECT count(*) FROM reconciler.agent WHERE agent_id = 'not-there'"), 0, 'one that is not connected does not join');
$hub->control('fake_agents', { ids => ['drains'], pool => 'blue', region => 'eu' });
$hub->control('fake_agents', { prefix => 'blue-', count => 1, pool => 'blue', region => 'eu', capacity => 5, status => 'disconnected' });
$r->live_through(120);
ok(!$r->one("SELECT draining FROM reconciler.agent WHERE agent_id = 'drains'"), 'who drains no more does not');
is($r->one('SELECT string_agg(agent_id, \',\') FROM reconciler.agent WHERE NOT connected'), 'blue-1', 'who is gone is not connected');
ok($r->one("SELECT min(last_seen) > reconciler.clock() - interval '2 minutes' FROM reconciler.agent WHERE connected"), 'the others were seen within two intervals');
note('the last pass over 10,000 agents took ' . $r->one('SELECT last_pass_took FROM reconciler.binding_state'));
my $rows = $r->one('SELECT sum(xmin::text::bigint) FROM reconciler.agent');
$r->pass;
is($r->one('SELECT sum(xmin::text::bigint) FROM reconciler.agent'), $rows, 'a pass that finds nothing new writes nothing');
note('one that finds nothing new ' . $r->one('SELECT last_pass_took FROM reconciler.binding_state'));
$r->node->stop;
done_testing();
