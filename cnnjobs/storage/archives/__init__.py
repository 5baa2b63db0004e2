"""Images in archives: `ARCHIVE::NAME` for tar, zip, and Parquet tables with a column of images.

A listing reads the directory of an archive. The ETag of a member is made of the version of its
archive and, in a tar, the position of the member, so that another process can read it without
looking for it: see `expect`.
"""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.config.regular_files import NotAFileError, TooLargeError
from cnnjobs.storage import local_listing, s3
from cnnjobs.storage.archives import names
from cnnjobs.storage.archives.files import Version
from cnnjobs.storage.archives.formats import DamagedError as DamagedError
from cnnjobs.storage.archives.formats import Entry, Reader
from cnnjobs.storage.archives.formats import UnsupportedError as UnsupportedError
from cnnjobs.storage.archives.names import PARQUET as PARQUET
from cnnjobs.storage.archives.names import SEPARATOR as SEPARATOR
from cnnjobs.storage.archives.names import archive_of as archive_of
from cnnjobs.storage.archives.names import are_archives as are_archives
from cnnjobs.storage.archives.names import as_folders as as_folders
from cnnjobs.storage.archives.names import is_compressed_tar as is_compressed_tar
from cnnjobs.storage.archives.names import splits as splits
from cnnjobs.storage.archives.names import suffix as suffix
from cnnjobs.storage.archives.names import without_archives as without_archives
from cnnjobs.storage.archives.parquet_archive import NoImagesError as NoImagesError
from cnnjobs.storage.archives.parquet_archive import Table
from cnnjobs.storage.archives.tar_archive import Tar
from cnnjobs.storage.archives.zip_archive import Zip

T = TypeVar("T")

#: Names in the directories that a process keeps, of at most so many archives, which may be open
#: files; and positions announced by `expect`.
_NUM_NAMES, _NUM_KEPT, _NUM_EXPECTED = 200_000, 64, 100_000


def open_archive(version: Version) -> Reader:
    """A reader of an archive. Raises DamagedError if it is none, and OSError."""
    kind = suffix(version.uri)
    if kind == names.TAR:
        return Tar(version)
    return Zip(version) if kind == names.ZIP else Table(version)


def is_archive_of_images(uri: str) -> bool:
    """Whether a name is that of a tar or zip file, or of a Parquet file with images."""
    kind = suffix(uri)
    if kind is None:
        return False
    try:
        version = Version.now(uri)
        if kind == names.PARQUET:
            Table(version)
    except OSError:
        return False
    return True


def member_name(stored: str) -> str | None:
    """How a member is called in a path, by its stored name; None if that is no name of a file."""
    name = names.inside(stored)
    return None if name is None else local_listing.escaped(name)


def tag(version: Version, at: int) -> str:
    """The ETag of a member, given where it is."""
    place = f"@{at}" if suffix(version.uri) == names.TAR else ""
    return f"{version.tag}-{version.size}{place}"


def read(path: str, *, limit: int) -> bytes:
    """The content of a member `ARCHIVE::NAME`.

    Raises:
        FileNotFoundError: there is no such archive, or no such member in it.
        DamagedError, TooLargeError, OSError: it cannot be read.
    """
    expected = _expected.get(path)
    if expected is not None:
        with contextlib.suppress(_StaleError, DamagedError, s3.ChangedError):
            return _read_at(path, *expected, limit)
    return _found(path, lambda reader, at: reader.read(at, limit)[1])


def read_first(path: str, num_bytes: int) -> bytes:
    """The first bytes of a member; of one above 512 MiB, none. Raises like `read`."""
    try:
        return read(path, limit=512 << 20)[:num_bytes]
    except TooLargeError:
        return b""


def contains(path: str) -> bool:
    """Whether there is an archive that can be read and has a member of that name."""
    try:
        return _found(path, lambda *_: True)
    except OSError:
        return False


def expect(rows: pa.Table) -> None:
    """Prepare for reading rows (path, etag) of a listing or manifest soon."""
    if "etag" not in rows.column_names:
        return
    is_member = pc.match_substring_regex(rows["etag"], r"@\d+$")
    columns = (rows[name].filter(is_member).to_pylist() for name in ("path", "etag"))
    for path, text in zip(*columns, strict=True):
        version, _, at = text.rpartition("@")
        tag, _, size = version.rpartition("-")
        for archive, _ in splits(path):
            if size.isdigit() and suffix(archive) == names.TAR:
                _expected.put(path, (Version(archive, int(size), tag), int(at)))
                break


class _StaleError(Exception):
    """Another member is there."""


class _Expected:
    """Where members are, for the last ones announced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: OrderedDict[str, tuple[Version, int]] = OrderedDict()

    def put(self, path: str, place: tuple[Version, int]) -> None:
        with self._lock:
            self._places[path] = place
            self._places.move_to_end(path)
            if len(self._places) > _NUM_EXPECTED:
                self._places.popitem(last=False)

    def get(self, path: str) -> tuple[Version, int] | None:
        with self._lock:
            return self._places.get(path)


class Directory:
    """The members of an archive: where each is, of two with one name the last."""

    def __init__(self, version: Version, reader: Reader | None = None) -> None:
        """Read it.

        Attributes:
            problem: why it is not complete; None if it is.
            entries: by name.
            ignored: the number of other entries by reason.
        """
        self.version = version
        self.reader = reader or open_archive(version)
        self.entries: dict[str, Entry] = {}
        self.ignored: dict[str, int] = {}
        self.problem: str | None = None
        try:
            for entry in self.reader.entries():
                name, reason = member_name(entry.name), entry.reason
                if reason is None and name is None:
                    reason = "names outside their archive"
                elif reason is None and name in self.entries:
                    reason = "older copies in archives"
                if reason is not None:
                    self.ignored[reason] = self.ignored.get(reason, 0) + 1
                if entry.reason is None and name is not None:
                    # where it was first
                    self.entries[name] = entry
        except DamagedError as error:
            self.problem = str(error)


class _Directories:
    """The directories last used, of up to so many names."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Directory] = OrderedDict()
        self._opening: dict[str, threading.Lock] = {}

    def get(self, uri: str) -> Directory:
        """Of an archive as it is now; on S3, as it was when it was opened."""
        with self._lock:
            lock = self._opening.setdefault(uri, threading.Lock())
        with lock:
            with self._lock:
                kept = self._kept.get(uri)
            # a file may be replaced at any time; an object says so when it is read
            if kept is None or (not uri.startswith("s3://") and Version.now(uri) != kept.version):
                kept = Directory(Version.now(uri))
            self.put(kept)
            return kept

    def put(self, directory: Directory) -> None:
        with self._lock:
            self._kept[directory.version.uri] = directory
            self._kept.move_to_end(directory.version.uri)
            total = sum(len(each.entries) for each in self._kept.values())
            while len(self._kept) > 1 and (total > _NUM_NAMES or len(self._kept) > _NUM_KEPT):
                uri, oldest = self._kept.popitem(last=False)
                self._opening.pop(uri, None)
                total -= len(oldest.entries)

    def forget(self, uri: str) -> None:
        with self._lock:
            self._kept.pop(uri, None)


_expected, _directories = _Expected(), _Directories()


def remember(directory: Directory) -> None:
    """Keep a directory that is likely to be used again."""
    _directories.put(directory)


def _found(path: str, answer: Callable[[Reader, int], T]) -> T:
    """What an answer says of the reader of a member, and where in it this is."""
    for archive, name in splits(path):
        for is_last in (False, True):
            try:
                directory = _directories.get(archive)
                if name in directory.entries:
                    return answer(directory.reader, directory.entries[name].at)
                if directory.problem is not None:
                    raise DamagedError(f"its archive is damaged: {directory.problem}")
                break
            except (FileNotFoundError, NotADirectoryError, NotAFileError):
                break
            except s3.ChangedError:
                _directories.forget(archive)
                if is_last:
                    raise
    raise FileNotFoundError(path)


def _read_at(path: str, version: Version, at: int, limit: int) -> bytes:
    stored, data = Tar(version).read(at, limit)
    if path != f"{version.uri}{names.SEPARATOR}{member_name(stored)}":
        raise _StaleError
    return data
