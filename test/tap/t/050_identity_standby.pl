# Which server acts? One at a time: not a standby; a promoted one by itself, after a grace; a copy only after somebody
# has said so.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use Reconciler;
use Test::More;

my $r = Reconciler->new('primary', init => { allows_streaming => 1 });
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub, {}, {});
$hub->control(fake_agents => { count => 1 });
$hub->control(fake_agents => { ids => ['agent-lost'], status => 'disconnected' });
$r->add_session('lost', 'agent-lost');
$r->add_session('asked', 'agent-1');
$r->wait_for_worker;
$r->live_through(420);
cmp_ok($r->episode('asked')->{accepted}, '>=', 1, 'the primary works');

# ---- a standby

$r->node->backup('base');
my $node = PostgreSQL::Test::Cluster->new('standby');
$node->init_from_backup($r->node, 'base', has_streaming => 1);
$node->start;
my $standby = Reconciler->around($node, $r);
$r->node->wait_for_catchup($node, 'replay', $r->node->lsn('write'));

is($standby->one("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'session_reconciler%'"), 0, 'on a standby nothing of us runs');
is($standby->one("SELECT string_agg(session_id, ' ' ORDER BY session_id) FROM stuck_sessions()"), 'asked lost', 'a standby can be looked at: stuck_sessions()');
cmp_ok($standby->one("SELECT count(*) FROM explain_session('lost')"), '>', 5, '... explain_session()');
ok(defined $standby->one('SELECT count(*) FROM reconcile_plan()'), '... reconcile_plan()');
is($standby->one('SELECT hub_state FROM reconciler_status()'), 'up', '... reconciler_status()');
is($standby->metric('sessions_stuck_terminating'), 2, '... reconciler_metrics()');
cmp_ok($standby->one('SELECT count(*) FROM preflight()'), '>', 0, '... preflight()');
like($standby->error('CALL reconcile()'), qr/^25006/, 'it can not be told to act');
like($standby->error("SELECT pause_reconciler('a try')"), qr/^25006/, '... in any way');

# ---- that is promoted

$r->node->stop('immediate');
$node->promote;
$standby->wait_for_server('SELECT reconciler.worker_pid()');
pass('promoted, it has a worker by itself');
$standby->wait_for('SELECT promoted_at IS NOT NULL FROM reconciler.binding_state');
ok($standby->one('SELECT identity_confirmed FROM reconciler_status()'), 'it is the same database: nobody has to confirm that');
$standby->live_through(240);
cmp_ok($standby->one("SELECT extract(epoch FROM gone_time) FROM reconciler.agent_evidence WHERE agent_id = 'agent-lost'"), '>=', 600, 'gone for 10 minutes, of which the old primary saw seven');
is($standby->state_of('lost'), 'terminating', 'nothing is closed in the five minutes after a promotion');
is($standby->stuck('lost')->{blocked_by}, 'start_grace', '... and that is why');
$standby->live_through(120);
is($standby->state_of('lost'), 'terminated', 'closed after that');
is(scalar $standby->events('force'), 1, '... once');
$standby->do('CALL stop_worker()');    # so that what the hub hears from now on comes from others

# ---- a copy of the files, with another name: the old primary, which somebody starts again

$r->node->append_conf('postgresql.conf', "session_reconciler.databases = 'nowhere'");    # not before it has its name
$r->node->start;
my $template = $r->connect(dbname => 'template1');
$template->do('ALTER DATABASE postgres RENAME TO copy');
undef $template;
$r->use_database('copy');
$r->node->append_conf('postgresql.conf', "session_reconciler.databases = ''");
$r->node->reload;
$r->wait_for_server('SELECT reconciler.worker_pid()');

sub only_observes
{
	my ($who, $server) = @_;
	my $before = scalar $hub->logged(event => 'request');
	ok(!$server->one('SELECT identity_confirmed FROM reconciler_status()'), "$who: its identity is not confirmed, and the status says so");
	is($server->metric('reconciler_identity_confirmed'), 0, '... and the metric');
	$server->live_through(900, 300);
	is(scalar $hub->logged(event => 'request'), $before, '... it asks no hub');
	is($server->state_of('lost'), 'terminating', '... it closes nothing');
	like($server->error("SELECT set_mode('enforce', 'why not')"), qr/^55000.*another server or database/s, '... and will not be set to');
	is($server->one("SELECT status FROM preflight() WHERE check_name LIKE '%identity%'"), 'fail', '... preflight() fails');
	return;
}

sub acts_when_confirmed
{
	my ($who, $server) = @_;
	is($server->one("SELECT confirm_identity('the original is gone')"), 'confirmed', "$who: confirmed");
	$server->live_through(240);
	is($server->state_of('lost'), 'terminating', '... it waits as after a promotion');
	$server->live_through(600);
	is($server->state_of('lost'), 'terminated', '... and acts');
	return;
}

$hub->set_clock($r->{offset} = $standby->{offset});    # the clock of the hub is the later one
$r->set_clock;
only_observes('a clone under another name', $r);
acts_when_confirmed('a clone under another name', $r);

# ---- a dump

my $dump = PostgreSQL::Test::Utils::tempdir('dump') . '/dump.sql';
$r->do("UPDATE reconciler.policy SET gone_after = '11 min' WHERE state = 'terminating'");
$r->do("SELECT hold_session('asked', 'infinity', 'kept')");
$r->do('CALL stop_worker()');
my $events = $r->one('SELECT count(*) FROM reconciler.event');
$r->node->command_ok([ 'pg_dump', '-d', 'copy', '-f', $dump ], 'dumped');
$r->do('CREATE DATABASE restored');
$r->node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', 'restored', '-f', $dump ], 'restored into another database');
$r->use_database('restored');
is($r->one("SELECT gone_after FROM reconciler.policy WHERE state = 'terminating'"), '00:11:00', 'the configuration has come along');
is($r->one('SELECT profile FROM reconciler.hub'), 'standard', '... the hub');
is($r->one("SELECT reason FROM reconciler.hold WHERE session_id = 'asked'"), 'kept', '... the hold');
is($r->one('SELECT count(*) FROM reconciler.event'), $events, '... and every event');
is($r->one('SELECT count(*) FROM reconciler.agent_evidence'), 0, 'evidence has not');
is($r->one('SELECT sessions::regclass::text FROM reconciler.binding'), 'sessions', 'the table is the restored one');
cmp_ok($r->one("SELECT nextval(pg_get_serial_sequence('reconciler.event', 'id'))"), '>', $r->one('SELECT max(id) FROM reconciler.event'), 'events go on where they ended');
$r->do("UPDATE sessions SET state = 'terminating', termination_reason = NULL, terminated_at = NULL WHERE id = 'lost'");
$r->do('SELECT reconciler.request_worker()');
$r->wait_for_worker;
only_observes('a restored dump', $r);
acts_when_confirmed('a restored dump', $r);
is($r->one('SELECT count(*) FROM reconciler.event WHERE id <= ?', $events) > 0, 1, '... and its audit is whole');

$_->node->stop for $r, $standby;
done_testing();
