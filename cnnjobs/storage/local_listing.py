"""Listings of local folders: every name becomes a row, and one bad folder does not end them."""

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator

import pyarrow as pa

from cnnjobs.errors import StorageError
from cnnjobs.storage.listing import LISTING

#: Rows per table.
_ROWS = 10_000

#: The first and the last microsecond that Python's dates reach.
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999

#: Path, size and modification time (ns) of a file.
_Row = tuple[str, int, int | None]


def tables(
    folder: str,
    *,
    skip: Callable[[str], str | None] = lambda path: None,
    left_out: Callable[[str, str], None] | None = None,
) -> Iterator[pa.Table]:
    r"""The files below a folder, sorted by path within each folder, as tables of `LISTING`.

    Links are followed, and a folder reached twice is listed once. Anything that is neither a file
    nor a link (a pipe, a socket, a device) is left out. In a path, a byte that is not UTF-8 is
    written as `\xff`; see `is_escaped`.

    Args:
        folder: its own errors are always raised.
        skip: why a folder is not opened, by its path; None to open it.
        left_out: called with the path of each folder that is not listed, and why; without it, one
            that cannot be listed is an error.

    Raises:
        StorageError: a folder cannot be listed.
    """
    rows: list[_Row] = []
    for row in _walk(folder, skip, left_out):
        rows.append(row)
        if len(rows) == _ROWS:
            yield _table(rows)
            rows = []
    if rows:
        yield _table(rows)


def escaped(path: str) -> str:
    r"""The path as text that can be written: each byte that is not UTF-8 as `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_escaped(path: str) -> bool:
    """Whether the path names a file whose real name is not UTF-8; see `escaped`."""
    real = re.sub(
        rb"\\x([89a-f][0-9a-f])", lambda match: bytes.fromhex(match[1].decode()), os.fsencode(path)
    )
    return real != os.fsencode(path) and os.path.lexists(real)


def _walk(
    root: str,
    skip: Callable[[str], str | None],
    left_out: Callable[[str, str], None] | None,
) -> Iterator[_Row]:
    seen: set[tuple[int, int]] = set()
    is_whole = True
    with _cannot_be_listed(root):
        # not recursive: a path may have two thousand parts
        folders = [_entries(root, seen)]
    while folders:
        entry = next(folders[-1], None)
        if entry is None:
            folders.pop()
        elif not _is_folder(entry):
            yield from _row(entry)
        elif left_out is not None and (reason := skip(entry.path)) is not None:
            left_out(escaped(entry.path), reason)
        else:
            try:
                folders.append(_entries(entry.path, seen))
            except OSError as error:
                if left_out is None:
                    raise _unlistable(entry.path, error) from error
                left_out(escaped(entry.path), str(error.strerror))
                is_whole = False
    if not is_whole:
        # a disk that is gone has no folder that can be listed
        with _cannot_be_listed(root):
            os.scandir(root).close()


def _entries(folder: str, seen: set[tuple[int, int]]) -> "Iterator[os.DirEntry[str]]":
    status = os.stat(folder)  # noqa: PTH116 - names stay text: Path normalizes them away
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return iter(())
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    seen.add(identity)
    return iter(found)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself


def _row(entry: "os.DirEntry[str]") -> Iterator[_Row]:
    """The row of a file; none for what is no file, or has been deleted since."""
    try:
        status = entry.stat()
    except OSError:
        try:
            # a dangling link: listed, so that it becomes a row with an error
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError:
            # so is a file in a folder that may be listed but not entered
            with contextlib.suppress(OSError):
                if not (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                    return
            yield entry.path, 0, None
            return
    if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
        yield entry.path, status.st_size, status.st_mtime_ns


def _table(rows: list[_Row]) -> pa.Table:
    paths, sizes, times = zip(*rows, strict=True)
    try:
        column = pa.array(paths, pa.string())
    except UnicodeEncodeError:
        # where another file has the escaped name, its row stands for both
        return _table(
            [
                (escaped(path), size, time)
                for path, size, time in rows
                if path == escaped(path) or not os.path.lexists(escaped(path))
            ]
        )
    return pa.table(
        [
            column,
            pa.array(sizes, pa.int64()),
            pa.array(map(_micros, times), pa.int64()).cast(LISTING.field("modified").type),
            pa.nulls(len(rows), pa.string()),
        ],
        schema=LISTING,
    )


def _micros(time: int | None) -> int | None:
    return time // 1000 if time is not None and _FIRST_US <= time // 1000 <= _LAST_US else None


@contextlib.contextmanager
def _cannot_be_listed(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unlistable(folder, error) from error


def _unlistable(folder: str, error: OSError) -> StorageError:
    return StorageError(f"{escaped(folder)} cannot be listed: {error.strerror}.")
