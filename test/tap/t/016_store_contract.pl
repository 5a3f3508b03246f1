# The store over SPI keeps the contract that the simulated one keeps (test/unit/store_contract_test.cpp): the cases of
# test/contract, in a backend.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $build = PostgreSQL::Test::Utils::tempdir();
my $said = `make -s -j2 -C test/contract BUILD=$build 2>&1`;
BAIL_OUT("test/contract does not build:\n$said") if $? != 0;

my $node = PostgreSQL::Test::Cluster->new('contract');
$node->init;
$node->append_conf('postgresql.conf', "client_min_messages = error\nstatement_timeout = 60s\n");    # a case that spins ends
$node->start;
$node->safe_psql('postgres', <<"END");
CREATE EXTENSION session_reconciler;
SELECT create_control_plane();
SELECT set_hub('hub', 'http://127.0.0.1:1');
INSERT INTO agents (agent_id) VALUES ('a'), ('b');
UPDATE reconciler.policy SET enabled = state IN ('terminating', 'running', 'pending');
UPDATE reconciler.binding SET hub = 'hub', batch_size = 2, start_grace = '0', instance_grace = '0', promotion_grace = '0',
  brake_floor = 2, brake_share = 0, user_rate_floor = 2, user_rate_share = 0;
-- One library with both: two would define the same settings in a backend.
UPDATE pg_proc SET probin = '$build/contract.so' WHERE probin = '\$libdir/session_reconciler';
END
$node->safe_psql('postgres', <<"END");
CREATE FUNCTION contract_cases() RETURNS text LANGUAGE c AS '$build/contract.so', 'reconciler_sql_contract_cases';
CREATE PROCEDURE contract_case(name text) LANGUAGE c AS '$build/contract.so', 'reconciler_sql_contract_case';
END

for my $case (split /\n/, $node->safe_psql('postgres', 'SELECT contract_cases()'))
{
	my $error;
	$node->psql('postgres', "CALL contract_case('$case')", stderr => \$error, on_error_stop => 0);
	is($error, '', $case =~ tr/_/ /r);
}

$node->stop;
done_testing();
