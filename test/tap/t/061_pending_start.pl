# A start that was lost on its way: StreamSpace's agent gets it again, with all that the API had sent.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use Reconciler;
use Reconciler::StreamSpace;
use Test::More;

my $r = Reconciler->new('main');
my $platform = start_platform($r, 'b');
my $agent = $platform->agent('k8s-prod');
my $now = $platform->now;

for my $session (qw(lost bare))
{
	$r->do("INSERT INTO sessions (id, user_id, template_name, state, agent_id, org_id, created_at, updated_at)"
		  . " VALUES (?, 'admin', 'firefox', 'pending', 'k8s-prod', 'default-org', $now, $now)", $session);
	$r->do("INSERT INTO agent_commands (command_id, agent_id, session_id, action, payload, status, created_at)"
		  . " VALUES ('cmd-' || ?, 'k8s-prod', ?, 'start_session', ?, 'pending', $now)",
		$session, $session, $session eq 'lost' ? '{"sessionId": "lost", "templateManifest": {"image": "firefox"}, "memory": "2Gi"}' : undef);
}
$r->live_through(660);
$r->wait_for("SELECT state = 'running' FROM sessions WHERE id = 'lost'");
ok($platform->hub->runtime('lost'), 'the lost start was sent again, and the session runs');
my @sent = grep { $_->{body}{sessionId} eq 'lost' } $platform->hub->logged(event => 'request', method => 'POST');
is(scalar @sent, 1, 'once');
is($sent[0]{body}{action}, 'start_session', '... a start');
is_deeply($sent[0]{body}{payload}, { sessionId => 'lost', templateManifest => { image => 'firefox' }, memory => '2Gi' }, '... with the payload that was kept');

is($platform->state_of('bare'), 'pending', 'a start whose payload is not known is not made up');
is($r->stuck('bare')->{next_action}, 'wait', '... but shown');

$r->live_through(660);
is($platform->state_of('lost'), 'running', 'and that is that');
is(scalar(grep { $_->{body}{sessionId} } $platform->hub->logged(event => 'request', method => 'POST')), 1, 'nothing else was sent');

$r->node->stop;
done_testing();
