"""`cnnjobs bench`: speed on this machine, one benchmark a file."""
