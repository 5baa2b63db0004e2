"""Tar archives, such as WebDataset's shards."""

import itertools
import tarfile
from collections.abc import Iterator

from cnnjobs.config.regular_files import TooLargeError
from cnnjobs.storage.archives.files import ArchiveFile, Version
from cnnjobs.storage.archives.formats import LINK, SPECIAL, DamagedError, Entry, explained

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}

#: tarfile keeps all headers that it has read, of about 1 kB each.
_HEADERS_AT_ONCE = 10_000

_CUT = "it ends in the middle of a file"


class Tar:
    """A tar archive: nothing is kept of it, and an entry is read without those before it."""

    def __init__(self, version: Version) -> None:
        self._version = version

    def entries(self) -> Iterator[Entry]:
        """All entries but folders; see `formats.Reader`."""
        with ArchiveFile(self._version) as file, explained(file):
            tar = _opened(file)
            for number in itertools.count(1):
                if (member := _next(tar)) is None:
                    break
                if number % _HEADERS_AT_ONCE == 0:
                    file.seek(tar.offset)
                    tar = _opened(file)
                if member.isdir():
                    continue
                reason = LINK if member.islnk() or member.issym() else SPECIAL
                yield Entry(
                    member.name, member.size, member.offset, None if member.isfile() else reason
                )
            # tarfile takes a damaged header for the end
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise DamagedError(f"the header at byte {tar.offset} is damaged")

    def read(self, at: int, limit: int) -> tuple[str, bytes]:
        """Name and content of the entry whose headers begin there; see `formats.Reader`."""
        with ArchiveFile(self._version) as file, explained(file):
            file.seek(at)
            member = _next(tar := _opened(file))
            content = tar.extractfile(member) if member is not None and member.isfile() else None
            if member is None or content is None:
                raise DamagedError("its header is gone")
            if member.size > limit:
                raise TooLargeError.of(member.size, limit)
            try:
                return member.name, content.read()
            except tarfile.ReadError as error:
                raise DamagedError("the archive ends in the middle of it") from error


def _opened(file: ArchiveFile) -> tarfile.TarFile:
    start = file.tell()
    try:
        return tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape")
    except tarfile.ReadError as error:
        file.seek(start)
        first = file.read(6)
        for magic, name in _MAGIC.items():
            if first.startswith(magic):
                raise DamagedError(
                    f"it is compressed as a whole ({name}); decompress it"
                ) from error
        reason = "it is empty" if not first else "it is not a tar archive"
        raise DamagedError(reason) from error


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except tarfile.ReadError as error:
        raise DamagedError(_CUT) from error
