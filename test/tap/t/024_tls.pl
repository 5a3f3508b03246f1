# A hub behind a proxy that speaks TLS and HTTP/2 and wants a client certificate: nginx, as it stands before many hubs.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils qw(slurp_file append_to_file);
use Reconciler;
use Reconciler::Process;
use Test::More;

my ($nginx) = grep { -x } map { "$_/nginx" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';
plan skip_all => 'no nginx (Debian package nginx-light)' unless $nginx;

my $directory = PostgreSQL::Test::Utils::tempdir('tls');
chmod 0700, $directory;

sub openssl { return PostgreSQL::Test::Utils::system_log('openssl', @_) && die "openssl @_" }

# Certificate and key of $name, signed by the CA of $by
sub certificate
{
	my ($name, $by, @extensions) = @_;
	my @subject = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', "/CN=$name", '-keyout', "$directory/$name.key");
	openssl('req', '-x509', '-days', '2', @subject, '-out', "$directory/$name.crt"), return unless $by;
	openssl('req', @subject, '-out', "$directory/$name.csr");
	append_to_file("$directory/$name.ext", join("\n", @extensions, ''));
	openssl('x509', '-req', '-days', '2', '-in', "$directory/$name.csr", '-CA', "$directory/$by.crt", '-CAkey', "$directory/$by.key", '-CAcreateserial',
		'-extfile', "$directory/$name.ext", '-out', "$directory/$name.crt");
	return;
}
certificate($_) for qw(ca other-ca);
certificate('hub', 'ca', 'subjectAltName = IP:127.0.0.1');
certificate('reconciler', 'ca');
certificate('stranger', 'other-ca');

my $r = Reconciler->new('tls', preload => '');
my $hub = $r->hub('hub', '--profile', 'standard');
my $port = PostgreSQL::Test::Cluster::get_free_port();
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
    ssl_certificate $directory/hub.crt;
    ssl_certificate_key $directory/hub.key;
    ssl_client_certificate $directory/ca.crt;
    ssl_verify_client on;
    location / { proxy_pass http://@{[ $hub->address ]}; }
  }
}
END
append_to_file("$directory/access.log", '');
my $proxy = Reconciler::Process->run('nginx', $nginx, '-p', $directory, '-c', "$directory/nginx.conf");
wait_until { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") || !$proxy->running } 'nginx to listen';
ok($proxy->running, 'nginx stands before the hub') or diag slurp_file($proxy->{output});

# The credentials from now on: show(ca_file => …, cert_file => …)
sub show
{
	my (%files) = @_;
	my %entry = (name => 'main', origin => "https://127.0.0.1:$port", map { $_ => "$directory/$files{$_}" } keys %files);
	Reconciler::write_private("$directory/credentials.json", encode([ \%entry ]));
	return;
}
show(ca_file => 'ca.crt', cert_file => 'reconciler.crt', key_file => 'reconciler.key');
$r->node->append_conf('postgresql.conf', "session_reconciler.credentials_file = '$directory/credentials.json'");
$r->node->reload;
$r->wait_for("SELECT current_setting('session_reconciler.credentials_file', true) = '$directory/credentials.json'");

$r->sessions_at($hub, {}, { command_spacing => '0 s' });
$r->one("SELECT set_hub('main', ?, 'standard', '{\"command_spacing\": \"0 s\"}')", "https://127.0.0.1:$port");
$hub->control(fake_agents => { ids => [ map { "agent-$_" } 1 .. 40 ], status => 'connected' });

sub requests
{
	my @requests = map { [ split / / ] } split /\n/, slurp_file("$directory/access.log");
	truncate "$directory/access.log", 0;
	return @requests;
}

subtest 'HTTP/2 and a certificate of its own' => sub {
	$r->add_session("s$_", "agent-$_") for 1 .. 40;
	requests();
	$r->pass;
	is(scalar(grep { $_->{reason} eq 'accepted' } $r->events('retry_result')), 40, 'every stop is accepted');
	my @seen = requests();
	cmp_ok(scalar @seen, '>', 40, 'nginx saw them');
	is_deeply([ grep { $_->[0] ne 'HTTP/2.0' } @seen ], [], '... as HTTP/2');
	is_deeply([ grep { $_->[1] ne 'SUCCESS' || $_->[2] ne 'CN=reconciler' } @seen ], [], '... with our certificate');
	my %connections = map { $_->[3] => 1 } @seen;
	cmp_ok(scalar keys %connections, '<', 4, '... and many on one connection');
};

# What the hub's trouble is called, in the status and beside the session
sub trouble
{
	$r->do('DELETE FROM sessions');
	$r->add_session('s', 'agent-1');
	$r->advance(61), $r->pass;
	is($r->stuck('s')->{agent_evidence}, 'unknown', 'the agent is unknown');
	is($r->episode('s')->{tries}, 0, 'nothing was sent');
	my ($evidence) = $r->one("SELECT detail FROM reconciler.agent_evidence WHERE agent_id = 'agent-1'");
	return $evidence;
}

subtest 'a hub that we do not trust' => sub {
	show(ca_file => 'other-ca.crt', cert_file => 'reconciler.crt', key_file => 'reconciler.key');
	like(trouble(), qr/certificate/i, 'and why');
	is_deeply([ requests() ], [], 'nothing is said to it');
};

subtest 'a hub that does not trust us' => sub {
	show(ca_file => 'ca.crt', cert_file => 'stranger.crt', key_file => 'stranger.key');
	like(trouble(), qr/\b400\b/, 'and why');
	show(ca_file => 'ca.crt');
	like(trouble(), qr/\b400\b/, 'no certificate at all');
};

subtest 'a certificate that is renewed' => sub {
	show(ca_file => 'ca.crt', cert_file => 'reconciler.crt', key_file => 'reconciler.key');
	$r->do('DELETE FROM sessions');
	$r->add_session('renewed', 'agent-2');
	$r->advance(61), $r->pass;
	like($r->episode('renewed')->{last_result}, qr/^accepted/, 'counts with the next pass');
};

$proxy->end;
$hub->end;
$r->node->stop;
done_testing();
