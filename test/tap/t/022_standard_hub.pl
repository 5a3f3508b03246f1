# Commands to a hub of the profile standard: what each answer means for the next try, and that a command whose outcome
# is not known keeps its key, so that the hub executes it once however often it has to be told.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Test::More;

my $r = Reconciler->new('standard_hub', preload => '');    # passes by CALL, one at a time
my $hub = $r->hub('hub', '--profile', 'standard', '--token', 'a-secret-token');
my $elsewhere = $r->hub('elsewhere', '--profile', 'standard');
$r->give_tokens($hub);
$r->sessions_at($hub, {}, { total_timeout => '700 ms', command_spacing => '0 s' });
$hub->control(fake_agents => { count => 1 });              # agent-1: connected, accepts, never completes

sub fault_for
{
	my ($session, $kind, %more) = @_;
	return { match => { method => 'POST', body_contains => "\"$session\"" }, kind => $kind, %more };
}

subtest 'what each answer means' => sub {
	my $code = sub { return { content_type => 'application/json', body => encode({ error => { code => $_[0], message => 'no' } }) } };
	#  session    its answer                                                        outcome         counts  keeps its key
	my @cases = (
		[ 'fine',     undef,                                                          'accepted',      1, 0 ],
		[ 'away',     [ 'status 409', %{ $code->('agent_not_connected') } ],          'not_connected', 0, 1 ],
		[ 'whose',    [ 'status 404', %{ $code->('agent_not_found') } ],              'unknown_agent', 0, 1 ],
		[ 'gone',     [ 'status 410', %{ $code->('session_gone') } ],                 'session_gone',  0, 0 ],
		[ 'bad',      [ 'status 400', %{ $code->('invalid_request') } ],              'rejected',      1, 0 ],
		[ 'many',     [ 'status 429', retry_after => 900, %{ $code->('slow_down') } ], 'busy',          0, 1 ],
		[ 'later',    [ 'status 503', retry_after => 900, %{ $code->('starting') } ], 'busy',          0, 1 ],
		[ 'broken',   [ 'status 503' ],                                               'unclear',       0, 1 ],
		[ 'error',    [ 'status 500' ],                                               'unclear',       0, 1 ],
		[ 'moved',    [ 'redirect ' . $elsewhere->url . '/v1/agents/agent-1/commands' ], 'unclear',    0, 1 ],
		[ 'html',     ['garbage'],                                                    'unclear',       0, 1 ],
		[ 'yes',      ['ok_to_all'],                                                  'unclear',       0, 1 ],
		[ 'health',   ['wrong_json'],                                                 'unclear',       0, 1 ],
	);
	$r->add_session($_->[0], 'agent-1') for @cases;
	$hub->fault(map { fault_for($_->[0], @{ $_->[1] }) } grep { $_->[1] } @cases);
	$r->pass;

	for my $case (@cases)
	{
		my ($session, undef, $outcome, $counts, $keeps) = @$case;
		my $episode = $r->episode($session);
		like($episode->{last_result}, qr/^$outcome\b/, "$session: $outcome");
		is($episode->{attempts}, $counts, $counts ? '... counts as a try' : '... does not count as a try');
		is(defined $episode->{command_id} ? 1 : 0, $keeps, $keeps ? '... keeps its key' : '... and the next try is another command');
		ok(!$episode->{lease_until}, '... and its lease is over');
	}
	is_deeply([ $elsewhere->logged(event => 'request') ], [], 'no redirect is followed');
	is(scalar $r->events('force'), 0, 'no answer forces anything');

	for my $session ('many', 'later')
	{
		cmp_ok($r->one('SELECT extract(epoch FROM next_attempt - last_attempt) FROM reconciler.episode WHERE session_id = ?', $session), '>=', 900, "$session: Retry-After is kept");
	}
	my @away = grep { $_->{body}{session_id} eq 'away' } $hub->logged(event => 'request', method => 'POST');
	cmp_ok(scalar @away, '>', 1, 'not connected, though the hub lists it: tried again at once');
	is($hub->seen_of('away')->{distinct_keys}, 1, '... with the same key');
	my %connections = map { $_->{connection} => 1 } @away;
	is(scalar keys %connections, scalar @away, '... each time on another connection: a load balancer may know better');

	# A token that is refused once is not shown again in that pass: what else is due waits.
	$r->add_session('denied', 'agent-1');
	$hub->fault(fault_for('denied', 'status 401', %{ $code->('unauthorized') }));
	$r->pass;
	like($r->episode('denied')->{last_result}, qr/^unauthorized\b/, 'denied: unauthorized');
	is($r->episode('denied')->{attempts}, 0, '... does not count as a try');
	ok($r->episode('denied')->{command_id}, '... keeps its key');

	# The hub's word that a session is gone closes it, after its rest.
	$hub->fault;
	is($r->state_of('gone'), 'terminating', 'gone: rests');
	$r->advance(31), $r->pass;
	is($r->state_of('gone'), 'terminated', '... and is closed');
	is_deeply([ map { [ @$_{qw(kind reason)} ] } $r->rows("SELECT kind, reason FROM reconciler.event WHERE session_id = 'gone' AND to_state IS NOT NULL") ],
		[ [ 'finalize', 'user_requested' ] ], '... as proven');
	$r->do('DELETE FROM sessions');
};

subtest 'an outcome that is not known' => sub {
	# The first takes the connection that is kept from the question about the agents, and libcurl sends again by itself
	# what such a connection loses before the answer begins (the next subtest): so not the reset.
	my @lost = qw(half_body reset never_answer);
	$r->add_session("lost-$_", 'agent-1') for @lost;
	$hub->fault(map { fault_for("lost-$_", $_, executes => JSON::PP::true, times => 1) } @lost);
	$r->pass;
	my %key;
	for my $kind (@lost)
	{
		my $episode = $r->episode("lost-$kind");
		like($episode->{last_result}, qr/^unknown\b/, "$kind: the outcome is unknown");
		is($episode->{attempts}, 0, '... which is no try that counts');
		$key{$kind} = $episode->{command_id};
		ok($key{$kind}, '... and the key is kept');
		is(scalar $hub->commands_of("lost-$kind"), 1, '... though the hub has it');
	}
	# Lost once more, then answered: the backoff runs, the key stays.
	$hub->fault(map { fault_for("lost-$_", $_, times => 1) } @lost);
	$r->advance(75), $r->pass;
	$r->advance(150), $r->pass;
	for my $kind (@lost)
	{
		my $episode = $r->episode("lost-$kind");
		like($episode->{last_result}, qr/^accepted\b/, "$kind: accepted in the end");
		is($episode->{attempts}, 1, '... one try in all');
		my $seen = $hub->seen_of("lost-$kind");
		is($seen->{posts}, 3, '... told three times');
		is($seen->{distinct_keys}, 1, '... with one key');
		my @commands = $hub->commands_of("lost-$kind");
		is_deeply([ map { [ $_->{idempotency_key}, $_->{command_id} ] } @commands ], [ [ $key{$kind}, $key{$kind} ] ], '... executed once, and it is that one');
	}
	$hub->fault;
	$r->do('DELETE FROM sessions');
};

subtest 'a connection that closes before the answer' => sub {
	# libcurl sends again by itself on a connection that it had kept: the key makes that harmless.
	$r->add_session('closed', 'agent-1');
	$hub->fault(fault_for('closed', 'close_before_headers', executes => JSON::PP::true, times => 1));
	$r->live_through(150, 75);
	like($r->episode('closed')->{last_result}, qr/^accepted\b/, 'accepted, sooner or later');
	is($hub->seen_of('closed')->{distinct_keys}, 1, '... with one key');
	is(scalar $hub->commands_of('closed'), 1, '... executed once');
	$hub->fault;
	$r->do('DELETE FROM sessions');
};

subtest 'a command that is done, and one that failed' => sub {
	$hub->control(fake_agents => { ids => ['agent-2'], complete_after_ms => 0 });
	$r->add_session('done', 'agent-2');
	$r->pass;
	wait_until { grep { $_->{status} eq 'completed' } $hub->commands_of('done') } 'the agent to complete';
	$r->advance(60), $r->pass;
	is_deeply([ map { $_->{reason} } $r->events('retry_result', 'done') ], [ 'accepted', 'completed' ], 'the hub is asked what became of it');
	$r->advance(60), $r->pass;
	is($r->state_of('done'), 'terminated', 'and the session is closed');
	is(scalar $r->events('finalize', 'done'), 1, '... once, as proven');

	my $agent = $hub->agent('agent-3', '--fail-stops', 'volume is busy');
	$r->add_session('failing', 'agent-3');
	$r->pass;
	wait_until { grep { $_->{status} eq 'failed' } $hub->commands_of('failing') } 'the agent to fail';
	$r->advance(30), $r->pass;
	like($r->stuck('failing')->{last_result}, qr/^failed: volume is busy/, "an agent's error is shown");
	is($hub->seen_of('failing')->{distinct_keys}, 1, '... not yet tried again');
	$r->advance(60), $r->pass;
	is($hub->seen_of('failing')->{distinct_keys}, 2, '... and the next try is another command');
	is($r->state_of('failing'), 'terminating', '... nothing is closed for it');
};

$r->node->stop;
done_testing();
