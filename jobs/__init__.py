"""Entry points for a cluster: what `ray job submit` runs."""
