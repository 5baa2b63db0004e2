"""Zip archives."""

import stat
import zipfile
from collections.abc import Iterator

from cnnjobs.config.regular_files import TooLargeError
from cnnjobs.storage.archives.files import ArchiveFile, Version
from cnnjobs.storage.archives.formats import (
    LINK,
    SPECIAL,
    DamagedError,
    Entry,
    UnsupportedError,
    explained,
)

_ENCRYPTED = 0x1


class Zip:
    """A zip archive: its directory is kept."""

    def __init__(self, version: Version) -> None:
        """Read the directory. Raises DamagedError if there is none."""
        self._file = ArchiveFile(version)
        with explained(self._file):
            self._zip = zipfile.ZipFile(self._file)

    def entries(self) -> Iterator[Entry]:
        """All entries but folders; see `formats.Reader`."""
        for at, info in enumerate(self._zip.infolist()):
            if info.is_dir():
                continue
            # of Unix; 0 where another system made it
            kind = stat.S_IFMT(info.external_attr >> 16)
            reason = None if kind in (0, stat.S_IFREG) else SPECIAL
            yield Entry(info.filename, info.file_size, at, LINK if kind == stat.S_IFLNK else reason)

    def read(self, at: int, limit: int) -> tuple[str, bytes]:
        """Name and content of an entry, by its number; see `formats.Reader`."""
        info = self._zip.infolist()[at]
        if info.flag_bits & _ENCRYPTED:
            raise UnsupportedError("it is encrypted")
        if info.file_size > limit:
            raise TooLargeError.of(info.file_size, limit)
        with explained(self._file), self._zip.open(info) as content:
            # never more than the directory announces
            data = content.read()
        if len(data) != info.file_size:
            raise DamagedError("the archive ends in the middle of it")
        return info.filename, data
