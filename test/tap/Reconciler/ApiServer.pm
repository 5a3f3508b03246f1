# The double of a Kubernetes API server (test/cluster/README.md) and its switches; and session-reconciler-gc beside it.
package Reconciler::ApiServer;

use strict;
use warnings FATAL => 'all';
use parent 'Reconciler::Process';

use HTTP::Tiny;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils qw(slurp_file);
use Reconciler::Wait;

my $json = JSON::PP->new->utf8->canonical;
my $started = 0;

# start($name, @options of test-apiserver)
sub start
{
	my ($class, $name, @options) = @_;
	my $port_file = "$PostgreSQL::Test::Utils::log_path/${name}_$$" . '_' . ++$started . '.port';
	my $self = $class->run($name, $ENV{TEST_APISERVER_BIN}, '--port-file', $port_file, '--parent-watch', @options);
	$self->{http} = HTTP::Tiny->new(timeout => 60);
	wait_until { -s $port_file || !$self->running } "$name to listen";
	($self->{address}) = slurp_file($port_file) =~ /^(\S+)$/ or die "$name: " . slurp_file($self->{output});
	return $self;
}

sub address { return $_[0]{address} }
sub url     { return "http://$_[0]{address}" }

# request($method, $path, $body, %headers): (status, decoded body)
sub request
{
	my ($self, $method, $path, $body, %headers) = @_;
	my $answer = $self->{http}->request($method, $self->url . $path, { headers => \%headers, defined $body ? (content => $json->encode($body)) : () });
	die "$method $path: $answer->{content}" if $answer->{status} == 599;
	return ($answer->{status}, eval { $json->decode($answer->{content}) });
}

# control('faults', [...]) sets, control('objects') shows
sub control
{
	my ($self, $what, $body) = @_;
	my ($status, $answer) = $self->request(defined $body ? 'POST' : 'GET', "/control/$what", $body);
	die "control $what: " . $json->encode($answer) if $status != 200;
	return $answer;
}

# create('deployments', {name => …, namespace => …}, …): their metadata, as created
sub create { my ($self, $resource, @objects) = @_; return @{ $self->control(objects => { resource => $resource, objects => \@objects }) } }

# Names of what is there, as namespace/name
sub names { my ($self, $kind) = @_; return @{ $self->control('objects')->{$kind} // [] } }

# Requests since the last look: {method, path, query, status, body}
sub requests
{
	my ($self) = @_;
	my @seen = @{ $self->control('requests') };
	$self->control(requests => {});
	return @seen;
}

# Runs session-reconciler-gc against this server: (exit status, [decoded lines of its log], standard error)
sub collect
{
	my ($self, $r, @options) = @_;
	my $dsn = sprintf 'host=%s port=%s dbname=%s', $r->node->host, $r->node->port, $r->{database};
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'session-reconciler-gc', '--cluster', 'k8s', '--dsn', $dsn, '--api-url', $self->url, @options ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, [ map { $json->decode($_) } split /\n/, $out ], $err);
}

1;
