# A cluster with the extension for a test: a server, connections to it, its clock, hubs beside it.
#
#   my $r = Reconciler->new('main');                      # preloaded, extension created
#   my $hub = $r->hub('hub', '--profile', 'standard');    # Reconciler::Hub
#   $r->advance(60);                                      # a minute passes, for the reconciler and for the hubs
#   $r->pass;                                             # the worker's next pass, or a CALL where none runs
#
# Tests move time; nothing sleeps to wait for it.
package Reconciler;

use strict;
use warnings FATAL => 'all';

use DBI;
use DBD::Pg ();
use Exporter 'import';
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);
use Reconciler::Hub;
use Reconciler::Wait;
use Test::More ();

# What ends a test is told where its results are, not only in its log.
$SIG{__DIE__} = sub { Test::More::diag(@_) unless $^S };

our @EXPORT = qw(wait_until encode decode);

my $json = JSON::PP->new->canonical->allow_nonref;
sub encode { return $json->encode($_[0]) }
sub decode { return $json->decode($_[0]) }

# new($name, preload => 'session_reconciler' or another list, '' for none; extension => whether to create it;
#     conf => more settings; init => {arguments of init})
sub new
{
	my ($class, $name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%{ $options{init} // {} });
	my $self = bless { node => $node, offset => 0, hubs => [], database => 'postgres' }, $class;
	my $preload = $options{preload} // 'session_reconciler';
	$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = '$preload'
max_worker_processes = 16
max_connections = 40
jit = off
log_line_prefix = '%m [%p] %b %a '
include_if_exists = 'clock.conf'
END
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	$node->start;
	$self->do('CREATE EXTENSION session_reconciler') if $options{extension} // 1;
	return $self;
}

# A standby, a clone: a node that somebody else made and started
sub around
{
	my ($class, $node, $model) = @_;
	return bless { node => $node, offset => $model->{offset}, hubs => $model->{hubs}, database => $model->{database} },
	  $class;
}

sub node { return $_[0]{node} }

# ---- connections

# A connection of its own: connect(dbname => ..., user => ..., options => '-c name=value')
sub connect
{
	my ($self, %how) = @_;
	my $dsn = sprintf 'dbi:Pg:host=%s;port=%s;dbname=%s', $self->node->host, $self->node->port,
	  $how{dbname} // $self->{database};
	$dsn .= ";options=$how{options}" if $how{options};
	return DBI->connect($dsn, $how{user} // scalar getpwuid($>), undef,
		{ RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, pg_server_prepare => 0 });
}

# The test's main connection; a new one when the server ended it
sub db
{
	my ($self) = @_;
	my $db = $self->{db};
	return $db if $db && $db->ping;
	return $self->{db} = $self->connect;
}

# The database of all that follows
sub use_database { my ($self, $name) = @_; delete $self->{db}; $self->{database} = $name; return }

sub do  { my ($self, $sql, @values) = @_; return $self->db->do($sql, undef, @values) }
sub one { my ($self, $sql, @values) = @_; return scalar $self->db->selectrow_array($sql, undef, @values) }
sub row { my ($self, $sql, @values) = @_; return $self->db->selectrow_hashref($sql, undef, @values) }
sub column { my ($self, $sql, @values) = @_; return @{ $self->db->selectcol_arrayref($sql, undef, @values) } }
sub rows { my ($self, $sql, @values) = @_; return @{ $self->db->selectall_arrayref($sql, { Slice => {} }, @values) } }

# The error of a statement as "SQLSTATE message", '' if it has none
sub error
{
	my ($self, $sql, @values) = @_;
	my $db = $self->db;
	eval { $db->do($sql, undef, @values); 1 } and return '';
	return $db->state . ' ' . $db->errstr;
}

# Waits until a query returns true.
sub wait_for
{
	my ($self, $sql, @values) = @_;
	return wait_until { $self->one($sql, @values) } $sql;
}

# The same where the server may be down or starting meanwhile
sub wait_for_server
{
	my ($self, $sql) = @_;
	return wait_until { eval { $self->one($sql // 'SELECT 1') } } $sql // 'the server';
}

# ---- the clock

# Seconds pass: for the hubs and their agents first, whose heartbeats then are of the new time, then for the server.
sub advance
{
	my ($self, $seconds) = @_;
	$self->{offset} += $seconds;
	for my $hub (grep { $_->running } @{ $self->{hubs} })
	{
		my ($moved, @agents) = $hub->set_clock($self->{offset});
		next unless $hub->{heartbeats_in_table};
		$self->wait_for('SELECT count(*) = 0 FROM agents WHERE agent_id = ANY (?) AND last_heartbeat < ?', \@agents, $moved);
	}
	$self->set_clock;
	return;
}

# Without the library preloaded the setting is a placeholder, which ALTER SYSTEM would refuse.
sub set_clock
{
	my ($self) = @_;
	my $node = $self->node;
	my $file = $node->can('clock_file') ? $node->clock_file : $node->data_dir . '/clock.conf';
	open my $conf, '>', "$file.new" or die "$file: $!";
	print $conf "session_reconciler.clock_offset = $self->{offset}\n";
	close $conf;
	rename "$file.new", $file or die "$file: $!";
	$node->reload;
	# Both this connection and those that begin from now on.
	$self->wait_for("SELECT extract(epoch FROM current_setting('session_reconciler.clock_offset')::interval) = ?", $self->{offset});
	wait_until { $self->connect->selectrow_array("SELECT extract(epoch FROM current_setting('session_reconciler.clock_offset')::interval) = $self->{offset}") } 'the new clock';
	return;
}

# The reconciler's now, as SQL
sub now { my ($self) = @_; return "(clock_timestamp() + interval '$self->{offset} s')" }

# ---- passes

# The worker's next pass from beginning to end, over every attached table; where no worker runs, a CALL.
sub pass
{
	my ($self) = @_;
	return $self->do('CALL reconcile()') unless $self->one('SELECT reconciler.worker_pid()');
	my $since = $self->one('SELECT reconciler.clock()');
	$self->do('SELECT reconciler.wake_worker()');
	$self->wait_for("SELECT coalesce(bool_and(coalesce(last_pass_at > ?, false)), true) FROM reconciler.binding LEFT JOIN reconciler.binding_state USING (binding_id)"
		  . " WHERE mode IN ('observe', 'enforce')", $since);
	return;
}

# Time passes in steps, each with its pass: evidence wants to be looked at.
sub live_through
{
	my ($self, $seconds, $step) = @_;
	$step //= 60;
	for (my $left = $seconds; $left > 0; $left -= $step)
	{
		$self->advance($left < $step ? $left : $step);
		$self->pass;
	}
	return;
}

sub worker { my ($self) = @_; return $self->one('SELECT reconciler.worker_pid()') }
sub wait_for_worker { my ($self) = @_; return $self->wait_for('SELECT reconciler.worker_pid()') }

# ---- what stands beside and what is asked most

# hub($name, @options of test-hub): started, with this server's clock
sub hub
{
	my ($self, $name, @options) = @_;
	my $hub = Reconciler::Hub->start($name, @options);
	$hub->set_clock($self->{offset}) if $self->{offset};
	push @{ $self->{hubs} }, $hub;
	return $hub;
}

# A credentials file with a token for each hub; mode 0600.
sub give_tokens
{
	my ($self, @hubs) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir('secrets');
	my @entries;
	for my $hub (@hubs)
	{
		write_private("$directory/$hub->{name}.token", "$hub->{token}\n");
		push @entries, { name => $hub->{name}, origin => $hub->url, token_file => "$hub->{name}.token" };
	}
	write_private("$directory/credentials.json", encode(\@entries));
	$self->node->append_conf('postgresql.conf', "session_reconciler.credentials_file = '$directory/credentials.json'");
	$self->node->reload;
	$self->wait_for("SELECT current_setting('session_reconciler.credentials_file', true) = '$directory/credentials.json'");
	return $directory;
}

sub write_private
{
	my ($file, $text) = @_;
	open my $out, '>', $file or die "$file: $!";
	chmod 0600, $file;
	print $out $text;
	close $out;
	return;
}

# set_hub(), then attach_sessions(): attach('sessions', 'standard', \%options)
sub set_hub
{
	my ($self, $name, $url, $profile, $options) = @_;
	return $self->one('SELECT set_hub(?, ?, ?, ?)', $name, $url, $profile // 'standard', encode($options // {}));
}

sub attach
{
	my ($self, $table, $preset, $options) = @_;
	return $self->rows('SELECT * FROM attach_sessions(?, ?, ?)', $table, $preset // 'standard', encode($options // {}));
}

# A plain sessions table, attached to a hub: sessions_at($hub or [$hub, ...], \%options of attach_sessions, \%options of set_hub)
sub sessions_at
{
	my ($self, $hubs, $options, $hub_options) = @_;
	$self->do(<<'END');
CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_id text, created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL, termination_reason text, terminated_at timestamptz)
END
	my @urls = map { $_->url } ref $hubs eq 'ARRAY' ? @$hubs : $hubs;
	$self->one('SELECT set_hub(?, ?::text[], ?, ?)', 'main', \@urls, 'standard', encode($hub_options // {}));
	# Without the graces of a fresh server; a second look follows the first one soon.
	$self->attach('sessions', 'standard',
		{ mode => 'enforce', start_grace => '0 s', instance_grace => '0 s', observation_spacing => '10 ms', %{ $options // {} } });
	return;
}

# A row of that table, long since in its state: add_session($id, $agent, state => 'running')
sub add_session
{
	my ($self, $id, $agent, %row) = @_;
	my $then = $self->now . ' - interval \'' . ($row{age} // '20 min') . '\'';
	return $self->do("INSERT INTO sessions (id, state, agent_id, created_at, updated_at) VALUES (?, ?, ?, $then, $then)",
		$id, $row{state} // 'terminating', $agent);
}

sub state_of { my ($self, $id) = @_; return $self->one('SELECT state FROM sessions WHERE id = ?', $id) }
sub episode { my ($self, $id) = @_; return $self->row('SELECT * FROM reconciler.episode WHERE session_id = ?', $id) }
sub stuck { my ($self, $session) = @_; return $self->row('SELECT * FROM stuck_sessions() WHERE session_id = ?', $session) }

# Events of a kind, oldest first, with their JSON decoded
sub events
{
	my ($self, $kind, $session) = @_;
	my @events = $self->rows('SELECT * FROM reconciler.event WHERE kind = ? AND (?::text IS NULL OR session_id = ?) ORDER BY id',
		$kind, $session, $session);
	for my $event (@events) { $event->{$_} = defined $event->{$_} ? decode($event->{$_}) : undef for qw(evidence before after) }
	return @events;
}

sub metric
{
	my ($self, $name, %labels) = @_;
	return $self->one('SELECT sum(value) FROM reconciler_metrics() WHERE name = ? AND labels @> ?', $name, encode(\%labels));
}

1;
