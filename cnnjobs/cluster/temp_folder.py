"""The temporary folder of the Ray that a job starts for itself: private, and deleted at its end.

A job that is killed deletes nothing. Its folder goes when the next one is made: each holds a file
that its process keeps locked, and the kernel's lock ends with its holder, however that dies.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cnnjobs.errors import InputError

_PREFIX, _LOCK = "cj-", "lock"


@contextlib.contextmanager
def made(parent: Path) -> Iterator[Path]:
    """A new folder of mode 0700 in `parent`, until the block ends.

    Raises:
        InputError: `parent` cannot be written.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _delete_left_over(parent)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _locked(folder)
    except OSError as error:
        raise InputError(
            f"Ray's temporary folder {parent} cannot be written: {error.strerror}; set RAY_TMPDIR."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked(folder: Path) -> int:
    """The descriptor of the folder's file, which gets its name when it is locked."""
    partial = folder / f"{_LOCK}.partial"
    lock = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    partial.rename(folder / _LOCK)
    return lock


def _delete_left_over(parent: Path) -> None:
    """Delete this user's folders of jobs that are gone, and no others."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
