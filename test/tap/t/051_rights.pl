# What a hostile owner of an attached table can gain: nothing. What a secret can leak into: nothing. What somebody may
# see: what they may see anyway.
use strict;
use warnings FATAL => 'all';

use DBD::Pg ':async';
use PostgreSQL::Test::Utils qw(slurp_file);
use Reconciler;
use Test::More;

my $r = Reconciler->new('rights');
my $hub = $r->hub('hub', '--profile', 'standard', '--token', 'sesame-0f3a');
my $secrets = $r->give_tokens($hub);
$r->one("SELECT set_hub('main', ?, 'standard', ?)", $hub->url, encode({ command_spacing => '0 s' }));
$hub->control(fake_agents => { count => 1, complete_after_ms => 0 });
$hub->control(fake_agents => { ids => ['agent-lost'], status => 'disconnected' });

# Everything that an owner's code can try when it runs in our statements. Each try says how it went.
my $hostile = <<'END';
CREATE TABLE evil.tries (what text, outcome text, at_depth text, as_user text DEFAULT current_user);
CREATE FUNCTION evil.try(what text, depth text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE what;
  INSERT INTO evil.tries VALUES (what, 'done', depth);
EXCEPTION WHEN OTHERS THEN
  INSERT INTO evil.tries VALUES (what, SQLERRM, depth);
END $$;
CREATE FUNCTION evil.try_all(depth text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE what text;
BEGIN
  FOREACH what IN ARRAY ARRAY[
    'ALTER ROLE mallory SUPERUSER', 'SET ROLE postgres', 'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT',
    'SET LOCAL search_path = evil', 'CREATE ROLE mallory_2 SUPERUSER', 'COPY (SELECT 1) TO PROGRAM ''true''',
    'UPDATE reconciler.binding SET mode = ''off''', 'DELETE FROM reconciler.event', 'GRANT pg_read_server_files TO mallory',
    'SELECT pg_catalog.pg_read_file(''postgresql.conf'')', 'CREATE TEMP TABLE hidden (i integer)',
    'ALTER EXTENSION session_reconciler UPDATE', 'SET LOCAL session_reconciler.clock_offset = 1000000'] LOOP
    PERFORM evil.try(what, depth);
  END LOOP;
END $$;
CREATE TABLE evil.sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, created_at timestamptz, updated_at timestamptz,
  termination_reason text, terminated_at timestamptz);
CREATE FUNCTION evil.now() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.try_all('in a trigger'); RETURN NEW; END $$;
CREATE FUNCTION evil.later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.try_all('in a deferred trigger'); RETURN NULL; END $$;
CREATE TRIGGER now BEFORE UPDATE ON evil.sessions FOR EACH ROW EXECUTE FUNCTION evil.now();
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON evil.sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.later();
-- Names that an unpinned search_path would find first.
CREATE FUNCTION evil.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.try_all('in an operator'); RETURN true; END $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equal);
CREATE FUNCTION evil.count(text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.try_all('in a function'); RETURN 0; END $$;
-- Code in a check and in an index.
CREATE FUNCTION evil.looks(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM evil.try_all('in a check'); RETURN true; END $$;
ALTER TABLE evil.sessions ADD CHECK (evil.looks(state)) NOT VALID;
CREATE FUNCTION evil.indexed(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM evil.try_all('in an index'); RETURN $1; END $$;
CREATE INDEX ON evil.sessions (evil.indexed(state));
END

# What a superuser typed here, also after SET ROLE, would run with a way back to a superuser's rights, and prove nothing.
sub as_mallory { return $r->connect(user => 'mallory')->do($_[0]) }

sub nothing_gained
{
	my ($what) = @_;
	is($r->one("SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolname LIKE 'mallory%' AND (rolsuper OR rolcreaterole)"), undef, "$what: nobody became a superuser");
	is($r->one("SELECT count(*) FROM pg_auth_members WHERE member = 'mallory'::regrole"), 0, '... or member of anything');
	is_deeply([ $r->column("SELECT DISTINCT as_user FROM evil.tries ORDER BY 1") ], ['mallory'], '... all of it ran as the owner');
	is_deeply([ $r->column("SELECT DISTINCT what FROM evil.tries WHERE outcome = 'done' AND what NOT LIKE 'SET LOCAL search_path%'") ], [], '... and nothing that matters worked');
	return;
}

subtest 'a hostile owner' => sub {
	$r->do('CREATE ROLE mallory LOGIN');
	$r->do('CREATE SCHEMA evil AUTHORIZATION mallory');
	as_mallory($hostile);
	as_mallory("INSERT INTO evil.sessions SELECT id, 'terminating', agent, now() - interval '1 hour', now() - interval '1 hour' FROM (VALUES ('lost', 'agent-lost'), ('done', 'agent-1')) AS t(id, agent)");
	as_mallory('TRUNCATE evil.tries');
	$r->attach('evil.sessions', 'standard',
		{ mode => 'enforce', start_grace => '0 s', instance_grace => '0 s' });
	$r->wait_for_worker;
	$r->live_through(780);
	is($r->one("SELECT string_agg(state, ' ') FROM evil.sessions"), 'terminated terminated', 'its sessions are closed');
	cmp_ok($r->one("SELECT count(DISTINCT at_depth) FROM evil.tries"), '>=', 3, 'its code has run in more ways than one');
	nothing_gained('the worker');
	is($r->one("SELECT count(*) FROM evil.tries WHERE at_depth IN ('in an operator', 'in a function')"), 0, '... and its operators were not found');
	is($r->one("SELECT mode FROM reconciler.binding WHERE table_name = 'sessions'"), 'enforce', 'its binding is as it was');
};

subtest 'a hostile owner who defers to the end of the transaction' => sub {
	# A deferred trigger runs at COMMIT, in whose rights? In those of who commits, before PostgreSQL 18.
	my $others = "SELECT string_agg(DISTINCT as_user, ' ') FROM evil.tries WHERE as_user <> 'mallory'";
	as_mallory('CREATE OR REPLACE FUNCTION evil.now() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END $$');
	as_mallory("INSERT INTO evil.sessions SELECT id, 'terminating', 'agent-lost', now() - interval '1 hour', now() - interval '1 hour' FROM unnest(ARRAY['by worker', 'by call', 'by function']) AS t(id)");
	$r->do("SELECT hold_session('by call', 'infinity', 'for later')");
	$r->do("SELECT hold_session('by function', 'infinity', 'for later')");

	# PostgreSQL refuses to leave such a trigger for later; whether that sets one row aside or the table, it is on record.
	my $refused = "SELECT string_agg(concat(reason, evidence), ' ') FROM reconciler.event WHERE kind IN ('quarantine', 'error') AND id > ?";
	my $seen = $r->one('SELECT max(id) FROM reconciler.event');
	my $on_record = sub {
		like($r->one($refused, $seen) // 'nothing on record', qr/deferred trigger within security-restricted operation/, "$_[0] was refused, and says so");
		is($r->one($others), undef, '... nothing ran in the rights of anybody else');
		# What is left is held: neither the worker that set_mode() brings nor the next try meets this one again.
		as_mallory("DELETE FROM evil.sessions WHERE id = '$_[1]'");
		$r->do("SELECT set_mode('enforce', 'next try', 'evil.sessions')");
		$r->do('CALL stop_worker()');
		$seen = $r->one('SELECT max(id) FROM reconciler.event');
	};
	$r->live_through(840);
	$on_record->('the worker', 'by worker');
	$r->do("SELECT release_session('by call', 'now')");
	$r->do('CALL reconcile()');
	$on_record->('a CALL', 'by call');
	$r->do("SELECT release_session('by function', 'now')");
	like($r->error("SELECT force_terminate_session('by function', 'out of the way')"), qr/^42501.*deferred trigger/s, 'a function that acts for its caller is refused');
	is($r->one($others), undef, '... nothing ran in the rights of anybody else');
	is($r->one("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'"), 0, 'nobody became a superuser');
	$r->do("SELECT detach_sessions('evil.sessions')");
	$r->do('DROP SCHEMA evil CASCADE');
};

subtest 'a secret' => sub {
	$r->do('CREATE ROLE reader LOGIN');
	$r->do("SELECT reconciler_grant('reader', 'admin')");
	$r->do('GRANT pg_read_all_stats TO reader');
	$r->sessions_at($hub, {}, { total_timeout => '4 min' });
	$r->add_session('s1', 'agent-1');
	$r->do('CALL stop_worker()');

	# In flight, where an activity view could show it
	$hub->fault({ match => { method => 'GET' }, kind => 'never_answer', times => 1 });
	my $caller = $r->connect;
	$caller->do('CALL reconcile()', { pg_async => PG_ASYNC });
	wait_until { $hub->met } 'the request to be out';
	unlike($r->one('SELECT string_agg(a::text, \' \') FROM pg_stat_activity AS a'), qr/sesame/, 'no activity shows it');
	$r->do('SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = \'CALL reconcile()\'');
	eval { $caller->pg_result };
	$hub->fault;

	# Used, refused, and echoed by a hub that should not
	$r->do('CALL reconcile()');
	like($r->episode('s1')->{last_result}, qr/^accepted/, 'the token works');
	$hub->fault({ kind => 'status 401', content_type => 'application/json', body => '{"error":{"code":"bad","message":"Bearer sesame-0f3a is not valid"}}' });
	$r->do('CALL reconcile()');
	$hub->fault;
	my @errors = ($r->error(qq{SELECT set_hub('x', 'http://me:sesame-0f3a\@127.0.0.1:1/')}), $r->error(qq{SELECT set_hub('x', 'http://127.0.0.1:1/?token=sesame-0f3a')}));
	like($_, qr/^22023/, 'an address with a secret in it is refused') for @errors;
	Reconciler::write_private("$secrets/credentials.json", '[{"name": "hub", "token": "sesame-0f3a"');
	push @errors, $r->error("SELECT set_hub('main', 'http://127.0.0.1:9')");
	$r->do('CALL reconcile()');
	unlike(join("\n", @errors), qr/sesame/, '... without being shown, and so is a credentials file that cannot be read');

	my $everything = '';
	for my $table ($r->column("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('reconciler', 'public')"))
	{
		$everything .= $r->one("SELECT coalesce(string_agg(t::text, ' '), '') FROM $table AS t") . "\n";
	}
	$everything .= $r->one("SELECT string_agg(t::text, ' ') FROM $_ AS t") . "\n"
	  for 'reconciler_status()', 'reconciler_metrics()', 'preflight()', "explain_session('s1')", 'stuck_sessions()';
	unlike($everything, qr/sesame/, 'no table and no function shows it');
	my $reader = $r->connect(user => 'reader');
	is($reader->selectrow_array("SELECT count(*) FROM pg_settings WHERE name = 'session_reconciler.credentials_file'"), 0, 'nor do settings show others where it is');
	# The statements that we typed ourselves stand in the log with log_statement = all.
	my $log = join "\n", grep { !/LOG:  (statement|execute)|STATEMENT:/ } split /\n/, slurp_file($r->node->logfile);
	unlike($log, qr/sesame/, 'nor does the log');
	$r->give_tokens($hub);
};

subtest 'hubs that are not on loopback' => sub {
	like($r->error("SELECT set_hub('far', 'http://192.0.2.1:8080')"), qr/^\S+ .*no credential/s, 'without a credential a hub elsewhere is refused');
	like($r->error("SELECT set_hub('far', 'https://hub.example.com')"), qr/^\S+ .*no credential/s, '... also by https');
	like($r->error("SELECT set_hub('far', 'http://169.254.169.254')"), qr/^\S/, '... link-local in any case');
	$r->do("UPDATE reconciler.hub SET base_urls = '{http://192.0.2.1:8080}' WHERE name = 'main'");    # past the function
	$r->do('CALL reconcile()');
	is($r->stuck('s1')->{agent_evidence}, 'unknown', 'typed into the table it is not asked: unknown');
	is(scalar $r->events('force', 's1'), 0, '... and nothing is closed');
};

subtest 'row security' => sub {
	$r->do('ALTER TABLE sessions ENABLE ROW LEVEL SECURITY');
	$r->do('CREATE ROLE viewer LOGIN');
	$r->do("SELECT reconciler_grant('viewer', 'viewer')");
	$r->do('GRANT SELECT ON sessions TO viewer');
	$r->do("CREATE POLICY own ON sessions FOR SELECT TO viewer USING (id = 's2')");
	$r->add_session('s2', undef);
	my $viewer = $r->connect(user => 'viewer');
	is($r->one("SELECT string_agg(session_id, ' ' ORDER BY session_id) FROM stuck_sessions()"), 's1 s2', 'the owner sees all');
	is($viewer->selectrow_array("SELECT string_agg(session_id, ' ') FROM stuck_sessions()"), 's2', 'a viewer sees what the policy lets through');
	unlike(join(' ', map { $_ // '' } map { @$_ } @{ $viewer->selectall_arrayref("SELECT * FROM explain_session('s1')") }), qr/agent-1/, '... and learns nothing of the others');
	ok(!eval { $viewer->do("SELECT pause_reconciler('why not')"); 1 }, '... and may not act');
	is($viewer->state, '42501', '... 42501');
};

$r->node->stop;
done_testing();
