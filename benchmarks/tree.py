"""The memory of a process and of all that it started, at one moment."""

import os
import threading
import time
from pathlib import Path
from types import TracebackType

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

#: The first looks come sooner, because a short way is over in less.
_FIRST_WAIT_SECONDS, _SECONDS_BETWEEN_LOOKS = 0.1, 0.5

#: To add up the pages of ten processes takes the kernel a while, which would slow down the ways
#: with many: that is done where their resident sizes, which cost nothing to read, have grown by
#: such a share since it was done, and after so many seconds.
_GROWN, _SECONDS_BETWEEN_SUMS = 1.01, 10.0


class TreeMemory:
    """Watches a tree of processes from a thread while the `with` lasts.

    Adds up their proportional set sizes (PSS): a page that several processes share counts
    once, where resident sizes (RSS) would count Ray's object store in each. Linux only; None
    elsewhere.
    """

    def __init__(self, root: int, *, on: bool = True) -> None:
        self._known = {root}
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._on = on and (_PROC / "self" / "smaps_rollup").exists()
        #: The most that was seen.
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
            wait = min(2 * wait, _SECONDS_BETWEEN_LOOKS)
            self._known = _with_children(self._known)
            resident = sum(map(_resident_bytes, self._known))
            if resident < _GROWN * resident_then and time.monotonic() < next_sum:
                continue
            resident_then = max(resident, resident_then)
            next_sum = time.monotonic() + _SECONDS_BETWEEN_SUMS
            seen = sum(map(_proportional_bytes, self._known))
            self.peak_bytes = max(self.peak_bytes or 0, seen)


def _with_children(known: set[int]) -> set[int]:
    """Those of the processes that still run, and all that they started.

    A process whose parent has ended belongs to the tree still, if it was seen before.
    """
    parents = _parents()
    tree = known & set(parents)
    while more := {each for each, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return tree


def _parents() -> dict[int, int]:
    """The parent of every process of this machine."""
    parents = {}
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            status = (folder / "stat").read_text(errors="replace")
        except OSError:
            continue
        # the name, in brackets, may hold anything
        parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
    return parents


def _resident_bytes(process: int) -> int:
    """0 for one that has just ended."""
    try:
        pages = (_PROC / str(process) / "statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * _PAGE_BYTES


def _proportional_bytes(process: int) -> int:
    """0 for one that has just ended."""
    try:
        lines = (_PROC / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
