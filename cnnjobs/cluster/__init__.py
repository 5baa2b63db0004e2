"""Ray: connect, allocate, submit, check."""
