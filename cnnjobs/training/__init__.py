"""Train, tune and cross-validate."""
