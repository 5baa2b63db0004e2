"""What the readers of tar, zip and Parquet have in common."""

import contextlib
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import pyarrow as pa

from cnnjobs.config.regular_files import TooLargeError
from cnnjobs.storage.archives.files import ArchiveFile

#: Why a member is no image; each is counted, as `2 links in archives`.
LINK, SPECIAL = "links in archives", "special files in archives"

#: What readers raise for damaged files; also for what they do not support.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(ValueError, ArithmeticError, LookupError, AttributeError, AssertionError, RuntimeError),
    StopIteration,
    pa.ArrowException,
)


class DamagedError(OSError):
    """An archive, or one member of it, is damaged."""


class UnsupportedError(DamagedError):
    """A member is encrypted, or compressed in a way that Python cannot undo."""


class Entry(NamedTuple):
    """One entry: its name as stored, the size of its content, and where it is.

    `reason` says why it is no file: `LINK` or `SPECIAL`.
    """

    name: str
    size: int
    at: int
    reason: str | None = None


class Reader(Protocol):
    """Reads one archive; thread-safe."""

    def entries(self) -> Iterator[Entry]:
        """All entries but folders, in their order.

        Raises:
            DamagedError: it cannot be read, or not from here on.
        """

    def read(self, at: int, limit: int) -> tuple[str, bytes]:
        """Name and content of an entry.

        Raises:
            DamagedError, TooLargeError, OSError: it cannot be read.
        """


@contextlib.contextmanager
def explained(file: ArchiveFile | None = None) -> Iterator[None]:
    """Raise DamagedError for what readers raise, unless the storage of the file has failed."""
    try:
        yield
    except (DamagedError, TooLargeError):
        raise
    except NotImplementedError as error:
        raise UnsupportedError(str(error)) from error
    except _DAMAGE as error:
        if file is not None and file.failure is not None:
            raise file.failure from error
        words = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DamagedError(words) from error
    except OSError as error:
        if file is not None and file.failure is None and error.errno is None:
            words = str(error).partition("\n")[0].rstrip(".")
            raise DamagedError(words) from error
        raise
