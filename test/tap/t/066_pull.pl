# Agents that can't be called fetch their commands, with every connection to outside switched off: what they end is closed, once.
# Killed agents, a killed server, leases that end, two processes of one agent, reports that come twice or late: no session has two
# commands at a time, and none is lost.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Reconciler::Fetcher;
use Test::More;

my $r = Reconciler->new('pull', conf => "session_reconciler.outbound = off\nrestart_after_crash = on");
$r->do(<<'END');
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL, termination_reason text, terminated_at timestamptz)
END
$r->one("SELECT set_hub('agents', NULL, 'pull', ?)", encode({ command_spacing => '0 s' }));
$r->attach('sessions', 'standard', { hub => 'agents', mode => 'enforce', start_grace => '0 s', instance_grace => '0 s', observation_spacing => '10 ms' });
$r->do("INSERT INTO reconciler.agent_pool (name) VALUES ('pool')");
$r->do("INSERT INTO reconciler.agent (agent_id, pool_id, capacity, source, registered) SELECT 'agent-' || n, pool_id, 1000, 'call', now() FROM reconciler.agent_pool, generate_series(1, 4) AS n");
$r->wait_for_worker;

# An agent that is heard of
sub agent
{
	my ($id, $manner) = @_;
	my $agent = Reconciler::Fetcher->start($r, $id, $manner);
	heard_of($id);
	return $agent;
}
sub heard_of { return $r->wait_for('SELECT heartbeat > ' . $r->now . " - interval '5 s' FROM reconciler.agent WHERE agent_id = ?", $_[0]) }

sub command { return $r->row("SELECT *, leased_until > " . $r->now . " AS leased FROM reconciler.command WHERE session_id = ? ORDER BY created DESC LIMIT 1", $_[0]) }
sub commands { return $r->one('SELECT count(*) FROM reconciler.command WHERE session_id = ?', $_[0]) }
sub become { my ($session, $state) = @_; return $r->wait_for('SELECT bool_and(state = ?) FROM sessions WHERE id LIKE ?', $state, $session) }

# What was reported rests for half a minute before it counts.
sub rest
{
	my @living = @_;
	$r->advance(31);
	heard_of($_) for @living;
	$r->pass;
	return;
}

subtest 'what agents end is closed' => sub {
	my $agent = agent('agent-1');
	$r->add_session("s$_", 'agent-1') for 1 .. 20;
	$r->pass;
	$r->wait_for("SELECT count(*) = 20 FROM reconciler.episode WHERE last_result = 'completed'");
	is(scalar($agent->done), 20, 'each stop was carried out once');
	rest('agent-1');
	become('s%', 'terminated');
	is(scalar($r->events('finalize')), 20, 'proven to have ended');
	is($r->one('SELECT count(*) FROM reconciler.command'), 20, 'a command for each');
	is($r->one('SELECT hub_up FROM reconciler.binding_state'), 1, 'the database is a hub that answers');
	is($r->one('SELECT hub_unknown_since FROM reconciler_status()'), undef, 'and is never unknown');
	$agent->end;
};

subtest 'an agent that is killed with a command' => sub {
	my $agent = agent('agent-1', 'die');
	$r->add_session('killed', 'agent-1');
	$r->pass;
	wait_until { !$agent->running } 'the agent to die';
	my $first = command('killed');
	is("$first->{state} $first->{leased_count}", 'leased 1', 'it had it');
	$agent = agent('agent-1');
	$r->pass;
	is(command('killed')->{leased_count}, 1, 'its next process does not get it while the lease lasts');
	$r->advance(61);
	$r->wait_for("SELECT state = 'completed' FROM reconciler.command WHERE session_id = 'killed'");
	is(command('killed')->{command_id}, $first->{command_id}, 'then it gets the same command');
	rest('agent-1');
	become('killed', 'terminated');
	is(commands('killed'), 1, 'there was no other');
	$agent->end;
};

subtest 'a server that is killed between lease and report' => sub {
	my $agent = agent('agent-1', 'idle');
	$r->add_session('crash', 'agent-1');
	$r->pass;
	$r->wait_for("SELECT state = 'leased' FROM reconciler.command WHERE session_id = 'crash'");
	$agent->end;
	my $first = command('crash');
	$r->node->stop('immediate');
	$r->node->start;
	$r->wait_for_server;
	$r->wait_for_worker;
	is($r->one('SELECT report_command(?, ?)', $first->{command_id}, 'completed'), 'recorded', 'what it knew before it knows after');
	is($r->one('SELECT report_command(?, ?)', $first->{command_id}, 'completed'), 'already recorded', 'the agent, which can not know, says it again');
	$agent = agent('agent-1');
	rest('agent-1');
	$r->pass;
	rest('agent-1');
	become('crash', 'terminated');
	is(commands('crash'), 1, 'one command');
	$agent->end;
};

subtest 'two processes with one id' => sub {
	$r->add_session("twin$_", 'agent-2') for 1 .. 200;
	my @agents = map { agent('agent-2') } 1 .. 2;
	$r->pass;
	$r->wait_for("SELECT count(*) = 200 FROM reconciler.command WHERE session_id LIKE 'twin%' AND state = 'completed'");
	my @done = $agents[0]->done;
	my %sessions = map { $_->[1] => 1 } @done;
	is(scalar(@done) . ' ' . keys %sessions, '200 200', 'each command was carried out once, for each session');
	is($r->one("SELECT max(leased_count) FROM reconciler.command WHERE session_id LIKE 'twin%'"), 1, 'and handed out once');
	$r->wait_for("SELECT count(*) = 200 FROM reconciler.episode WHERE session_id LIKE 'twin%' AND last_result = 'completed'");
	rest('agent-2');
	become('twin%', 'terminated');
	$_->end for @agents;
};

subtest 'an agent that fails, and a try whose time passes' => sub {
	my $agent = agent('agent-3', 'fail');
	$r->add_session('fails', 'agent-3');
	$r->pass;
	$r->wait_for("SELECT last_result = 'failed: no such pod' FROM reconciler.episode WHERE session_id = 'fails'");
	my $first = command('fails');
	is("$first->{state}: $first->{detail}", 'failed: no such pod', 'its words are kept');
	$agent->end;
	$agent = agent('agent-3', 'idle');
	$r->advance(80);
	heard_of('agent-3');
	$r->pass;
	$r->wait_for("SELECT count(*) = 1 FROM reconciler.command WHERE session_id = 'fails' AND state = 'leased'");
	my $second = command('fails');
	isnt($second->{command_id}, $first->{command_id}, 'the next try is another command');
	for (1 .. 10)
	{
		$r->advance(60);
		heard_of('agent-3');
		$r->pass;
		cmp_ok($r->one("SELECT count(*) FROM reconciler.command WHERE session_id = 'fails' AND finished_at IS NULL"), '<=', 1, 'one at a time');
	}
	my ($old) = $r->rows('SELECT * FROM reconciler.command WHERE command_id = ?', $second->{command_id});
	is("$old->{state}: $old->{detail}", 'withdrawn: another try was sent', 'what nobody ended in its time is taken back');
	is($r->one('SELECT report_command(?, ?)', $second->{command_id}, 'completed'), 'late', 'its report comes late');
	is((map { $_->{reason} } $r->events('late_report', 'fails'))[0], 'another try was sent', 'and is noted');
	is($r->state_of('fails'), 'terminating', 'and nothing else');
	$agent->end;
	$r->do("DELETE FROM sessions WHERE id = 'fails'");
	$r->pass;
	is($r->one("SELECT count(*) FROM reconciler.command WHERE session_id = 'fails' AND finished_at IS NULL"), 0, 'what nobody waits for is taken back');
};

subtest 'an agent that comes no more, and comes back' => sub {
	$r->add_session('left', 'agent-4');
	my $agent = agent('agent-4', 'idle');
	$r->pass;
	$agent->end;
	$r->live_through(11 * 60, 30);
	is($r->state_of('left'), 'terminating', 'not before it has been gone for ten minutes');
	$r->live_through(4 * 60, 30);
	is($r->state_of('left'), 'terminated', 'then its session is closed');
	is(($r->events('force', 'left'))[0]{reason}, 'agent_unavailable', '... since it is gone');
	my $sent = commands('left');
	$agent = agent('agent-4');
	$r->advance(30);
	heard_of('agent-4');
	$r->pass;
	$r->wait_for("SELECT owed AND state = 'completed' FROM reconciler.command WHERE session_id = 'left' ORDER BY created DESC LIMIT 1");
	is(commands('left'), $sent + 1, 'back, it fetches the stop that it missed');
	$agent->end;
};

$r->node->psql('postgres', "CALL probe_hub('agents')", stderr => \my $said);
like($said, qr/NOTICE:  hub "agents" is this database: agents fetch their commands here: \d of 4 registered ones did in the last two minutes, 0 commands are open/, 'a probe says who fetches');
is($r->one("SELECT count(*) FROM preflight() WHERE check_name LIKE 'hub agents%' AND detail LIKE 'agents fetch%'"), 1, 'preflight() does too, with outbound off');

$r->advance(91 * 24 * 60 * 60);
$r->pass;
is($r->one('SELECT count(*) FROM reconciler.command'), 0, 'what has ended leaves as events do');

$r->node->stop;
done_testing();
