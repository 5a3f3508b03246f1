# pg_upgrade, from this major version to itself: configuration, events and the guard come along, nothing of us runs while the
# catalogs are moved, and the new cluster does nothing before somebody has confirmed that it is the original now.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils qw(slurp_file);
use Reconciler;
use Test::More;

my $r = Reconciler->new('old');
my $hub = $r->hub('hub', '--profile', 'standard');
$r->do('CREATE ROLE support');
$r->do("SELECT reconciler_grant('support', 'operator')");
$r->sessions_at($hub, { guard_terminal => JSON::PP::true }, {});
$r->do("UPDATE reconciler.policy SET gone_after = '11 min' WHERE state = 'terminating'");
$r->do("ALTER DATABASE postgres SET session_reconciler.statement_timeout = '7 s'");
$hub->control(fake_agents => { ids => ['agent-1'] });
$hub->control(fake_agents => { ids => ['agent-lost'], status => 'disconnected' });
$r->add_session('lost', 'agent-lost');
$r->add_session('asked', 'agent-1');
$r->add_session('held', 'agent-lost');
$r->do("SELECT hold_session('held', 'infinity', 'kept')");
$r->wait_for_worker;
$r->pass;
is($r->episode('asked')->{accepted}, 1, 'the old cluster works');

my %what = (
	'the table'    => "SELECT to_jsonb(b) - 'sessions' || jsonb_build_object('sessions', b.sessions::text) FROM reconciler.binding b",
	'its policies' => 'SELECT string_agg(p::text, E\'\n\' ORDER BY state) FROM reconciler.policy p',
	'the hub'      => 'SELECT h FROM reconciler.hub h',
	'holds'        => 'SELECT h FROM reconciler.hold h',
	'events'       => 'SELECT string_agg(e::text, E\'\n\' ORDER BY id) FROM reconciler.event e WHERE id <= ?',
	'the guard'    => "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'session_reconciler_guard'",
	'grants'       => "SELECT string_agg(f::text, ' ' ORDER BY f::text) FROM (SELECT p.oid::regprocedure AS f FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid"
	  . " WHERE d.deptype = 'e' AND has_function_privilege('support', p.oid, 'EXECUTE')) AS functions",
);
$r->do('CALL stop_worker()');
my $last = $r->one('SELECT max(id) FROM reconciler.event');
sub told { my ($server) = @_; return map { $_ => $server->one($what{$_}, $_ eq 'events' ? $last : ()) } keys %what }
my %before = told($r);

my $node = Reconciler->new('new', extension => 0)->node;
$_->stop for $r->node, $node;
my $requests = scalar $hub->logged(event => 'request');
chdir PostgreSQL::Test::Utils::tempdir();    # before 15 it leaves its logs where it stands
my ($bin) = `pg_config --bindir` =~ /(.*)/;
$node->command_ok([ 'pg_upgrade', '-b', $bin, '-B', $bin, '-d', $r->node->data_dir, '-D', $node->data_dir, '-p', $r->node->port, '-P', $node->port, '-s', $node->host ], 'upgraded');
$node->start;
my $new = Reconciler->around($node, $r);
$new->set_clock;
is(scalar $hub->logged(event => 'request'), $requests, 'nobody asked the hub meanwhile');
unlike(join('', map { slurp_file($_) } glob('*.log ' . $node->data_dir . '/pg_upgrade_output.d/*/log/*.log'), $node->logfile), qr/(?:WARNING|ERROR|PANIC|FATAL):  (?!terminating background worker)/, 'nothing in the log that should not be');
$new->wait_for_worker;
my %after = told($new);
is($after{$_}, $before{$_}, "$_: as before") for sort keys %what;
is($new->connect->selectrow_array('SHOW session_reconciler.statement_timeout'), '7s', 'settings of the database: as before');

ok(!$new->one('SELECT identity_confirmed FROM reconciler_status()'), 'it knows that it is not the old one');
$new->live_through(900, 300);
is(scalar $hub->logged(event => 'request'), $requests, '... asks no hub');
is($new->one("SELECT string_agg(state, ' ') FROM sessions"), 'terminating terminating terminating', '... closes nothing');
is($new->one("SELECT confirm_identity('upgraded, and the old one is switched off')"), 'confirmed', 'confirmed');
$new->live_through(1200);
is($new->state_of('lost'), 'terminated', '... it closes what is lost');
cmp_ok($hub->seen_of('asked')->{accepted}, '>=', 2, '... sends');
is($new->state_of('held'), 'terminating', '... and keeps what is held');
$node->stop;
done_testing();
