# The primary dies in the middle of a pass that closes sessions by inference, and its standby is promoted: what was closed
# stays closed, nothing is closed twice or in the grace, and what is lost ends in the end. A command that the primary sent
# and the standby never heard of is sent again under the same key.
use strict;
use warnings FATAL => 'all';

use DBD::Pg ':async';
use PostgreSQL::Test::Cluster;
use Reconciler;
use Test::More;

my $r = Reconciler->new('primary', init => { allows_streaming => 1 });
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub, { disconnect_cleanup => JSON::PP::true }, {});
sub fleet { my ($status, @numbers) = @_; $hub->control(fake_agents => { ids => [ map { "a$_" } @numbers ], status => $status }); return }
sub alive { return $_[0]->one("SELECT count(*) FROM sessions WHERE state IN ('running', 'hibernated')") }
fleet('connected', 1 .. 20);
$r->add_session("s$_", "a$_", state => $_ % 2 ? 'running' : 'hibernated') for 1 .. 20;
$r->wait_for_worker;
$r->live_through(120);
is(alive($r), 20, 'all live');

$r->node->backup('base');
my $node = PostgreSQL::Test::Cluster->new('standby');
$node->init_from_backup($r->node, 'base', has_streaming => 1);
$node->start;
my $standby = Reconciler->around($node, $r);

# Six are lost. The pass that closes them, one a second, does not come to its end.
fleet('disconnected', 1 .. 6);
$r->pass;
$r->do('CALL stop_worker()');
$r->do('UPDATE reconciler.binding SET brake_pace = 1');
$r->advance(31);
my $caller = $r->connect;
$caller->do('CALL reconcile()', { pg_async => PG_ASYNC });
$r->wait_for('SELECT count(*) >= 2 FROM reconciler.event WHERE kind = ?', 'force');
$r->node->wait_for_catchup($node, 'replay', $r->node->lsn('write'));
ok(!$caller->pg_ready, 'the pass is not at its end');
$r->node->stop('immediate');
$node->promote;

# Agents find back to a hub that came up with the new primary: for two minutes it has none.
fleet('disconnected', 7 .. 20);
$standby->wait_for_server('SELECT reconciler.worker_pid()');
my $left = alive($standby);
cmp_ok($left, '>=', 15, 'some were closed before');
cmp_ok($left, '<=', 18, '... and some not');
$standby->live_through(120, 30);
fleet('connected', 7 .. 20);
$standby->live_through(150, 30);
is(alive($standby), $left, 'nothing is closed in the five minutes after the promotion');
is($standby->stuck('s6')->{blocked_by}, 'start_grace', '... and that is why');
$standby->live_through(120, 30);
is(alive($standby), 14, 'what is lost is closed after them');
is_deeply([ $standby->rows("SELECT session_id, count(*)::int AS times FROM reconciler.event WHERE kind = 'force' GROUP BY 1 ORDER BY 1") ],
	[ map { { session_id => "s$_", times => 1 } } 1 .. 6 ], '... each once, and nothing else');
is($standby->one("SELECT count(*) FROM reconciler.event WHERE kind = 'brake_tripped'"), 0, 'the grace was enough: no brake had to hold');
$standby->live_through(600);
is(alive($standby), 14, 'and it stays so');

# The next standby does not get what the primary does last.
$node->backup('base');
my $last = PostgreSQL::Test::Cluster->new('behind');
$last->init_from_backup($node, 'base', has_streaming => 1);
$standby->add_session('asked', 'a7', age => '4 min');
$hub->fault({ match => { method => 'POST' }, kind => 'never_answer', executes => JSON::PP::true, times => 1 });
$standby->pass;
is($standby->episode('asked')->{tries}, 0, 'seen, and not yet due');
$last->start;
$node->wait_for_catchup($last, 'replay', $node->lsn('write'));
$last->stop;
$standby->advance(75);
$standby->do('SELECT reconciler.wake_worker()');
wait_until { $hub->met } 'the command to be out';
$node->stop('immediate');
$last->start;
$last->promote;
my $behind = Reconciler->around($last, $standby);
$behind->wait_for_server('SELECT reconciler.worker_pid()');
is($behind->episode('asked')->{tries}, 0, 'promoted, it does not know of that try');
$behind->live_through(120);
my $seen = $hub->seen_of('asked');
is_deeply([ @$seen{qw(posts distinct_keys)} ], [ 2, 1 ], '... and sends it again under the same key');
is(scalar $hub->commands_of('asked'), 1, '... so that it is one command');

$last->stop;
done_testing();
