"""What a process has taken of the machine's memory."""

import resource
import sys


def peak_bytes() -> int:
    """The most that this process had in memory since it started."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux kibibytes
    return peak if sys.platform == "darwin" else peak * 1024
