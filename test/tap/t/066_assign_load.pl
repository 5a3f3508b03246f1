# Sixteen callers at once: every session finds an agent while there is a place, no agent gets more than it takes, and what is
# counted along the way is what there is.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('assign');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'session_reconciler'\nmax_connections = 40\n");
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }

sql(<<'END');
CREATE EXTENSION session_reconciler;
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text);
CREATE INDEX ON sessions (agent_id);
CREATE SEQUENCE turn;
CREATE SEQUENCE change;
INSERT INTO sessions SELECT 's' || n, 'pending' FROM generate_series(1, 1000) AS n;
INSERT INTO sessions SELECT 't' || n, 'pending' FROM generate_series(1, 320) AS n;
SELECT attach_sessions('sessions');
SELECT register_agent('agent-' || n, capacity => 50) FROM generate_series(1, 20) AS n;
END

my $dir = PostgreSQL::Test::Utils::tempdir('assign');
# Each client that many times; pgbench ends with an error where a statement fails, and counts deadlocks.
sub at_once
{
	my ($clients, $times, $name, $script) = @_;
	PostgreSQL::Test::Utils::append_to_file("$dir/$name.sql", $script);
	command_like([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', $clients, '-j', '4', '-t', $times, '-f', "$dir/$name.sql", 'postgres' ], qr/failed transactions: 0 /, "$name: no call fails");
}
sub check_all
{
	my ($sessions, $when) = @_;
	is(sql("SELECT count(*) FROM sessions WHERE agent_id IS NOT NULL AND state = 'pending'"), $sessions, "$when: every session has an agent");
	is(sql("SELECT max(n) <= 50 FROM (SELECT count(*) AS n FROM sessions WHERE state = 'pending' AND agent_id IS NOT NULL GROUP BY agent_id) AS a"), 't', "$when: no agent has more than it takes");
}
my $differ = q{SELECT count(*) FROM reconciler.agent a WHERE a.load <> (SELECT count(*) FROM sessions s WHERE s.agent_id = a.agent_id AND s.state = 'pending')};

at_once(16, 62, 'filling', "SELECT assign_session('s' || nextval('turn'));\n");
check_all(992, 'filling');
is(sql($differ), 0, 'filling: loads are what there is');
is(sql('SELECT max(load) - min(load) <= 6 FROM reconciler.agent'), 't', 'filling: they are alike');

at_once(8, 1, 'the last places', "SELECT assign_session('s' || nextval('turn'));\n");
check_all(1000, 'the last places');
is(sql($differ), 0, 'the last places: loads are what there is');
my ($rc, undef, $said) = $node->psql('postgres', "SELECT assign_session('t1')");
like($said, qr/no agent of pool "default" is free.*20 agents: 20 full/s, 'then it is full');

# Full all the time: each ends a session, unseen by us, and asks for another's place. There is one for everybody.
at_once(16, 20, 'changing', <<'END');
SELECT nextval('change') AS n \gset
UPDATE sessions SET state = 'terminated' WHERE id = 's' || :n;
SELECT assign_session('t' || :n);
END
check_all(1000, 'changing');
is(sql("SELECT count(*) FROM reconciler.event WHERE kind = 'reassign'"), 1320, 'one event for each');

$node->stop;
done_testing();
