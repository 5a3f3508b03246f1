# The test hub and its agents (test/hub/README.md), real processes both, and the hub's switches.
package Reconciler::Hub;

use strict;
use warnings FATAL => 'all';
use parent 'Reconciler::Process';

use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils qw(slurp_file);
use Reconciler::Wait;
use Time::HiRes ();

my $json = JSON::PP->new->utf8->canonical;
my $started = 0;

# start($name, @options of test-hub)
sub start
{
	my ($class, $name, @options) = @_;
	my $files = $PostgreSQL::Test::Utils::log_path . "/${name}_$$" . '_' . ++$started;
	my $self = $class->run($name, $ENV{TEST_HUB_BIN}, '--listen', '127.0.0.1:0', '--port-file', "$files.port",
		'--log', "$files.log", '--parent-watch', @options);
	$self->{log} = "$files.log";
	$self->{http} = HTTP::Tiny->new(timeout => 60);
	$self->{offset} = 0;
	$self->{cluster} = PostgreSQL::Test::Utils::tempdir('runtimes');
	wait_until { -s "$files.port" || !$self->running } "$name to listen";
	($self->{address}) = slurp_file("$files.port") =~ /^(\S+)$/ or die "$name: " . slurp_file($self->{output});
	for (0 .. $#options) { $self->{token} = $options[ $_ + 1 ] if $options[$_] eq '--token' }
	return $self;
}

# Runtimes outlive their agents; not the test.
sub end
{
	my ($self, $signal) = @_;
	return if $self->{swept} || $self->{owner} != $$;
	local ($?, $!, $@);
	$self->SUPER::end($signal);    # nothing, where it has ended by itself
	$self->{swept} = 1;
	for my $file (glob "$self->{cluster}/*.pid")
	{
		my $runtime = $self->runtime($file =~ m{([^/]*)\.pid$});
		kill 'KILL', $runtime if $runtime;
	}
	return;
}

sub address { return $_[0]{address} }
sub url     { return "http://$_[0]{address}" }

# An agent of this hub, connected when it returns. Options of test-agent; they come after ours.
sub agent
{
	my ($self, $id, @options) = @_;
	my $agent = $self->new_agent($id, @options);
	wait_until { $self->is_connected($id) } "agent $id to connect";
	return $agent;
}

# The same, without waiting for a connection
sub new_agent
{
	my ($self, $id, @options) = @_;
	return Reconciler::Process->run("agent_$id", $ENV{TEST_AGENT_BIN}, '--hub', $self->address, '--id', $id,
		'--heartbeat-seconds', '0.2', '--retry-seconds', '0.1', '--register-seconds', '0.2', '--state-dir',
		$self->{cluster}, '--runtime-seconds', '400', '--parent-watch', @options);
}

# Process id of a session's runtime, if it runs; an agent's pid file says which, /proc whether it still is it.
sub runtime
{
	my ($self, $session) = @_;
	my $file = "$self->{cluster}/$session.pid";
	return unless -s $file;
	my ($pid) = slurp_file($file) =~ /^(\d+)/ or return;
	open my $proc, '<', "/proc/$pid/cmdline" or return;
	my $name = <$proc>;
	return defined $name && $name =~ /^session-runtime:/ ? $pid : undef;
}

# request($method, $path, $body, %headers): (status, decoded body), with the token if the hub has one
sub request
{
	my ($self, $method, $path, $body, %headers) = @_;
	$headers{authorization} = "Bearer $self->{token}" if defined $self->{token};
	my $answer = $self->{http}->request($method, $self->url . $path,
		{ headers => \%headers, defined $body ? (content => $json->encode($body)) : () });
	die "$method $path: $answer->{content}" if $answer->{status} == 599;
	return ($answer->{status}, length $answer->{content} ? eval { $json->decode($answer->{content}) } : undef);
}

# control('clock', {...}) sets, control('state') shows
sub control
{
	my ($self, $what, $body) = @_;
	my ($status, $answer) = $self->request(defined $body ? 'POST' : 'GET', "/control/$what", $body);
	die "control $what: " . $json->encode($answer) if $status != 200;
	return $answer;
}

# The fault rules from now on; none: no faults.
sub fault { my ($self, @rules) = @_; $self->control(faults => \@rules); return }

# How many requests the first rule has met: known as soon as a request arrives.
sub met { my ($self) = @_; return $self->control('faults')->[0]{matched} }

sub is_connected
{
	my ($self, $id) = @_;
	return grep { $_->{id} eq $id && $_->{connected} } @{ $self->control('state')->{agents} };
}

# What the hub saw of a session: {posts, accepted, distinct_keys}
sub seen_of
{
	my ($self, $session) = @_;
	return $self->control('log-counts')->{sessions}{$session} // { posts => 0, accepted => 0, distinct_keys => 0 };
}

# What it did of a session, by its own memory: commands with their status
sub commands_of
{
	my ($self, $session) = @_;
	return grep { $_->{session_id} eq $session } @{ $self->control('state')->{commands} };
}

# Entries of its log that fit: logged(event => 'request', method => 'POST')
sub logged
{
	my ($self, %wanted) = @_;
	my @entries = map { $json->decode($_) } split /\n/, slurp_file($self->{log});
	return grep { my $entry = $_; !grep { ($entry->{$_} // '') ne $wanted{$_} } keys %wanted } @entries;
}

# Moves the hub's clock, and waits until every connected agent has sent a heartbeat by it. Returns the ids.
sub set_clock
{
	my ($self, $offset) = @_;
	$self->control(clock => { offset_seconds => $offset });
	my $moved = POSIX::strftime('%Y-%m-%dT%H:%M:%S', gmtime(Time::HiRes::time() + $offset));
	my @agents;
	wait_until
	{
		@agents = grep { $_->{connected} && !$_->{simulated} } @{ $self->control('state')->{agents} };
		!grep { ($_->{last_seen_at} // '') lt $moved } @agents;
	}
	'heartbeats by the moved clock';
	return ($moved, map { $_->{id} } @agents);
}

1;
