# The late agent: it comes back after its session was closed, and its API's handler writes the session as running. With the
# guard the session stays closed and the agent is told to stop. On StreamSpace's schemas, with the handler that the API has,
# and on a plain table.
use strict;
use warnings FATAL => 'all';

use JSON::PP;
use Reconciler;
use Reconciler::StreamSpace;
use Test::More;

my $r = Reconciler->new('guard', extension => 0);

# A start that an agent is given executes at once and is reported: the hub's handler writes the row, whatever it says.
sub late_agent
{
	my ($variant) = @_;
	my $space = start_platform($r, $variant, attach => { guard_terminal => JSON::PP::true });
	my $hub = $space->hub;
	my %agent = ('k8s-healthy' => $space->agent('k8s-healthy'));
	$agent{$_} = $space->agent($_, '--die-on-stop') for 'k8s-late', 'k8s-unguarded';
	$space->create_session("of-$_", $_) for 'k8s-late', 'k8s-unguarded';
	$space->delete_session("of-$_") for 'k8s-late', 'k8s-unguarded';
	for my $agent ('k8s-late', 'k8s-unguarded') { wait_until { !$hub->is_connected($agent) } "$agent to be gone" }
	$r->live_through(1200);
	is($space->state_of("of-$_"), 'terminated', "the session of $_ is closed: its agent is gone") for 'k8s-late', 'k8s-unguarded';
	ok($hub->runtime('of-k8s-late'), '... and its runtime runs on');

	my @before = $r->db->selectrow_array("SELECT s::text FROM sessions s WHERE id = 'of-k8s-late'");
	$agent{'k8s-late'} = $space->agent('k8s-late');
	$space->command('k8s-late', 'start_session', 'of-k8s-late');
	$r->wait_for("SELECT count(*) = 1 FROM reconciler.event WHERE kind = 'guard'");
	is_deeply([ $r->db->selectrow_array("SELECT s::text FROM sessions s WHERE id = 'of-k8s-late'") ], \@before, 'the late report changes nothing');
	my ($guard) = $r->events('guard', 'of-k8s-late');
	is_deeply([ @$guard{qw(from_state to_state reason)}, $guard->{evidence}{attempted}{state} ], [ 'terminated', undef, 'late_write', 'running' ], '... and is an event');
	$r->live_through(120);
	is_deeply([ map { $_->{reason} } $r->events('late_report', 'of-k8s-late') ], ['stop accepted'], 'the agent is sent a stop');
	wait_until { !$hub->runtime('of-k8s-late') } 'the runtime to end';
	is($space->state_of('of-k8s-late'), 'terminated', 'the session has stayed closed');

	# What it is for.
	$r->do('UPDATE reconciler.binding SET guard_terminal = false');
	$agent{'k8s-unguarded'} = $space->agent('k8s-unguarded');
	$space->command('k8s-unguarded', 'start_session', 'of-k8s-unguarded');
	$r->wait_for("SELECT state = 'running' FROM sessions WHERE id = 'of-k8s-unguarded'");
	pass('without the guard the report brings a session back');
	$hub->end;
	return;
}

subtest 'StreamSpace: what the API makes by itself'      => sub { late_agent('a') };
subtest 'StreamSpace: with the loose migration files' => sub { late_agent('b') };

subtest 'a table of one\'s own' => sub {
	$r->do('CREATE DATABASE own');
	$r->use_database('own');
	$r->do('CREATE EXTENSION session_reconciler');
	my $hub = $r->hub('hub', '--profile', 'standard');
	$r->sessions_at($hub, { guard_terminal => JSON::PP::true, disconnect_cleanup => JSON::PP::true });
	$r->wait_for_worker;
	$r->do('CALL stop_worker()');
	$r->wait_for('SELECT reconciler.worker_pid() IS NULL');
	my %agent;
	my $comes = sub { my ($id, @options) = @_; $agent{$id} = $hub->agent($id, @options); return };
	my $leaves = sub { my ($id) = @_; $agent{$id}->end('KILL'); return wait_until { !$hub->is_connected($id) } "agent $id to be gone" };
	my $running = sub { return $r->do("UPDATE sessions SET state = 'running', updated_at = now() WHERE id = ?", $_[0]) + 0 };

	$comes->('stays'), $comes->('late', '--ignore-stops');
	$r->add_session($_, 'late', state => 'running') for qw(late requested recreated undone);
	$r->add_session('other', 'stays', state => 'running');
	$r->pass, $leaves->('late'), $r->pass;
	$r->advance(31), $r->pass;
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'terminated'"), 4, 'the passes closed them, past their own guard');

	is($running->('late'), 0, 'the late write is refused while the agent is away');
	is($r->episode('late')->{owed}, 'stop', '... which still is owed its stop');
	my %explained = map { $_->[0] => "$_->[1]: $_->[2]" } @{ $r->db->selectall_arrayref("SELECT rule, outcome, detail FROM explain_session('late')") };
	like($explained{late_agent}, qr/^decides: the session was closed; a stop is owed, until /, 'explain_session() says what is owed');
	like($explained{operator}, qr/^you can: undo_event\(\d+\) brings it back; where its row was written since, hold_session\(\), the write, release_session\(\): the guard refuses others$/, '... and how it comes back');
	$comes->('late', '--ignore-stops');
	$r->pass;
	is($hub->seen_of('late')->{accepted}, 1, '... and gets it when it is back');
	$running->('late') for 1 .. 5;
	is(scalar $r->events('guard', 'late'), 2, 'an agent that ignores it writes on: one event more');
	$r->pass;
	is($hub->seen_of('late')->{accepted}, 1, '... and no stop at once');
	my $plan = sub { return [ $r->db->selectrow_array("SELECT action, rule, becomes, blocked_by FROM reconcile_plan() WHERE session_id = 'late'") ] };
	is_deeply($plan->(), [], '... as the plan says');
	$r->advance(61);
	is_deeply($plan->(), [ 'retry', 'late_agent', undef, 'none' ], 'the plan has it when it is due');
	$r->pass;
	is($hub->seen_of('late')->{accepted}, 2, '... and it is sent a minute later');
	is($r->state_of('late'), 'terminated', 'the session stays closed');

	is($r->do("UPDATE sessions SET state = 'terminating' WHERE id = 'requested'") + 0, 1, 'a user\'s request passes');
	$r->advance(600), $r->pass;
	ok($hub->seen_of('requested')->{accepted}, '... and is carried out');
	is($r->do("UPDATE sessions SET state = 'pending', agent_id = 'stays', created_at = now() WHERE id = 'recreated'") + 0, 1, 'a session that is created again passes');
	is($running->('recreated'), 1, '... and runs');
	my ($force) = $r->events('force', 'undone');
	is($r->one('SELECT outcome FROM undo_event(?)', $force->{id}), 'undone', 'an undo passes');
	is($r->state_of('undone'), 'running', '... and brings it back');

	# A pass takes a session back that its agent still has, unless a late write of it was refused.
	$r->do("UPDATE reconciler.policy SET late_return = 'readopt' WHERE state = 'running'");
	$comes->('keeper');
	$r->add_session($_, 'keeper', state => 'running') for qw(lives writes);
	$r->pass, $leaves->('keeper'), $r->pass;
	$r->advance(31), $r->pass;
	is($running->('writes'), 0, 'a late write is refused with readopt, too');
	is($r->episode($_->[0])->{owed}, $_->[1], "$_->[0]: owed $_->[1]") for [ 'lives', 'readopt' ], [ 'writes', 'stop' ];
	$hub->control(sessions => [ { id => 'lives', status => 'running', agent => 'keeper' } ]);
	$comes->('keeper', '--report-sessions', 'false'), $r->pass;
	is($r->state_of('lives'), 'running', 'the pass brings back what still runs, past the guard');
	is($running->('lives'), 1, '... and the application has it again');
	is($hub->seen_of('writes')->{accepted}, 1, 'what was refused gets its stop, whatever the hub says of it');

	is_deeply([ $r->db->selectrow_array("SELECT label, value FROM reconciler.counter WHERE name = 'reconciler_guarded_total'") ],
		[ '', scalar grep { $_->{reason} eq 'late_write' } $r->events('guard') ], 'passes have added up what was refused');

	# A migration that the mapping has not followed.
	for my $role ('state', 'agent')
	{
		my $column = $r->one('SELECT columns->>? FROM reconciler.binding', $role);
		$r->do("ALTER TABLE sessions RENAME $column TO renamed");
		my $state = $role eq 'state' ? 'renamed' : 'state';
		$r->node->psql('own', "UPDATE sessions SET $state = 'running' WHERE id = 'late'", stderr => \my $said);
		like($said, qr/WARNING:  the guard of table public\.sessions failed, so the write passes: column "$column" does not exist\nHINT:  Give the column its name back, or detach_sessions\('public\.sessions'\) and attach again\./,
			"the guard says that column $column is missing");
		$r->do("UPDATE sessions SET $state = 'terminated' WHERE id = 'late'");
		$r->do("ALTER TABLE sessions RENAME renamed TO $column");
	}
};

$r->node->stop;
done_testing();
