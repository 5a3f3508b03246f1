# The disk is full: for the files of tables first, then for the WAL, which takes the server down. Nothing is lost or done
# twice, nobody is blamed for it, the log is not flooded; and when there is space again all goes on by itself.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils qw(slurp_file);
use Reconciler;
use Test::More;

my $full = PostgreSQL::Test::Utils::tempdir() . '/full';
sub with_shim
{
	my ($start) = @_;
	local ($ENV{LD_PRELOAD}, $ENV{DISK_FULL}) = ($ENV{DISK_FULL_SHIM}, $full);
	return $start->();
}
sub disk_full_for { Reconciler::write_private("$full.new", $_[0]); rename "$full.new", $full; return }
sub space_again   { unlink $full; return }

my $r = with_shim(sub {
	Reconciler->new('full', init => { extra => ['--wal-segsize=1'] },
		conf => "restart_after_crash = on\nautovacuum = off\nlog_statement = none\nmin_wal_size = 2MB\nmax_wal_size = 4MB\nwal_recycle = off\nwal_init_zero = on");
});
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub, {}, { command_spacing => '0 s' });
$r->do('UPDATE reconciler.binding SET user_rate_floor = 1000');
$r->do("ALTER TABLE sessions ADD COLUMN notes text DEFAULT repeat('x', 1000)");
$hub->control(fake_agents => { ids => ['agent-1'], complete_after_ms => 0 });
$hub->control(fake_agents => { ids => ['agent-lost'], status => 'disconnected' });
$r->wait_for_worker;
# Gone for long by now
my @stuck = ('lost');
$r->add_session('lost', 'agent-lost');
$r->live_through(660);
is($r->state_of('lost'), 'terminated', 'all works');

# Forty sessions without their agent, and forty to be stopped, with which nothing has been done yet
sub forty_of_each
{
	my ($name) = @_;
	my @new = map { ("lost-$name-$_", "asked-$name-$_") } 1 .. 40;
	$r->add_session($_, /^lost/ ? 'agent-lost' : 'agent-1', age => '4 min') for @new;
	$r->pass;
	push @stuck, @new;
	return;
}

# Nothing is half done.
sub in_one_piece
{
	my ($when) = @_;
	is_deeply([ $r->column("SELECT id FROM sessions WHERE state = 'terminated' EXCEPT SELECT session_id FROM reconciler.event WHERE to_state = 'terminated'") ], [], "$when: no closing without its event");
	is_deeply([ $r->column("SELECT session_id FROM reconciler.event WHERE to_state = 'terminated' EXCEPT SELECT id FROM sessions WHERE state = 'terminated'") ], [], '... and no event without its closing');
	is($r->one('SELECT mode FROM reconciler_status()'), 'enforce', '... the table is not broken');
	is($r->one('SELECT safe_mode_since FROM reconciler_status()'), undef, '... and not in safe mode');
	return;
}

sub all_ended_once
{
	my ($when) = @_;
	is($r->one("SELECT count(*) FROM sessions WHERE state = 'terminated'"), scalar @stuck, "$when: all have ended")
	  or diag encode($r->stuck($r->one("SELECT min(id) FROM sessions WHERE state <> 'terminated'")));
	is_deeply([ $r->rows("SELECT session_id, count(*) FROM reconciler.event WHERE to_state = 'terminated' GROUP BY 1 HAVING count(*) > 1") ], [], '... each once');
	is($r->one("SELECT sum(value) FROM reconciler_metrics() WHERE name IN ('reconciler_forced_total', 'reconciler_finalized_total')"), scalar @stuck, '... and are counted');
	my %commands;
	$commands{ $_->{session_id} }++ for @{ $hub->control('state')->{commands} };
	is_deeply(\%commands, { map { $_ => 1 } grep { /^asked/ } @stuck }, '... those with an agent by one command');
	is($r->one("SELECT string_agg(kind || ' ' || coalesce(reason, ''), ', ') FROM reconciler.event WHERE kind IN ('quarantine', 'error')"), undef, '... and nobody was blamed');
	return;
}

sub worker_said { return grep { /session_reconciler (?:worker|launcher).*(?:WARNING|ERROR|FATAL): / && !/administrator command/ } split /\n/, slurp_file($r->node->logfile) }

for my $what ('sessions', 'reconciler.event', '/base/')
{
	subtest "no space for $what" => sub {
		my $name = $what =~ tr/a-z//cdr;
		forty_of_each($name);
		$r->do("VACUUM FULL $_") for 'sessions', $r->column("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'reconciler'");
		my $said = worker_said();
		disk_full_for($what =~ m{/} ? $what : $r->one('SELECT pg_relation_filepath(?)', $what));
		$r->advance(60), $r->do('SELECT reconciler.wake_worker()');
		wait_until { worker_said() > $said || $r->events('quarantine') } 'the worker to notice';
		in_one_piece('full');
		space_again();
		$r->live_through(240);
		in_one_piece('afterwards');
		all_ended_once('afterwards');
		cmp_ok(worker_said() - $said, '<=', 2, '... and the log was not flooded');
	};
}

# What is left of the WAL's last segment is not enough for a pass.
sub fill_wal
{
	my $left = "SELECT max(('x' || substr(name, 9, 8))::bit(32)::bigint * 4096 + ('x' || substr(name, 17, 8))::bit(32)::bigint + 1) * 1048576 - (pg_current_wal_insert_lsn() - '0/0') FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}\$'";
	$r->do("SELECT pg_logical_emit_message(false, 'test', repeat('x', 8000))") while $r->one($left) > 30_000;
	return;
}

subtest 'no space for WAL' => sub {
	forty_of_each('wal');
	disk_full_for('/pg_wal/');
	fill_wal();
	$r->advance(60);
	wait_until { eval { $r->do('SELECT reconciler.wake_worker()') }; !-e $r->node->data_dir . '/postmaster.pid' } 'the server to go down';
	like(slurp_file($r->node->logfile), qr/PANIC: .* No space left on device/, 'the server is down, as the recovery has no space either');
	$r->node->_update_pid(0);
	space_again();
	with_shim(sub { $r->node->start });
	$r->wait_for_server('SELECT reconciler.worker_pid()');
	$r->live_through(420);    # its evidence is as old as the crash
	in_one_piece('afterwards');
	all_ended_once('afterwards');
};

$r->node->stop;
done_testing();
