# Errors on both sides of the boundary between C++ and the server, under the address sanitizer: no destructor is
# skipped, none runs twice, what was raised arrives as it was, and the server goes on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $build = PostgreSQL::Test::Utils::tempdir();
my $make = "make -s -j2 -C test/boundary BUILD=$build";
my $said = `$make 2>&1`;
BAIL_OUT("test/boundary does not build:\n$said") if $? != 0;
chomp(my $asan = `gcc -print-file-name=libasan.so`);

my $node = PostgreSQL::Test::Cluster->new('boundary');
$node->init;
$node->append_conf('postgresql.conf', "log_min_messages = warning\n");
{
	# For the server alone: psql and pg_ctl need no sanitizer.
	local $ENV{LD_PRELOAD} = "$asan $build/dlerror_shim.so";
	local $ENV{ASAN_OPTIONS} = 'detect_leaks=0:abort_on_error=1';
	local $ENV{UBSAN_OPTIONS} = 'print_stacktrace=1:halt_on_error=1:abort_on_error=1';
	$node->start;
}

$node->safe_psql('postgres', <<"END");
CREATE EXTENSION session_reconciler;
CREATE FUNCTION test_values() RETURNS text LANGUAGE c AS '$build/boundary_test.so', 'reconciler_sql_test_values';
CREATE FUNCTION test_server_errors() RETURNS text LANGUAGE c AS '$build/boundary_test.so', 'reconciler_sql_test_server_errors';
CREATE FUNCTION test_exceptions() RETURNS text LANGUAGE c AS '$build/boundary_test.so', 'reconciler_sql_test_exceptions';
CREATE FUNCTION test_cache(int) RETURNS text LANGUAGE c AS '$build/boundary_test.so', 'reconciler_sql_test_cache';
CREATE FUNCTION test_throw(text) RETURNS text LANGUAGE c AS '$build/boundary_test.so', 'reconciler_sql_test_throw';
CREATE FUNCTION test_table(int) RETURNS TABLE (n int, t text) LANGUAGE c AS '$build/boundary_test.so', 'reconciler_sql_test_table';
CREATE FUNCTION test_as_role(oid, text) RETURNS text LANGUAGE c SET search_path = before
  AS '$build/boundary_test.so', 'reconciler_sql_test_as_role';
CREATE PROCEDURE test_procedure(text) LANGUAGE c AS '$build/boundary_test.so', 'reconciler_sql_test_procedure';
CREATE TABLE written (what text);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE ROLE owner_of_it;
CREATE SCHEMA app AUTHORIZATION owner_of_it;
SET ROLE owner_of_it;
CREATE TABLE app.parent (id int PRIMARY KEY);
CREATE TABLE app.child (id int REFERENCES app.parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE app.fired (who text, path text);
CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO app.fired VALUES (current_user, current_setting(''search_path'')); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.parent DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.note();
END

# sql(STATEMENT): what it returns, and its error as "SQLSTATE message | detail | hint"
sub sql
{
	my ($statement) = @_;
	my ($out, $err);
	$node->psql('postgres', $statement, stdout => \$out, stderr => \$err, on_error_stop => 0,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	my ($error) = $err =~ /ERROR:\s+(.*)/;
	my ($detail) = $err =~ /DETAIL:\s+(.*)/;
	my ($hint) = $err =~ /HINT:\s+(.*)/;
	my $raised = join ' | ', grep { defined } $error, $detail, $hint;
	return wantarray ? ($out, $raised) : $raised ne '' ? $raised : $out;
}

is(sql('SELECT test_values()'), 'ok', 'values of every type go in and out');
is(sql('SELECT test_server_errors()'), 'ok', "errors of the server arrive as exceptions, and no destructor is skipped");
is(sql('SELECT test_exceptions()'), 'ok', 'exceptions go through guarded code unchanged');
is(sql('SELECT test_cache(3)'), 'ok', 'a statement that calls back keeps its plan while others are dropped');

is(sql("SELECT test_throw('postgres')"), '22012: division by zero', 'an error of the server leaves as it was');
like(sql("SELECT test_throw('detail')"), qr/^22P02: invalid input syntax for type json \| The input string ended/, '... with its detail');
is(sql("SELECT test_throw('user')"), '55000: not now | It is busy. | Try later.', "a user's error has its SQLSTATE, detail and hint");
is(sql("SELECT test_throw('config')"), '22023: bad address | Use https.', 'a configuration error is 22023');
is(sql("SELECT test_throw('argument')"), '22023: bad argument', '... as is an invalid argument');
is(sql("SELECT test_throw('memory')"), '53200: out of memory', 'a failed allocation is 53200');
is(sql("SELECT test_throw('runtime')"), 'XX000: broken', 'anything else is an internal error');
is(sql("SELECT test_throw('other')"), 'XX000: unknown error', '... even what is no exception class');
like(sql("SELECT test_throw('long')"), qr/^XX000: e{2046}$/, 'a long message is cut between characters');
like(sql('SELECT test_throw(NULL)'), qr/^22004: /, 'a NULL where none may be is 22004');
is(sql("DO \$\$BEGIN FOR i IN 1..500 LOOP BEGIN PERFORM test_throw('user'); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END\$\$"),
	'', 'errors can be caught and raised again many times');

is(sql('SELECT count(*), count(t), max(t) FROM test_table(3)'), '3|2|ö2', 'a table function returns rows and nulls');
like(sql('SELECT * FROM test_table(-1)'), qr/^22P02: /, '... and a bad cell is an error');

is(sql("SELECT test_as_role('owner_of_it'::regrole, 'SELECT current_user')"), 'owner_of_it', 'a block runs as its role');
is(sql("SELECT test_as_role('owner_of_it'::regrole, 'SELECT current_setting(''search_path'')')"), 'pg_catalog, pg_temp', '... with its own search_path');
is(sql("SELECT test_as_role('owner_of_it'::regrole, 'SELECT 1 / 0')"), '22012', '... which an error undoes too');
is(sql("SELECT test_as_role('owner_of_it'::regrole, 'SELECT rolpassword FROM pg_authid')"), '42501', '... with the rights of the role only');
is(sql("SELECT test_as_role('owner_of_it'::regrole, 'SET ROLE postgres')"), '42501', '... and no way out');
is(sql("SELECT test_as_role('owner_of_it'::regrole, 'INSERT INTO app.parent VALUES (1) RETURNING id')"), '1', 'a deferred trigger');
is(sql('SELECT * FROM app.fired'), 'owner_of_it|pg_catalog, pg_temp', '... fires inside the block, as the role');
is(sql("SELECT test_as_role('owner_of_it'::regrole, 'INSERT INTO app.child VALUES (99)')"), '23503', '... and a deferred constraint fails there');

is(sql("CALL test_procedure('plain')"), '', 'a procedure commits and holds nothing while it waits');
is(sql("CALL test_procedure('errors')"), '', '... also after errors in the middle of a scan');
is(sql("CALL test_procedure('commit fails')"), '', '... and after a commit that failed');
is(sql("CALL test_procedure('exception')"), '55000: stopped half-way', 'an exception rolls its transaction back');
is(sql('SELECT what, count(*) FROM written GROUP BY 1 ORDER BY 1'), "commit fails|2\nerrors|2\nexception|1\nplain|1", 'what was committed is there, and nothing else');
like(sql("CALL test_procedure('holds')"), qr/^XX000: would wait for the network with a snapshot/, 'waiting inside a transaction is refused');
is(sql("CALL test_procedure('reuse')"), '', 'a descriptor that took over the number of a closed one is seen');
like(sql("BEGIN; CALL test_procedure('block'); COMMIT"), qr/^2D000: CALL test_procedure\(\) cannot run inside a transaction block \| Run it by itself/,
	'inside a transaction block it is refused');
like(sql("DO \$\$BEGIN BEGIN CALL test_procedure('block'); EXCEPTION WHEN division_by_zero THEN NULL; END; END\$\$"), qr/^2D000: /, '... and inside a block with an exception clause');
is(sql("SELECT count(*) FROM written WHERE what = 'block'"), '0', '... before it did anything');
is(sql("DO \$\$BEGIN FOR i IN 1..2 LOOP CALL test_procedure('errors'); END LOOP; END\$\$"), '', 'it can be called from another procedure');

unlike(slurp_file($node->logfile), qr/AddressSanitizer|runtime error:|was terminated by signal/, 'the sanitizers have nothing to say');
$node->stop;
done_testing();
