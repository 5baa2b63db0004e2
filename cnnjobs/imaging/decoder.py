"""Reading and decoding many images in threads of one process. Nothing here imports Ray.

`read_many` applies one function to many files. `Decoder` separates the two stages, because reading
waits for disks and networks and decoding for the processor.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import pyarrow as pa

from cnnjobs.errors import ImageError
from cnnjobs.imaging import reading
from cnnjobs.imaging.memory import Budget
from cnnjobs.imaging.preprocessing import Decoded, Preprocessing

#: Files read at once: a request to S3 takes about 30 ms, in which a core decodes several images.
_NUM_READERS = 32

#: Files that `read_many` gives to its threads at once, which bounds the results that wait.
_FILES_AT_ONCE = 256

#: Bytes of files waiting to be decoded, which bounds memory when files are large.
_BYTES_AHEAD = 256 << 20

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_many(
    items: Sequence[Item],
    function: Callable[[Item], Result],
    *,
    remote: bool = False,
    threads: int | None = None,
) -> Iterator[Result]:
    """Apply a function that reads a file to many items, in threads; yield the results in order.

    Args:
        items: paths, or rows that hold one.
        function: called in a thread; what it raises is raised here.
        remote: whether the files are on S3, where threads mostly wait.
        threads: how many; by default 32 for remote files, otherwise one per core.
    """
    with ThreadPoolExecutor(threads or (_NUM_READERS if remote else os.cpu_count())) as pool:
        for start in range(0, len(items), _FILES_AT_ONCE):
            yield from pool.map(function, items[start : start + _FILES_AT_ONCE])


class Image(NamedTuple):
    """One image: its pixels for each preprocessing or its error, and the seconds it took."""

    decoded: Sequence[Decoded] | ImageError
    read_seconds: float
    decode_seconds: float


class Decoder:
    """Turns rows of a manifest into pixels; thread-safe."""

    def __init__(
        self, preprocessings: Sequence[Preprocessing], policy: reading.Policy, *, threads: int
    ) -> None:
        """Start the threads.

        Args:
            preprocessings: each image is decoded once for each of these.
            policy: which damaged or unusual files to accept.
            threads: number of decoder threads.
        """
        reading.prepare_process()
        self._preprocessings = preprocessings
        self._policy = policy
        self._readers = ThreadPoolExecutor(_NUM_READERS, "read")
        self._decoders = ThreadPoolExecutor(threads, "decode")
        self._ahead = Budget(_BYTES_AHEAD)

    def begin(self, rows: pa.Table) -> "list[Future[Future[Image]]]":
        """Start on rows (path, size_bytes); returns a future for each image, in order."""
        paths, sizes = (rows[name].to_pylist() for name in ("path", "size_bytes"))
        return [
            self._readers.submit(self._read, path, size)
            for path, size in zip(paths, sizes, strict=True)
        ]

    def _read(self, path: str, size: int) -> "Future[Image]":
        """Read one file once there is room, and pass it on to be decoded."""
        held = size

        def make_room(real_size: int) -> None:
            nonlocal held
            self._ahead.give_back(held)
            held = real_size
            self._ahead.take(held)

        self._ahead.take(held)
        began = time.perf_counter()
        data: bytes | ImageError
        try:
            data = reading.read_image(
                path, self._policy.max_bytes, expected=size, make_room=make_room
            )
        except ImageError as error:
            data = error
        return self._decoders.submit(self._decode, data, held, time.perf_counter() - began)

    def _decode(self, data: bytes | ImageError, held: int, read_seconds: float) -> Image:
        began = time.perf_counter()
        try:
            decoded = self._decoded(data)
        finally:
            self._ahead.give_back(held)
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
