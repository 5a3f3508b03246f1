# Two servers with streaming replication that patroni manages, as processes of ours on loopback; patroni agrees over its
# built-in raft, with a third voter that has no server.
#
#   my $cluster = Reconciler::Patroni->start;       # one leads, two follows
#   my ($one, $two) = $cluster->members;
#   $one->signal('KILL');                           # the whole machine: patroni, postmaster and all of its processes
#   $one->start_again;
#
# A member can be asked what Reconciler asks of a node.
package Reconciler::Patroni;

use strict;
use warnings FATAL => 'all';

use DBI;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Reconciler::Process;
use Reconciler::Wait;

my $json = JSON::PP->new->canonical;

# What a test leaves running ends with it. (A forked child has no part in this.)
my ($owner, @all) = ($$);
END { local $?; $owner == $$ and $_->signal('KILL') for @all }

# A process that ends with the test even if the test is killed.
sub bound { return ('setpriv', '--pdeathsig', 'KILL', @_) }

sub start
{
	my ($class) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir_short();
	my %raft = map { $_ => '127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port() } qw(one two voter);
	my $raft_of = sub {
		my ($name) = @_;
		return { data_dir => "$directory/$name.raft", self_addr => $raft{$name}, partner_addrs => [ map { $raft{$_} } grep { $_ ne $name } sort keys %raft ] };
	};
	write_file("$directory/voter.yml", $json->encode({ raft => $raft_of->('voter') }));
	my $self = bless { voter => Reconciler::Process->run('voter', bound('patroni_raft_controller', "$directory/voter.yml")) }, $class;
	for my $name ('one', 'two')
	{
		my $member = Reconciler::Patroni::Member->new($name, $directory, $raft_of->($name));
		push @{ $self->{members} }, $member;
		push @all, $member;
		$member->start_again;
		wait_until { $name eq 'one' ? $member->leads : $member->follows } "$name to be up";
	}
	return $self;
}

sub members { return @{ $_[0]{members} } }

sub write_file
{
	my ($file, $text) = @_;
	open my $out, '>', $file or die "$file: $!";
	print $out $text;
	close $out;
	return;
}

package Reconciler::Patroni::Member;

use PostgreSQL::Test::Utils qw(slurp_file);
use Reconciler::Wait;

sub new
{
	my ($class, $name, $directory, $raft) = @_;
	my ($port, $api) = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 2;
	my $user = getpwuid $>;
	my $self = bless { name => $name, host => $directory, port => $port, data_dir => "$directory/$name" }, $class;
	# It stands outside of the data directory, which patroni may make anew.
	Reconciler::Patroni::write_file("$directory/$name.conf", <<"CONF");
fsync = off
jit = off
log_line_prefix = '%m [%p] %b %a '
shared_preload_libraries = 'session_reconciler'
include_if_exists = '$directory/clock.conf'
CONF
	Reconciler::Patroni::write_file($self->{yml} = "$directory/$name.yml", $json->encode({
		scope => 'failover',
		name => $name,
		raft => $raft,
		restapi => { listen => "127.0.0.1:$api", connect_address => "127.0.0.1:$api" },
		bootstrap => {
			dcs => {
				ttl => 6, loop_wait => 1, retry_timeout => 2,
				postgresql => { use_pg_rewind => JSON::PP::true, parameters => { max_worker_processes => 16, max_connections => 40 } },
			},
			initdb => [ { auth => 'trust' }, { encoding => 'UTF8' }, { locale => 'C' } ],
		},
		postgresql => {
			listen => "127.0.0.1:$port",
			connect_address => "127.0.0.1:$port",
			use_unix_socket => JSON::PP::true,
			data_dir => $self->{data_dir},
			pgpass => "$directory/$name.pgpass",
			custom_conf => "$directory/$name.conf",
			parameters => { unix_socket_directories => $directory },
			pg_hba => [ 'local all all trust', 'host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust' ],
			authentication => { superuser => { username => $user }, replication => { username => 'replicator' } },
		},
	}));
	return $self;
}

sub name     { return $_[0]{name} }
sub host     { return $_[0]{host} }
sub port     { return $_[0]{port} }
sub data_dir { return $_[0]{data_dir} }
sub logfile  { return $_[0]{patroni}{output} }

# Time is the same everywhere; a member that is stopped learns of it when it goes on.
sub clock_file { return "$_[0]{host}/clock.conf" }
sub reload { kill 'HUP', map { $_->postmaster } @all; return }

sub start_again
{
	my ($self) = @_;
	$self->{patroni} = Reconciler::Process->run($self->{name}, Reconciler::Patroni::bound('patroni', $self->{yml}));
	return;
}

# What a query says; nothing while the server is down.
sub ask
{
	my ($self, $sql) = @_;
	my $db = DBI->connect("dbi:Pg:host=$self->{host};port=$self->{port};dbname=postgres", scalar getpwuid $>, undef, { RaiseError => 0, PrintError => 0 });
	return $db && $db->selectrow_array($sql);
}

sub leads   { return $_[0]->ask('SELECT NOT pg_is_in_recovery() AND NOT current_setting(\'transaction_read_only\')::boolean') }
sub follows { return $_[0]->ask("SELECT pg_is_in_recovery() AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')") }

sub postmaster
{
	my ($self) = @_;
	my $file = "$self->{data_dir}/postmaster.pid";
	my ($pid) = -s $file ? slurp_file($file) =~ /^(\d+)/ : ();
	return defined $pid && (readlink("/proc/$pid/cwd") // '') eq $self->{data_dir} ? $pid : ();
}

# The server alone: its postmaster first, so that it starts nothing meanwhile.
sub signal_server
{
	my ($self, $signal) = @_;
	my $postmaster = $self->postmaster or return;
	my @children = do { local $/; open my $in, '<', "/proc/$postmaster/task/$postmaster/children"; split ' ', <$in> // '' };
	kill 'STOP', $postmaster unless $signal eq 'CONT';
	kill $signal, @children, $postmaster;
	return;
}

sub signal
{
	my ($self, $signal) = @_;
	$self->{patroni}->signal($signal);
	$self->signal_server($signal);
	$self->{patroni}->end if $signal eq 'KILL';
	return;
}

1;
