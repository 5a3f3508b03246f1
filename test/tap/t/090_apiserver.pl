# The double of a Kubernetes API server itself: that it answers as the real one documents it.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Reconciler ();
use Reconciler::ApiServer;
use Test::More;

my $api = Reconciler::ApiServer->start('apiserver');
my $deployments = '/apis/apps/v1/namespaces/ws/deployments';
my %metadata_only = (accept => 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1');

sub names_of { return [ map { $_->{metadata}{name} } @{ $_[0]{items} // [] } ] }
sub delete_options { return { kind => 'DeleteOptions', apiVersion => 'v1', propagationPolicy => 'Background', @_ } }

subtest 'pages' => sub {
	my ($status, $list) = $api->request(GET => "$deployments?limit=2", undef, %metadata_only);
	is($list->{kind}, 'PartialObjectMetadataList', 'metadata only');
	is($list->{items}, undef, 'an empty list has null items');
	$api->control(objects => { resource => 'deployments', count => 5, metadata => { name => 's-', namespace => 'ws', labels => { app => 'x' } } });
	$api->create('deployments', { name => 'other', namespace => 'ws' }, { name => 's-9', namespace => 'elsewhere', labels => { app => 'x' } });
	($status, $list) = $api->request(GET => "$deployments?limit=2&labelSelector=app%3Dx", undef, %metadata_only);
	is_deeply(names_of($list), [qw(s-1 s-2)], 'the first');
	$api->create('deployments', { name => 's-25', namespace => 'ws', labels => { app => 'x' } });
	my $token = $api->{http}->www_form_urlencode({ continue => $list->{metadata}{continue} });
	($status, $list) = $api->request(GET => "$deployments?limit=10&$token", undef, %metadata_only);
	is_deeply(names_of($list), [qw(s-3 s-4 s-5)], 'the next is of the same moment');
	is($list->{metadata}{continue}, undef, 'and the last');
	$api->control(expire => {});
	($status, $list) = $api->request(GET => "$deployments?limit=10&$token", undef, %metadata_only);
	is_deeply([ $status, $list->{reason} ], [ 410, 'Expired' ], 'a token that is too old');
	($status, $list) = $api->request(GET => '/apis/apps/v1/deployments?labelSelector=app+in+(x,y),!z', undef, %metadata_only);
	is(scalar @{ $list->{items} }, 7, 'all namespaces, another selector');
	($status, $list) = $api->request(GET => $deployments);
	is_deeply([ $list->{kind}, $list->{items}[0]{kind} ], [qw(DeploymentList Deployment)], 'whole objects for who asks for them');
	$api->control(metadata => { lists => 'refuse' });
	($status, $list) = $api->request(GET => $deployments, undef, %metadata_only);
	is_deeply([ $status, $list->{kind} ], [ 406, 'Status' ], 'a server without metadata lists');
	$api->control(metadata => { lists => 'give' });
};

subtest 'removals' => sub {
	my ($made) = $api->create('deployments', { name => 'd', namespace => 'ws', finalizers => ['a/b'] });
	my ($status, $answer) = $api->request(DELETE => "$deployments/d", delete_options(preconditions => { uid => 'another' }));
	is_deeply([ $status, $answer->{reason} ], [ 409, 'Conflict' ], 'another uid');
	like($answer->{message}, qr/^Operation cannot be fulfilled on deployments.apps "d": Precondition failed: UID in precondition: another, UID in object meta: /, '... in the words of the API');
	($status, $answer) = $api->request(DELETE => "$deployments/d", delete_options(preconditions => { uid => $made->{uid}, resourceVersion => '1' }));
	is($status, 409, 'another resource version');
	my %right = (preconditions => { uid => $made->{uid}, resourceVersion => $made->{resourceVersion} });
	($status, $answer) = $api->request(DELETE => "$deployments/d", delete_options(%right, dryRun => ['All']));
	is_deeply([ $status, $answer->{metadata}{deletionTimestamp} ], [ 200, undef ], 'a dry run changes nothing');
	($status, $answer) = $api->request(DELETE => "$deployments/d", delete_options(%right));
	ok($answer->{metadata}{deletionTimestamp}, 'with a finalizer it stays, and ends');
	$api->control(strip => { resource => 'deployments', namespace => 'ws', name => 'd' });
	($status, $answer) = $api->request(DELETE => "$deployments/d", delete_options());
	is_deeply([ $status, $answer->{details} ], [ 404, { name => 'd', group => 'apps', kind => 'deployments' } ], 'then it is gone');

	($made) = $api->create('deployments', { name => 'owner', namespace => 'ws' });
	my ($set) = $api->create('replicasets', { name => 'rs', namespace => 'ws', ownerReferences => [ { kind => 'Deployment', name => 'owner', uid => $made->{uid} } ] });
	$api->create('pods', { name => 'p', namespace => 'ws', ownerReferences => [ { kind => 'ReplicaSet', name => 'rs', uid => $set->{uid} } ] });
	($status, $answer) = $api->request(DELETE => "$deployments/owner", delete_options());
	is_deeply([ $answer->{kind}, $answer->{status}, $answer->{details}{uid} ], [ 'Status', 'Success', $made->{uid} ], 'a Status');
	is_deeply([ $api->names('pods'), $api->names('replicasets.apps') ], [], 'what it owned is gone, too');
};

subtest 'who may' => sub {
	my ($status, $answer) = $api->request(GET => '/apis/agents.x-k8s.io/v1alpha1/namespaces/ws/sandboxes');
	is_deeply([ $status, $answer ], [ 404, undef ], 'a kind that is not served');
	($status, $answer) = $api->request(GET => '/apis/apps/v1');
	is_deeply([ map { $_->{name} } @{ $answer->{resources} } ], [qw(deployments replicasets)], 'discovery');
	$api->control(rights => [ { verbs => ['list'], groups => ['apps'], resources => ['deployments'], namespaces => ['ws'] } ]);
	is(($api->request(GET => $deployments))[0], 200, 'a right in a namespace');
	($status, $answer) = $api->request(GET => '/apis/apps/v1/deployments');
	is($answer->{message}, 'deployments.apps is forbidden: User "system:serviceaccount:default:session-reconciler-gc" cannot list resource "deployments"'
		  . ' in API group "apps" at the cluster scope', 'is none in all of them');
	is(($api->request(DELETE => "$deployments/s-1"))[0], 403, 'nor one to delete');
	$api->control(rights => []);
	$api->control(faults => [ { path => 'deployments', after => 1, times => 1, status => 503, retry_after => '1' } ]);
	is_deeply([ map { ($api->request(GET => $deployments))[0] } 1 .. 3 ], [ 200, 503, 200 ], 'faults');
	my $directory = PostgreSQL::Test::Utils::tempdir('tokens');
	Reconciler::write_private("$directory/token", "first\n");
	my $guarded = Reconciler::ApiServer->start('guarded', '--token-file', "$directory/token");
	is(($guarded->request(GET => $deployments))[0], 401, 'no token');
	is(($guarded->request(GET => $deployments, undef, authorization => 'Bearer first'))[0], 200, 'the token');
	Reconciler::write_private("$directory/token", "second\n");
	is(($guarded->request(GET => $deployments, undef, authorization => 'Bearer first'))[0], 401, 'it is another one now');
};

$api->end;
done_testing();
