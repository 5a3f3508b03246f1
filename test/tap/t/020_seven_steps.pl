# The seven steps of StreamSpace's issue #235, with a real hub, a real agent and a real runtime, on both of its schemas:
# an agent dies on a stop, its successor has another id and is not approved, and the session must not stay
# `terminating` for ever. What the API itself would never do, the worker does.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Reconciler::StreamSpace;
use Test::More;

my $r = Reconciler->new('seven_steps', extension => 0);

sub seven_steps
{
	my ($variant) = @_;
	my $space = start_platform($r, $variant, hub => [ '--new-agents', 'pending' ]);
	my $hub = $space->hub;
	my $full = $variant eq 'b';    # the columns of the loose migration files

	# 1. An agent is connected, sessions run.
	my $healthy = $space->agent('k8s-healthy');
	my $agent = $space->agent('k8s-prod-7c9f-abcde', '--die-on-stop');
	$r->do(q{UPDATE agents SET metadata = '{"namespace": "ss-sessions", "kubernetes": true}' WHERE agent_id = 'k8s-prod-7c9f-abcde'});
	$space->create_session('admin-brave-f7b5e0f5', 'k8s-prod-7c9f-abcde');
	$space->create_session('admin-firefox-d020bb30', 'k8s-healthy');
	ok($hub->runtime('admin-brave-f7b5e0f5'), 'the session runs');

	# 2. The user deletes it; the agent gets the stop and dies.
	$space->delete_session('admin-brave-f7b5e0f5');
	wait_until { !$agent->running } 'the agent to die';
	wait_until { !$hub->is_connected('k8s-prod-7c9f-abcde') } 'the hub to notice';

	# 3. The row is terminating, its command without an end.
	is($space->state_of('admin-brave-f7b5e0f5'), 'terminating', 'the row is terminating');
	my $command = $r->row("SELECT * FROM agent_commands WHERE session_id = 'admin-brave-f7b5e0f5' AND action = 'stop_session'");
	like($command->{status}, $full ? qr/^(pending|sent)$/ : qr/^pending$/, 'its command has got nowhere');
	is($command->{completed_at}, undef, '... and has not completed');
	ok($hub->runtime('admin-brave-f7b5e0f5'), 'the runtime runs on');

	# 4. Its successor has another id and is not approved; its row looks alive.
	my $successor = $hub->new_agent('k8s-prod-7c9f-xyzzy', '--approved-check', 'register');
	$r->wait_for("SELECT status = 'online' FROM agents WHERE agent_id = 'k8s-prod-7c9f-xyzzy'");
	is($r->one("SELECT approval_status FROM agents WHERE agent_id = 'k8s-prod-7c9f-xyzzy'"), 'pending', 'the new agent waits for approval');
	ok(!$hub->is_connected('k8s-prod-7c9f-xyzzy'), '... and is not connected');

	# 5. Not yet stuck: nothing happens.
	$r->live_through(240);
	is($space->state_of('admin-brave-f7b5e0f5'), 'terminating', 'fresh: untouched after 4 minutes');
	is($r->one('SELECT count(*) FROM stuck_sessions()'), 0, '... and not called stuck');
	is($r->metric('sessions_stuck_terminating'), 0, '... nor counted');

	# 6. Stuck after five minutes.
	$r->live_through(120);
	my $stuck = $r->stuck('admin-brave-f7b5e0f5');
	is($stuck->{state}, 'terminating', 'stuck after 5 minutes');
	is($stuck->{agent_id}, 'k8s-prod-7c9f-abcde', '... it names the agent');
	is($stuck->{agent_evidence}, 'unknown', '... of which two looks a minute apart prove nothing');
	is($stuck->{attempts}, 0, '... nothing was sent: nobody is there');
	is($r->metric('sessions_stuck_terminating'), 1, 'the gauge says 1');
	is($r->metric('sessions_stuck_terminating_total'), 1, 'the counter says 1');

	# Gone time is of our own looks: silent for heartbeat_fresh first, then gone_after.
	$r->live_through(600);
	is($space->state_of('admin-brave-f7b5e0f5'), 'terminating', 'the agent has not been gone for 10 minutes by our own looks');
	is($r->stuck('admin-brave-f7b5e0f5')->{agent_evidence}, 'gone', '... but gone it is');
	is($r->stuck('admin-brave-f7b5e0f5')->{next_action}, 'force', '... and what comes next is known');

	# 7. Closed, told and counted.
	$r->live_through(180);
	is($space->state_of('admin-brave-f7b5e0f5'), 'terminated', 'closed after the agent was gone for 10 minutes');
	is($r->metric('sessions_stuck_terminating'), 0, 'the gauge is back at 0');
	is($r->metric('reconciler_forced_total', reason => 'agent_unavailable'), 1, 'one force is counted');

	my @forces = $r->events('force');
	is(scalar @forces, 1, 'one force event');
	my $force = $forces[0];
	is_deeply([ @$force{qw(session_id from_state to_state reason actor)} ],
		[ 'admin-brave-f7b5e0f5', 'terminating', 'terminated', 'agent_unavailable', 'session_reconciler' ], 'what happened to what, and why');
	is($force->{before}{state}, 'terminating', 'the event has the row before');
	is($force->{after}{state}, 'terminated', '... and after');
	cmp_ok($force->{evidence}{agent}{gone_seconds}, '>=', 600, 'its evidence: gone for 10 minutes');

	my @leftovers = $r->events('leftover');
	is(scalar @leftovers, 1, 'one leftover event');
	my $left = $leftovers[0]{evidence};
	is($left->{namespace}, 'ss-sessions', "what is left is in the agent's namespace");
	ok((grep { $_ eq 'deployment/admin-brave-f7b5e0f5' } @{ $left->{resources} }), '... a deployment');
	ok((grep { $_ eq 'service/admin-brave-f7b5e0f5' } @{ $left->{resources} }), '... a service');
	like($left->{cleanup}, qr/^kubectl delete deployment,service -n ss-sessions -l session=admin-brave-f7b5e0f5\b/, '... and the command that cleans');
	is_deeply($left->{user_data}, ['pvc/admin-brave-f7b5e0f5-home'], 'user data stands apart');
	unlike($left->{cleanup}, qr/pvc|-home/, '... and no command deletes it');
	ok($hub->runtime('admin-brave-f7b5e0f5'), 'indeed the runtime is left over');

	my @audit = $r->rows("SELECT * FROM audit_log WHERE resource_id = 'admin-brave-f7b5e0f5'");
	is(scalar @audit, 1, "one row in the platform's audit log");
	is_deeply([ map { $_ // 'NULL' } @{ $audit[0] }{qw(user_id action resource_type ip_address)} ],
		[ 'system:session_reconciler', 'UPDATE', 'session', '' ], '... with no NULL where the API expects strings');
	is(ref decode($audit[0]{changes}), 'HASH', '... and an object of changes');

	my $row = $r->row("SELECT * FROM sessions WHERE id = 'admin-brave-f7b5e0f5'");
	if ($full)
	{
		is($row->{termination_reason}, 'agent_unavailable', 'termination_reason is written where it exists');
		ok($row->{terminated_at}, '... and terminated_at');
	}
	else
	{
		ok(!exists $row->{termination_reason} && !exists $row->{terminated_at}, 'no column was added');
	}

	is($r->one("SELECT count(*) FROM agent_commands WHERE session_id = 'admin-brave-f7b5e0f5' AND action = 'stop_session'"), 1,
		'no command was written by us');
	is($space->state_of('admin-firefox-d020bb30'), 'running', 'the other session runs on');
	is($r->one("SELECT count(*) FROM reconciler.event WHERE session_id = 'admin-firefox-d020bb30'"), 0, '... and nothing happened to it');
	is($r->one("SELECT count(*) FROM agent_commands WHERE agent_id = 'k8s-prod-7c9f-xyzzy'"), 0, 'the agent without approval got nothing');

	# It stays so.
	$r->live_through(120);
	is(scalar $r->events('force'), 1, 'closed once');
	is($r->one('SELECT count(*) FROM stuck_sessions()'), 0, 'nothing is stuck any more');

	# What people do is in the platform's audit log as well.
	my $audited = "SELECT changes->>'action' || ': ' || (changes->'before'->>'state') || ' > ' || (changes->'after'->>'state') || ', ' || (changes->>'reason') FROM audit_log WHERE resource_id = ? ORDER BY id DESC LIMIT 1";
	$r->one("SELECT outcome FROM undo_event($force->{id})");
	is($r->one($audited, 'admin-brave-f7b5e0f5'), "undo: terminated > terminating, undo of event $force->{id}", 'an undo is audited');
	$r->one("SELECT request_termination('admin-firefox-d020bb30', 'user has left')");
	is($r->one($audited, 'admin-firefox-d020bb30'), 'request_termination: running > terminating, user has left', '... and so is a termination');
	$hub->end;
	return;
}

subtest 'variant A: what the API makes by itself' => sub { seven_steps('a') };
subtest 'variant B: with the loose migration files'  => sub { seven_steps('b') };

$r->node->stop;
done_testing();
