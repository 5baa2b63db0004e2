"""A process of a benchmark: `python -m cnnjobs.bench MODULE FUNCTION SETTINGS`."""

import sys

from benchmarks.processes import answer

if __name__ == "__main__":
    answer(*sys.argv[1:])
