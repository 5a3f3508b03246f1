# An agent that fetches its commands: a process that asks next_commands() and answers report_command(), over and over.
#
#   my $agent = Reconciler::Fetcher->start($r, 'agent-1');              # does what it is told, at once
#   my $agent = Reconciler::Fetcher->start($r, 'agent-1', 'die');       # is killed when it has fetched something
#   my $agent = Reconciler::Fetcher->start($r, 'agent-1', 'fail');      # fails everything
#   my $agent = Reconciler::Fetcher->start($r, 'agent-1', 'idle');      # fetches, and never answers
#   $agent->done                                                        # ids of commands that it carried out, with doubles
#
# What an agent has done is in a file that its processes share, as its runtimes would be: a command that is handed out again is answered again.
package Reconciler::Fetcher;

use strict;
use warnings FATAL => 'all';
use parent 'Reconciler::Process';

use PostgreSQL::Test::Utils qw(slurp_file);

my $program = <<'END';
use strict; use warnings; use DBI; use Time::HiRes qw(sleep);
my ($dsn, $user, $agent, $manner, $file, $parent) = @ARGV;
my $db;
while (getppid == $parent)
{
	eval {
		$db = DBI->connect($dsn, $user, undef, { RaiseError => 1, PrintError => 0, PrintWarn => 0, pg_server_prepare => 0 }) unless $db && $db->ping;
		for my $command (@{ $db->selectall_arrayref('SELECT * FROM next_commands(?, 3)', { Slice => {} }, $agent) })
		{
			kill 'KILL', $$ if $manner eq 'die';
			next if $manner eq 'idle';
			open my $log, '+>>', $file or die $!;
			flock $log, 2;
			seek $log, 0, 0;
			my $known = grep { /^\Q$command->{command_id}\E / } <$log>;
			syswrite $log, "$command->{command_id} $command->{session_id} $$\n" unless $known || $manner eq 'fail';
			close $log;
			$db->do('SELECT report_command(?, ?, ?)', undef, $command->{command_id}, $manner eq 'fail' ? ('failed', 'no such pod') : ('completed', ''));
		}
		1;
	} or print STDERR $@;
	sleep 0.05;
}
END

sub start
{
	my ($class, $r, $agent, $manner) = @_;
	my $file = $r->node->data_dir . "/../$agent.done";
	my $self = $class->run("fetcher_$agent", $^X, '-e', $program, sprintf('dbi:Pg:host=%s;port=%s;dbname=%s', $r->node->host, $r->node->port, $r->{database}),
		scalar getpwuid($>), $agent, $manner // 'well', $file, $$);
	$self->{file} = $file;
	return $self;
}

# [command, session, process] of each
sub done { my ($self) = @_; return map { [ split / / ] } split /\n/, -s $self->{file} ? slurp_file($self->{file}) : '' }

1;
