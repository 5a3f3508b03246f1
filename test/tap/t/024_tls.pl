# A hub behind a proxy that speaks TLS and HTTP/2 and wants a client certificate: nginx, as it stands before many hubs.
use strict;
use warnings FATAL => 'all';

use Reconciler;
use Reconciler::Tls;
use Test::More;

plan skip_all => Reconciler::Tls::missing() if Reconciler::Tls::missing();

my $tls = Reconciler::Tls->new;
my $directory = $tls->{directory};
$tls->certificate($_) for qw(ca other-ca);
$tls->certificate('hub', 'ca', 'subjectAltName = IP:127.0.0.1');
$tls->certificate('reconciler', 'ca');
$tls->certificate('stranger', 'other-ca');

my $r = Reconciler->new('tls', preload => '');
my $hub = $r->hub('hub', '--profile', 'standard');
my $url = $tls->before($hub->address, 'hub', "ssl_client_certificate $directory/ca.crt;", 'ssl_verify_client on;');

# The credentials from now on: show(ca_file => …, cert_file => …)
sub show
{
	my (%files) = @_;
	my %entry = (name => 'main', origin => $url, map { $_ => "$directory/$files{$_}" } keys %files);
	Reconciler::write_private("$directory/credentials.json", encode([ \%entry ]));
	return;
}
show(ca_file => 'ca.crt', cert_file => 'reconciler.crt', key_file => 'reconciler.key');
$r->node->append_conf('postgresql.conf', "session_reconciler.credentials_file = '$directory/credentials.json'");
$r->node->reload;
$r->wait_for("SELECT current_setting('session_reconciler.credentials_file', true) = '$directory/credentials.json'");

$r->sessions_at($hub, {}, { command_spacing => '0 s' });
$r->one("SELECT set_hub('main', ?, 'standard', '{\"command_spacing\": \"0 s\"}')", $url);
$hub->control(fake_agents => { ids => [ map { "agent-$_" } 1 .. 40 ], status => 'connected' });

subtest 'HTTP/2 and a certificate of its own' => sub {
	$r->add_session("s$_", "agent-$_") for 1 .. 40;
	$tls->requests;
	$r->pass;
	is(scalar(grep { $_->{reason} eq 'accepted' } $r->events('retry_result')), 40, 'every stop is accepted');
	my @seen = $tls->requests;
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
	is_deeply([ $tls->requests ], [], 'nothing is said to it');
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

$tls->end;
$hub->end;
$r->node->stop;
done_testing();
