# A scan that no index serves takes at most 2 % of a core: the worker rests after it, for that table alone. A CALL does not.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('pace');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'session_reconciler'\nsession_reconciler.databases = 'postgres'\n");
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }

sql(<<'END');
CREATE EXTENSION session_reconciler;
CREATE TABLE bare (id text PRIMARY KEY, state text, updated_at timestamptz DEFAULT now());
CREATE TABLE served (id text PRIMARY KEY, state text, updated_at timestamptz DEFAULT now());
CREATE INDEX ON served (state, updated_at);
INSERT INTO bare SELECT n, 'terminated' FROM generate_series(1, 500000) AS n;
INSERT INTO served SELECT n, 'terminated' FROM generate_series(1, 500000) AS n;
SELECT attach_sessions('bare'), attach_sessions('served');
END
my $state = 'FROM reconciler.binding_state JOIN reconciler.binding b USING (binding_id) WHERE b.table_name =';
$node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM reconciler.binding_state WHERE last_pass_at IS NOT NULL') or die 'no pass';
is(sql("SELECT no_pass_before = last_pass_at + last_pass_took + 50 * unserved_scans $state 'bare'"), 't', 'a rest of 50 times what the scan took');
is(sql("SELECT unserved_scans IS NULL AND no_pass_before IS NULL $state 'served'"), 't', 'none where an index serves');

# As after a scan of a minute.
sql("UPDATE reconciler.binding_state SET unserved_scans = '1 min', no_pass_before = last_pass_at + interval '50 min' WHERE unserved_scans IS NOT NULL");
my $last = "SELECT last_pass_at $state";
my ($bare, $served) = (sql("$last 'bare'"), sql("$last 'served'"));
sub wake_and_wait_for {
	my ($table, $since) = @_;
	sql(q{UPDATE reconciler.policy SET max_attempts = 17 - max_attempts});    # which wakes the worker
	$node->poll_query_until('postgres', "SELECT last_pass_at > '$since' $state '$table'") or die 'no pass';
}
wake_and_wait_for('served', $served);
wake_and_wait_for('served', sql("$last 'served'"));
is(sql("$last 'bare'"), $bare, 'the worker rests, the other table has its passes');
is(sql(q{SELECT next_wake_up = no_pass_before FROM reconciler_status() s JOIN reconciler.binding b ON s.table_name = 'public.' || b.table_name JOIN reconciler.binding_state USING (binding_id) WHERE b.table_name = 'bare'}),
	't', 'reconciler_status() knows when it comes back');
like(sql(q{SELECT status, detail FROM preflight() WHERE check_name = 'public.bare: pace'}), qr/^warn\|scans that no index serves took 00:01:00/, 'preflight() says why');
sql("CALL reconcile('bare')");
isnt(sql("$last 'bare'"), $bare, 'a CALL does what it is told');
$bare = sql("$last 'bare'");
wake_and_wait_for('bare', $bare);
pass('and rests no longer than its own scan says');

$node->stop;
done_testing();
