#
#  Wait for the DNS, outside of the Python module's lock.
#
#  Called as an expansion with what the module said in control:Tmp-String-9:
#
#      <eventfd> <milliseconds> <token>
#
#  The eventfd belongs to this process.  The module writes to it when the
#  answer is there.  The result is "ready" or "timeout"; nothing depends on
#  which, because the module looks at the answer itself.
#
#  No module is loaded: every thread of the server has a Perl interpreter of
#  its own, and this keeps it at a quarter of a megabyte.
#
use strict;
use warnings;

#  errno.h of Linux.  Errno.pm would cost more memory than all of this.
sub EINTR() { 4 }

sub wait_for_answer {
	my ($event, $milliseconds) = @_;

	return "error"
		unless defined($milliseconds) && "$event $milliseconds" =~ /\A[0-9]{1,6} [0-9]{1,5}\z/;

	my $left = $milliseconds / 1000;
	while ($left > 0) {
		my $readable = '';
		vec($readable, $event, 1) = 1;

		#  On Linux, the time left is what select() reports back.  A
		#  signal ends a call early: then there is time left.
		(my $found, $left) = select($readable, undef, undef, $left);
		return "ready" if $found > 0;
		return "timeout" if $found == 0;
		return "error" unless $! == EINTR;
	}
	return "timeout";
}

1;
