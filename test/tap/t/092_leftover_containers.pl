# A Docker agent is lost with its sessions: what they ran in is removed by another agent of its pool, by the resource's own id.
use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use Reconciler;
use Test::More;

my $r = Reconciler->new('containers', preload => '');
my $hub = $r->hub('hub', '--profile', 'standard');
$r->one(q{SELECT create_agent_pool('hosts', 'docker', 'eu', '{"namespace": "host-1"}')});
$r->sessions_at($hub, { pools => JSON::PP::true }, { command_spacing => '0 s' });
$r->do('ALTER TABLE sessions ADD platform_resource_id text');
$r->do(q(UPDATE reconciler.binding SET columns = columns || '{"runtime": "platform_resource_id"}'));
$r->do("UPDATE reconciler.policy SET enabled = true WHERE state = 'running'");

my @pool = (pool => 'hosts', platform => 'docker', region => 'eu', capacity => 10);
$hub->control(fake_agents => { ids => [qw(lost other)], @pool });
$r->add_session($_, 'lost', state => 'running') for qw(known unknown);
$r->do("UPDATE sessions SET platform_resource_id = 'streamspace-known' WHERE id = 'known'");
$r->live_through(180);
$hub->control(fake_agents => { ids => ['lost'], @pool, status => 'disconnected' });
$r->live_through(240);

is_deeply([ map { $r->state_of($_) } qw(known unknown) ], [qw(terminated terminated)], 'both are closed');
my %sent = map { $_->{body}{session_id} => "$_->{body}{action} " . ($_->{body}{platform_resource_id} // '') } $hub->logged(event => 'request', method => 'POST', path => '/v1/agents/other/commands');
is_deeply(\%sent, { known => 'cleanup_resource streamspace-known', unknown => 'stop_session ' }, 'the other agent is told what to remove, where that is known');
is_deeply([ map { $_->{reason} } map { $r->events('late_report', $_) } qw(known unknown) ], [ 'stop accepted', 'stop accepted' ], 'and that settles it');

$hub->end;
done_testing();
