# TLS before a server of the tests: certificates of a throw-away CA, and nginx as a proxy.
package Reconciler::Tls;

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file append_to_file);
use Reconciler::Process;
use Reconciler::Wait;

my ($nginx) = grep { -x } map { "$_/nginx" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';
sub missing { return $nginx ? undef : 'no nginx (Debian package nginx-light)' }

sub new
{
	my ($class) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir('tls');
	chmod 0700, $directory;
	return bless { directory => $directory }, $class;
}

sub openssl { return PostgreSQL::Test::Utils::system_log('openssl', @_) && die "openssl @_" }

# Certificate and key of $name, signed by the CA of $by; without, a CA
sub certificate
{
	my ($self, $name, $by, @extensions) = @_;
	my $base = "$self->{directory}/$name";
	my @subject = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', "/CN=$name", '-keyout', "$base.key");
	openssl('req', '-x509', '-days', '2', @subject, '-out', "$base.crt"), return unless $by;
	openssl('req', @subject, '-out', "$base.csr");
	append_to_file("$base.ext", join("\n", @extensions, ''));
	openssl('x509', '-req', '-days', '2', '-in', "$base.csr", '-CA', "$self->{directory}/$by.crt", '-CAkey', "$self->{directory}/$by.key", '-CAcreateserial',
		'-extfile', "$base.ext", '-out', "$base.crt");
	return;
}

# A proxy before $address that shows the certificate of $name; @more: further lines of its server. Its URL.
sub before
{
	my ($self, $address, $name, @more) = @_;
	my ($directory, $port) = ($self->{directory}, PostgreSQL::Test::Cluster::get_free_port());
	append_to_file("$directory/nginx.conf", <<"END");
daemon off;
master_process off;
pid $directory/nginx.pid;
error_log stderr;
events {}
http {
  log_format what '\$server_protocol \$ssl_client_verify \$ssl_client_s_dn \$connection \$request_method \$status';
  access_log $directory/access.log what;
  client_body_temp_path $directory; proxy_temp_path $directory; fastcgi_temp_path $directory; uwsgi_temp_path $directory; scgi_temp_path $directory;
  server {
    listen 127.0.0.1:$port ssl http2;
    ssl_certificate $directory/$name.crt;
    ssl_certificate_key $directory/$name.key;
    @more
    location / { proxy_pass http://$address; }
  }
}
END
	append_to_file("$directory/access.log", '');
	$self->{proxy} = Reconciler::Process->run('nginx', $nginx, '-p', $directory, '-c', "$directory/nginx.conf");
	wait_until { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") || !$self->{proxy}->running } 'nginx to listen';
	die 'nginx: ' . slurp_file($self->{proxy}{output}) unless $self->{proxy}->running;
	return "https://127.0.0.1:$port";
}

# What it saw since the last look: [protocol, client verified, client's name, connection, method, status] each
sub requests
{
	my ($self) = @_;
	my @requests = map { [ split / / ] } split /\n/, slurp_file("$self->{directory}/access.log");
	truncate "$self->{directory}/access.log", 0;
	return @requests;
}

sub end { my ($self) = @_; $self->{proxy}->end; return }

1;
