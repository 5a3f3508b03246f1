# What people do to a database while the reconciler works in it: they drop it, or the extension, or a table, a column, a
# right. One attached table breaks, says why, and is mended; the worker and the other tables go on.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Test::More;

my $r = Reconciler->new('life');
my $hub = $r->hub('hub', '--profile', 'standard');
$hub->control(fake_agents => { count => 1 });

sub in_database
{
	my ($name) = @_;
	$r->use_database('postgres');
	$r->do("CREATE DATABASE $name");
	$r->use_database($name);
	$r->do('CREATE EXTENSION session_reconciler');
	$r->sessions_at($hub, {}, { total_timeout => '4 min', command_spacing => '0 s' });
	$r->wait_for_worker;
	return;
}

# A command of this database's worker is out when this returns.
sub command_out
{
	$hub->fault({ match => { method => 'POST' }, kind => 'never_answer', times => 1 });
	$r->add_session('held', 'agent-1');
	$r->do('SELECT reconciler.wake_worker()');
	wait_until { $hub->met } 'the command to be out';
	return $r->worker;
}

subtest 'DROP DATABASE' => sub {
	in_database('dropped');
	my $worker = command_out();
	$r->use_database('postgres');
	like($r->error('DROP DATABASE dropped'), qr/^55006/, 'a database with a worker is in use');
	$r->do('DROP DATABASE dropped WITH (FORCE)');
	pass('WITH (FORCE) drops it, with a command out');
	$r->wait_for('SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ?', $worker);
	pass('... and its worker has gone');

	in_database('stopped');
	command_out();
	$r->do('CALL stop_worker()');
	is($r->worker, undef, 'stop_worker() stops it, with a command out');
	$r->use_database('postgres');
	$r->do('DROP DATABASE stopped');
	pass('... and the database can be dropped');
	$hub->fault;
};

subtest 'DROP EXTENSION' => sub {
	in_database('extensionless');
	my $worker = command_out();
	$r->do('DROP EXTENSION session_reconciler CASCADE');
	pass('it does not wait for a command that is out');
	is($r->one("SELECT to_regclass('reconciler.binding')"), undef, 'the catalog has gone');
	is($r->state_of('held'), 'terminating', 'the sessions have not');
	$hub->fault;
	$r->do('SELECT pg_cancel_backend(?)', $worker);    # not to wait for the hub's four minutes
	$r->wait_for('SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ?', $worker);
	pass('its worker leaves');
	$r->do('CREATE EXTENSION session_reconciler');
	$r->one("SELECT set_hub('main', ?, 'standard', '{}')", $hub->url);
	$r->attach('sessions', 'standard', { mode => 'enforce' });
	$r->wait_for_worker;
	$r->wait_for("SELECT count(*) = 1 FROM reconciler.episode WHERE last_result LIKE 'accepted%'");
	pass('created anew, it works anew');
};

subtest 'tables, columns and rights that vanish' => sub {
	in_database('changing');
	$r->do('CREATE ROLE app');
	$r->do('GRANT CREATE, USAGE ON SCHEMA public TO app');
	for my $table (qw(healthy altered vanishing forbidden))
	{
		$r->do("CREATE TABLE $table (LIKE sessions INCLUDING ALL)");
		$r->do("ALTER TABLE $table OWNER TO app");
		$r->attach($table, 'standard', { mode => 'enforce', hub => 'main' });
	}
	$r->pass;
	my $worker = $r->worker;
	my $broken = "SELECT mode_reason FROM reconciler.binding WHERE table_name = ? AND mode = 'broken'";

	$r->do('ALTER TABLE altered DROP COLUMN agent_id');
	$r->pass;
	like($r->one($broken, 'altered') // 'not broken', qr/agent_id/, 'a dropped column breaks one table, and the reason names it');

	$r->do('DROP TABLE vanishing');
	$r->pass;
	like($r->one($broken, 'vanishing') // 'not broken', qr/vanishing/, 'a dropped table, too');

	$r->do('REVOKE ALL ON forbidden FROM app');
	$r->do('SELECT reconciler.wake_worker()');
	$r->wait_for("SELECT mode = 'broken' FROM reconciler.binding WHERE table_name = 'forbidden'");  # the pass that runs may be past it
	like($r->one($broken, 'forbidden') // 'not broken', qr/permission|forbidden/, 'a right that is revoked, too');

	is($r->worker, $worker, 'the worker is the same');
	is($r->one("SELECT mode FROM reconciler.binding WHERE table_name = 'healthy'"), 'enforce', 'the others are as they were');
	is(scalar $r->events('error'), 3, 'three events say what broke');
	is($r->one("SELECT count(*) FROM reconciler_status() WHERE mode = 'broken'"), 3, '... and the status');
	$r->do("INSERT INTO healthy (id, state, agent_id, created_at, updated_at) VALUES ('h1', 'terminating', 'agent-1', now() - interval '1 hour', now() - interval '1 hour')");
	$r->do('SELECT reconciler.wake_worker()');
	$r->wait_for("SELECT last_result LIKE 'accepted%' FROM reconciler.episode WHERE session_id = 'h1'");
	pass('... and work');

	like($r->error("SELECT set_mode('enforce', 'too early', 'altered')"), qr/^42703/, 'what is still broken is not taken for mended');
	$r->do('ALTER TABLE altered ADD COLUMN agent_id text');
	$r->do("SELECT set_mode('enforce', 'mended', 'altered')");
	$r->do('GRANT ALL ON forbidden TO app');
	$r->do("SELECT set_mode('enforce', 'mended', 'forbidden')");
	$r->do("SELECT detach_sessions('public.vanishing')");
	$r->pass;
	is($r->one("SELECT count(*) FROM reconciler.binding WHERE mode <> 'enforce'"), 0, 'all are mended or detached');
};

subtest 'a reload changes the interval' => sub {
	my $due = "SELECT extract(epoch FROM next_wake_up - last_pass_at) FROM reconciler_status() LIMIT 1";
	cmp_ok($r->one($due), '<=', 61, 'a pass a minute');
	$r->node->append_conf('postgresql.conf', "session_reconciler.interval = '30 min'");
	$r->node->reload;
	$r->wait_for("SELECT current_setting('session_reconciler.interval')::interval = '30 min'");
	$r->pass;
	cmp_ok($r->one("SELECT extract(epoch FROM min(next_wake_up - last_pass_at)) FROM reconciler_status()"), '<=', 1801, 'a longer interval is obeyed');
	is($r->worker ? 1 : 0, 1, '... by the worker that runs');
};

$r->node->stop;
done_testing();
