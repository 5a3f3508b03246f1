# Sessions that are judged by what they run in. First by what a hub says of each, then by push alone, with no connection to
# anybody: lists of all that is there, as something beside the database makes them.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Test::More;

my $sessions = <<'END';
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, platform_resource_id text, seen timestamptz, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now())
END
my %at_once = (mode => 'enforce', start_grace => '0 s', instance_grace => '0 s', replacement_grace => '0 s', sign_of_life_columns => ['seen'],
	policies => { suspended => { enabled => \1 }, running => undef });

subtest 'by what the hub says' => sub {
	my $r = Reconciler->new('asked', preload => '');
	my $hub = $r->hub('hub', '--profile', 'standard');
	$r->do($sessions);
	$r->do("INSERT INTO sessions SELECT i, 'suspended', 'pod-' || i FROM unnest('{gone,there,other,unsaid}'::text[]) AS i");
	$r->one('SELECT set_hub(?, ?)', 'main', $hub->url);
	$r->attach('sessions', 'standard', { %at_once, observation_spacing => '10 ms' });
	$hub->control(sessions => [
			{ id => 'gone', status => 'gone' },
			{ id => 'there', status => 'suspended', platform_resource_id => 'pod-there' },
			{ id => 'other', status => 'gone', platform_resource_id => 'pod-of-before' } ]);

	$r->pass;
	is($r->one("SELECT string_agg(runtime_id || ' ' || presence, ', ' ORDER BY runtime_id) FROM reconciler.runtime_evidence"),
		'pod-gone gone, pod-other unknown, pod-there present, pod-unsaid unknown', 'each is asked about, within the first CALL already');
	ok($r->one('SELECT hub_up FROM reconciler.binding_state'), 'a hub that can tell nothing of one is up');
	$r->live_through(9 * 60);
	is($r->state_of('gone'), 'suspended', 'nothing is done for ten minutes');

	$hub->fault({ match => { path_prefix => '/v1/sessions/' }, kind => 'status 500' });
	$r->live_through(20 * 60);
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'suspended'"), 4, 'a hub that fails changes nothing');
	is($r->metric('reconciler_hub_up'), 0, 'the metric says so');
	is($r->one("SELECT count(*) FROM preflight() WHERE status = 'fail' AND detail LIKE 'passes get no proper answer since%'"), 1, 'so does preflight()');

	$hub->fault;
	$r->live_through(11 * 60);
	is($r->one("SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM sessions"), 'gone gone, other suspended, there suspended, unsaid suspended', 'then the one whose runtime is gone is closed');
	my ($event) = $r->events('force');
	is("$event->{session_id} $event->{rule} $event->{reason}", 'gone runtime_gone runtime_gone', 'with its event');
	is($event->{evidence}{runtime}{source}, 'hub', '... and what it rests on');
};

subtest 'by push alone' => sub {
	my $r = Reconciler->new('pushed', preload => '', conf => 'session_reconciler.outbound = off');
	$r->do($sessions);
	$r->do("INSERT INTO sessions SELECT 's' || i, 'suspended', 'pod-' || i FROM generate_series(1, 100) AS i");
	$r->do("INSERT INTO sessions VALUES ('twin-1', 'suspended', 'pod-twin'), ('twin-2', 'suspended', 'pod-twin')");
	$r->one('SELECT declare_backend(?, false)', 'pod');
	# A hub is set, and never asked.
	$r->one("SELECT set_hub('main', 'http://127.0.0.1:9')");
	$r->attach('sessions', 'standard', \%at_once);
	is($r->one("SELECT count(*) FROM preflight() WHERE check_name LIKE '%: runtimes' AND status = 'warn'"), 1, 'preflight() misses evidence');
	$r->do('CREATE ROLE kube LOGIN');
	$r->one("SELECT reconciler_grant('kube', 'evidence')");
	my $kube = $r->connect(user => 'kube');
	my $inventory = sub {
		my (@pods) = @_;
		return $kube->selectrow_array('SELECT outcome FROM report_inventory(?, ?, clock_timestamp(), true, ?)', undef, 'resource', 'eu', encode(\@pods));
	};
	my @there = map { "pod-$_" } 61 .. 100;
	my $live = sub {
		my ($minutes, @pods) = @_;
		for (1 .. $minutes) { $r->advance(60); $inventory->(@pods); $r->pass }
	};

	is($inventory->(), 'rejected', 'an empty first list proves nothing');
	is($r->one("SELECT string_agg(DISTINCT presence, ',') FROM reconciler.runtime_evidence"), 'unknown', '... of anything');
	$live->(1, @there);
	is($r->one("SELECT count(*) FROM preflight() WHERE check_name LIKE '%: runtimes' AND status = 'ok'"), 1, 'preflight() is content then');
	$live->(8, @there);
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'gone'"), 0, 'nothing before its time');

	# Whoever makes the lists is down: what he said is worth nothing soon, and it begins again.
	$r->live_through(30 * 60);
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'gone'"), 0, 'silence is no evidence');
	is($r->one("SELECT count(*) FROM preflight() WHERE check_name LIKE '%: runtimes' AND status = 'warn'"), 1, 'and preflight() says so');
	$live->(9, @there);
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'gone'"), 0, 'time before the silence does not count');

	is($inventory->('pod-61'), 'rejected', 'a list that lost most of what was there is rejected');
	$r->pass;
	is($r->one("SELECT count(*) FROM reconciler.runtime_evidence WHERE presence <> 'unknown'"), 0, 'and nothing is known');
	is(scalar($r->events('inventory_rejected')), 2, 'it is an event each time it begins');
	$live->(11, @there);
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'gone'"), 0, '60 of 102 are too many: none is done');
	ok($r->one('SELECT tripped FROM reconciler.brake'), 'the brake has tripped');
	is($r->one("SELECT tripped_due FROM reconciler.brake"), 60, 'for all of them');

	# While they wait one is given another runtime, and one shows life.
	$r->do("UPDATE sessions SET platform_resource_id = 'pod-100x' WHERE id = 's1'");
	$r->do("UPDATE sessions SET seen = " . $r->now . " + interval '90 s' WHERE id = 's2'");
	$r->one("SELECT reset_brake('they are gone indeed')");
	$live->(1, @there, 'pod-100x');
	is($r->one("SELECT string_agg(id, ',' ORDER BY id) FROM sessions WHERE state = 'suspended' AND id NOT IN (SELECT 's' || i FROM generate_series(61, 100) AS i)"), 's1,s2,twin-1,twin-2', 'one reset_brake() lets them through, and nobody else');
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'gone'"), 58, '58 are closed');
	is($r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'shared_runtime'"), 2, 'two sessions with one runtime are reported, once each');
	$live->(4, @there, 'pod-100x');
	is($r->state_of('s2'), 'gone', 'a sign of life is heard while it is fresh');
	is($r->state_of('s1'), 'suspended', 'what was respawned lives');
	is($r->one("SELECT count(*) FROM reconciler.event WHERE kind = 'shared_runtime'"), 2, 'and the twins are not reported again');
	is($r->one('SELECT hub_up IS NULL FROM reconciler.binding_state'), 1, 'nobody was asked');
	is($r->one("SELECT count(*) FROM preflight() WHERE status = 'fail'"), 0, 'preflight() is content');

	$r->do("DELETE FROM sessions WHERE id = 's100'");
	$live->(2, @there);
	$r->live_through(61 * 60, 61 * 60);
	is($r->one("SELECT count(*) FROM reconciler.runtime_evidence WHERE runtime_id = 'pod-100'"), 0, 'what is known of a runtime without a session is forgotten');
};

done_testing();
