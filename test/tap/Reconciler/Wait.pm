# Waiting for what happens by itself: never for a time, always for a condition, with a deadline far above any need.
package Reconciler::Wait;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use Carp ();
use Time::HiRes ();

our @EXPORT = qw(wait_until);

# wait_until { condition } 'what for': returns what the condition returned.
sub wait_until(&$)
{
	my ($condition, $what) = @_;
	my $deadline = Time::HiRes::time() + ($ENV{PG_TEST_TIMEOUT_DEFAULT} || 90);
	for (;;)
	{
		my $result = $condition->();
		return $result if $result;
		Carp::croak "waited in vain for $what" if Time::HiRes::time() > $deadline;
		Time::HiRes::sleep(0.02);
	}
}

1;
