# Agents that accept commands and do nothing: they are there, so nothing is inferred, but everybody can see it.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils qw(slurp_file);
use Reconciler;
use Test::More;

my $r = Reconciler->new('suspect', preload => '');    # passes by CALL, one at a time
my $hub = $r->hub('hub', '--profile', 'standard');
$r->sessions_at($hub);
$hub->control(fake_agents => { count => 3 });         # they accept every command and complete none

sub ignored { return $r->one('SELECT ignored FROM reconciler.agent_evidence WHERE agent_id = ?', $_[0]) }
sub in_log { my ($pattern) = @_; return scalar grep { /$pattern/ } split /\n/, slurp_file($r->node->logfile) }
sub suspects { return $r->metric('reconciler_agents_suspect') }

$r->add_session("mute-$_", 'agent-1') for 1 .. 3;
$r->add_session("slow-$_", 'agent-2') for 1 .. 2;
$r->pass;
is(ignored('agent-1'), 0, 'accepted: it has its time');
$r->advance(301), $r->pass;
is(ignored('agent-1'), 3, 'three commands were ignored');
is(ignored('agent-2'), 2, '... two are not enough');
is(suspects(), 1, 'the metric counts the one');
is($r->one("SELECT presence FROM reconciler.agent_evidence WHERE agent_id = 'agent-1'"), 'present', 'suspect is not gone');
my ($status, $detail) = @{ $r->row("SELECT status, detail FROM preflight() WHERE check_name LIKE '%: agents' AND detail LIKE '%agent-1%'") // {} }{qw(status detail)};
is($status, 'warn', 'preflight warns');
unlike($detail // '', qr/agent-2/, '... of nobody else');
like($r->one("SELECT string_agg(detail, E'\n') FROM explain_session('mute-1')"), qr/suspect since .*: it accepted 3 commands and ended none of them/, 'explain_session says so');
$r->advance(301), $r->pass;
is(in_log(qr/LOG: .*agent "agent-1" of public\.sessions is suspect/), 1, 'the log has a line: one, however long it lasts');
is(scalar $r->events('force'), 0, 'nothing was inferred from it');

# agent-2 is past three by now; its application ends one session: it acts.
is(suspects(), 2, 'agent-2 has become suspect');
$r->do("UPDATE sessions SET state = 'terminated' WHERE id = 'slow-1'");
$r->pass;
is(ignored('agent-2'), 0, 'a session that its application ended after an accepted command: it acts');
is(suspects(), 1, '... and is suspect no longer');

# The hub says that a command of agent-1 was completed.
$hub->control(fake_agents => { count => 1, complete_after_ms => 0 });
$r->advance(901), $r->pass, $r->advance(61), $r->pass;
is(ignored('agent-1'), 0, 'a command that it completes: it acts again');
is(suspects(), 0, '... and is suspect no longer');
is(in_log(qr/agent "agent-1" of public\.sessions acts again/), 1, '... says the log');

done_testing();
