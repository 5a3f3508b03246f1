# While a request is out, nothing of the database is held: no transaction id, no snapshot, no lock on a table. What would
# have to wait for one goes through at once, and so does the end of who waits.
use strict;
use warnings FATAL => 'all';

use DBD::Pg ':async';
use Reconciler;
use Test::More;

my $r = Reconciler->new('in_flight');
$r->do('CREATE DATABASE other');
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub, {}, { total_timeout => '4 min' });
$hub->control(fake_agents => { count => 1 });
$r->wait_for_worker;

my %hold = (look => { method => 'GET' }, command => { method => 'POST' });

sub nothing_is_held
{
	my ($pid, $who) = @_;
	my $activity = $r->row('SELECT * FROM pg_stat_activity WHERE pid = ?', $pid);
	is($activity->{backend_xid}, undef, "$who holds no transaction id");
	is($activity->{backend_xmin}, undef, '... and no snapshot');
	is_deeply([ $r->rows("SELECT locktype, relation::regclass, mode FROM pg_locks WHERE pid = ? AND locktype <> 'virtualxid'", $pid) ], [], '... and no lock');
	return $activity;
}

sub everybody_gets_through
{
	$r->do('CREATE INDEX CONCURRENTLY tried ON sessions (updated_at)');
	$r->do('DROP INDEX CONCURRENTLY tried');
	$r->do('ALTER TABLE sessions ADD COLUMN tried integer');
	$r->do('ALTER TABLE sessions DROP COLUMN tried');
	$r->do('VACUUM FULL sessions');
	pass('indexes, columns and VACUUM FULL do not wait');
	$r->do('DROP DATABASE other');
	$r->do('CREATE DATABASE other');
	pass('DROP DATABASE does not wait');
	return;
}

for my $what ('look', 'command')
{
	subtest "the worker's $what is out" => sub {
		$hub->fault({ match => $hold{$what}, kind => 'never_answer', times => 1 });
		$r->add_session("worker-$what", 'agent-1');
		$r->do('SELECT reconciler.wake_worker()');
		wait_until { $hub->met } 'the request to be out';
		my $worker = $r->worker;
		my $activity = nothing_is_held($worker, 'the worker');
		is($activity->{xact_start}, undef, '... and has no transaction');
		everybody_gets_through();
		is($hub->met, 1, 'all that while the request was out');
		is($r->worker, $worker, '... and the worker the same');
		$r->do('SELECT pg_terminate_backend(?)', $worker);
		$r->wait_for('SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ?', $worker);
		pass('it ends at once when it is told to');
		$hub->fault;
		$r->do('DELETE FROM sessions');
		$r->do('SELECT reconciler.request_worker()');
		$r->wait_for_worker;
	};
}

$r->do('CALL stop_worker()');
for my $what ('look', 'command')
{
	subtest "the $what of a CALL is out" => sub {
		$hub->fault({ match => $hold{$what}, kind => 'never_answer', times => 1 });
		$r->add_session("call-$what", 'agent-1');
		my $caller = $r->connect;
		my $pid = $caller->selectrow_array('SELECT pg_backend_pid()');
		$caller->do('CALL reconcile()', { pg_async => PG_ASYNC });
		wait_until { $hub->met } 'the request to be out';
		nothing_is_held($pid, 'the backend');
		everybody_gets_through();
		ok(!$caller->pg_ready, 'all that while the CALL waited');
		$r->do('SELECT pg_cancel_backend(?)', $pid);
		eval { $caller->pg_result };  # not every DBD::Pg raises what it brings
		is($caller->state, '57014', 'it ends at once when it is cancelled, with the error of a cancel');
		is($caller->selectrow_array('SELECT 1'), 1, '... and the connection lives');
		is($r->one("SELECT count(*) FROM reconciler.episode WHERE lease_until > reconciler.clock() AND last_result <> ''"), 0, '... and no answer was made up');
		$hub->fault;
		$r->do('DELETE FROM sessions');
	};
}

subtest 'inside a transaction it does nothing' => sub {
	$r->add_session('inside', 'agent-1');
	my $db = $r->connect;
	$db->begin_work;
	ok(!eval { $db->do('CALL reconcile()'); 1 }, 'an error');
	is($db->state, '2D000', '... 2D000');
	like($db->errstr, qr/HINT:/, '... with a hint');
	$db->rollback;
	is($r->episode('inside'), undef, '... before anything was done');
};

$r->node->stop;
done_testing();
