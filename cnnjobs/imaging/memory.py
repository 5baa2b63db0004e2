"""Memory for large images: how much of it the threads of a process take together.

An image of ordinary size is read and decoded without asking. A large one waits until its bytes are
free, and one that needs more than there are waits until it is alone.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

#: A file or an image of fewer bytes does not count.
SMALL = 64 << 20

#: Bytes of all large images of this process: enough for one of 200 megapixels at a time, or for a
#: radiograph of 16 megapixels and 16 bits on each core.
TOTAL = max(1 << 30, (os.cpu_count() or 1) * (128 << 20))


class Budget:
    """A budget of bytes: `take` waits until enough are free."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = threading.Condition()

    def take(self, number: int) -> None:
        """Wait for so many bytes; more than the whole budget waits until nothing else holds any."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= min(number, self._total))
            self._free -= min(number, self._total)

    def give_back(self, number: int) -> None:
        """Return what was taken."""
        with self._changed:
            self._free += min(number, self._total)
            self._changed.notify_all()


class _Held(threading.local):
    """What this thread holds of the budget, and how many `bounded` it is inside."""

    number = 0
    depth = 0


_budget, _held = Budget(TOTAL), _Held()


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Give back at the end what this thread took inside; of nested ones, the outermost does."""
    _held.depth += 1
    try:
        yield
    finally:
        _held.depth -= 1
        if not _held.depth:
            _hold(0)


def take(number: int) -> None:
    """Wait until there is room for an image that needs so many bytes in all.

    Call it inside `bounded`; of several calls for the same image, the largest number counts.
    """
    number = min(number, TOTAL)
    if number > max(SMALL, _held.number):
        _hold(number)


def _hold(number: int) -> None:
    """Hold so many bytes and not those held before: two threads must not wait for each other's."""
    if _held.number:
        _budget.give_back(_held.number)
        _held.number = 0
    if number:
        _budget.take(number)
        _held.number = number
