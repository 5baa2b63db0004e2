"""A process of a benchmark: `python -m cnnjobs.bench MODULE FUNCTION SETTINGS`."""

import sys

from cnnjobs.bench.processes import answer

if __name__ == "__main__":
    answer(*sys.argv[1:])
