# What sessions left behind in a cluster: CALL collect_garbage() and the worker, against a double of the API server.
use strict;
use warnings FATAL => 'all';

use POSIX ();
use Reconciler;
use Reconciler::ApiServer;
use Test::More;

my $r = Reconciler->new('collect', preload => '');
my $api = Reconciler::ApiServer->start('apiserver');
my $long_ago = '2025-01-01T00:00:00Z';
my %app = (app => 'streamspace-session', 'session-reconciler.io/control-plane' => 'here');

$r->do('CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now(), terminated_at timestamptz)');
$r->do(q(SELECT attach_sessions('sessions', 'streamspace', '{"mode": "enforce", "closed_column": "terminated_at"}')));
$api->control(kinds => [ { group => 'stream.space', version => 'v1alpha1', resource => 'sessions', kind => 'Session' } ]);

sub closed { $r->do("INSERT INTO sessions (id, state, terminated_at) VALUES (?, 'terminated', now() - interval '1 hour')", $_) for @_ }
sub stands
{
	my ($resource, $name, $session, %more) = @_;
	my %labels = (%app, session => $session, %{ delete $more{labels} // {} });
	delete @labels{ grep { !defined $labels{$_} } keys %labels };
	return $api->create($resource, { name => $name, namespace => 'streamspace', creationTimestamp => $long_ago, labels => \%labels, %more });
}
# Collects; what was said of it.
sub collect
{
	my ($cluster) = @_;
	my @said;
	local $SIG{__WARN__} = sub { push @said, @_ };
	my $db = $r->connect;
	$db->{PrintWarn} = 1;
	$db->do('CALL collect_garbage(?)', undef, $cluster // 'k8s');
	return join '', @said;
}
sub rules { return { map { $_->{name} => "$_->{verdict} $_->{rule}" } $r->rows('SELECT * FROM orphaned_resources()') } }
sub deleted { return [ map {"$_->{kind} $_->{name}"} map { decode($_->{evidence}) } $r->rows("SELECT evidence FROM reconciler.event WHERE kind = 'resource_deleted' ORDER BY id") ] }

$r->do('SELECT set_cluster(?, ?, ?)', 'k8s', $api->url, encode({ control_plane => 'here' }));

subtest 'an orphan is reported, then deleted; a user\'s data stays' => sub {
	closed('orphan');
	$r->do("INSERT INTO sessions (id, state) VALUES ('alive', 'running')");
	stands('deployments', 'orphan', 'orphan'), stands('services', 'orphan', 'orphan'), stands('sessions', 'orphan', 'orphan'), stands('persistentvolumeclaims', 'orphan-home', 'orphan');
	stands('deployments', 'alive', 'alive');
	stands('deployments', 'unlabelled', undef);
	stands('deployments', 'theirs', 'orphan', labels => { 'session-reconciler.io/control-plane' => 'elsewhere' });
	stands('deployments', 'nobodys', 'orphan', labels => { 'session-reconciler.io/control-plane' => undef });
	like(collect(), qr/cluster "k8s": 8 objects, 3 to be deleted, 0 deleted; nothing is deleted: it is only reported/, 'it says what it found');
	is(scalar $api->names('deployments.apps'), 5, 'report deletes nothing');
	is_deeply(rules(), { orphan => 'delete session_closed', 'orphan-home' => 'keep volume', unlabelled => 'keep unlabelled', nobodys => 'keep not_ours' }, 'orphaned_resources()');
	$r->do('SELECT set_cluster(?, options => ?)', 'k8s', '{"mode": "enforce"}');
	$api->requests;
	collect();
	is_deeply([ map { $_->{path} } grep { $_->{method} eq 'DELETE' } $api->requests ], [ '/apis/apps/v1/namespaces/streamspace/deployments/orphan', '/api/v1/namespaces/streamspace/services/orphan',
			'/apis/stream.space/v1alpha1/namespaces/streamspace/sessions/orphan' ], 'owners first');
	is_deeply([ sort $api->names('deployments.apps') ], [ map {"streamspace/$_"} qw(alive nobodys theirs unlabelled) ], 'and nothing else');
	is_deeply([ $api->names('persistentvolumeclaims') ], ['streamspace/orphan-home'], 'a user\'s data least of all');
	is_deeply(deleted(), [ 'deployments.apps orphan', 'services orphan', 'sessions.stream.space orphan' ], 'each is an event');
	like(collect(), qr/0 to be deleted, 0 deleted$/m, 'then it is quiet');
};

subtest 'created again under its name, between list and deletion' => sub {
	closed('again');
	my ($made) = stands('deployments', 'again', 'again');
	$api->control(faults => [ { method => 'GET', path => 'persistentvolumeclaims', times => 1, status => 503, retry_after => '1' } ]);
	my $pid = fork // die "fork: $!";
	if (!$pid) { eval { $r->connect->do("CALL collect_garbage('k8s')") }; POSIX::_exit(0) }
	$r->wait_for("SELECT EXISTS (SELECT FROM reconciler.resource WHERE name = 'again')");
	stands('deployments', 'again', 'again', uid => 'a-new-one');
	waitpid $pid, 0;
	ok((grep { $_ eq 'streamspace/again' } $api->names('deployments.apps')), 'it is another one, and stays');
	like($r->one("SELECT last_result FROM reconciler.resource WHERE name = 'again'"), qr/^changed: /, 'the API said so');
	$r->do("UPDATE sessions SET state = 'running' WHERE id = 'again'");
};

subtest 'what hangs on a finalizer is shown' => sub {
	closed('hangs');
	stands('deployments', 'hangs', 'hangs', finalizers => ['example.com/backup']);
	collect();
	collect();
	is(rules()->{hangs}, 'keep in_deletion', 'its end was requested');
	$r->advance(3600);
	collect();
	like($r->one("SELECT reason FROM orphaned_resources() WHERE name = 'hangs'"), qr/it hangs on its finalizers: example.com\/backup/, 'an hour later');
	is(scalar(grep { $_ eq 'streamspace/hangs' } $api->names('deployments.apps')), 1, 'and never touched');
	$api->control(strip => { resource => 'deployments', namespace => 'streamspace', name => 'hangs' });
};

subtest 'a right is missing in the middle' => sub {
	closed('forbidden');
	stands('services', 'forbidden', 'forbidden'), stands('deployments', 'lost', 'lost');
	$api->control(rights => [ { verbs => ['*'], groups => [ 'apps', 'stream.space' ], resources => ['*'], namespaces => ['streamspace'] } ]);
	like(collect(), qr/services.*cannot list resource "services"/s, 'which one is said');
	like($r->one("SELECT string_agg(detail, ' ') FROM preflight() WHERE check_name = 'cluster k8s' AND status = 'fail'"), qr/services could not be listed: /, 'by preflight(), too');
	is(rules()->{lost}, 'wait session_unknown', 'and nothing is absent');
	is($r->one("SELECT absent_looks FROM reconciler.resource WHERE name = 'lost'"), 0, '... nor counted');
	$api->control(rights => []);
	collect();
	ok(!(grep { $_ eq 'streamspace/forbidden' } $api->names('services')), 'later it works');
	is($r->one("SELECT absent_looks FROM reconciler.resource WHERE name = 'lost'"), 1, 'a first look');
};

subtest 'a database that was restored deletes nothing for want of a row' => sub {
	$r->do('UPDATE reconciler.cluster_state SET timeline = timeline + 1');
	for (1 .. 3) { $r->advance(900); collect() }
	ok((grep { $_ eq 'streamspace/lost' } $api->names('deployments.apps')), 'it stays');
	is($r->one("SELECT confirm_identity('nothing was lost')"), 'confirmed', 'somebody says that it is well');
	collect();
	ok((grep { $_ eq 'streamspace/lost' } $api->names('deployments.apps')), 'one look is not enough');
	$r->advance(900);
	collect();
	ok(!(grep { $_ eq 'streamspace/lost' } $api->names('deployments.apps')), 'two are');
};

subtest 'pages' => sub {
	$r->do("INSERT INTO sessions (id, state) SELECT 's-' || i, 'running' FROM generate_series(1, 5000) AS i");
	$api->control(objects => { resource => 'deployments', count => 5000, metadata => { name => 'many-', namespace => 'streamspace', creationTimestamp => $long_ago, labels => { %app, session => 's-1' } } });
	like(collect(), qr/: 50\d\d objects, 0 to be deleted/, '5,000 objects of the living');
	cmp_ok($r->one('SELECT count(*) FROM reconciler.resource'), '<', 20, 'are not written down');
};

subtest 'too many orphans' => sub {
	$r->do("UPDATE sessions SET state = 'terminated', terminated_at = now() - interval '1 hour' WHERE id = 's-1'");
	like(collect(), qr/the brake has tripped: 5000 resources due/, 'the brake trips');
	is(scalar(grep {/many/} $api->names('deployments.apps')), 5000, 'none is deleted');
	is($r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'brake_tripped'"), 1, 'an event');
	$r->do("UPDATE sessions SET state = 'running' WHERE id = 's-1'");
	is($r->one("SELECT reset_cluster_brake('k8s', 'a mistake', 0)"), 'reset', 'a person says that it was one');
	collect();
	is(scalar(grep {/many/} $api->names('deployments.apps')), 5000, 'they live again');
};

subtest 'workflow runs are nobody\'s leftover' => sub {
	my %managed = ('centaur.ai/managed' => 'true', 'session-reconciler.io/control-plane' => 'here');
	$api->create('pods', { name => 'run', namespace => 'centaur', creationTimestamp => $long_ago, labels => { %managed, 'centaur.ai/component' => 'workflow-run' } },
		{ name => 'sandbox', namespace => 'centaur', creationTimestamp => $long_ago, labels => {%managed} });
	$r->do('SELECT set_cluster(?, ?, ?)', 'agents', $api->url, encode({ preset => 'centaur', namespaces => ['centaur'], control_plane => 'here', mode => 'enforce' }));
	collect('agents');
	$r->advance(900);
	collect('agents');
	is_deeply([ $api->names('pods') ], ['centaur/run'], 'a sandbox without a row goes, a run stays');
};

subtest 'what is refused' => sub {
	my $db = $r->connect;
	$db->begin_work;
	eval { $db->do('CALL collect_garbage()') };
	is($db->state, '2D000', 'inside a transaction block');
	$db->rollback;
	like($r->error("CALL collect_garbage('nowhere')"), qr/^42704 .*cluster "nowhere" does not exist/, 'no such cluster');
	$r->do("SELECT set_cluster('outside', NULL, '{}')");
	like($r->error("CALL collect_garbage('outside')"), qr/^55000 .*cluster "outside" has no address/, 'one that somebody else collects');
};

subtest 'one that is cancelled keeps nobody from beginning another' => sub {
	$api->control(faults => [ { path => 'deployments', delay_ms => 60_000, times => 1 } ]);
	my $db = $r->connect;
	$db->do("SET statement_timeout = '1s'");
	eval { $db->do("CALL collect_garbage('k8s')") };
	is($db->state, '57014', 'cancelled');
	$api->control(faults => []);
	like(collect(), qr/cluster "k8s": \d+ objects/, 'the next one begins');
};

$r->node->stop;

subtest 'the worker does it by itself' => sub {
	$r->node->append_conf('postgresql.conf', "shared_preload_libraries = 'session_reconciler'");
	$r->node->start;
	$r->wait_for_worker;
	closed('later');
	stands('deployments', 'later', 'later');
	$r->advance(1000);
	$r->do('SELECT reconciler.wake_worker()');
	$r->wait_for("SELECT EXISTS (SELECT FROM reconciler.event WHERE kind = 'resource_deleted' AND actor = 'session_reconciler' AND evidence->>'name' = 'later')");
	ok(!(grep { $_ eq 'streamspace/later' } $api->names('deployments.apps')), 'every quarter of an hour');
};

$api->end;
done_testing();
