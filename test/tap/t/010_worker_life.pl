# The life of launcher and workers: where a worker starts, what ends it, and that it never stands in anybody's way.
#
# Nothing here measures time. Where a wait would show that something was blocked, the test shows instead that what
# could have blocked (a request that no hub answers) is still under way when the waiting is over.
use strict;
use warnings;

use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('life');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'session_reconciler'
max_worker_processes = 8
restart_after_crash = on
session_reconciler.interval = 5s
log_line_prefix = '%m [%p] %b %d '
END
$node->start;

# ---- words of this test

sub one { my ($db, $sql) = @_; return $node->safe_psql($db, $sql) }

sub worker_of
{
	my ($db) = @_;
	return one('postgres', "SELECT coalesce(max(pid), 0) FROM pg_stat_activity
		WHERE backend_type = 'session_reconciler worker' AND datname = '$db'");
}

sub launcher
{
	return one('postgres',
		"SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE backend_type = 'session_reconciler launcher'");
}

# worker_comes(DB [, NOT_THIS_PID]): waits for it; its pid
sub worker_comes
{
	my ($db, $before) = @_;
	$before //= 0;
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'session_reconciler worker' AND datname = '$db' AND pid <> $before
		  AND application_name = 'session_reconciler worker'")
	  or die "no worker in $db";
	return worker_of($db);
}

sub worker_goes
{
	my ($db) = @_;
	return $node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity
		WHERE backend_type = 'session_reconciler worker' AND datname = '$db'");
}

# A database with something to do.
sub attach
{
	my ($db) = @_;
	$node->safe_psql($db, <<'END');
CREATE EXTENSION IF NOT EXISTS session_reconciler;
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, updated_at timestamptz NOT NULL DEFAULT now());
SELECT * FROM attach_sessions('sessions');
END
	return;
}

# ---- where a worker starts

isnt(launcher(), 0, 'the launcher runs as soon as the server does');
$node->safe_psql('postgres', 'CREATE DATABASE plain');
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION session_reconciler');
ok(worker_goes('app'), 'a database with the extension and no attached table keeps no worker');

attach('app');
my $worker = worker_comes('app');
ok($worker, 'attach_sessions() brings a worker when it commits');
is(worker_of('plain'), 0, 'a database without the extension has none');
is(one('app', 'SELECT reconciler.worker_pid()'), $worker, 'reconciler.worker_pid() knows it');

ok($node->poll_query_until('postgres', "SELECT state = 'idle' AND backend_xid IS NULL AND backend_xmin IS NULL
	AND xact_start IS NULL FROM pg_stat_activity WHERE pid = $worker"),
	'between its passes it is idle, with no transaction and no snapshot');

one('app', 'SELECT pg_stat_reset()');
one('app', 'SELECT reconciler.wake_worker()');
ok($node->poll_query_until('app', "SELECT sum(n_tup_ins + n_tup_upd) > 0 FROM pg_stat_user_tables WHERE schemaname = 'reconciler'"),
	'what it wrote is in the statistics before it sleeps, so autovacuum hears of it');

# ---- what ends it, and what brings it back

one('postgres', "SELECT pg_terminate_backend($worker)");
my $next = worker_comes('app', $worker);
isnt($next, $worker, 'pg_terminate_backend() ends it, and the launcher starts another');
$worker = $next;

my $launcher = launcher();
one('postgres', "SELECT pg_terminate_backend($launcher)");
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity
	WHERE backend_type = 'session_reconciler launcher' AND pid <> $launcher");
pass('a terminated launcher comes back');
is(worker_of('app'), $worker, '... and the worker did not notice');

one('postgres', "SELECT pg_cancel_backend($worker)");
one('postgres', 'SELECT pg_reload_conf()');
is(worker_of('app'), $worker, 'it outlives a cancel and a reload');

kill 'KILL', $worker;
$node->poll_query_until('postgres', 'SELECT true');
$worker = worker_comes('app', $worker);
ok($worker, 'after a crash of the server it is there again');

# ---- HTTP in flight: a hub that accepts and never answers

my $hub = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "no socket: $!";
my $port = $hub->sockport;
$node->safe_psql('app', <<"END");
SELECT set_hub('silent', 'http://127.0.0.1:$port');
UPDATE reconciler.hub SET connect_timeout = '1 min', total_timeout = '5 min';
UPDATE reconciler.binding SET hub = 'silent';
INSERT INTO sessions VALUES ('s1', 'terminating', 'a1', now() - interval '1 hour');
SELECT reconciler.wake_worker();
END

my $connection;

# The worker's next connection; it stays open for as long as the worker waits for an answer.
sub asked
{
	local $SIG{ALRM} = sub { die "the worker asked no hub" };
	alarm $PostgreSQL::Test::Utils::timeout_default;
	$connection = $hub->accept;
	sysread $connection, my $request, 4096;
	alarm 0;
	return $request =~ /^(GET|POST) /;
}

# Whether the other side still holds that connection.
sub still_waits
{
	$connection->blocking(0);
	my $got = sysread $connection, my $rest, 1;
	return !defined $got && ($!{EAGAIN} || $!{EWOULDBLOCK});
}

ok(asked(), 'the worker asks the hub');
is(one('postgres', "SELECT concat_ws(' ', state, backend_xid, backend_xmin, xact_start) FROM pg_stat_activity WHERE pid = $worker"),
	'idle', 'while it waits for the answer it holds no transaction, no snapshot');
is(one('postgres', "SELECT count(*) FROM pg_locks WHERE pid = $worker"), 0, '... and no lock');
one('postgres', 'DROP DATABASE plain');
ok(still_waits(), 'DROP DATABASE of another database did not wait for the answer');
one('app', 'DROP EXTENSION session_reconciler CASCADE');
ok(still_waits(), 'nor did DROP EXTENSION');
one('postgres', "SELECT pg_terminate_backend($worker)");
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $worker)"), 'nor does SIGTERM');
ok(!still_waits(), '... which ended the request');

# ---- DROP and CREATE EXTENSION

ok(worker_goes('app'), 'without the extension there is no worker');
$node->safe_psql('app', 'DROP TABLE sessions');
attach('app');
$worker = worker_comes('app', $worker);
one('app', 'DROP EXTENSION session_reconciler CASCADE');
ok(worker_goes('app'), 'a worker that finds its extension dropped leaves');
$node->safe_psql('app', 'DROP TABLE sessions');
attach('app');
ok(worker_comes('app'), '... and CREATE EXTENSION with attach_sessions() brings one again');

# ---- a library that does not fit

my $offset = -s $node->logfile;
one('app', "UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'session_reconciler'");
one('app', 'SELECT reconciler.wake_worker()');
$node->wait_for_log(qr/ALTER EXTENSION session_reconciler UPDATE/, $offset);
one('app', 'SELECT reconciler.wake_worker()') for 1 .. 3;
one('app', "UPDATE pg_extension SET extversion = '999.0' WHERE extname = 'session_reconciler'");
one('app', 'SELECT reconciler.wake_worker()');
$node->wait_for_log(qr/restart the server/, $offset);
my @said = slurp_file($node->logfile, $offset) =~ /ALTER EXTENSION session_reconciler UPDATE/g;
is(scalar @said, 1, 'a version that does not fit is said once, with the statement that is due');
one('app', "UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'session_reconciler'");
is(one('app', "SELECT string_agg(check_name || ' ' || hint, ',') FROM preflight() WHERE status = 'fail'"), 'version Run ALTER EXTENSION session_reconciler UPDATE in this database.',
	'preflight() says it, too, and reads no table of another version');
my ($exit, undef, $refused) = $node->psql('app', 'SELECT * FROM stuck_sessions()');
like($refused, qr/^psql.*ERROR:  the library in memory is of version [\d.]+, the extension in this database of version 0\.0\.1\nHINT:  Run ALTER EXTENSION session_reconciler UPDATE/m, '... and so do functions that would');
one('app', "UPDATE pg_extension SET extversion =
	(SELECT default_version FROM pg_available_extensions WHERE name = 'session_reconciler')
	WHERE extname = 'session_reconciler'");

# ---- its own database

my ($status, $out, $error) = $node->psql('postgres', 'DROP DATABASE app');
like($error, qr/being accessed by other users/, 'DROP DATABASE of its own database finds it there');
$node->safe_psql('app', 'CALL stop_worker()');
is(worker_of('app'), 0, 'CALL stop_worker() returns when it has gone');
$node->safe_psql('app', 'CALL stop_worker()');
one('app', 'SELECT reconciler.wake_worker()');
one('postgres', 'CREATE DATABASE copy TEMPLATE app');
one('postgres', 'DROP DATABASE app');
pass('then CREATE DATABASE ... TEMPLATE and DROP DATABASE work, and a wake-up brought none back');

# ---- the setting that names databases

one('postgres', 'CREATE DATABASE one');
one('postgres', 'CREATE DATABASE two');
attach($_) for qw(one two);
worker_comes($_) for qw(one two);
$offset = -s $node->logfile;
one('postgres', q{ALTER SYSTEM SET session_reconciler.databases = 'one, "No Such"'});
one('postgres', 'SELECT pg_reload_conf()');
ok(worker_goes('two'), 'a database that session_reconciler.databases leaves out loses its worker');
$node->wait_for_log(qr/does not exist: "No Such"/, $offset);
isnt(worker_of('one'), 0, '... one that it names keeps it');
one('two', 'SELECT reconciler.request_worker()');
$node->wait_for_log(qr/starts no worker in database "two"/, $offset);
one('postgres', 'ALTER SYSTEM RESET session_reconciler.databases');
one('postgres', 'SELECT pg_reload_conf()');
ok(worker_comes('two'), 'an empty list lets it come back');

# ---- too few worker slots

$node->append_conf('postgresql.conf', "max_worker_processes = 3\n");
$offset = -s $node->logfile;
$node->restart;
$node->wait_for_log(qr/no free background worker slot/, $offset);
like(slurp_file($node->logfile, $offset), qr/HINT:.*max_worker_processes/, 'a server without a free slot is said so, with a hint');

# ---- a standby

$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$node->restart;
worker_comes('one');
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('one', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'session_reconciler%'"),
	0, 'a standby has neither launcher nor worker');
is($standby->safe_psql('one', 'SELECT reconciler.worker_pid() IS NULL'), 't', '... and says so');
$standby->promote;
ok($standby->poll_query_until('one', "SELECT count(*) = 1 FROM pg_stat_activity
	WHERE backend_type = 'session_reconciler worker' AND datname = 'one'"), 'promotion starts them');
$standby->stop;

# ---- fast shutdown, and a server that does not preload

$worker = worker_comes('one');
$node->safe_psql('one', <<"END");
SELECT set_hub('silent', 'http://127.0.0.1:$port');
UPDATE reconciler.hub SET connect_timeout = '1 min', total_timeout = '5 min';
UPDATE reconciler.binding SET hub = 'silent';
INSERT INTO sessions VALUES ('s1', 'terminating', 'a1', now() - interval '1 hour');
SELECT reconciler.wake_worker();
END
ok(asked(), 'a request is under way');
$node->stop('fast');
ok(!still_waits(), 'a fast shutdown does not wait for it');

$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'\n");
$node->start;
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity
	WHERE backend_type = 'session_reconciler worker' AND wait_event = 'SyncRep'");
$node->stop('fast');
pass('nor for a commit that no synchronous standby confirms');
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->start;
$node->psql('one', 'CALL stop_worker()', stderr => \$error);
like($error, qr/not in shared_preload_libraries/, 'without the preloaded library there is nothing to stop, and it says so');
is(one('one', 'SELECT coalesce(reconciler.worker_pid(), 0)'), 0, '... no worker');
one('one', 'SELECT reconciler.wake_worker(), reconciler.request_worker()');
pass('... and nothing to wake');

$node->stop;
done_testing();
