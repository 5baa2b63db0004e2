"""How a job reports its progress and its peak memory, without knowing who listens."""

import resource
import sys
from typing import Protocol


class Progress(Protocol):
    """Called from the job's own process whenever there is something new to report."""

    def __call__(self, step: str, done: int, total: int | None, note: str = "") -> None:
        """`done` of `total` (None: not known yet) in the named step of the job."""


def silent(step: str, done: int, total: int | None, note: str = "") -> None:
    """Report nothing."""


def peak_memory_bytes() -> int:
    """The most memory this process has held since it started."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux kibibytes
    return peak if sys.platform == "darwin" else peak * 1024
