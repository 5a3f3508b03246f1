# Hubs and networks that break while sessions run: no healthy session is touched, and what is truly lost ends in the end.
# The policies that act on inference are on.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Reconciler::Process;
use Test::More;

my $r = Reconciler->new('broken_hubs', preload => '');    # passes by CALL, one at a time

# A database of its own: a hub with $agents agents, and one running session on each. Other hubs are replicas beside it.
sub platform
{
	my ($name, $agents, @replicas) = @_;
	my $hub = $r->hub($name, '--profile', 'standard', @replicas ? ('--scope', 'instance') : ());
	$r->do("CREATE DATABASE $name");
	$r->use_database($name);
	$r->do('CREATE EXTENSION session_reconciler');
	$r->sessions_at([ $hub, @replicas ], { instance_grace => '120 s' }, { total_timeout => '300 ms', connect_timeout => '300 ms', command_spacing => '0 s' });
	$r->do("UPDATE reconciler.policy SET enabled = true WHERE state IN ('running', 'hibernated')");
	fleet($hub, 'connected', 1 .. $agents);
	$r->do('INSERT INTO sessions (id, state, agent_id, created_at, updated_at) SELECT \'s\' || a, \'running\', \'a\' || a, '
		  . $r->now . ", " . $r->now . " FROM generate_series(1, $agents) AS a");
	$r->live_through(120);
	return $hub;
}

sub fleet { my ($hub, $status, @numbers) = @_; $hub->control(fake_agents => { ids => [ map { "a$_" } @numbers ], status => $status }); return }
sub alive { return $r->one("SELECT count(*) FROM sessions WHERE state = 'running'") }
my $list = { method => 'GET', path_prefix => '/v1/agents' };

subtest 'a hub restarts with 1,000 agents and an empty map' => sub {
	my $hub = platform('restart', 1000);
	$hub->control(restart => { keep_known => JSON::PP::false });
	fleet($hub, 'disconnected', 1 .. 1000);
	$r->live_through(60, 10);
	is(alive(), 1000, 'a minute with nobody in it: none is touched');
	fleet($hub, 'connected', 1 .. 400);
	$r->live_through(60, 10);
	fleet($hub, 'connected', 401 .. 999);
	$r->live_through(300, 30);
	is(alive(), 999, 'all but the one whose agent never came back are there');
	is($r->state_of('s1000'), 'terminated', '... which is closed in the end');
	is($r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'brake_tripped'"), 0, 'its grace was enough: no brake had to hold');
	$hub->end;
};

subtest 'a hub is down for twenty minutes' => sub {
	my $hub = platform('down', 20);
	fleet($hub, 'disconnected', 7);
	$r->advance(10), $r->pass;
	$hub->fault({ match => $list, kind => 'status 503' });
	$r->live_through(1200, 60);
	is(alive(), 20, 'nothing is closed meanwhile');
	is($r->stuck('s7')->{agent_evidence}, 'unknown', '... nor known') if $r->stuck('s7');
	$hub->fault;
	$r->advance(10), $r->pass;
	is(alive(), 20, 'gone time starts again');
	$r->live_through(100, 20);
	is(alive(), 20, '... and a hub that was silent for so long has its grace like a new one');
	$r->live_through(60, 20);
	is(alive(), 19, '... and ends what was lost');
	is($r->state_of('s7'), 'terminated', '... and nothing else');
	$hub->end;
};

subtest 'one timeout a minute for an hour' => sub {
	my $hub = platform('timeouts', 10);
	fleet($hub, 'disconnected', 3);
	for (1 .. 60)
	{
		$hub->fault({ match => $list, kind => 'never_answer', times => 1 });
		$r->advance(20), $r->pass;
		$hub->fault;
		$r->advance(20), $r->pass, $r->advance(20), $r->pass;
	}
	is($r->state_of('s3'), 'terminated', 'a dead agent is dead all the same');
	is(alive(), 9, '... and the others live');
	$hub->end;
};

subtest 'answers that are none' => sub {
	my $hub = platform('nonsense', 10);
	for my $kind ('ok_to_all', 'wrong_json', 'garbage', 'half_body', 'big_body 3000000', 'delay_ms 1000', 'reset', 'status 401', 'status 404')
	{
		$hub->fault({ match => $list, kind => $kind });
		$r->live_through(180, 60);
		is(alive(), 10, "$kind proves nothing");
	}
	$hub->fault;
	$r->live_through(120, 60);
	is(alive(), 10, 'and nothing of it is left');
	$hub->end;
};

subtest 'two replicas, of which one answers 503' => sub {
	my $sick = $r->hub('sick', '--profile', 'standard', '--scope', 'instance');
	my $well = platform('replicas', 10, $sick);
	fleet($sick, 'connected', 6 .. 10);
	fleet($well, 'disconnected', 6 .. 10);    # where they were once
	$r->live_through(60, 30);
	$sick->fault({ kind => 'status 503', match => { path_prefix => '/v1' } });
	fleet($well, 'disconnected', 3);
	$r->live_through(1200, 60);
	is(alive(), 10, 'none is touched in twenty minutes: those whom the other one does not hold may be there');
	$sick->fault;
	$r->live_through(300, 30);
	is($r->state_of('s3'), 'terminated', 'when both answer, who is held by neither is closed');
	is(alive(), 9, '... and nobody else');
	$_->end for $well, $sick;
};

subtest 'updated_at is bumped every 20 seconds by a browser' => sub {
	my $hub = platform('bumped', 5);
	$r->add_session('orphan', 'a4', age => '0 s');
	fleet($hub, 'disconnected', 4);
	for (1 .. 36)
	{
		$r->do("UPDATE sessions SET updated_at = reconciler.clock() WHERE id = 'orphan'");
		$r->advance(20), $r->pass;
	}
	is($r->state_of('orphan'), 'terminated', 'an orphan is closed after its ten minutes');
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'running'"), 4, '... and only it, and the session of its agent');
	$hub->end;
};

subtest 'the clock of the database is stepped' => sub {
	my $hub = platform('stepped', 10);
	$r->advance(3600), $r->pass, $r->live_through(120, 30);
	is(alive(), 10, 'an hour ahead: nothing is closed');
	fleet($hub, 'disconnected', 2);
	$r->advance(10), $r->pass;
	$r->advance(-3600), $r->pass, $r->advance(10), $r->pass;
	is(alive(), 10, 'an hour back: nothing is closed either');
	$r->live_through(300, 20);
	is($r->state_of('s2'), 'terminated', 'what is lost is closed by the time that passes then');
	is(alive(), 9, '... and nothing else');
	$hub->end;
};

subtest 'the application writes the table while a batch is forced' => sub {
	my $hub = platform('busy', 200);
	$r->do('ALTER TABLE sessions ADD COLUMN touched bigint NOT NULL DEFAULT 0');
	fleet($hub, 'disconnected', 1 .. 100);
	$r->live_through(60, 20);
	is($r->one('SELECT brake_tripped_at IS NOT NULL FROM reconciler_status()'), 1, 'so many have to be let through');
	$r->one("SELECT reset_brake('a rack is lost')");
	my $script = PostgreSQL::Test::Utils::tempdir('pgbench') . '/touch.sql';
	PostgreSQL::Test::Utils::append_to_file($script, "\\set n random(1, 200)\nUPDATE sessions SET touched = touched + 1, updated_at = now() WHERE id = 's' || :n;\n");
	my $writer = Reconciler::Process->run('pgbench', 'pgbench', '-n', '-h', $r->node->host, '-p', $r->node->port, '-c', '4', '-R', '1000', '-T', '60', '-f', $script, 'busy');
	$r->wait_for('SELECT sum(touched) > 200 FROM sessions');
	for (1 .. 10) { $r->pass; last if alive() == 100 }
	my $before = $r->one('SELECT sum(touched) FROM sessions');
	$r->wait_for("SELECT sum(touched) > $before + 100 FROM sessions");
	$writer->end('TERM');
	is(alive(), 100, 'the lost ones are closed, the others live');
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'running' AND substr(id, 2)::int <= 100"), 0, '... which are those of the lost agents');
	is($r->one("SELECT count(*) FROM (SELECT session_id FROM reconciler.event WHERE kind = 'force' GROUP BY 1 HAVING count(*) = 1) AS once"), 100, 'each with one event');
	$hub->end;
};

$r->node->stop;
done_testing();
