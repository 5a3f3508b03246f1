# Sessions whose agent goes away, comes back late, or never does its start: with a real hub and real agents.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use Reconciler;
use Reconciler::Wait;
use Test::More;

my $r = Reconciler->new('main');
my $hub = $r->hub('hub', '--profile', 'standard');
$r->do(<<'END');
CREATE TABLE agent_commands (command_id text PRIMARY KEY, session_id text, action text NOT NULL, status text NOT NULL, payload jsonb,
  created_at timestamptz, sent_at timestamptz, acknowledged_at timestamptz, completed_at timestamptz, error text)
END
$r->do('CREATE TABLE audit_log (actor text, action text, resource_id text, changes jsonb, at timestamptz)');
$r->sessions_at($hub, { disconnect_cleanup => JSON::PP::true, audit_table => 'audit_log' });
# Each pass is one that the test calls for. Attaching asks for a worker.
sub stop_worker
{
	$r->wait_for_worker;
	$r->do('CALL stop_worker()');
	return $r->wait_for('SELECT reconciler.worker_pid() IS NULL');
}
stop_worker();

# A command of the application, so many minutes ago.
sub command
{
	my ($session, $action, $ago, %more) = @_;
	my $when = sub { $_[0] ? $r->now . " - interval '$_[0]'" : 'NULL' };
	return $r->do("INSERT INTO agent_commands SELECT gen_random_uuid(), ?, ?, ?, '{}', " . $when->($ago) . ', ' . $when->($more{sent}) . ', '
		  . $when->($more{acknowledged}) . ', ' . $when->($more{completed}) . ', ?', $session, $action, $more{status} // 'pending', $more{error});
}

my %agent;
sub comes { my ($id, @options) = @_; $agent{$id} = $hub->agent($id, '--ignore-stops', @options); return }
sub leaves { my ($id) = @_; $agent{$id}->end('KILL'); return wait_until { !$hub->is_connected($id) } "agent $id to be gone" }

subtest 'an agent that comes back in time, and one that does not' => sub {
	comes($_) for qw(stays late early);
	$r->add_session("on-$_", $_, state => $_ eq 'early' ? 'hibernated' : 'running') for qw(stays late early);
	$r->pass;
	leaves($_) for qw(late early);
	$r->pass;
	is($r->one("SELECT count(*) FROM sessions WHERE state IN ('running', 'hibernated')"), 3, 'the first look closes nothing');
	$r->advance(29), $r->pass;
	is($r->one("SELECT count(*) FROM sessions WHERE state IN ('running', 'hibernated')"), 3, 'nor do 29 seconds');
	comes('early');
	$r->advance(2), $r->pass;
	is($r->state_of('on-stays'), 'running', 'who never left keeps its session');
	is($r->state_of('on-early'), 'hibernated', 'who came back in time too');
	is($r->state_of('on-late'), 'terminated', 'after 31 seconds it is closed');
	is_deeply([ $r->db->selectrow_array("SELECT termination_reason, terminated_at IS NOT NULL FROM sessions WHERE id = 'on-late'") ], [ 'agent_disconnected', 1 ], '... and says why and when');
	is(scalar $r->events('force'), 1, '... the only one');

	# The agent comes back for what is no more.
	is($r->episode('on-late')->{owed}, 'stop', 'its agent is owed a stop');
	$r->advance(600), $r->pass;
	is($hub->seen_of('on-late')->{posts}, 0, 'which nobody is there to take');
	comes('late');
	$r->pass;
	is($hub->seen_of('on-late')->{accepted}, 1, 'until it is');
	is_deeply([ map { $_->{reason} } $r->events('late_report', 'on-late') ], ['stop accepted'], 'which is an event');
	ok(!$r->episode('on-late'), 'and settles it');
	$r->advance(60), $r->pass;
	is($hub->seen_of('on-late')->{posts}, 1, 'once');
	is($r->state_of('on-late'), 'terminated', 'the session stays closed');
	is($hub->seen_of('on-stays')->{posts} + $hub->seen_of('on-early')->{posts}, 0, 'nobody else is told to stop');
	$r->do('DELETE FROM sessions');
};

subtest 'what is owed is owed for a day, and to the row as it was left' => sub {
	comes('forgotten');
	$r->add_session($_, 'forgotten', state => 'running') for qw(expires changes again);
	$r->pass, leaves('forgotten'), $r->pass;
	$r->advance(31), $r->pass;
	is($r->one("SELECT count(*) FROM reconciler.episode WHERE owed = 'stop'"), 3, 'three are owed');
	$r->do("UPDATE sessions SET state = 'failed', created_at = created_at + interval '1 s' WHERE id = 'again'");
	$r->do("UPDATE sessions SET state = 'deleted' WHERE id = 'changes'");
	$r->pass;
	is_deeply([ $r->column('SELECT session_id FROM reconciler.episode WHERE owed IS NOT NULL') ], ['expires'], 'a row that changed owes nothing');
	$r->advance(24 * 3600), $r->pass;
	ok(!$r->episode('expires'), 'nor does it after a day');
	comes('forgotten'), $r->pass;
	is($hub->seen_of($_)->{posts}, 0, "$_: no stop") for qw(expires changes again);
	$r->do('DELETE FROM sessions');
};

subtest 'readopt' => sub {
	$r->do("UPDATE reconciler.policy SET late_return = 'readopt' WHERE state = 'running'");
	comes('keeper');
	$r->add_session($_, 'keeper', state => 'running') for qw(lives ended nobody-knows);
	$r->pass, leaves('keeper'), $r->pass;
	$r->advance(31), $r->pass;
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'terminated'"), 3, 'all are closed');
	$hub->control(sessions => [ { id => 'lives', status => 'running', agent => 'keeper' }, { id => 'ended', status => 'gone', agent => 'keeper' } ]);
	comes('keeper', '--report-sessions', 'false'), $r->pass;
	is_deeply([ $r->db->selectrow_array("SELECT state, termination_reason, terminated_at FROM sessions WHERE id = 'lives'") ], [ 'running', undef, undef ], 'what still runs is what it was');
	is($r->state_of($_), 'terminated', "$_: stays closed") for qw(ended nobody-knows);
	is_deeply([ map { "$_->{session_id} $_->{reason}" } sort { $a->{session_id} cmp $b->{session_id} } grep { $_->{session_id} ne 'on-late' } $r->events('late_report') ],
		[ 'ended session gone', 'lives readopted' ], 'two events');
	is($_->{evidence}{outcome}, $_->{reason}, "... whose evidence agrees: $_->{reason}") for $r->events('late_report');
	is_deeply([ $r->column("SELECT changes->>'action' || ' > ' || (changes->'after'->>'state') FROM audit_log WHERE resource_id = 'lives' ORDER BY at") ],
		[ 'force > terminated', 'readopt > running' ], '... and the application has it in its audit');
	is($r->episode('nobody-knows')->{owed}, 'readopt', 'what nobody knows is asked about again');
	is($hub->seen_of($_)->{posts}, 0, "$_: no stop") for qw(lives ended nobody-knows);
	$r->do("UPDATE reconciler.policy SET late_return = DEFAULT WHERE state = 'running'");
	$r->do('DELETE FROM sessions');
};

subtest 'the same id, another incarnation' => sub {
	comes('twin', '--incarnation', 'first', '--report-sessions', 'false');
	$r->add_session($_, 'twin', state => 'running') for qw(survives died unheard);
	$r->add_session('ends', 'twin');
	$r->pass;
	is($r->episode('died')->{incarnation}, 'first', 'the agent that has a session is remembered');
	is($hub->seen_of('ends')->{accepted}, 1, 'a stop is accepted');
	leaves('twin');
	$hub->control(sessions => [ { id => 'survives', status => 'running', agent => 'twin' }, { id => 'died', status => 'gone', agent => 'twin' } ]);
	comes('twin', '--incarnation', 'second', '--report-sessions', 'false');
	$r->advance(75), $r->pass;
	is($hub->seen_of('ends')->{accepted}, 2, '... and sent again, since who accepted it is no more');
	is($r->episode('survives')->{incarnation}, 'second', 'a session that the hub says runs belongs to the new one');
	is($r->stuck('unheard')->{rule}, 'other_incarnation', 'what nobody knows is shown');
	$r->advance(31), $r->pass;
	is_deeply([ $r->db->selectrow_array("SELECT state, termination_reason FROM sessions WHERE id = 'died'") ], [ 'terminated', 'runtime_gone' ], 'what is gone is closed, as proven');
	$r->live_through(600);
	is($r->state_of($_), 'running', "$_: is left alone") for qw(survives unheard);
	$r->do('DELETE FROM sessions');
};

subtest 'signs of life' => sub {
	$r->do('CREATE TABLE desks (id text PRIMARY KEY, state text NOT NULL, agent_id text, created_at timestamptz, updated_at timestamptz, client_seen timestamptz, renewed timestamp)');
	$r->do('CREATE TABLE viewers (session_id text REFERENCES desks, last_heartbeat timestamptz)');
	$r->attach('desks', 'standard', { mode => 'enforce', start_grace => '0 s', instance_grace => '0 s', observation_spacing => '10 ms', disconnect_cleanup => JSON::PP::true,
			agents_table => undef, commands_table => undef, sign_of_life_columns => [ 'client_seen', 'renewed' ], connections_table => 'viewers' });
	stop_worker();
	comes('desk-agent');
	my $now = sub { $r->now . ($_[0] ? " - interval '$_[0]'" : '') };
	$r->do("INSERT INTO desks SELECT d, 'running', 'desk-agent', " . $now->('1 hour') . ', ' . $now->('1 hour') . " FROM unnest(ARRAY['seen', 'renewed', 'viewed', 'leased', 'silent']) AS d");
	$r->pass, leaves('desk-agent'), $r->pass;
	$r->advance(31);
	$r->do("UPDATE desks SET client_seen = " . $now->('119 s') . " WHERE id = 'seen'");
	$r->do("UPDATE desks SET renewed = " . $now->() . " AT TIME ZONE 'UTC' WHERE id = 'renewed'");
	$r->do("UPDATE desks SET client_seen = " . $now->('10 min') . " WHERE id = 'silent'");
	$r->do("INSERT INTO viewers SELECT d, " . $r->now . " - age::interval FROM (VALUES ('viewed', '1 hour'), ('viewed', '119 s'), ('leased', '-1 min'), ('silent', '121 s')) AS v(d, age)");
	$r->pass;
	my %state = map { $_->{id} => $_->{state} } $r->rows('SELECT id, state FROM desks');
	is_deeply(\%state, { seen => 'running', renewed => 'running', viewed => 'running', leased => 'running', silent => 'terminated' }, 'who shows life is not closed, however late');
	is($r->stuck('seen')->{blocked_by}, 'sign_of_life', '... and says why');
	is($r->stuck($_)->{blocked_by}, 'sign_of_life', "... so does who is $_") for qw(viewed leased);
	$r->advance(121), $r->pass;
	is($r->one("SELECT string_agg(id, ' ') FROM desks WHERE state <> 'terminated'"), 'leased', 'who shows none any more is, but for one with a lease that ran until a minute ago');
	$r->advance(60), $r->pass;
	is($r->one("SELECT count(*) FROM desks WHERE state = 'terminated'"), 5, '... and then that one');
	$r->one("SELECT detach_sessions('desks'::regclass)");
};

subtest 'pending' => sub {
	comes('starter');
	$r->add_session($_, 'starter', state => 'pending') for qw(never acknowledged executed unrecorded);
	$r->add_session('nobody', undef, state => 'pending');
	$hub->control(fake_agents => { ids => ['silent'] });    # takes every command, and never says what became of it
	$r->add_session('taken', 'silent', state => 'pending');
	command('taken', 'start_session', '20 min');
	command('never', 'start_session', '20 min');
	command('acknowledged', 'start_session', '20 min', sent => '20 min', acknowledged => '9 min', status => 'ack');
	command('executed', 'start_session', '20 min', sent => '20 min', status => 'failed', error => 'no such image');
	$r->pass;
	is_deeply([ map { $_->{action} } $hub->commands_of('never') ], ['start_session'], 'a start that nobody acknowledged is sent again');
	is($hub->seen_of($_)->{posts}, 0, "$_: is not") for qw(acknowledged executed unrecorded);
	is($r->stuck('unrecorded')->{next_action}, 'wait', 'what is not on record is shown');
	$r->advance(31), $r->pass;
	is_deeply([ $r->db->selectrow_array("SELECT state, termination_reason FROM sessions WHERE id = 'executed'") ], [ 'failed', 'error' ], 'a start that its agent failed has failed');
	like(($r->events('finalize', 'executed'))[0]{evidence}{text}, qr/no such image/, '... with its words');
	is($r->state_of('acknowledged'), 'pending', 'an acknowledged start has ten minutes');
	$r->advance(30), $r->pass;
	is_deeply([ $r->db->selectrow_array("SELECT state, termination_reason FROM sessions WHERE id = 'acknowledged'") ], [ 'failed', 'timeout' ], '... and no more');
	$r->pass;
	is_deeply([ map { $_->{action} } $hub->commands_of($_) ], ['stop_session'], "$_: what may start late is stopped") for qw(acknowledged executed);
	$r->live_through(600);
	is_deeply([ $r->db->selectrow_array("SELECT state, termination_reason FROM sessions WHERE id = 'nobody'") ], [ 'failed', 'no_agent' ], 'nobody was to start it');
	is_deeply([ $r->db->selectrow_array("SELECT state, termination_reason FROM sessions WHERE id = 'taken'") ], [ 'failed', 'timeout' ], 'a start that the hub accepted has ten minutes too');
	$r->pass;
	is_deeply([ map { $_->{action} } $hub->commands_of('taken') ], [ 'start_session', 'stop_session' ], '... and is not sent twice');

	leaves('starter');
	$r->live_through(660);
	is_deeply([ $r->db->selectrow_array("SELECT state, termination_reason FROM sessions WHERE id = 'unrecorded'") ], [ 'failed', 'agent_unavailable' ], 'whose agent is gone has failed');
	$r->do('DELETE FROM sessions');
};

subtest 'hibernating and waking' => sub {
	comes('sleeper');
	$r->add_session('falls', 'sleeper', state => 'hibernating');
	$r->add_session('wakes', 'sleeper', state => 'waking');
	$r->add_session('hangs', 'sleeper', state => 'hibernating');
	command('falls', 'hibernate_session', '20 min', sent => '20 min', completed => '10 min', status => 'completed');
	command('wakes', 'wake_session', '20 min', sent => '20 min', completed => '10 min', status => 'sent');
	command('hangs', 'hibernate_session', '20 min', sent => '20 min', status => 'sent');
	$r->pass;
	is_deeply([ $r->db->selectrow_array("SELECT state, termination_reason, terminated_at FROM sessions WHERE id = 'falls'") ], [ 'hibernated', undef, undef ], 'a completed hibernate');
	is($r->state_of('wakes'), 'running', 'a completed wake');
	leaves('sleeper');
	$r->do("UPDATE reconciler.policy SET enabled = false WHERE state IN ('running', 'hibernated')");
	$r->live_through(1200);
	is($r->state_of('hangs'), 'hibernating', 'nothing is inferred');
	is($r->stuck('hangs')->{rule}, 'agent_gone', '... but it is shown');
};

$r->node->stop;
done_testing();
