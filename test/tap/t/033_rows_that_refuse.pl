# A row that cannot be written: it is set aside alone, and the others are closed. Who cancels a CALL, or gave it a
# statement_timeout, wants the CALL to end, and no row to be blamed for it.
use strict;
use warnings FATAL => 'all';

use DBD::Pg ':async';
use Reconciler;
use Test::More;

my $r = Reconciler->new('refuse');
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub, {});
$r->do(<<'END_SQL');
CREATE FUNCTION on_closing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  CASE old.id
    WHEN 'hangs', 'lingers' THEN PERFORM pg_sleep(300);
    WHEN 'misses' THEN PERFORM FROM notes;
    WHEN 'mistakes' THEN UPDATE sessions SET note = '' WHERE id = old.id;
    WHEN 'raises' THEN RAISE EXCEPTION 'not this one';
    WHEN 'cancels' THEN RAISE EXCEPTION 'not that one' USING ERRCODE = 'query_canceled';
    ELSE NULL;
  END CASE;
  RETURN new;
END $$;
CREATE TRIGGER on_closing BEFORE UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION on_closing();
END_SQL

# Sessions that the next pass closes: they name no agent, and were first seen long enough ago.
sub due
{
	$r->do('DELETE FROM sessions');
	$r->add_session($_, undef) for @_;
	$r->pass;
	$r->advance(660);
	return;
}

sub set_aside { return join ' ', $r->column("SELECT session_id FROM reconciler.event WHERE kind = 'quarantine' ORDER BY id") }
sub left { return join ' ', $r->column("SELECT id FROM sessions WHERE state = 'terminating' ORDER BY id") }

sub in_trigger
{
	my ($who) = @_;
	return $r->wait_for("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = ?", $who);
}

$r->do('CALL stop_worker()');

subtest 'a trigger raises' => sub {
	due('a', 'cancels', 'raises', 'z');
	$r->pass;
	is(left(), 'cancels raises', 'the others are closed');
	is(set_aside(), 'cancels raises', 'those that it refused are set aside, also where its error looks like a cancel');
	my ($event) = $r->events('quarantine', 'raises');
	is($event->{evidence}{error}{message}, 'not this one', '... with the reason');
	my $stuck = $r->stuck('raises');
	is($stuck->{blocked_by}, 'quarantine', 'stuck_sessions() shows that');
	like($stuck->{reason}, qr/its row could not be written 00:00:\d\d ago: not this one$/, '... with the reason');
	is($r->one('SELECT ?::timestamptz - quarantined FROM reconciler.episode WHERE session_id = ?', $stuck->{next_action_at}, 'raises'), '01:00:00', '... and when it is tried again');
	$r->pass;
	is(scalar $r->events('quarantine', 'raises'), 1, 'not with every pass');
	$r->do("SELECT retry_session('raises', 'mended')");
	$r->pass;
	is(scalar $r->events('quarantine', 'raises'), 2, 'but when an operator says so');
	$r->do("DELETE FROM sessions WHERE id IN ('raises', 'cancels')");
};

subtest 'somebody has locked a row' => sub {
	due('a', 'z');
	my $other = $r->connect;
	$other->begin_work;
	$other->do("SELECT FROM sessions WHERE id = 'a' FOR UPDATE");
	$r->do("SET session_reconciler.lock_timeout = '50 ms'");
	$r->pass;
	is(left(), 'a', 'the others are closed');
	my $stuck = $r->stuck('a');
	is($stuck->{blocked_by}, 'lock', 'stuck_sessions() shows what holds this one');
	like($stuck->{reason}, qr/somebody else had locked its row/, '... in words');
	ok(defined $stuck->{next_action_at}, '... and that it is tried again');
	$other->rollback;
	$r->pass;
	is(left(), '', 'then it is closed');
};

subtest 'somebody has locked the table' => sub {
	due(map { "s$_" } 1 .. 9);
	my $other = $r->connect;
	$other->begin_work;
	$other->do('LOCK TABLE sessions IN SHARE MODE');
	$r->pass;
	is($r->one('SELECT count(*) FROM reconciler.episode WHERE write_locked IS NOT NULL'), 5, 'after a few rows the rest is left to the next pass');
	$other->rollback;
	$r->pass;
	is(left(), '', 'which closes them all');
};

subtest 'a trigger misses a table, and a column' => sub {
	for my $row ('misses', 'mistakes')
	{
		due('a', $row, 'z');
		$r->pass;
		is(left(), $row, 'the others are closed');
		like(($r->events('quarantine', $row))[0]{evidence}{error}{message}, qr/does not exist$/, '... and it is set aside, with the reason');
		is($r->one('SELECT mode FROM reconciler.binding'), 'enforce', '... the table is not broken');
	}
};

subtest 'a CALL of a session without a statement_timeout has that of the reconciler' => sub {
	due('a', 'lingers', 'z');
	$r->do("SET session_reconciler.statement_timeout = '1 s'");
	$r->pass for 1, 2;    # one timeout a batch: what comes after that row is the next pass' matter
	is(left(), 'lingers', 'the others are closed');
	is(($r->events('quarantine', 'lingers'))[0]{evidence}{error}{sqlstate}, '57014', '... and what hangs is set aside');
	is($r->one('SELECT pg_sleep(1.2) IS NOT NULL'), 1, 'after the CALL it limits nothing');
	$r->do('RESET session_reconciler.statement_timeout');
};

my $blamed = set_aside();
subtest 'a person cancels the CALL' => sub {
	due('a', 'hangs', 'z');
	my $caller = $r->connect;
	my $pid = $caller->selectrow_array('SELECT pg_backend_pid()');
	$caller->do('CALL reconcile()', { pg_async => PG_ASYNC });
	in_trigger($pid);
	$r->do('SELECT pg_cancel_backend(?)', $pid);
	eval { $caller->pg_result };  # not every DBD::Pg raises what it brings
	is($caller->state, '57014', 'it ends, as cancelled');
	is(left(), 'a hangs z', 'nothing is written');
	is(set_aside(), $blamed, '... and no row is blamed');
};

subtest "the session's statement_timeout ends the CALL" => sub {
	my $caller = $r->connect;
	$caller->do("SET statement_timeout = '1 s'");
	ok(!eval { $caller->do('CALL reconcile()'); 1 }, 'it ends');
	is($caller->state, '57014', '... as cancelled');
	is(left(), 'a hangs z', 'nothing is written');
	is(set_aside(), $blamed, '... and no row is blamed');
};

subtest "the worker's own statement_timeout finds the row that hangs" => sub {
	$r->node->append_conf('postgresql.conf', "session_reconciler.statement_timeout = '1 s'");
	$r->node->reload;
	$r->do('SELECT reconciler.request_worker()');
	$r->wait_for_worker;
	$r->wait_for("SELECT count(*) = 1 FROM sessions WHERE state = 'terminating'");
	is(left(), 'hangs', 'the others are closed');
	$r->wait_for("SELECT count(*) = 1 FROM reconciler.event WHERE kind = 'quarantine' AND session_id = 'hangs'");
	my ($event) = $r->events('quarantine', 'hangs');
	is($event->{evidence}{error}{sqlstate}, '57014', 'it is set aside, with the reason');
	is($r->one("SELECT last_error FROM reconciler.binding_state"), '', 'and the pass ended well');
};

subtest 'a person cancels the worker' => sub {
	$r->node->append_conf('postgresql.conf', "session_reconciler.statement_timeout = '10 min'");
	$r->node->reload;
	$r->wait_for("SELECT current_setting('session_reconciler.statement_timeout') = '10min'");
	due('b', 'hangs');
	$r->do('SELECT reconciler.wake_worker()');
	my $worker = $r->worker;
	in_trigger($worker);
	$r->do('SELECT pg_cancel_backend(?)', $worker);
	$r->wait_for("SELECT last_error ~ 'canceling statement' FROM reconciler.binding_state");
	is(scalar $r->events('quarantine', 'hangs'), 1, 'no row is blamed');
	is($r->worker, $worker, 'the worker stays');
	$r->do('DROP TRIGGER on_closing ON sessions');
};

$r->node->stop;
done_testing();
