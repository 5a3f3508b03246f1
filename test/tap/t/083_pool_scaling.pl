# Agents come and go by the hundred over ten thousand sessions: scaled down by draining, and dying. Nothing is lost: every session is
# with an agent that is there, or closed for a reason that is stated; and the registry does not fill with those that were.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Test::More;

my $seed = $ENV{POOL_SEED} // 236;
srand $seed;
note("POOL_SEED=$seed");

my ($capacity, $sessions, $rounds) = (150, 10000, 12);
my $r = Reconciler->new('scaling', preload => '');    # passes by CALL, one at a time
my $hub = $r->hub('hub', '--profile', 'standard', '--keep-commands', '1000');
$r->set_hub('main', $hub->url, 'standard', { command_spacing => '0 s' });
$r->rows('SELECT * FROM create_control_plane()');
$r->do("UPDATE reconciler.binding SET start_grace = '0 s', instance_grace = '0 s', observation_spacing = '10 ms'");
# What would close a lost agent's sessions is on: they are given to others before that.
$r->do("UPDATE reconciler.policy SET enabled = true WHERE state IN ('running', 'hibernated')");
$r->one(q{SELECT create_agent_pool('blue', 'kubernetes', 'eu', '{"namespace": "sessions", "runtimes_outlive_agents": true}')});

my %alive;       # agents that are there, and whether they are to go
my $made = 0;    # ids embed what is never used again, as pods' names do

sub fakes
{
	my ($status, @ids) = @_;
	return unless @ids;
	return $hub->control(fake_agents => { ids => \@ids, pool => 'blue', platform => 'kubernetes', region => 'eu', capacity => $capacity, complete_after_ms => 10, status => $status });
}

# The platform's row comes with the agent; sessions refer to it.
sub come
{
	my ($count) = @_;
	my @ids = map { sprintf 'blue-%04d', ++$made } 1 .. $count;
	$r->do("INSERT INTO agents (agent_id, agent_pool, platform, region, status, capacity, last_heartbeat) SELECT id, 'blue', 'kubernetes', 'eu', 'connected', $capacity, "
		  . $r->now . ' FROM unnest(?::text[]) AS id', \@ids);
	fakes(connected => @ids);
	$alive{$_} = 'stays' for @ids;
	return;
}

sub die_off
{
	my (@ids) = @_;
	fakes(disconnected => @ids);
	delete @alive{@ids};
	return;
}

sub some { my ($count, @of) = @_; return map { splice @of, int rand @of, 1 } 1 .. ($count < @of ? $count : @of) }

sub minute
{
	$r->advance(60);
	$r->do("UPDATE agents SET last_heartbeat = " . $r->now . ' WHERE agent_id = ANY (?)', [ keys %alive ]);
	return $r->pass;
}

# What users do meanwhile: they end sessions and open others, which find an agent.
sub users
{
	my ($round) = @_;
	$r->do("UPDATE sessions SET state = 'terminating', updated_at = " . $r->now . " WHERE id IN (SELECT id FROM sessions WHERE state = 'running' ORDER BY md5(id || ?) LIMIT 200)", $round);
	$r->do("INSERT INTO sessions (id, user_id, state, agent_pool, platform, region, created_at, updated_at) SELECT 'r$round-' || n, 'u', 'running', 'blue', 'kubernetes', 'eu', "
		  . $r->now . ', ' . $r->now . ' FROM generate_series(1, 50) AS n');
	$r->do("SELECT assign_session(id) FROM sessions WHERE id LIKE 'r$round-%' ORDER BY id");
	return;
}

my $over = "SELECT count(*) FROM (SELECT FROM sessions WHERE state <> 'terminated' AND assigned_agent_id IS NOT NULL GROUP BY assigned_agent_id HAVING count(*) > $capacity) AS o";
my $most = 0;

come(100);
minute();
$r->do("INSERT INTO sessions (id, user_id, state, agent_pool, platform, region, assigned_agent_id, created_at, updated_at) SELECT 's' || n, 'u', 'running', 'blue', 'kubernetes', 'eu',"
	  . " 'blue-' || to_char(n % 100 + 1, 'FM0000'), " . $r->now . ', ' . $r->now . " FROM generate_series(1, $sessions) AS n");
$r->do('ANALYZE sessions');
for my $round (1 .. $rounds)
{
	# Two hundred come and go altogether; room for everybody is there most of the time.
	my @stay = grep { $alive{$_} eq 'stays' } sort keys %alive;
	come(8 + int rand 8);
	my @leave = some(3 + int rand 4, @stay);
	$r->one('SELECT drain_agent(?, ?)', $_, 'scaled down') for @leave;
	@alive{@leave} = ('goes') x @leave;
	die_off(some(3 + int rand 4, grep { $alive{$_} eq 'stays' } @stay));
	users($round);
	minute();
	# Pods that were drained end.
	my %drained = map { $_ => 1 } $r->column('SELECT agent_id FROM reconciler.agent WHERE drained IS NOT NULL');
	die_off(grep { $drained{$_} } sort keys %alive);
	my $now = $r->one($over);
	$most = $now if $now > $most;
}
note("$made agents came, " . keys(%alive) . ' are there');
minute() for 1 .. 20;
die_off(grep { $alive{$_} eq 'goes' } sort keys %alive);
cmp_ok($made, '>=', 200, "$made agents were there");
is($most, 0, 'at no time had an agent more than it takes');

is($r->one("SELECT count(*) FROM sessions WHERE state <> 'terminated' AND NOT coalesce(assigned_agent_id = ANY (?), false)", [ keys %alive ]), 0, 'every session is with an agent that is there');
is_deeply([ $r->column("SELECT concat_ws(' ', state, count(*)) FROM sessions WHERE state <> 'terminated' GROUP BY state ORDER BY state") ],
	[ 'running ' . ($sessions - 150 * $rounds) ], '... and runs');
is($r->one("SELECT count(*) FROM sessions WHERE state = 'terminated'"), 200 * $rounds, 'closed is what users ended');
is($r->one("SELECT count(*) FROM sessions s WHERE state = 'terminated' AND (termination_reason IS NULL OR NOT EXISTS (SELECT FROM reconciler.event e WHERE e.session_id = s.id AND e.kind IN ('finalize', 'force')))"),
	0, '... for a reason that is stated, with its event');
note($_) for $r->column("SELECT concat_ws(' ', kind, rule, reason, count(*)) FROM reconciler.event WHERE kind IN ('finalize', 'force', 'reassign', 'drained', 'skipped', 'quarantine') GROUP BY kind, rule, reason ORDER BY 1");
is($r->one("SELECT count(*) FROM (SELECT session_id FROM reconciler.event WHERE kind IN ('finalize', 'force') GROUP BY session_id HAVING count(*) > 1) AS t"), 0, '... once');
is($r->one("SELECT count(*) FROM reconciler.agent a WHERE load <> (SELECT count(*) FROM sessions s WHERE s.assigned_agent_id = a.agent_id AND s.state NOT IN ('terminated', 'terminating'))"), 0, 'loads are what there is');

# Who is gone ages out, but not whom a session names that has not ended.
my $held = (sort keys %alive)[0];
my $kept = $r->one("SELECT id FROM sessions WHERE assigned_agent_id = ? AND state = 'running' LIMIT 1", $held);
$r->one('SELECT hold_session(?, ?, ?)', $kept, 'infinity', 'a user looks at it');
$r->one('SELECT undrain_agent(agent_id) FROM reconciler.agent WHERE agent_id = ?', $_) for $r->column('SELECT agent_id FROM reconciler.agent WHERE draining IS NOT NULL');
die_off($held);
minute() for 1 .. 5;
$r->advance(1800), minute() for 1 .. 4;
my @named = $r->column("SELECT DISTINCT assigned_agent_id FROM sessions WHERE assigned_agent_id IS NOT NULL");
my @there = $r->column('SELECT agent_id FROM reconciler.agent ORDER BY 1');
is_deeply([ grep { my $id = $_; !grep { $_ eq $id } @there } $held, keys %alive ], [], 'the registry has who is there and who is named');
is($r->one('SELECT string_agg(agent_id, \', \') FROM reconciler.agent WHERE NOT (agent_id = ANY (?) OR EXISTS (SELECT FROM sessions WHERE assigned_agent_id = agent_id))', [ keys %alive ]), undef, '... and nobody else');
cmp_ok($r->one('SELECT count(*) FROM reconciler.agent'), '<', $made, 'old ids have aged out');

$hub->end;
$r->node->stop;
done_testing();
