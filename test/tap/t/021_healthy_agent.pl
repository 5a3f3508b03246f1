# A stop got lost and the agent is there: it is sent again, through the hub and not by a row of ours, and the session
# ends by proof where the platform records one. Where it does not, or the agent ignores stops, it ends as well, or is
# shown to a person.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Reconciler::StreamSpace;
use Test::More;
use Time::Local ();

my $r = Reconciler->new('healthy_agent', extension => 0);

my $stops = "SELECT * FROM agent_commands WHERE session_id = ? AND action = 'stop_session' ORDER BY created_at, id";

# Unix time of a line in the hub's log
sub time_of
{
	my ($text) = @_;
	my ($year, $month, $day, $hour, $minute, $second) = $text =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):([\d.]+)/ or die $text;
	return Time::Local::timegm(0, $minute, $hour, $day, $month - 1, $year) + $second;
}

subtest 'variant B: completions are recorded' => sub {
	my $space = start_platform($r, 'b');
	my $hub = $space->hub;
	is($r->one('SELECT command_spacing FROM reconciler.hub'), '00:00:00.5', 'commands to one agent are 500 ms apart');
	$r->do("UPDATE reconciler.hub SET command_spacing = '1 s'");    # enough to be seen in the hub's log on a busy machine
	my $agent = $space->agent('k8s-1');
	my $deaf = $space->agent('k8s-deaf', '--ignore-stops');
	$space->create_session("lost-$_", 'k8s-1') for 1 .. 3;
	$space->create_session('ignored', 'k8s-deaf');
	$space->delete_session($_, lost => 1) for 'lost-1', 'lost-2', 'lost-3', 'ignored';

	$r->live_through(240);
	is(scalar $r->events('retry'), 0, "nothing is sent while the API's own command is young");
	$r->live_through(60);
	for my $n (1 .. 3)
	{
		$r->wait_for("SELECT count(*) = 1 FROM agent_commands WHERE session_id = 'lost-$n' AND status = 'completed' AND action = 'stop_session'");
		my @rows = $r->rows($stops, "lost-$n");
		is(scalar @rows, 2, "lost-$n: one command more, the hub's");
		is($hub->seen_of("lost-$n")->{accepted}, 2, '... the start and one stop went through it');
		ok(!$hub->runtime("lost-$n"), '... and the runtime is gone');
	}

	my @posts = grep { $_->{path} =~ m{/k8s-1/command$} && $_->{body}{action} eq 'stop_session' } $hub->logged(event => 'request', method => 'POST');
	is(scalar @posts, 3, 'three stops in the log of the hub');
	is_deeply([ map { [ @{ $_->{body} }{qw(sessionId)}, $_->{body}{payload}{sessionId} ] } sort { $a->{body}{sessionId} cmp $b->{body}{sessionId} } @posts ],
		[ map { [ "lost-$_", "lost-$_" ] } 1 .. 3 ], 'each names its session where the API and where the agent read it');
	my @times = sort { $a <=> $b } map { time_of($_->{time}) } @posts;
	cmp_ok($times[$_] - $times[ $_ - 1 ], '>=', 0.5, 'they are apart') for 1, 2;

	my @results = $r->events('retry_result', 'lost-1');
	is_deeply([ map { $_->{reason} } @results ], ['accepted'], 'the result is on record');
	my ($row) = grep { $_->{command_id} !~ /^cmd-lost/ } $r->rows($stops, 'lost-1');

	# Proven, and rested for 30 s since the completion's own time.
	$r->advance(10), $r->pass;
	is($space->state_of('lost-1'), 'terminating', 'a fresh completion rests');
	is($r->stuck('lost-1')->{blocked_by}, 'finalize_rest', '... which is shown');
	$r->live_through(60);
	for my $n (1 .. 3)
	{
		my @finalized = $r->events('finalize', "lost-$n");
		is(scalar @finalized, 1, "lost-$n is finalized once");
		is($finalized[0]{reason}, 'user_requested', '... as the user asked for');
	}
	is($r->one("SELECT count(*) FROM sessions WHERE id LIKE 'lost-%' AND state = 'terminated' AND termination_reason = 'user_requested' AND terminated_at IS NOT NULL"),
		3, 'the rows say so');
	is(scalar $r->events('leftover'), 0, 'nothing is left over');
	is($r->metric('reconciler_forced_total'), 0, 'nothing was forced');

	# The deaf one: tried with growing pauses, then left to a person.
	is($space->state_of('ignored'), 'terminating', 'the ignored one is where it was');
	for (1 .. 40)
	{
		last if $r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'quarantine'");
		$r->live_through(300, 300);
	}
	is_deeply([ map { $_->{reason} } $r->events('quarantine', 'ignored') ], ['timeout'], 'it ends in quarantine');
	is($hub->seen_of('ignored')->{accepted}, 1 + 8, '... after eight stops');
	is($r->one("SELECT count(*) FROM agent_commands WHERE session_id = 'ignored' AND command_id NOT LIKE 'cmd-lost%' AND action = 'stop_session'"), 8,
		'... each a row of the hub');
	my @gaps = $r->column("SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY id)) FROM reconciler.event WHERE kind = 'retry' AND session_id = 'ignored' OFFSET 1");
	is(scalar @gaps, 7, 'seven pauses');
	my @least = map { $_ < 300 ? 300 : $_ } map { 0.8 * ($_ > 900 ? 900 : $_) } map { 60 * 2**$_ } 0 .. 6;
	cmp_ok($gaps[$_], '>=', $least[$_] - 1, "pause $_ is as long as the backoff, and a command's time") for 0 .. 6;

	my $first = $r->row('SELECT * FROM stuck_sessions() LIMIT 1');
	is($first->{session_id}, 'ignored', 'the quarantined come first');
	is($first->{blocked_by}, 'quarantine', '... and say so');
	is($r->metric('reconciler_quarantined'), 1, '... and are counted');
	$r->live_through(3600, 300);
	is($hub->seen_of('ignored')->{accepted}, 1 + 8, 'nothing more is sent');

	# An operator's word ends it.
	$deaf->end;
	wait_until { !$hub->is_connected('k8s-deaf') } 'the deaf agent to be gone';
	my $mended = $space->agent('k8s-deaf');
	$r->do("SELECT retry_session('ignored', 'agent was mended')");
	$r->live_through(120);    # the try may come before the hub knows of the connection, and again after its backoff
	$r->wait_for("SELECT count(*) = 1 FROM agent_commands WHERE session_id = 'ignored' AND status = 'completed' AND action = 'stop_session'");
	$r->live_through(120);
	is($space->state_of('ignored'), 'terminated', 'a try that an operator asks for ends it');
	$hub->end;
};

subtest 'variant A: no completion is ever recorded' => sub {
	my $space = start_platform($r, 'a');
	my $hub = $space->hub;
	my $agent = $space->agent('k8s-1');
	$space->create_session('lost', 'k8s-1');
	$space->delete_session('lost', lost => 1);
	is($r->one("SELECT when_spent FROM reconciler.policy WHERE state = 'terminating'"), 'close_unconfirmed', 'the preset knows');

	for (1 .. 40)
	{
		$r->live_through(60);
		last if $space->state_of('lost') ne 'terminating';
	}
	is($space->state_of('lost'), 'terminated', 'it ends');
	my ($force) = $r->events('force');
	is($force->{reason}, 'stop_unconfirmed', '... unconfirmed');
	is($hub->seen_of('lost')->{accepted}, 1 + 3, '... after three stops');
	is($r->one("SELECT count(*) FROM agent_commands WHERE session_id = 'lost' AND status <> 'pending'"), 0, '... of which none was seen to complete');
	cmp_ok($r->one("SELECT extract(epoch FROM f.at - a.at) FROM reconciler.event f, reconciler.event a WHERE f.kind = 'force' AND a.kind = 'retry_result'"
		  . ' ORDER BY a.id LIMIT 1'), '>=', 900, '... and 15 minutes after the first was accepted');
	is($r->metric('reconciler_forced_total', reason => 'stop_unconfirmed'), 1, 'it is counted as a force');
	$hub->end;
};

$r->node->stop;
done_testing();
