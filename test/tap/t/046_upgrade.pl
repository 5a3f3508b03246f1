# A database that was upgraded has what a new one has: every object of the extension, to the letter. Until then it says what is due.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use File::Copy qw(copy);
use Reconciler;
use Test::More;

my $r = Reconciler->new('upgrade', preload => '', extension => 0);
my $newest = $r->one("SELECT default_version FROM pg_available_extensions WHERE name = 'session_reconciler'");

# Scripts of versions that were released, beside those of this one.
my $released = dirname(__FILE__) . '/../../upgrade';
my $directory = $r->one("SELECT setting FROM pg_config WHERE name = 'SHAREDIR'") . '/extension';
my @scripts = map { m{/(session_reconciler--([\d.]+)\.sql)$} ? [ $1, $2 ] : () } glob "$released/*.sql";
copy("$released/$_->[0]", "$directory/$_->[0]") or die "$_->[0]: $!" for @scripts;
cmp_ok(scalar @scripts, '>', 0, 'there are versions to upgrade from');

# Every object of the extension, described, one to a row.
my $everything = <<'END';
WITH members AS (
  SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
  WHERE e.extname = 'session_reconciler' AND d.deptype = 'e'
), relations AS (
  SELECT c.* FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
)
SELECT 'member: ' || pg_describe_object(classid, objid, 0) || ': ' || coalesce(obj_description(objid, classid::regclass::name), '') AS what FROM members
UNION ALL SELECT 'function: ' || pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '')
  FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid WHERE p.prokind IN ('f', 'p')
UNION ALL SELECT 'relation: ' || concat_ws(' ', c.oid::regclass, c.relkind, c.reloptions::text, c.relacl::text, c.relrowsecurity) FROM relations c
UNION ALL SELECT 'column: ' || concat_ws(' ', c.oid::regclass, a.attname, (SELECT count(*) FROM pg_attribute b WHERE b.attrelid = a.attrelid AND b.attnum > 0 AND b.attnum <= a.attnum AND NOT b.attisdropped),
    format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid), a.attacl, col_description(c.oid, a.attnum))
  FROM relations c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
UNION ALL SELECT 'constraint: ' || concat_ws(' ', c.oid::regclass, k.conname, pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint')) FROM relations c JOIN pg_constraint k ON k.conrelid = c.oid
UNION ALL SELECT 'index: ' || pg_get_indexdef(i.indexrelid) FROM relations c JOIN pg_index i ON i.indrelid = c.oid
UNION ALL SELECT 'trigger: ' || pg_get_triggerdef(t.oid) || t.tgenabled::text FROM relations c JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
UNION ALL SELECT 'profile: ' || concat_ws(' ', name, built_in, definition) FROM reconciler.hub_profile
UNION ALL SELECT 'dumped: ' || concat_ws(' ', c.oid::regclass, x.condition) FROM pg_extension e, unnest(e.extconfig, e.extcondition) AS x(relation, condition) JOIN pg_class c ON c.oid = x.relation
  WHERE e.extname = 'session_reconciler'
ORDER BY 1
END

# What a pass of a release left that closed a session.
my $closed = <<'END';
INSERT INTO reconciler.binding (sessions, schema_name, table_name, preset, mode, columns, terminal_states, armed_system, armed_database, armed_name)
  SELECT 'sessions', 'public', 'sessions', 'standard', 'enforce', '{"key": "id", "state": "state", "agent": "agent_id", "created": "created_at"}', '{terminated}', h.* FROM reconciler.server_identity() AS h;
INSERT INTO sessions VALUES ('s', 'terminated', 'a1', '2026-01-01 12:00+00');
INSERT INTO reconciler.event (at, schema_name, table_name, session_id, kind, from_state, to_state, reason, actor, evidence, before, after)
  VALUES ('2026-01-02', 'public', 'sessions', 's', 'force', 'running', 'terminated', 'agent_unavailable', 'postgres', '{}',
          '{"id": "s", "state": "running", "agent_id": "a1", "created_at": "2026-01-01T12:00:00+00:00"}', '{"id": "s", "state": "terminated", "agent_id": "a1", "created_at": "2026-01-01T12:00:00+00:00"}');
END

# Other tables that it had attached. Whose commands name an agent, and who may read that; and what must not fail the upgrade.
my $other_bindings = <<'END';
CREATE TABLE commands (command_id text, session_id text, agent_id varchar(40), action text, status text);
CREATE TABLE documents (command_id text, session_id text, agent_id jsonb, action text, status text);
CREATE TABLE "nobody's" (command_id text, session_id text, action text, status text);
CREATE TABLE hidden (LIKE commands);
GRANT SELECT (command_id, session_id, action, status) ON hidden TO upgrade_viewer;
CREATE FUNCTION bind(called text, commands text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TABLE %I (LIKE sessions)', called);
  INSERT INTO reconciler.binding (sessions, schema_name, table_name, preset, mode, columns, related, terminal_states, armed_system, armed_database, armed_name)
    SELECT called::regclass, 'public', called, 'standard', 'observe', '{"key": "id", "state": "state", "agent": "agent_id"}',
      jsonb_build_object('commands', jsonb_build_object('table', commands, 'columns', '{"id": "command_id", "session": "session_id", "action": "action", "status": "status"}'::jsonb)), '{terminated}', h.*
      FROM reconciler.server_identity() AS h;
END $$;
SELECT bind('named', 'public.commands'), bind('document', 'public.documents'), bind('nameless', 'public."nobody''s"'), bind('may_not', 'public.hidden'),
       bind('vanished', 'public.no_more'), bind('garbled', ''), bind('dropped', 'public.commands');
ALTER TABLE may_not OWNER TO upgrade_viewer;
DROP TABLE dropped;
DROP FUNCTION bind;
UPDATE reconciler.binding SET related = '{"commands": []}' WHERE table_name = 'garbled';
END

# Columns of pools, of which releases before 0.5.0 knew nothing.
my $pooled = <<'END';
CREATE TABLE agents (agent_id text, last_heartbeat timestamptz, platform text, capacity jsonb);
CREATE TABLE pooled (LIKE sessions);
ALTER TABLE pooled ADD agent_pool text, ADD region jsonb;
INSERT INTO reconciler.binding (sessions, schema_name, table_name, preset, mode, columns, related, terminal_states, armed_system, armed_database, armed_name)
  SELECT 'pooled', 'public', 'pooled', 'standard', 'observe', '{"key": "id", "state": "state", "agent": "agent_id"}',
    '{"agents": {"table": "public.agents", "columns": {"id": "agent_id", "heartbeat": "last_heartbeat"}}}', '{terminated}', h.* FROM reconciler.server_identity() AS h;
END

# A library that has that version written in it takes the installed one's place.
sub with_library_of
{
	my ($version, $do) = @_;
	my $library = $r->one("SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'") . '/session_reconciler.so';
	my $bytes = PostgreSQL::Test::Utils::slurp_file($library);
	$bytes =~ s/\Q$newest\E\0/$version\0/g or die "no $newest in $library";
	rename $library, "$library.new" or die "$library: $!";
	PostgreSQL::Test::Utils::append_to_file($library, $bytes);
	$do->();
	rename "$library.new", $library or die "$library: $!";
	return;
}

# Who had rights before has those that come with them.
sub grant_levels { $r->do("SELECT reconciler_grant('upgrade_$_', '$_')") for qw(viewer operator admin evidence); return }
$r->do("CREATE ROLE upgrade_$_") for qw(viewer operator admin evidence);

$r->do('CREATE EXTENSION session_reconciler');
grant_levels();
my %fresh = map { $_ => 1 } $r->column($everything);
cmp_ok(scalar keys %fresh, '>', 300, 'a new database has a lot');

for my $version (map { $_->[1] } @scripts)
{
	next if $version eq $newest;
	(my $name = "from_$version") =~ tr/./_/;
	$r->use_database('postgres');
	$r->do("CREATE DATABASE $name");
	$r->use_database($name);
	$r->do("CREATE EXTENSION session_reconciler VERSION '$version'");
	grant_levels();
	$r->do('CREATE TABLE sessions (id text PRIMARY KEY, state text, agent_id text, created_at timestamptz)');
	$r->node->psql($name, "SELECT attach_sessions('sessions')", stderr => \my $said);
	like($said, qr/ERROR:  the library in memory is of version \Q$newest\E, the extension in this database of version \Q$version\E\nHINT:  Run ALTER EXTENSION session_reconciler UPDATE/,
		"$version: until it is upgraded attach_sessions() says so");
	# From 0.4.0 on a trigger asks the library, which is too new here, and the agents of commands are mapped.
	my $maps_agents = $version ge '0.4.0';
	$r->do('SET session_replication_role = replica');
	$r->do($closed);
	$r->do($other_bindings) unless $maps_agents;
	$r->do($pooled);
	$r->do('RESET session_replication_role');
	with_library_of('0.0.1', sub {
		$r->node->psql($name, 'ALTER EXTENSION session_reconciler UPDATE', stderr => \$said);
		like($said, qr/ERROR:  the library in memory is of version 0\.0\.1.*\nHINT:  Restart the server/, '... and with an old library in memory the upgrade does');
	}) if $version eq '0.3.0';
	$r->do('ALTER EXTENSION session_reconciler UPDATE');
	is($r->one("SELECT extversion FROM pg_extension WHERE extname = 'session_reconciler'"), $newest, "$version: upgraded");
	# Levels are not granted by the upgrade: what an extension's script grants is not dumped.
	grant_levels();
	is($r->one("SELECT string_agg(table_name || ' ' || (related->'commands'->'columns'->>'agent'), ', ') FROM reconciler.binding"), 'named agent_id',
		'... the agent of commands is mapped where attach_sessions() would have found it') unless $maps_agents;
	is($r->one("SELECT concat_ws(' ', columns - 'key' - 'state' - 'agent', related->'agents'->'columns') FROM reconciler.binding WHERE table_name = 'pooled'"),
		'{"pool": "agent_pool"} {"id": "agent_id", "capacity": "capacity", "platform": "platform", "heartbeat": "last_heartbeat"}', '... so are columns of pools') if $version lt '0.5.0';    # which maps them by itself
	$r->do("DELETE FROM reconciler.binding WHERE table_name <> 'sessions'");
	$r->do('UPDATE reconciler.binding SET guard_terminal = true');
	is($r->do("UPDATE sessions SET state = 'running'") + 0, 0, '... what it closed is guarded');
	my %upgraded = map { $_ => 1 } $r->column($everything);
	my @missing = grep { !$upgraded{$_} } sort keys %fresh;
	my @left = grep { !$fresh{$_} } sort keys %upgraded;
	is(scalar @missing, 0, '... nothing is missing') or diag(map { substr($_, 0, 300) . "\n" } @missing);
	is(scalar @left, 0, '... and nothing is left') or diag(map { substr($_, 0, 300) . "\n" } @left);
}

$r->node->stop;
unlink "$directory/$_->[0]" for grep { $_->[1] ne $newest } @scripts;
done_testing();
