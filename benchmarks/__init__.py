"""Speed, memory and quality measured on this machine: `python -m benchmarks --help`."""
