"""Peak memory of a process together with all processes it started."""

import os
import threading
import time
from pathlib import Path
from types import TracebackType

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

#: The first samples come sooner, because a short process may end within a second.
_FIRST_WAIT_SECONDS, _SECONDS_BETWEEN_SAMPLES = 0.1, 0.5

#: Adding up the pages of ten processes costs the kernel enough time to slow them down. They are
#: added up only when the resident size, which is cheap to read, has grown by this factor, or after
#: this many seconds.
_GROWN, _SECONDS_BETWEEN_SUMS = 1.01, 10.0


class TreeMemory:
    """Samples the memory of a process tree from a thread while the `with` block runs.

    Adds up proportional set sizes (PSS): a page shared by several processes counts once, whereas
    resident sizes (RSS) would count Ray's object store in each. Linux only; None elsewhere.
    """

    def __init__(self, root: int, *, on: bool = True) -> None:
        self._known = {root}
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._on = on and (_PROC / "self" / "smaps_rollup").exists()
        #: The largest sum sampled.
        self.peak_bytes: int | None = 0 if self._on else None

    def __enter__(self) -> "TreeMemory":
        if self._on:
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._on:
            self._watcher.join()

    def _watch(self) -> None:
        wait, resident_then, next_sum = _FIRST_WAIT_SECONDS, 0, 0.0
        while not self._ended.wait(wait):
            wait = min(2 * wait, _SECONDS_BETWEEN_SAMPLES)
            self._known = _with_children(self._known)
            resident = sum(map(resident_bytes, self._known))
            if resident < _GROWN * resident_then and time.monotonic() < next_sum:
                continue
            resident_then = max(resident, resident_then)
            next_sum = time.monotonic() + _SECONDS_BETWEEN_SUMS
            total = sum(map(_proportional_bytes, self._known))
            self.peak_bytes = max(self.peak_bytes or 0, total)


def _with_children(known: set[int]) -> set[int]:
    """The processes that still run, and everything they started.

    A process seen before stays in the tree when its parent ends.
    """
    parents = _parents()
    tree = known & set(parents)
    while more := {each for each, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return tree


def _parents() -> dict[int, int]:
    """The parent of every process on this machine."""
    parents = {}
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            status = (folder / "stat").read_text(errors="replace")
        except OSError:
            continue
        # the process name, in parentheses, may contain anything
        parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
    return parents


def resident_bytes(process: int) -> int:
    """0 if the process has just ended."""
    try:
        pages = (_PROC / str(process) / "statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * _PAGE_BYTES


def _proportional_bytes(process: int) -> int:
    """0 if the process has just ended."""
    try:
        lines = (_PROC / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
