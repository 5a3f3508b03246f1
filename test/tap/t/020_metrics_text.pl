# What Prometheus' own checker says of reconciler_metrics_text(); test/pgtap/look.sql holds it against the format.
# The server does not preload the library: monitoring has to work there too, and to say that no worker runs.
use strict;
use warnings;

use IPC::Run qw(run);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('metrics');
$node->init;
$node->start;
$node->safe_psql('postgres', <<'END');
CREATE EXTENSION session_reconciler;
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, updated_at timestamptz);
CREATE SCHEMA "a ""b\ c";
CREATE TABLE "a ""b\ c".sessions (LIKE sessions INCLUDING ALL);
SELECT * FROM attach_sessions('sessions');
SELECT * FROM attach_sessions('"a ""b\ c".sessions');
SELECT set_hub('main', 'http://127.0.0.1:9', options => '{"sessions": "public.sessions"}');
INSERT INTO reconciler.counter SELECT binding_id, 'reconciler_hub_request_seconds_sum', '', 1e-9 FROM reconciler.binding;
END

is($node->safe_psql('postgres', 'SELECT DISTINCT worker_pid IS NULL, next_wake_up IS NULL FROM reconciler_status()'),
	't|t', 'without preloading no worker runs');
is($node->safe_psql('postgres', "SELECT DISTINCT value FROM reconciler_metrics() WHERE name = 'reconciler_worker_up'"),
	'0', 'and its metric says so');

SKIP:
{
	skip 'no promtool (Debian package prometheus)', 2 unless eval { run([ 'promtool', '--version' ], '>', \my $version, '2>', \my $none) };
	# As it is: safe_psql would take the last newline, which the format wants.
	run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT reconciler_metrics_text()' ], '>', \my $text) or die;
	chomp $text;
	ok(run([ 'promtool', 'check', 'metrics' ], '<', \$text, '>', \my $out, '2>', \my $problems), 'promtool takes it');
	is($out . $problems, '', 'and has nothing to say of its style');
}

$node->stop;
done_testing();
