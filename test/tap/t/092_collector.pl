# session-reconciler-gc: what it says and how it ends; pages, rights, tokens, conflicts, a server that goes away.
use strict;
use warnings FATAL => 'all';

use POSIX ();
use PostgreSQL::Test::Utils;
use Reconciler;
use Reconciler::ApiServer;
use Reconciler::Process;
use Reconciler::Tls;
use Test::More;

my $r = Reconciler->new('collector', preload => '');
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub);
my $api = Reconciler::ApiServer->start('apiserver');

sub ago { return POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time - $_[0])) }

my $plane;
# An object of ours that is old enough: object('s-1', session => …, labels => …)
sub object
{
	my ($name, %more) = @_;
	my $session = delete $more{session} // $name;
	my $labels = delete $more{labels} // {};
	return { name => $name, namespace => 'ws', creationTimestamp => ago(7200),
		labels => { 'session-reconciler.io/session' => $session, 'session-reconciler.io/control-plane' => $plane, %$labels }, %more };
}

# A session that ended long ago
sub ended
{
	my ($id) = @_;
	$r->add_session($id, 'agent-1', state => 'terminated', age => '2 hours');
	$r->do('UPDATE sessions SET terminated_at = updated_at WHERE id = ?', $id);
	return;
}

sub dsn { return sprintf 'host=%s port=%s dbname=postgres', $r->node->host, $r->node->port }
sub set_cluster { my (%options) = @_; return $r->one("SELECT set_cluster('k8s', NULL, ?)", encode({ namespaces => ['ws'], %options })) }
sub outcome_of { my ($log, $event) = @_; return [ map { $_->{outcome} } grep { $_->{event} eq $event } @$log ] }
sub last_of { my ($log, $event) = @_; my ($found) = grep { $_->{event} eq $event } @$log; return $found // {} }
sub collect { my ($status, $log, $err) = $api->collect($r, @_); diag($err) if $err; return ($status, $log) }

subtest 'what it says of itself' => sub {
	my $run = sub { IPC::Run::run([ 'session-reconciler-gc', @_ ], '<', \undef, '>', \my $out, '2>', \my $err); return ($? >> 8, $out, $err) };
	my ($version) = $r->one("SELECT extversion FROM pg_extension WHERE extname = 'session_reconciler'");
	is_deeply([ $run->('--version') ], [ 0, "session-reconciler-gc $version\n", '' ], 'its version is the extension\'s');
	like(($run->('--help'))[1], qr/--dry-run.*Exit status: 0 /s, 'help');
	for my $wrong ([], ['--cluster'], [ '--cluster', 'k8s', '--nonsense' ], [ '--cluster', 'k8s', '--api-url', 'http://127.0.0.1:1', '--most', '-1' ], [ 'k8s' ])
	{
		my ($status, $out, $err) = $run->(@$wrong);
		is_deeply([ $status, $out ], [ 2, '' ], 'wrong usage: ' . ($err =~ s/\n.*//sr));
	}
	my ($status, $out) = $run->('--cluster', 'k8s', '--api-url', 'http://user:SECRET@127.0.0.1:1');
	is($status, 4, 'an address with a password is refused');
	unlike($out, qr/SECRET/, '... and not shown');
	($status, $out) = $run->('--cluster', 'k8s', '--api-url', $api->url, '--dsn', 'host=/nowhere password=SECRET');
	is($status, 4, 'no database');
	unlike($out, qr/SECRET/, '... and no password in the log');
};

subtest 'a cluster that there is not' => sub {
	my ($status, $log) = collect();
	is($status, 4, 'is an error');
	is(last_of($log, 'error')->{sqlstate}, '42704', '... of the database') or diag encode($log);
};

($plane) = set_cluster(mode => 'enforce') =~ m{session-reconciler\.io/control-plane=(\S+?)[;,.]?(?:\s|$)};
ok($plane, 'the control plane is told');

subtest 'what a closed session left behind' => sub {
	ended('closed');
	$r->add_session('alive', 'agent-1', state => 'running', age => '2 hours');
	$api->create('deployments', object('closed'), object('alive'));
	$api->create('services', object('closed'));
	$api->create('persistentvolumeclaims', object('closed-home', session => 'closed'));
	$api->create('deployments', { %{ object('unlabelled') }, labels => { 'session-reconciler.io/session' => 'closed' } });
	$api->create('deployments', object('theirs', session => 'closed', labels => { 'session-reconciler.io/control-plane' => 'another' }));
	my ($status, $log) = collect('--dry-run');
	is($status, 0, 'dry run') or diag encode($log);
	is_deeply(outcome_of($log, 'checked'), [ 'accepted', 'accepted' ], 'the server checks two');
	is(scalar $api->names('deployments.apps'), 4, 'and deletes none');
	is_deeply([ $r->events('resource_deleted') ], [], '... nor is it recorded');
	($status, $log) = collect();
	is($status, 0, 'in earnest') or diag encode($log);
	is_deeply([ $api->names('deployments.apps') ], [qw(ws/alive ws/theirs ws/unlabelled)], 'its deployment is gone, the others are there');
	is_deeply([ $api->names('services') ], [], 'its service, too');
	is_deeply([ $api->names('persistentvolumeclaims') ], ['ws/closed-home'], 'its volume is not');
	is_deeply([ map { $_->{session_id} } $r->events('resource_deleted') ], [qw(closed closed)], 'each is an event');
};

subtest 'changed between list and deletion' => sub {
	ended('again');
	$api->create('deployments', object('again'));
	$api->control(faults => [ { method => 'DELETE', delay_ms => 1500, times => 1 } ]);
	my $run = IPC::Run::start([ 'session-reconciler-gc', '--cluster', 'k8s', '--api-url', $api->url, '--dsn', dsn() ], '<', \undef, '>', \my $out);
	$r->wait_for("SELECT count(*) > 0 FROM reconciler.resource WHERE name = 'again' AND claimed_at IS NOT NULL");
	my ($anew) = $api->create('deployments', object('again'));    # another uid
	$run->finish;
	like($out, qr/"outcome":"changed"/, 'the server says so');
	is_deeply([ grep { /again/ } $api->names('deployments.apps') ], ['ws/again'], 'and the new one is kept');
	is($r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'resource_deleted' AND session_id = 'again'"), 0, 'no event');
	$api->control(faults => []);
	$api->control(end => { resource => 'deployments', namespace => 'ws', name => 'again' });
};

subtest 'a right that is missing' => sub {
	ended('half');
	$api->create('deployments', object('half'));
	$api->create('services', object('half'));
	$api->control(rights => [ { verbs => [ 'list', 'delete' ], groups => ['apps'], resources => ['*'], namespaces => ['ws'] },
			{ verbs => ['list'], groups => [''], resources => [ 'pods', 'persistentvolumeclaims' ], namespaces => ['ws'] } ]);
	my ($status, $log) = collect();
	is($status, 1, 'something failed');
	my ($services) = grep { $_->{event} eq 'listed' && $_->{resource} eq 'services' } @$log;
	is($services->{outcome}, 'forbidden', 'services may not be listed');
	like($services->{detail}, qr/^may not list services in namespace "ws": the API server answered 403: services is forbidden: User /, '... and which right is missing is said');
	ok(!grep({ /half/ } $api->names('deployments.apps')), 'the other kinds go on');
	is($r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'resources_confirmed'"), 0, 'and nothing is confirmed');
	$api->control(rights => []);
	is((collect())[0], 0, 'with the right it is whole again');
	ok(!grep({ /half/ } $api->names('services')), '... and the service goes');
};

subtest 'a server that goes away' => sub {
	ended('later');
	$api->create('deployments', object('later'));
	$api->control(faults => [ { path => 'services', reset => \1 } ]);
	my ($status, $log) = collect();
	is($status, 1, 'something failed');
	is_deeply(outcome_of($log, 'listed'), [qw(complete unknown unknown unknown)], 'nothing more is asked of it');
	$api->control(faults => []);
	is((collect())[0], 0, 'when it is there again');
	ok(!grep({ /later/ } $api->names('deployments.apps')), '... what was due is done');
	is($r->one("SELECT count(*) FROM reconciler.resource WHERE verdict = 'keep' AND name = 'closed-home'"), 1, 'what was known is known still');
};

subtest 'pages' => sub {
	my %labels = %{ object('x')->{labels} };
	$api->control(objects => { resource => 'services', count => 5000, metadata => { %{ object('s-', session => 'alive') } } });
	$api->requests;
	my ($status, $log) = collect();
	is($status, 0, '5,000 services') or diag encode($log);
	is((grep { $_->{event} eq 'listed' && $_->{resource} eq 'services' } @$log)[0]{objects}, 5000, '... are listed');
	my @pages = grep { $_->{path} =~ /services/ } $api->requests;
	is(scalar @pages, 10, '... in ten pages');
	is_deeply([ grep { $_->{query} !~ /limit=500/ || $_->{query} !~ /labelSelector=/ } @pages ], [], '... each by limit and selector');
	$api->control(faults => [ { path => 'continue=', after => 3, times => 1, status => 410, body => encode({ kind => 'Status', apiVersion => 'v1', status => 'Failure', reason => 'Expired', message => 'too old' }) } ]);
	($status, $log) = collect();
	is($status, 0, 'a list that expires on the way begins again');
	is((grep { $_->{event} eq 'listed' && $_->{resource} eq 'services' } @$log)[0]{objects}, 5000, '... and is whole');
	$api->control(faults => []);
};

subtest 'a token that is renewed' => sub {
	my $directory = PostgreSQL::Test::Utils::tempdir('token');
	Reconciler::write_private("$directory/token", "FIRST-SECRET\n");
	my $guarded = Reconciler::ApiServer->start('guarded', '--token-file', "$directory/token");
	my ($status, $log) = $guarded->collect($r, '--token-file', "$directory/token");
	is($status, 0, 'with its token') or diag encode($log);
	Reconciler::write_private("$directory/mine", "FIRST-SECRET\n");
	Reconciler::write_private("$directory/token", "SECOND-SECRET\n");
	($status, $log) = $guarded->collect($r, '--token-file', "$directory/mine");
	is($status, 1, 'with an old one');
	is_deeply([ grep { $_ ne 'unauthorized' } @{ outcome_of($log, 'listed') } ], [], '... every list is refused');
	unlike(encode($log), qr/SECRET/, '... and the log shows none');
	chmod 0666, "$directory/token";
	($status, $log) = $guarded->collect($r, '--token-file', "$directory/token");
	is($status, 4, 'a file that others can write is not used');
	$guarded->end;
};

subtest 'a role that may do nothing else' => sub {
	$r->do('CREATE ROLE session_gc LOGIN');
	my ($status, $log) = collect('--dsn', dsn() . ' user=session_gc');
	is_deeply([ $status, last_of($log, 'error')->{sqlstate} ], [ 4, '42501' ], 'without its level it is refused');
	$r->one("SELECT reconciler_grant('session_gc', 'collector')");
	ended('granted');
	$api->create('deployments', object('granted'));
	($status, $log) = collect('--dsn', dsn() . ' user=session_gc');
	is_deeply([ $status, outcome_of($log, 'deleted') ], [ 0, ['accepted'] ], 'with it, it collects') or diag encode($log);
	is(($r->events('resource_deleted', 'granted'))[0]{actor}, 'session_gc', '... in its own name');
	is($r->error('SET ROLE session_gc'), '', 'it');
	like($r->error('SELECT * FROM sessions'), qr/^42501/, '... may not read the sessions');
	like($r->error("UPDATE reconciler.cluster SET mode = 'enforce'"), qr/^42501/, '... nor set the cluster');
	$r->do('RESET ROLE');
};

subtest 'a signal' => sub {
	$api->control(faults => [ { path => 'deployments', delay_ms => 60_000 } ]);
	my $collector = Reconciler::Process->run('collector', 'session-reconciler-gc', '--cluster', 'k8s', '--api-url', $api->url, '--dsn', dsn());
	$r->wait_for("SELECT running IS NOT NULL FROM reconciler.cluster_state");
	$collector->signal('TERM');
	waitpid $collector->pid, 0;
	is($? >> 8, 5, 'ends it');
	$collector->{ended} = 1;
	$api->control(faults => []);
	is((collect())[0], 0, 'and the next one need not wait');
};

subtest 'TLS' => sub {
	plan skip_all => Reconciler::Tls::missing() if Reconciler::Tls::missing();
	my $tls = Reconciler::Tls->new;
	$tls->certificate($_) for qw(ca other-ca);
	$tls->certificate('apiserver', 'ca', 'subjectAltName = IP:127.0.0.1');
	my $url = $tls->before($api->address, 'apiserver');
	my ($status, $log) = collect('--api-url', $url, '--ca-file', "$tls->{directory}/ca.crt");
	is($status, 0, 'a server that its CA vouches for') or diag encode($log);
	($status, $log) = collect('--api-url', $url, '--ca-file', "$tls->{directory}/other-ca.crt");
	is($status, 1, 'one that it does not');
	like(last_of($log, 'listed')->{detail}, qr/certificate/i, '... and why nothing is listed');
	$tls->end;
};

subtest 'where it must not' => sub {
	ended('paused');
	$api->create('deployments', object('paused'));
	$r->one("SELECT pause_reconciler('quiet, please')");
	my ($status, $log) = collect();
	is_deeply([ $status, last_of($log, 'begun')->{mode}, outcome_of($log, 'deleted') ], [ 0, 'report', [] ], 'paused: it only looks');
	$r->one("SELECT unpause_reconciler('done')");
	$r->one("SELECT set_mode('off', 'for good')");
	($status, $log) = collect();
	is($status, 3, 'off: it does not begin') or diag encode($log);
	like(last_of($log, 'not begun')->{detail}, qr/off/, '... and says why');
};

$api->end;
$hub->end;
$r->node->stop;
done_testing();
