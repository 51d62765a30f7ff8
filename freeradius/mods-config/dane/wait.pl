#
#  Wait for the DNS, outside of the Python module's lock.
#
#  The site calls this as an expansion, with the text that the module put into
#  control:Tmp-String-9:
#
#      <eventfd> <milliseconds> <token>
#
#  The eventfd belongs to this process. The module writes to it when the
#  answer arrives. The result is "ready", "timeout" or "error". Nothing
#  depends on it, because the module then checks for the answer itself.
#
#  This script loads no module: each thread of the server has its own Perl
#  interpreter, and this keeps its size at a quarter of a megabyte.
#
use strict;
use warnings;

#  errno.h of Linux. Errno.pm would cost more memory than all of this.
sub EINTR() { 4 }

sub wait_for_answer {
	my ($event, $milliseconds) = @_;

	return "error"
		unless defined($milliseconds) && "$event $milliseconds" =~ /\A[0-9]{1,6} [0-9]{1,5}\z/;

	my $left = $milliseconds / 1000;
	while ($left > 0) {
		my $readable = '';
		vec($readable, $event, 1) = 1;

		#  On Linux, select() returns the remaining time. A signal ends
		#  a call early, with time remaining.
		(my $found, $left) = select($readable, undef, undef, $left);
		return "ready" if $found > 0;
		return "timeout" if $found == 0;
		return "error" unless $! == EINTR;
	}
	return "timeout";
}

1;
