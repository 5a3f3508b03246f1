# The primary dies in the middle of a pass that closes sessions by inference, and its standby is promoted: what was closed
# stays closed, nothing is closed twice or in the grace, and what is lost ends in the end.
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

$node->stop;
done_testing();
