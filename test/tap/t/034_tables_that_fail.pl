# One table's passes fail, and go on failing: it is tried again less and less often, the log says so once, and the other
# tables have their passes when they are due. One that gets another owner meanwhile has not failed.
use strict;
use warnings FATAL => 'all';

use DBD::Pg ':async';
use JSON::PP;
use Reconciler;
use Test::More;

my $r = Reconciler->new('fail', conf => "session_reconciler.lock_timeout = '50 ms'\n");
my $hub = $r->hub('hub', '--profile', 'standard');
# Nobody can say whether the agent is there: a session of it is looked at again every second.
$hub->fault({ match => {}, kind => 'status 503' });
$r->sessions_at($hub, { observation_spacing => '1 s' });
$r->do("CREATE TABLE $_ (LIKE sessions INCLUDING ALL)") for qw(locked also_locked);
$r->attach($_, 'standard', { mode => 'enforce', hub => 'main' }) for qw(locked also_locked);
$r->wait_for_worker;

my $last_pass = 'SELECT last_pass_at FROM reconciler.binding JOIN reconciler.binding_state USING (binding_id) WHERE table_name = ?';
sub log_lines { my ($pattern) = @_; return scalar grep { /$pattern/ } split /\n/, PostgreSQL::Test::Utils::slurp_file($r->node->logfile) }

my $other = $r->connect;
$other->begin_work;
$other->do("LOCK TABLE $_") for qw(locked also_locked);
$r->pass;
$r->add_session('waiting', 'agent-1');
$r->do('SELECT reconciler.wake_worker()');

my (%passes, %seen);
for my $pass (1 .. 8)
{
	$r->wait_for("SELECT last_pass_at IS DISTINCT FROM ? FROM reconciler.binding_state JOIN reconciler.binding USING (binding_id) WHERE table_name = 'sessions'", $seen{sessions});
	for my $table (qw(sessions locked also_locked))
	{
		my $at = $r->one($last_pass, $table);
		++$passes{$table} if $at ne ($seen{$table} // '');
		$seen{$table} = $at;
	}
}
is($passes{sessions}, 8, 'the other table has its passes');
cmp_ok($passes{$_}, '<', 6, "$_ pauses") for qw(locked also_locked);
is(log_lines(qr/WARNING: .*table public\.$_: canceling statement due to lock timeout/), 1, "the log says once that $_ fails") for qw(locked also_locked);

$other->rollback;
wait_until { $r->do('SELECT reconciler.wake_worker()'); log_lines(qr/table public\.\w+ works again/) == 2 } 'both to work again';
pass('woken, the worker tries them soon, and says that they work again');

subtest 'a table is given to another owner while a pass waits for the hub' => sub {
	$r->do('CREATE DATABASE given'), $r->use_database('given');
	$r->do('CREATE EXTENSION session_reconciler');
	$r->do("CREATE ROLE $_"), $r->do("GRANT ALL ON SCHEMA public TO $_") for 'seller', 'buyer';
	my $slow = $r->hub('slow', '--profile', 'standard');
	my $agent = $slow->agent('agent-1');
	$r->sessions_at($slow, { disconnect_cleanup => JSON::PP::true, observation_spacing => '1 s', policies => { terminating => { no_agent => 'close' } } });
	$r->wait_for_worker;
	$r->do('CALL stop_worker()');
	$r->pass;
	for my $case ([ 'retried', 'agent-1' ], [ 'closed', undef ])
	{
		my ($id, $agent_id) = @$case;
		$r->do('DELETE FROM sessions'), $r->do('ALTER TABLE sessions OWNER TO seller');
		$r->add_session('asked about', 'agent-1', state => $id eq 'closed' ? 'terminating' : 'running');
		$r->add_session($id, $agent_id);
		$r->pass if $id eq 'closed';    # no_agent counts from our first sight
		$r->advance(660);
		$slow->fault({ match => { method => 'GET' }, kind => 'delay_ms 1500', times => 1 });
		my $caller = $r->connect;
		$caller->do('CALL reconcile()', { pg_async => PG_ASYNC });
		wait_until { $slow->met } 'the request to be out';
		$r->do('ALTER TABLE sessions OWNER TO buyer');
		eval { $caller->pg_result };
		$slow->fault;
		is($r->one('SELECT mode FROM reconciler.binding'), 'enforce', "$id: the table is not broken");
		is(scalar $r->events('quarantine'), 0, '... and no row is set aside');
		$r->pass;
		is($id eq 'closed' ? $r->state_of($id) : $r->episode($id)->{accepted}, $id eq 'closed' ? 'terminated' : 1, '... and the next pass does as the new owner may');
	}
};

$r->node->stop;
done_testing();
