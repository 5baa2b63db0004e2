"""Random access to archives on local disk and S3.

Of an object on S3, blocks of 8 MiB are read and shared by the threads of the process: thousands of
small images come with one request.
"""

import io
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass

from cnnjobs.config import regular_files
from cnnjobs.storage import s3
from cnnjobs.storage.names import is_s3

#: A request for a block takes as long as a few of the smallest; a process keeps 128 MiB of them.
_BLOCK_BYTES, _NUM_BLOCKS = 8 << 20, 16

#: Directories of archives, and headers that ask for more, are refused.
_MAX_READ_BYTES = 1 << 30


@dataclass(frozen=True)
class Version:
    """An archive as it was once: `tag` is its ETag on S3, or its modification time in us."""

    uri: str
    size: int
    tag: str

    @classmethod
    def now(cls, uri: str) -> "Version":
        """The archive as it is. Raises OSError like `regular_files.read`."""
        if is_s3(uri):
            return cls(uri, *s3.state(uri.removeprefix("s3://")))
        status = regular_files.status(uri)
        return cls(uri, status.st_size, str(status.st_mtime_ns // 1000))


class ArchiveFile(io.RawIOBase):
    """One version of an archive as a file for reading; each thread needs its own.

    Attributes:
        failure: the last error of the storage, for readers that hide it.
    """

    def __init__(self, version: Version) -> None:
        self._version = version
        self._position = 0
        self.failure: OSError | None = None
        # first, because what cannot be opened is closed all the same
        self._descriptor: int | None = None
        if not is_s3(version.uri):
            self._descriptor = regular_files.opened(version.uri)

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, fewer only at the end."""
        left = max(self._version.size - self._position, 0)
        size = left if size is None or size < 0 else min(size, left)
        if size > _MAX_READ_BYTES:
            raise ValueError("a header in it is too large")
        try:
            data = self._at(self._position, size)
        except OSError as error:
            self.failure = error
            raise
        self.failure = None
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, like any file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._version.size}
        self._position = max(start[whence] + offset, 0)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        super().close()

    def _at(self, start: int, size: int) -> bytes:
        if self._descriptor is not None:
            parts = []
            while size and (part := os.pread(self._descriptor, size, start)):
                parts.append(part)
                start, size = start + len(part), size - len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        parts = []
        while size:
            number, skipped = divmod(start, _BLOCK_BYTES)
            part = _blocks.get(self._version, number)[skipped : skipped + size]
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class _Blocks:
    """The blocks last used; several threads that want the same one wait for one request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[Version, int], Future[bytes]] = OrderedDict()

    def get(self, version: Version, number: int) -> bytes:
        key = version, number
        with self._lock:
            block = self._blocks.get(key)
            is_mine = block is None
            if block is None:
                block = self._blocks[key] = Future()
                if len(self._blocks) > _NUM_BLOCKS:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(key)
        if is_mine:
            start = number * _BLOCK_BYTES
            size = min(_BLOCK_BYTES, version.size - start)
            try:
                path = version.uri.removeprefix("s3://")
                block.set_result(s3.read_part(path, start, size, etag=version.tag))
            except BaseException as error:  # noqa: BLE001 - all who wait get it
                with self._lock:
                    self._blocks.pop(key, None)
                block.set_exception(error)
        return block.result()


_blocks = _Blocks()
