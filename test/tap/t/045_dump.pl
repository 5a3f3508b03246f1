# A dump of a database takes configuration and events along, and restoring it is neither a change nor an event: in SQL
# with COPY, in SQL with INSERT, and as an archive, by one process and by several, whose order is up to chance. Grants of
# levels come along too, and a sessions table's guard.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('dump');
$node->init;
$node->append_conf('postgresql.conf', "session_reconciler.databases = 'none'\nshared_preload_libraries = 'session_reconciler'\n");
$node->start;

$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('postgres', 'CREATE ROLE viewer');
# A schema that needs quotes, so that every statement of the install script meets one.
$node->safe_psql('original', <<'END');
CREATE SCHEMA "My Ext";
CREATE EXTENSION session_reconciler SCHEMA "My Ext";
CREATE SCHEMA app;
SET search_path = app, "My Ext";
SELECT create_control_plane();
SELECT set_hub('hub', 'http://127.0.0.1:9');
UPDATE reconciler.policy SET gone_after = '11 min' WHERE state = 'terminating';
UPDATE reconciler.binding SET guard_terminal = true;
INSERT INTO reconciler.hub (name, base_urls, profile) VALUES ('by hand', '{http://127.0.0.1:9}', 'standard');
INSERT INTO reconciler.hub_profile (name, definition) SELECT 'own', definition FROM reconciler.hub_profile WHERE name = 'standard';
SELECT reconciler_grant('viewer', 'viewer');
END

my $configuration = <<'END';
SELECT to_jsonb(b) - 'sessions' FROM reconciler.binding b;
SELECT p FROM reconciler.policy p ORDER BY state;
SELECT h FROM reconciler.hub h ORDER BY name;
SELECT name, built_in FROM reconciler.hub_profile ORDER BY name;
SELECT e FROM reconciler.event e ORDER BY id;
SELECT pg_get_triggerdef(t.oid), d.deptype FROM pg_trigger t JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND d.refclassid = 'pg_extension'::regclass WHERE t.tgname = 'session_reconciler_guard';
SELECT has_function_privilege('viewer', '"My Ext".stuck_sessions(regclass)', 'EXECUTE'), has_table_privilege('viewer', 'reconciler.event', 'SELECT');
END
my $before = $node->safe_psql('original', $configuration);
like($before, qr/policy_changed/, 'there is something to dump');
like($before, qr/CREATE TRIGGER session_reconciler_guard .*\|x$/m, '... the guard of the sessions table, too');

my $file = $node->basedir . '/dump';
for my $way ('copy', 'inserts', 'archive', map { "parallel $_" } 1 .. 5)
{
	$node->safe_psql('postgres', 'CREATE DATABASE copy');
	if ($way =~ /^(archive|parallel)/)
	{
		$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, 'original' ], "$way: dumped");
		$node->command_ok([ 'pg_restore', '--exit-on-error', $1 eq 'parallel' ? ('-j', 4) : (), '-d', 'copy', $file ], "$way: restored");
	}
	else
	{
		$node->command_ok([ 'pg_dump', '-f', $file, $way eq 'inserts' ? '--inserts' : (), 'original' ], "$way: dumped");
		$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', $file ], "$way: restored");
	}
	is($node->safe_psql('copy', $configuration), $before, "$way: configuration, events and grants are the same");
	is($node->safe_psql('copy', q{SELECT status FROM "My Ext".preflight() WHERE check_name LIKE '%identity'}), 'fail', "$way: the copy knows that it is one");
	is($node->safe_psql('copy', q{UPDATE reconciler.policy SET gone_after = '12 min' WHERE state = 'terminating'; SELECT count(*) FROM reconciler.event WHERE evidence->'new'->>'gone_after' = '00:12:00'}),
		'1', "$way: a change afterwards is an event, with an id of its own");
	is($node->safe_psql('copy', q{DROP EXTENSION session_reconciler; SELECT count(*) FROM pg_trigger WHERE tgname = 'session_reconciler_guard'}), '0', "$way: the guard goes with the extension");
	$node->safe_psql('postgres', 'DROP DATABASE copy');
}

# In one transaction (pg_restore -1, psql -1) other tables follow: their keys and triggers count.
my $restoring = "SET check_function_bodies = off; SELECT set_config('search_path', '', false); BEGIN; ";
my $row = q{INSERT INTO reconciler.hold SELECT binding_id, %s, now(), '', '' FROM reconciler.binding; SELECT current_setting('session_replication_role');};
is($node->safe_psql('original', $restoring . sprintf($row, q{'a'})), "\norigin", 'only its own rows are trusted');
is($node->safe_psql('original', "SET session_replication_role = replica; $restoring" . sprintf($row, q{'b'})), "\nreplica", '... and what was set before stays');
isnt($node->psql('original', $restoring . 'INSERT INTO reconciler.hold SELECT 0, NULL, NULL, NULL, NULL'), 0, 'a row that is refused ...');
is($node->safe_psql('original', $restoring . 'SAVEPOINT s; ' . q{DO $$ BEGIN INSERT INTO reconciler.hold VALUES (1, NULL, now(), '', ''); EXCEPTION WHEN not_null_violation THEN NULL; END $$; SELECT current_setting('session_replication_role')}), "\norigin", '... takes the trust along');

$node->stop;
done_testing();
