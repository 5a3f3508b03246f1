# The two incidents of StreamSpace's issue #236, on its schema as it is: sessions that wait for an agent which was replaced.
# Another agent of the pool does what is to be done, and nobody has to do it by hand.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Reconciler::StreamSpace;
use Test::More;

my $r = Reconciler->new('pools', extension => 0);

my ($old, $new) = ('k8s-prod-streamspace-agent-7c9f8b6d5f-bcdfg', 'k8s-prod-streamspace-agent-5d8c7f9b64-x2x4z');

sub incidents
{
	my ($variant) = @_;
	my $space = start_platform($r, $variant);
	my $hub = $space->hub;
	my $agent = $space->agent($old);
	$r->do(q{UPDATE agents SET region = 'eu', metadata = '{"namespace": "streamspace", "kubernetes": true}'});
	$space->create_session('admin-brave-f7b5e0f5', $old);
	$space->create_session('admin-vscode-11aa22bb', $old);
	is($r->one('SELECT status FROM migrate_to_pools(dry_run => false)'), 'placed', 'the agent is put into a pool');
	$r->pass;

	# The agent's pod is replaced: another id. A user deletes one session and opens another, for the agent that was.
	$agent->end;
	$space->delete_session('admin-brave-f7b5e0f5', lost => 1);
	my $now = $space->now;
	$r->do("INSERT INTO sessions (id, user_id, template_name, state, agent_id, org_id, created_at, updated_at)"
		  . " VALUES ('admin-brave-fa96fa51', 'admin', 'brave', 'pending', ?, 'default-org', $now, $now)", $old);
	$r->do("INSERT INTO agent_commands (command_id, agent_id, session_id, action, payload, status, created_at)"
		  . " VALUES ('cmd-lost', ?, 'admin-brave-fa96fa51', 'start_session', ?, 'pending', $now)",
		$old, '{"sessionId": "admin-brave-fa96fa51", "templateManifest": {"image": "brave"}, "memory": "2Gi"}');
	my $successor = $space->agent($new);    # joins the pool by itself
	$r->do(q{UPDATE agents SET region = 'eu', metadata = '{"namespace": "streamspace", "kubernetes": true}'});

	$r->live_through(300);
	is($space->state_of('admin-brave-f7b5e0f5'), 'terminating', 'fresh: nobody else is asked');
	# Who may read the sessions sees what is stuck, whoever may read the agents.
	$r->do('DO $$ BEGIN CREATE ROLE looker; EXCEPTION WHEN duplicate_object THEN END $$');
	$r->do("SELECT reconciler_grant('looker', 'viewer')");
	$r->do('GRANT SELECT ON sessions, agent_commands TO looker');
	$r->do('SET ROLE looker');
	is($r->error('SELECT * FROM stuck_sessions()'), '', 'a viewer without rights on the agents table looks');
	$r->do('RESET ROLE');

	$r->live_through(420);
	$r->wait_for("SELECT state = 'running' FROM sessions WHERE id = 'admin-brave-fa96fa51'");
	is($r->one("SELECT agent_id FROM sessions WHERE id = 'admin-brave-fa96fa51'"), $new, 'the start went to the agent that is there, and so did the session');
	ok($hub->runtime('admin-brave-fa96fa51'), '... which runs');
	my @starts = grep { ($_->{body}{sessionId} // '') eq 'admin-brave-fa96fa51' && $_->{path} =~ /command/ } $hub->logged(event => 'request', method => 'POST');
	is(scalar @starts, 1, '... it was sent once');
	is_deeply($starts[0]{body}{payload}, { sessionId => 'admin-brave-fa96fa51', templateManifest => { image => 'brave' }, memory => '2Gi' }, '... as the API had made it');

	ok(!$hub->runtime('admin-brave-f7b5e0f5'), 'the stop went there too: nothing runs on');
	my ($moved) = $r->events('reassign', 'admin-brave-f7b5e0f5');
	is_deeply([ @{ $moved->{evidence} }{qw(from_agent to_agent)} ], [ $old, $new ], 'an event says who has it now');
	is($moved->{rule}, 'sibling_due', '... by which rule');
	is($moved->{before}{agent_id} . ' ' . $moved->{after}{agent_id}, "$old $new", '... and how the row was');
	is($moved->{reason}, 'agent_unavailable', '... and why');
	is($r->one("SELECT count(*) FROM audit_log WHERE resource_id = 'admin-brave-f7b5e0f5' AND changes->>'action' = 'reassign'"), 1, "the application's audit has it");
	is(scalar $r->events('force'), 0, 'nothing was closed by inference');

	# What runs in Kubernetes lives on without its agent.
	is($space->state_of('admin-vscode-11aa22bb'), 'running', 'the session that ran runs on');
	is($r->one("SELECT agent_id FROM sessions WHERE id = 'admin-vscode-11aa22bb'"), $new, '... with the agent that is there');
	my ($given) = $r->events('reassign', 'admin-vscode-11aa22bb');
	is($given->{rule}, 'agent_replaced', '... and an event says so');

	$r->live_through(1200);
	my $closed = $r->one("SELECT string_agg(kind || ' ' || reason, ', ') FROM reconciler.event WHERE session_id = 'admin-brave-f7b5e0f5' AND kind IN ('force', 'finalize')");
	is($space->state_of('admin-brave-f7b5e0f5'), 'terminated', "closed ($closed)");
	is($space->state_of($_), 'running', "$_ runs") for qw(admin-brave-fa96fa51 admin-vscode-11aa22bb);
	is(scalar $r->rows('SELECT * FROM stuck_sessions()'), 0, 'nothing is stuck');
	is($r->one('SELECT load FROM reconciler.agent WHERE agent_id = ?', $new), $r->one("SELECT count(*) FROM sessions WHERE agent_id = ? AND state <> 'terminated'", $new) , 'its load is what it has');
	$hub->end;
	return;
}

for my $variant ('a', 'b')
{
	subtest "variant \U$variant" => \&incidents, $variant;
}
$r->node->stop;
done_testing();
