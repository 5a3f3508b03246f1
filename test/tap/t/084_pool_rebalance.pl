# rebalance_pool(): the plan is carried out by passes, a few sessions a second, and what has changed since is left alone.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Test::More;

my $r = Reconciler->new('rebalance');
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub, { pools => JSON::PP::true });
$r->one(q{SELECT create_agent_pool('desks', 'kubernetes', 'eu', '{"runtimes_outlive_agents": true}')});
$hub->control(fake_agents => { count => 4, pool => 'desks', platform => 'kubernetes', region => 'eu', capacity => 100 });
$r->wait_for_worker;
$r->add_session("s$_", 'agent-1', state => 'running') for 1 .. 80;
$r->advance(61);
$r->pass;
is($r->one('SELECT count(*) FROM reconciler.agent WHERE connected'), 4, 'the agents that the hub lists are in the pool');
is($r->one("SELECT load FROM reconciler.agent WHERE agent_id = 'agent-1'"), 80, '... with what they have');

$r->do('SELECT pause_reconciler(?)', 'not yet');
my @plan = $r->rows("SELECT * FROM rebalance_pool('desks', dry_run => false)");
cmp_ok(scalar @plan, '>', 20, 'a plan');
my ($held, $ended, $elsewhere) = map { $_->{session_id} } @plan[ 0 .. 2 ];
$r->pass;
is($r->one('SELECT count(*) FROM reconciler.planned_move'), scalar @plan, 'while paused nothing is moved');
$r->do("SELECT hold_session(?, reconciler.clock() + interval '1 hour', 'mine')", $held);
$r->do("UPDATE sessions SET state = 'terminated' WHERE id = ?", $ended);
$r->do("UPDATE sessions SET agent_id = 'agent-4' WHERE id = ?", $elsewhere);
$r->do('SELECT unpause_reconciler(?)', 'now');
$r->pass;
$r->wait_for('SELECT count(*) = 0 FROM reconciler.planned_move');
$r->pass;
my @moved = $r->events('reassign');
is(scalar @moved, @plan - 3, 'all are moved but those that are held, have ended, or are elsewhere by now');
is($moved[0]{reason}, 'rebalanced', 'an event says why');
is($moved[0]{evidence}{from_agent}, 'agent-1', '... and from where');
is($r->one('SELECT agent_id FROM sessions WHERE id = ?', $held), 'agent-1', 'what is held stays');
is($r->one("SELECT max(n) - min(n) <= 23 FROM (SELECT count(*) AS n FROM sessions WHERE state = 'running' GROUP BY agent_id) AS c"), 1, 'the pool is even');
is($r->metric('reconciler_reassigned_total'), scalar @moved, 'they are counted');
cmp_ok(scalar $r->rows("SELECT * FROM rebalance_pool('desks') WHERE status = 'would_move'"), '<=', 3, 'and nothing is left to do but in place of those');

# Back where it was.
my $undone = $r->row('SELECT * FROM undo_event(?)', $moved[0]{id});
is($undone->{outcome}, 'undone', 'a move can be undone');
is($r->one('SELECT agent_id FROM sessions WHERE id = ?', $moved[0]{session_id}), 'agent-1', '... and the session is where it was');

$r->node->stop;
done_testing();
