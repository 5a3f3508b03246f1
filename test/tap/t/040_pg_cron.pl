# Without a worker: pg_cron calls reconcile(), on a server that does not preload our library. And beside a worker: what
# both do at the same time is done once.
#
# The one wait in these tests that a moved clock cannot shorten: pg_cron ticks on the minute. All jobs wait for the same
# tick.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Test::More;

# Its jobs come over a connection, as a client's would, or run in background workers.
my %how = (
	socket  => 'cron.use_background_workers = off',
	workers => 'cron.use_background_workers = on',
	both    => 'cron.use_background_workers = on');

sub server
{
	my ($name) = @_;
	my $r = Reconciler->new("cron_$name", preload => $name eq 'both' ? 'pg_cron,session_reconciler' : 'pg_cron', extension => 0, conf => $how{$name});
	if ($name eq 'socket')
	{
		$r->node->append_conf('postgresql.conf', "cron.host = '" . $r->node->host . "'");
		$r->node->restart;
	}
	$r->do('CREATE EXTENSION pg_cron');
	$r->do('CREATE EXTENSION session_reconciler');
	my $hub = $r->hub("hub_$name", '--profile', 'standard');
	$r->sessions_at($hub, {}, { command_spacing => '0 s' });
	$hub->control(fake_agents => { count => 30 });
	$hub->control(fake_agents => { ids => ['agent-lost'], status => 'disconnected' });
	# Gone for nearly long enough, by looks of CALLs from here: the tick's look is the last one.
	$r->add_session('lost', 'agent-lost');
	$r->wait_for_worker if $name eq 'both';
	$r->live_through(600);
	is($r->state_of('lost'), 'terminating', "$name: gone, not for long enough");
	$r->advance(60);
	return { name => $name, r => $r, hub => $hub };
}

my @servers = map { server($_) } 'socket', 'workers', 'both';
for my $s (@servers)
{
	my ($r, $hub) = @$s{qw(r hub)};
	$hub->control(latency => { ms => 200 });                           # passes overlap
	$r->add_session("s$_", "agent-$_") for 1 .. 30;
	$r->do("SELECT cron.schedule('reconcile', '* * * * *', 'CALL reconcile()')");
}
my $running = "SELECT count(*) > 0 FROM cron.job_run_details WHERE command = 'CALL reconcile()'";
for my $s (reverse @servers)
{
	my $r = $s->{r};
	$r->wait_for($running);
	$r->do('SELECT reconciler.wake_worker()') if $s->{name} eq 'both';    # at the same time
}

for my $s (@servers)
{
	my ($name, $r, $hub) = @$s{qw(name r hub)};
	$r->wait_for("SELECT count(*) > 0 FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')");
	is($r->one('SELECT status FROM cron.job_run_details ORDER BY runid LIMIT 1'), 'succeeded', "$name: the job succeeded")
	  or diag $r->one('SELECT return_message FROM cron.job_run_details ORDER BY runid LIMIT 1');
	$r->do("SELECT cron.unschedule('reconcile')");
	$r->wait_for("SELECT count(*) = 0 FROM reconciler.pass");                  # nobody is at it any more
	is(defined $r->worker, $name eq 'both', $name eq 'both' ? '... beside a worker' : '... where there is no worker');
	is($r->state_of('lost'), 'terminated', '... the orphan is closed');
	is(scalar $r->events('force', 'lost'), 1, '... once');
	is($r->metric('reconciler_forced_total'), 1, '... and counted once');
	is($r->one("SELECT count(*) FROM reconciler.episode WHERE last_result LIKE 'accepted%'"), 30, '... the stops are sent');
	my $seen = $hub->control('log-counts');
	is_deeply([ map { $seen->{$_} } qw(posts accepted distinct_keys) ], [ 30, 30, 30 ], '... each once');
	is($r->one("SELECT count(*) || ' ' || count(DISTINCT session_id) FROM reconciler.event WHERE kind = 'retry'"), '30 30', '... one event each');
	is($r->one("SELECT count(*) || ' ' || count(DISTINCT session_id) FROM reconciler.event WHERE kind = 'retry_result'"), '30 30', '... and one result');
}
cmp_ok($servers[2]{r}->one('SELECT last_value FROM reconciler.pass_id'), '>', 1, 'worker and cron had passes of their own');

$_->{r}->node->stop for @servers;
done_testing();
