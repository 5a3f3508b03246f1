# A token goes to its hub and nowhere else: not into a table, a file of the server, its log, a message or a view, whatever the
# hub says back and however the connection fails; and not to a proxy or another address that the hub or the environment names.
use strict;
use warnings FATAL => 'all';

use DBD::Pg ':async';
use File::Find;
use PostgreSQL::Test::Utils qw(slurp_file);
use Reconciler;
use Reconciler::Hub;
use Test::More;

my $token = 'sesame-7c1f90aa41d3';
my $thief = Reconciler::Hub->start('thief', '--profile', 'standard');
my $r = do {
	local @ENV{qw(http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY no_proxy)} = (($thief->url) x 5, '');
	Reconciler->new('secrets', conf => "log_min_messages = debug2\nlog_error_verbosity = verbose");
};
my $hub = $r->hub('hub', '--profile', 'standard', '--token', $token);
my $secrets = $r->give_tokens($hub);
(my $by_tls = $hub->url) =~ s/^http:/https:/;
sub credentials { Reconciler::write_private("$secrets/credentials.json", ref $_[0] ? encode($_[0]) : $_[0]); return }
sub entry { return { name => 'hub', origin => $hub->url, token_file => 'hub.token', @_ } }
credentials([ entry(), entry(name => 'tls', origin => $by_tls) ]);
$hub->control(fake_agents => { count => 3 });
$r->sessions_at($hub, {}, { command_spacing => '0 s', total_timeout => '2 s' });
$r->do('CALL stop_worker()');
my $sessions = 0;
my @shown;    # what a caller is shown

# One pass over a new stuck session while a fault is on
sub with_fault
{
	my (@faults) = @_;
	$hub->fault(@faults);
	$r->add_session('s' . ++$sessions, 'agent-1');
	pass_and_look();
	$hub->fault;
	return;
}
sub pass_and_look
{
	$r->advance(20);
	for my $call ('CALL reconcile()', "CALL probe_hub('main')")
	{
		my $db = $r->connect;
		local $SIG{__WARN__} = sub { push @shown, @_ };
		$db->{PrintWarn} = 1;
		$db->do('SET client_min_messages = debug1');
		eval { $db->do($call); 1 } or push @shown, $@;
	}
	return;
}
sub json_with { my (%body) = @_; return (content_type => 'application/json', body => encode(\%body)) }

subtest 'where it may go' => sub {
	$r->add_session('first', 'agent-1');
	pass_and_look();
	is($hub->seen_of('first')->{accepted}, 1, 'the hub takes it');
	with_fault({ kind => 'redirect ' . $thief->url . "/v1/agents?token=$token" });
	with_fault({ kind => 'redirect http://169.254.169.254/latest/meta-data', value => 307 });
	is_deeply([ $thief->logged(event => 'request') ], [], 'neither a proxy of the environment nor a redirect leads elsewhere');
};

subtest 'a hub that repeats it' => sub {
	my $echo = "Authorization: Bearer $token is not known";
	for my $status (400, 401, 403, 404, 409, 410, 422, 429, 500, 503)
	{
		with_fault({ kind => "status $status", json_with(error => { code => $token, message => $echo }) });
	}
	with_fault({ kind => 'status 500', content_type => 'text/html', body => "<html>$echo</html>" });
	with_fault({ match => { method => 'POST' }, kind => 'status 400', json_with(error => { code => 'invalid_request', message => $echo }) });
	with_fault({ match => { method => 'POST' }, kind => 'status 202', json_with(command_id => $token, status => 'accepted') });
	# Accepted, and then failed by the agent with words of its own
	with_fault();
	with_fault({ match => { method => 'GET', path_prefix => '/v1/commands/' }, kind => 'status 200', json_with(status => 'failed', error => $echo) });
	with_fault({ match => { method => 'GET', path_prefix => '/v1/agents' }, kind => 'status 200',
		json_with(hub => { instance_id => $token, started_at => '2020-01-01T00:00:00Z', scope => 'fleet' }, complete => JSON::PP::true, next => undef,
			agents => [ { id => 'agent-1', status => 'connected', incarnation => $token } ]) });
	pass('asked');
};

subtest 'a connection that fails' => sub {
	$r->set_hub('main', $by_tls);
	pass_and_look();
	like(join(' ', @shown), qr/TLS/, 'no TLS');
	$r->set_hub('main', 'http://127.0.0.1:1');
	pass_and_look();
	$r->set_hub('main', $hub->url);
	with_fault({ kind => 'reset' });
	with_fault({ kind => 'half_body' });
	with_fault({ kind => 'garbage' });
	pass('asked');
};

subtest 'files that are wrong' => sub {
	for my $wrong ("[{\"name\": \"hub\", \"token\": \"$token\"", [ entry(token => $token) ], [ entry(origin => "http://me:$token\@127.0.0.1:1") ], "$token\n")
	{
		credentials($wrong);
		pass_and_look();
		push @shown, $r->error("SELECT set_hub('other', 'http://127.0.0.1:9')"), $r->one("SELECT string_agg(p::text, ' ') FROM preflight() p");
	}
	credentials([ entry() ]);
	for my $bad ("$token with a space", "$token\r\nX-Evil: 1", "$token\0")
	{
		Reconciler::write_private("$secrets/hub.token", $bad);
		pass_and_look();
	}
	Reconciler::write_private("$secrets/hub.token", "$token\n");
	chmod 0666, "$secrets/hub.token";
	pass_and_look();
	chmod 0600, "$secrets/hub.token";
	like(join(' ', @shown), qr/credentials file/, 'each is complained of');
};

subtest 'where it is not' => sub {
	# While it is under way, too
	$hub->fault({ kind => 'never_answer', times => 1 });
	my $caller = $r->connect;
	$caller->do('CALL reconcile()', { pg_async => PG_ASYNC });
	wait_until { $hub->met } 'the request to be out';
	push @shown, $r->one("SELECT string_agg(a::text, ' ') FROM pg_stat_activity AS a");
	$caller->pg_result;
	$r->advance(3600), pass_and_look();
	cmp_ok($hub->seen_of('s1')->{accepted}, '>=', 1, 'it works again');

	is_deeply([ grep { /sesame/ } map { split /\n/ } @shown ], [], 'messages to the caller, activity');
	for my $view ('pg_settings', 'pg_file_settings', 'pg_prepared_statements', 'reconciler_status()', 'reconciler_metrics()', 'preflight()', 'stuck_sessions()', 'reconcile_plan()', "explain_session('s1')", 'session_coverage()')
	{
		unlike($r->one("SELECT string_agg(v::text, ' ') FROM $view AS v"), qr/sesame/, $view);
	}
	for my $table ($r->column("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('reconciler', 'public')"))
	{
		is($r->one("SELECT string_agg(t::text, ' ') FROM $table AS t WHERE t::text ~ ('ses' || 'ame')"), undef, $table);
	}
	is_deeply([ grep { /sesame/ } split /\n/, slurp_file($r->node->logfile) ], [], 'the log');
	$r->node->stop;
	my @with_it;
	find({ no_chdir => 1, wanted => sub { -f && slurp_file($_) =~ /sesame/ and push @with_it, $_ } }, $r->node->data_dir);
	is_deeply(\@with_it, [], 'no file of the server, its WAL included');
};

done_testing();
