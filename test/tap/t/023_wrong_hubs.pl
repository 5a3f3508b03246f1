# What a hub's answers prove about an agent. Silence, nonsense, a refused token and a hub that knows only a part are all
# `unknown`: nothing is closed for them, however long it lasts. Absence told by a hub that can tell is.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Test::More;

my $r = Reconciler->new('wrong_hubs', preload => '');    # passes by CALL, one at a time

sub evidence_of { my ($session) = @_; return $r->stuck($session)->{agent_evidence} }

# One database a hub set, so that each begins without memories
sub in_database
{
	my ($name, $hubs, $attach) = @_;
	$r->do("CREATE DATABASE $name");
	$r->use_database($name);
	$r->do('CREATE EXTENSION session_reconciler');
	$r->sessions_at($hubs, $attach, { total_timeout => '500 ms', connect_timeout => '500 ms', command_spacing => '0 s' });
	return;
}

subtest 'a profile that can\'t be used' => sub {
	my $hub = $r->hub('profile', '--profile', 'standard', '--token', 'a-secret-token');
	$r->give_tokens($hub);
	in_database('profile', $hub, {});
	my $definition = $r->one("SELECT definition FROM reconciler.hub_profile WHERE name = 'standard'");
	$r->do('SET check_function_bodies = off');    # as a dump does, which is believed
	$r->do("UPDATE reconciler.hub_profile SET definition = '{}' WHERE name = 'standard'");
	ok(!eval { $r->pass; 1 }, 'the pass fails');
	like($r->one('SELECT last_error FROM reconciler_status()'), qr/^hub profile "standard"\..* is missing$/, '... and the status says why');
	is($r->one("SELECT count(*) FROM preflight() WHERE check_name = 'public.sessions: last pass' AND status = 'fail'"), 1, '... preflight, too');
	$r->do("UPDATE reconciler.hub_profile SET definition = ? WHERE name = 'standard'", $definition);
	$r->pass;
	is($r->one('SELECT last_error FROM reconciler_status()'), '', 'mended, it works');
};

subtest 'nonsense for an hour' => sub {
	my $hub = $r->hub('nonsense', '--profile', 'standard', '--token', 'a-secret-token');
	$r->give_tokens($hub);
	in_database('nonsense', $hub, {});
	$hub->control(fake_agents => { ids => ['agent-1'], status => 'disconnected' });
	$r->add_session('s1', 'agent-1');
	my $list = { method => 'GET', path_prefix => '/v1/agents' };
	for my $kind ('garbage', 'ok_to_all', 'wrong_json', 'big_body 3000000', 'half_body', 'reset', 'close_before_headers',
		'never_answer', 'status 500', 'status 429', 'status 302', 'redirect http://127.0.0.1:9/v1/agents')
	{
		$hub->fault({ match => $list, kind => $kind });
		$r->live_through(300, 150);
		is(evidence_of('s1'), 'unknown', "$kind is unknown");
		is($r->stuck('s1')->{blocked_by}, 'hub_unknown', '... and that is why nothing happens');
	}
	is($r->one('SELECT hub_state FROM reconciler_status()'), 'unknown', 'the status says so');
	is($r->metric('reconciler_hub_up'), 0, '... and the metric');

	$hub->fault;
	$hub->control(token => { token => 'another-token' });
	$r->live_through(300, 150);
	is(evidence_of('s1'), 'unknown', 'a refused token is unknown');
	is($r->stuck('s1')->{blocked_by}, 'hub_auth', '... and shown as what it is');
	is($r->one('SELECT hub_state FROM reconciler_status()'), 'auth_failed', '... in the status too');

	is($r->state_of('s1'), 'terminating', 'nothing was closed in all that time');
	is($hub->seen_of('s1')->{posts}, 0, '... and nothing sent');

	# The truth at last: it counts from now.
	$hub->control(token => { token => 'a-secret-token' });
	$r->live_through(540);
	is(evidence_of('s1'), 'gone', 'an honest answer: gone');
	is($r->state_of('s1'), 'terminating', '... but not for long enough');
	$r->live_through(120);
	is($r->state_of('s1'), 'terminated', '... until it is');
	$hub->end;
};

subtest 'a hub that restarts with an empty map' => sub {
	my $hub = $r->hub('restarting', '--profile', 'standard');
	in_database('restarting', $hub, { instance_grace => '120 s' });
	$hub->control(fake_agents => { ids => ['agent-here'] });
	$hub->control(fake_agents => { ids => ['agent-lost'], status => 'disconnected' });
	$r->add_session('here', 'agent-here');
	$r->add_session('lost', 'agent-lost');
	$r->live_through(540);
	is(evidence_of('lost'), 'gone', 'one agent has been gone for 9 minutes');
	cmp_ok($r->one("SELECT extract(epoch FROM agent_gone_for) FROM stuck_sessions() WHERE session_id = 'lost'"), '>=', 420, '... which is counted');

	$hub->control(restart => { keep_known => JSON::PP::false });
	$r->live_through(180);
	is($r->state_of($_), 'terminating', "a new hub that knows nobody: '$_' is not closed at 10 minutes") for 'here', 'lost';
	$hub->control(fake_agents => { ids => ['agent-here'] });    # it takes agents three minutes to find back
	$r->live_through(360);
	is(evidence_of('here'), 'present', 'who came back is there');
	$r->live_through(180);
	is($r->state_of('lost'), 'terminated', 'who did not, and was gone for 10 minutes of this hub, is gone');
	is($r->state_of('here'), 'terminating', '... and the other is not touched');
	$hub->end;
};

subtest 'two replicas, of which each knows its own agents' => sub {
	my @hubs = map { $r->hub("replica_$_", '--profile', 'standard', '--scope', 'instance') } 1, 2;
	in_database('replicas', \@hubs, {});
	$hubs[0]->control(fake_agents => { ids => ['agent-2'], status => 'disconnected' });    # there it was once
	$hubs[1]->control(fake_agents => { ids => ['agent-2'] });
	$r->add_session('s2', 'agent-2');
	$r->pass;
	is(evidence_of('s2'), 'present', 'connected to one is connected');
	is($hubs[1]->seen_of('s2')->{accepted}, 1, 'its command goes where it is');
	is($hubs[0]->seen_of('s2')->{posts}, 0, '... and nowhere else');
	$r->live_through(900);
	is($r->state_of('s2'), 'terminating', 'the other one, which it has left, proves nothing');

	$hubs[1]->fault({ match => { method => 'GET' }, kind => 'close_before_headers' });
	$r->live_through(300);
	is(evidence_of('s2'), 'unknown', 'one of them is down: unknown, whatever the other says');
	$hubs[1]->fault;
	$hubs[1]->control(fake_agents => { ids => ['agent-2'], status => 'disconnected' });
	$r->live_through(540);
	is(evidence_of('s2'), 'gone', 'both answer, and neither holds it: gone');
	is($r->state_of('s2'), 'terminating', '... not long enough');
	$r->live_through(120);
	is($r->state_of('s2'), 'terminated', '... long enough');
	$_->end for @hubs;
};

subtest 'no hub at all' => sub {
	my $hub = $r->hub('down', '--profile', 'standard');
	in_database('down', $hub, {});
	$hub->control(fake_agents => { ids => ['agent-1'] });
	$r->add_session('s1', 'agent-1');
	$hub->end;
	$r->live_through(3600, 300);
	is(evidence_of('s1'), 'unknown', 'connection refused is unknown');
	is($r->stuck('s1')->{blocked_by}, 'hub_unknown', '... and why nothing happens');
	is($r->state_of('s1'), 'terminating', '... for an hour');
	is($r->episode('s1')->{tries}, 0, 'nothing is tried where nobody is known to listen');
};

$r->node->stop;
done_testing();
