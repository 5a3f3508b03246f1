# A table whose owner is hostile in its types, names and relatives: nothing of it runs with the rights of who looks at it or
# acts on it through us, be it a superuser, and no name is more than a name. (What triggers and operators can try: 051.)
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Test::More;

my $r = Reconciler->new('hostile');
my $hub = $r->hub('hub', '--profile', 'standard');
$r->set_hub('main', $hub->url, 'standard', { command_spacing => '0 s' });
$hub->control(fake_agents => { ids => ['agent-1'], complete_after_ms => 0 });
$hub->control(fake_agents => { ids => ['agent-lost'], status => 'disconnected' });
$r->do('CREATE ROLE mallory LOGIN');
$r->do('CREATE SCHEMA evil AUTHORIZATION mallory');
$r->do('CREATE TABLE precious (i integer)');
# What a superuser typed here, also after SET ROLE, would run with a way back to a superuser's rights, and prove nothing.
my $mallory = $r->connect(user => 'mallory');

# Each function notes whose rights it has, and tries to become a superuser's in several ways.
$mallory->do(<<'END_OF_SQL');
CREATE TABLE evil.runs (what text, as_user text DEFAULT current_user, note text);
GRANT ALL ON evil.runs TO PUBLIC;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.run(what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE way text;
BEGIN
  FOREACH way IN ARRAY ARRAY['ALTER ROLE mallory SUPERUSER', 'SELECT set_config(''role'', ''postgres'', false)', 'SELECT set_config(''session_authorization'', ''postgres'', false)',
    'SET LOCAL ROLE postgres', 'RESET ROLE', 'RESET SESSION AUTHORIZATION', 'DROP TABLE public.precious', 'SELECT set_config(''session_reconciler.outbound'', ''off'', false)'] LOOP
    BEGIN
      EXECUTE way;
      INSERT INTO evil.runs (what, note) VALUES (what, way);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
  END LOOP;
  BEGIN
    INSERT INTO evil.runs (what) VALUES (what);
  EXCEPTION WHEN OTHERS THEN RAISE LOG 'evil: % as %', what, current_user;
  END;
END $$;
CREATE TYPE evil.status AS ENUM ('running', 'terminating', 'terminated', 'pending', 'failed');
CREATE FUNCTION evil.show(evil.status) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.run('status to text'); RETURN enum_out($1); END $$;
CREATE CAST (evil.status AS text) WITH FUNCTION evil.show(evil.status) AS ASSIGNMENT;
CREATE FUNCTION evil.read(text) RETURNS evil.status LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.run('text to status'); RETURN enum_in($1::cstring, 'evil.status'::regtype); END $$;
CREATE CAST (text AS evil.status) WITH FUNCTION evil.read(text) AS IMPLICIT;
CREATE TYPE evil.id AS ENUM ('lost', 'asked', 'well');
CREATE FUNCTION evil.show(evil.id) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.run('id to text'); RETURN enum_out($1); END $$;
CREATE CAST (evil.id AS text) WITH FUNCTION evil.show(evil.id) AS ASSIGNMENT;
CREATE FUNCTION evil.read_id(text) RETURNS evil.id LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.run('text to id'); RETURN enum_in($1::cstring, 'evil.id'::regtype); END $$;
CREATE CAST (text AS evil.id) WITH FUNCTION evil.read_id(text) AS ASSIGNMENT;
CREATE FUNCTION evil.valid(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.run('domain'); RETURN true; END $$;
CREATE DOMAIN evil.agent AS text CHECK (evil.valid(VALUE));
CREATE FUNCTION evil.visible(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.run('row security'); RETURN true; END $$;
CREATE TABLE evil.sessions (id evil.id PRIMARY KEY, state evil.status NOT NULL, agent_id evil.agent, created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now() - interval '20 min',
  termination_reason text, terminated_at timestamptz, "'); DROP TABLE public.precious; --" text);
INSERT INTO evil.sessions (id, state, agent_id) VALUES ('lost', 'terminating', 'agent-lost'), ('asked', 'terminating', 'agent-1'), ('well', 'running', 'agent-1');
TRUNCATE evil.runs;
END_OF_SQL

# It may run, as its owner, and it gained nothing.
sub nothing_gained
{
	my ($when) = @_;
	is_deeply([ $r->column("SELECT DISTINCT what || ' as ' || as_user FROM evil.runs WHERE as_user <> 'mallory'") ], [], "$when: nothing of it ran with another's rights");
	is_deeply([ $r->column("SELECT DISTINCT note FROM evil.runs WHERE note ~ '(ALTER|DROP|SET LOCAL ROLE|session_authorization|RESET|postgres)'") ], [], '... nothing that it tried worked');
	ok(!$r->one("SELECT bool_or(rolsuper) FROM pg_roles WHERE rolname = 'mallory'"), '... nobody became a superuser');
	is($r->one('SELECT count(*) FROM precious'), 0, '... and what is precious is still there');
	return;
}

sub look
{
	$r->db->selectall_arrayref("SELECT * FROM $_") for 'stuck_sessions()', "explain_session('lost')", "explain_session('asked')", 'reconcile_plan()', 'session_coverage()', 'preflight()', 'reconciler_status()',
	  'reconciler_metrics()';
	return;
}

subtest 'types with casts of its own' => sub {
	$r->attach('evil.sessions', 'standard', { mode => 'enforce', start_grace => '0 s', instance_grace => '0 s', disconnect_cleanup => JSON::PP::true });
	nothing_gained('attached by a superuser');
	$r->wait_for_worker;
	$r->live_through(120);
	look();
	nothing_gained('looked at by a superuser');
	$r->do("SELECT hold_session('well', 'infinity', 'a try')");
	$r->do("SELECT release_session('well', 'a try')");
	$r->do("SELECT request_termination('well', 'a try')");
	$r->do("SELECT retry_session('well', 'a try')");
	$r->do("SELECT force_terminate_session('well', 'a try')");
	$r->do('CALL reconcile()');
	$r->live_through(780);
	is_deeply([ $r->column("SELECT enum_out(state) FROM evil.sessions ORDER BY id") ], [ ('terminated') x 3 ], 'all are closed');
	$r->do("SELECT undo_event(max(id)) FROM reconciler.event WHERE kind = 'force'");
	nothing_gained('acted on by a superuser');

	# An implicit one, under the feet of a table that is attached
	$mallory->do('DROP CAST (evil.status AS text)');
	$mallory->do('CREATE CAST (evil.status AS text) WITH FUNCTION evil.show(evil.status) AS IMPLICIT');
	eval { look() };
	$r->error('CALL reconcile()');
	nothing_gained('an implicit cast');
	$r->do("SELECT detach_sessions('evil.sessions')");
};

subtest 'a domain, and names that are statements' => sub {
	$mallory->do('CREATE DOMAIN evil.key AS text CHECK (evil.valid(VALUE))');
	$mallory->do('CREATE DOMAIN evil."; DROP TABLE public.precious; --" AS evil.key');
	my $table = q{evil."x""); DROP TABLE public.precious; --'"};
	my @columns = (q{"'); DROP TABLE precious; --"}, q{"st""ate"}, q{"agent\'"});
	$mallory->do(qq{CREATE TABLE $table ($columns[0] evil."; DROP TABLE public.precious; --" PRIMARY KEY, $columns[1] text NOT NULL, $columns[2] evil.agent, created_at timestamptz, updated_at timestamptz)});
	$mallory->do(qq{INSERT INTO $table VALUES ('lost''); DROP TABLE precious; --', 'terminating', 'agent-lost', now(), now() - interval '20 min'), ('asked', 'terminating', 'agent-1', now(), now() - interval '20 min')});
	$mallory->do('TRUNCATE evil.runs');
	$r->attach($table, 'standard', { mode => 'enforce', start_grace => '0 s', instance_grace => '0 s', key_column => "'); DROP TABLE precious; --", state_column => 'st"ate', agent_column => q{agent\'} });
	$r->live_through(60);
	$r->rows('SELECT * FROM explain_session(?)', "lost'); DROP TABLE precious; --");
	look();
	nothing_gained('looked at by a superuser');
	$r->do('SELECT force_terminate_session(?, ?)', "lost'); DROP TABLE precious; --", "'); DROP TABLE precious; --");
	$r->live_through(780);
	is_deeply([ $r->column(qq{SELECT $columns[1] FROM $table}) ], [ ('terminated') x 2 ], 'all are closed');
	nothing_gained('acted on by a superuser');
	$r->do('SELECT detach_sessions(?::regclass)', $table);
};

subtest 'what is no table' => sub {
	$mallory->do("CREATE VIEW evil.view AS SELECT id::text, 'terminating'::text AS state, agent_id, created_at, updated_at FROM evil.sessions WHERE evil.valid('x')");
	like($r->error("SELECT * FROM attach_sessions('evil.view')"), qr/^42809/, 'a view is refused');
	$mallory->do('CREATE TABLE evil.parted (id text PRIMARY KEY, state text NOT NULL, agent_id text, created_at timestamptz, updated_at timestamptz DEFAULT now())');
	$mallory->do("CREATE VIEW evil.commands AS SELECT ''::text AS command_id, ''::text AS session_id, ''::text AS action, ''::text AS status WHERE evil.valid('x')");
	like($r->error(q{SELECT * FROM attach_sessions('evil.parted', 'standard', '{"commands_table": "evil.commands"}')}), qr/^42809/, '... also for commands');
	nothing_gained('refused');
};

$r->node->stop;
done_testing();
