# Two passes at once: what one of them has scanned is old when it acts, since the other one, the application or an
# operator has been there meanwhile. The verdict is dropped, and judged anew by the next pass.
use strict;
use warnings FATAL => 'all';

use DBD::Pg ':async';
use Reconciler;
use Test::More;

my $r = Reconciler->new('old_verdicts', conf => "session_reconciler.lock_timeout = '5min'");
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub);
$r->do('CALL stop_worker()');
sub agents { my (%how) = @_; $hub->control(fake_agents => { ids => ['agent-1'], %how }); return }
agents(complete_after_ms => undef);
$hub->control(fake_agents => { ids => ['agent-0'], status => 'disconnected' });

# The test locks the record of this agent: a pass over a session that names it has scanned everything when it waits there.
sub gate { $r->add_session('gate', 'agent-0'); return }
gate();
$r->pass;

# A pass that waits for a lock that `sql` takes; meanwhile happens; then it goes on to its end.
sub beside_a_pass
{
	my ($sql, $meanwhile) = @_;
	my ($lock, $caller) = ($r->connect, $r->connect);
	$lock->begin_work;
	$lock->do($sql);
	my $pid = $caller->selectrow_array('SELECT pg_backend_pid()');
	$caller->do('CALL reconcile()', { pg_async => PG_ASYNC });
	$r->wait_for("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = ?", $pid);
	$meanwhile->();
	$lock->rollback;
	$caller->pg_result;
	return;
}

# That pass has scanned, and looks. Others find no gate.
sub beside_a_look
{
	my ($meanwhile) = @_;
	$r->do("DELETE FROM sessions WHERE id = 'gate'");
	gate();
	beside_a_pass("SELECT FROM reconciler.agent_evidence WHERE agent_id = 'agent-0' FOR UPDATE", sub {
		$r->do("DELETE FROM sessions WHERE id = 'gate'");
		$meanwhile->();
	});
	return;
}

# The application creates the session again, under its key.
sub again { my ($session) = @_; $r->do("UPDATE sessions SET created_at = created_at + interval '1 s' WHERE id = ?", $session); return }

subtest 'a try' => sub {
	$r->add_session('tried', 'agent-1');
	beside_a_look(sub { $r->pass });
	is($r->episode('tried')->{attempts}, 1, 'counts once');
	is($hub->seen_of('tried')->{distinct_keys}, 1, '... and the hub has one command, since the first is still open');
	$r->do("DELETE FROM sessions WHERE id = 'tried'");
};

subtest 'proof of the stay before' => sub {
	agents(complete_after_ms => 0);
	$r->add_session('proven', 'agent-1');
	$r->pass;
	is($r->episode('proven')->{attempts}, 1, 'a stop is accepted, and is done');
	agents(complete_after_ms => undef);
	$hub->control(sessions => [ { id => 'proven', status => 'running', agent => 'agent-1' } ]);
	beside_a_look(sub { again('proven'); $r->pass });
	is($r->episode('proven')->{session_gone}, undef, 'proves nothing of the session that has its key now');
	$r->advance(60);
	$r->pass;
	is($r->state_of('proven'), 'terminating', '... which is not closed by it');
	$r->do("DELETE FROM sessions WHERE id = 'proven'");
};

sub spent { my ($session) = @_; $r->do('UPDATE reconciler.episode SET attempts = 8, accepted_at = NULL WHERE session_id = ?', $session); return }

subtest 'quarantine of the stay before' => sub {
	$r->add_session('spent', 'agent-1');
	$r->pass;
	spent('spent');
	beside_a_look(sub { again('spent'); $r->pass });
	is($r->episode('spent')->{quarantined}, undef, 'is none of the session that has its key now');
	spent('spent');
	beside_a_look(sub { $r->do("SELECT retry_session('spent', 'once more')") });
	isnt($r->episode('spent')->{retry_requested}, undef, 'a try that an operator asked for meanwhile is not forgotten');
	$r->do("DELETE FROM sessions WHERE id = 'spent'");
};

subtest 'an agent that was back for a moment' => sub {
	agents(status => 'disconnected');
	$r->add_session('gone', 'agent-1');
	for (1 .. 8) { $r->pass; $r->advance(60) }
	$r->do("SELECT agent_connected('agent-1')");
	for (1 .. 8) { $r->pass; $r->advance(60) }
	is($r->state_of('gone'), 'terminating', 'has been gone only since then');
	for (1 .. 4) { $r->pass; $r->advance(60) }
	is($r->state_of('gone'), 'terminated', '... and its sessions are closed when that is long enough');
};

done_testing;
