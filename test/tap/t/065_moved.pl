# A session that StreamSpace moved to another agent: what its former agent was told says nothing of it, before or after the move.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::Bin/..";
use Reconciler;
use Reconciler::StreamSpace;
use Test::More;

my $r = Reconciler->new('main');
my $platform = start_platform($r, 'b');
my $agent = $platform->agent('k8s-new');
my $now = $platform->now;

$r->do("INSERT INTO agents (agent_id, platform) VALUES ('k8s-old', 'kubernetes')");
$r->do("INSERT INTO sessions (id, user_id, template_name, state, agent_id, org_id, created_at, updated_at)"
	  . " VALUES ('moved', 'admin', 'firefox', 'running', 'k8s-new', 'default-org', $now, $now)");

sub command
{
	my ($action, $agent_id, $status, $completed) = @_;
	return $r->do("INSERT INTO agent_commands (command_id, agent_id, session_id, action, payload, status, created_at, sent_at, completed_at)"
		  . " SELECT 'cmd-' || count(*), ?, 'moved', ?, '{}', ?, " . join(', ', ($platform->now) x 2, $completed ? $platform->now : 'NULL') . ' FROM agent_commands',
		$agent_id, $action, $status);
}

command('start_session', 'k8s-new', 'completed', 1);
command('stop_session', 'k8s-old', 'completed', 1);
$r->live_through(120);
is($platform->state_of('moved'), 'running', 'a late stop for the former agent ends nothing here');
is($r->one('SELECT count(*) FROM stuck_sessions()'), 0, '... nor is it stuck');

command('stop_session', 'k8s-new', 'completed', 1);
command('start_session', 'k8s-old', 'pending', 0);
$r->live_through(120);
is($platform->state_of('moved'), 'running', 'who starts it elsewhere after a stop here wants it');
is($r->one("SELECT string_agg(rule || ': ' || outcome, ', ' ORDER BY step) FROM explain_session('moved') WHERE rule LIKE 'command%' AND outcome LIKE '%_session'"),
	'command: stop_session, command: start_session, command elsewhere: start_session', '... which explain_session() shows');

command('stop_session', 'k8s-new', 'completed', 1);
$r->live_through(120);
is($platform->state_of('moved'), 'terminated', 'a stop of its own agent ends it');

$r->node->stop;
done_testing();
