"""What one process does with rows before they are scored: read and decode. Nothing of Ray.

Two stages at once, each with threads of its own: reading waits for disks and networks, decoding
for the processor.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa

from cnnjobs.errors import ImageError
from cnnjobs.imaging import reading
from cnnjobs.imaging.preprocessing import Decoded, Preprocessing

#: Files read at once: a request to S3 takes some 30 ms, in which a core decodes some images.
_NUM_READERS = 32

#: Bytes of files that wait to be decoded: what bounds memory where files are large.
_BYTES_AHEAD = 256 << 20


class Image(NamedTuple):
    """One image on its way: its pixels for each preprocessing, or its error, and what it took."""

    decoded: Sequence[Decoded] | ImageError
    read_seconds: float
    decode_seconds: float


class Decoder:
    """Turns rows of a manifest into pixels; may be asked from several threads."""

    def __init__(
        self, preprocessings: Sequence[Preprocessing], policy: reading.Policy, *, threads: int
    ) -> None:
        """Start the threads.

        Args:
            preprocessings: what to make of each image.
            policy: what to take for an image.
            threads: that decode.
        """
        reading.settle()
        self._preprocessings = preprocessings
        self._policy = policy
        self._readers = ThreadPoolExecutor(_NUM_READERS, "read")
        self._decoders = ThreadPoolExecutor(threads, "decode")
        self._ahead = _Bytes(_BYTES_AHEAD)

    def begin(self, rows: pa.Table) -> "list[Future[Future[Image]]]":
        """Begin with rows (path, size_bytes): each image will be there in their order."""
        paths, sizes = (rows[name].to_pylist() for name in ("path", "size_bytes"))
        return [
            self._readers.submit(self._read, path, size)
            for path, size in zip(paths, sizes, strict=True)
        ]

    def _read(self, path: str, size: int) -> "Future[Image]":
        """Read one file, as soon as there is room, and hand it on to be decoded."""
        self._ahead.take(size)
        began = time.perf_counter()
        try:
            data: bytes | ImageError = reading.read_image(path)
        except ImageError as error:
            data = error
        return self._decoders.submit(self._decode, data, size, time.perf_counter() - began)

    def _decode(self, data: bytes | ImageError, size: int, read_seconds: float) -> Image:
        began = time.perf_counter()
        try:
            decoded = self._decoded(data)
        finally:
            self._ahead.give_back(size)
        return Image(decoded, read_seconds, time.perf_counter() - began)

    def _decoded(self, data: bytes | ImageError) -> list[Decoded] | ImageError:
        decoded = []
        for preprocessing in self._preprocessings:
            if isinstance(data, ImageError):
                return data
            one = reading.decoded(data, preprocessing, self._policy)
            if isinstance(one, ImageError):
                return one
            decoded.append(one)
        return decoded


class _Bytes:
    """So many bytes are there to be taken; who wants more than there are waits."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = threading.Condition()

    def take(self, number: int) -> None:
        with self._changed:
            # a file larger than all waits until it is alone
            self._changed.wait_for(lambda: self._free >= min(number, self._total))
            self._free -= min(number, self._total)

    def give_back(self, number: int) -> None:
        with self._changed:
            self._free += min(number, self._total)
            self._changed.notify_all()
