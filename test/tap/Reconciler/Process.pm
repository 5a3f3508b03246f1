# A program of the tests that runs beside them: a hub, an agent. Ends with its object, with the test, and, by
# --parent-watch, with a test that is killed.
package Reconciler::Process;

use strict;
use warnings FATAL => 'all';

use POSIX ();
use PostgreSQL::Test::Utils;

# run($name, @command): its output goes to a log beside the server's.
sub run
{
	my ($class, $name, @command) = @_;
	my $log = "$PostgreSQL::Test::Utils::log_path/${name}_$$.out";
	my $pid = fork() // die "fork: $!";
	if (!$pid)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $log;
		open STDERR, '>&', \*STDOUT;
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	return bless { name => $name, pid => $pid, owner => $$, output => $log }, $class;
}

sub pid { return $_[0]{pid} }

# Whether it still runs; a zombie does not.
sub running
{
	my ($self) = @_;
	return 0 if $self->{ended};
	return 1 if waitpid($self->{pid}, POSIX::WNOHANG()) == 0;
	$self->{ended} = 1;
	return 0;
}

sub signal
{
	my ($self, $signal) = @_;
	kill $signal, $self->{pid} if $self->running;
	return;
}

# Ends it and waits until it has ended.
sub end
{
	my ($self, $signal) = @_;
	return if $self->{ended} || $self->{owner} != $$;
	local $?;    # in an END block it is the test's result
	kill $signal // 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	$self->{ended} = 1;
	return;
}

sub DESTROY { my ($self) = @_; $self->end; return }

1;
