"""Reading local files of names that nobody vouches for: only regular files, and with a limit.

A manifest from elsewhere may name a pipe that nobody writes to, a device that never ends, or a
sparse file of 300 GB.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: How much is read at once where the size is unknown (/proc) or has grown.
_PIECE = 1 << 16

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotAFileError(OSError):
    """It is a folder, a pipe, a socket or a device; the message says which."""


class TooLargeError(OSError):
    """There are more bytes than the limit; `size` is how many are known of."""

    size = 0

    @classmethod
    def of(cls, size: int, limit: int) -> "TooLargeError":
        """The error with its message."""
        error = cls(f"it has {size} bytes, {limit} are allowed")
        error.size = size
        return error


def read(path: str | Path, *, limit: int, pipes: bool = False) -> bytes:
    """All bytes of a regular file.

    Args:
        path: the file.
        limit: largest number of bytes; nothing is read of a file whose size is above it.
        pipes: also accept a pipe, for what a shell's `<(command)` may provide.

    Raises:
        OSError: like the system's, and NotAFileError or TooLargeError.
    """
    with _opened(path, pipes=pipes) as (descriptor, size):
        if size > limit:
            raise TooLargeError.of(size, limit)
        parts, received = [], 0
        # one byte more than expected: the last read, of the end, is small
        while part := os.read(descriptor, max(size - received, _PIECE) + 1):
            parts.append(part)
            received += len(part)
            if received > limit:
                raise TooLargeError.of(received, limit)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def read_first(path: str | Path, num_bytes: int) -> bytes:
    """The first bytes of a regular file, fewer if it is shorter; raises like `read`."""
    with _opened(path) as (descriptor, _):
        return os.read(descriptor, num_bytes)


def status(path: str | Path) -> os.stat_result:
    """What the system says of a regular file; raises like `read`."""
    found = Path(path).stat()
    _check(found.st_mode, pipes=False)
    return found


def opened(path: str | Path, *, pipes: bool = False) -> int:
    """The descriptor of a regular file, to be closed by the caller; raises like `read`."""
    # before it is opened, because opening alone may rewind a tape or restart a machine
    _check(Path(path).stat().st_mode, pipes=pipes)
    # a pipe that took its place in the meantime must not block
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor).st_mode, pipes=pipes)
        if pipes:
            os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _opened(path: str | Path, *, pipes: bool = False) -> Iterator[tuple[int, int]]:
    """The descriptor of a regular file, and its size as far as the system knows it."""
    descriptor = opened(path, pipes=pipes)
    try:
        yield descriptor, os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _check(mode: int, *, pipes: bool) -> None:
    if not (stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode))):
        raise NotAFileError(f"it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a file")
