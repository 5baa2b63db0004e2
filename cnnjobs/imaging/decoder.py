"""Reading and decoding many images in threads of one process. Nothing here imports Ray.

`read_many` applies one function to many files. `Decoder` separates the two stages, because reading
waits for disks and networks and decoding for the processor.
"""

import contextlib
import functools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import pyarrow as pa

from cnnjobs.errors import ImageError
from cnnjobs.imaging import reading
from cnnjobs.imaging.daemon_threads import DaemonThreads
from cnnjobs.imaging.memory import Budget
from cnnjobs.imaging.preprocessing import Decoded, Preprocessing
from cnnjobs.storage import archives

#: Files read at once: a request to S3 takes about 30 ms, in which a core decodes several images.
_NUM_READERS = 32

#: Files that `read_many` gives to its threads at once, which bounds the results that wait.
_FILES_AT_ONCE = 256

#: Files for each thread that are being read or decoded, or wait between. With more of them, readers
#: take Python's lock from decoders, which find the bytes no longer in the cache of their core.
_FILES_AHEAD = 2

#: Bytes of these, which bounds memory when files are large.
_BYTES_AHEAD = 256 << 20

#: A file may take this much longer to read than the timeout of its decoding.
_SLOWEST_BYTES_PER_S = 100_000

_DONE = {"read": "read", "decode": "decoded"}

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

    @property
    def is_outage(self) -> bool:
        """Whether the storage failed, not the image."""
        return isinstance(self.decoded, ImageError) and self.decoded.is_outage


@dataclass(eq=False)
class _Task:
    """One image on its way through the threads.

    Attributes:
        held: bytes of memory that its file takes.
        doing: what a thread does with it now, and since when.
        overdue_at: when that has taken too long.
        is_abandoned: it has, and its thread was replaced.
    """

    path: str
    held: int
    future: "Future[Image]" = field(default_factory=Future)
    doing: str = ""
    began: float = 0.0
    overdue_at: float = math.inf
    is_abandoned: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be done with it."""
        return self.is_abandoned or self.future.done()


class Decoder:
    """Turns rows of a manifest into pixels; thread-safe."""

    def __init__(
        self,
        preprocessings: Sequence[Preprocessing],
        policy: reading.Policy,
        *,
        threads: int,
        timeout: float = math.inf,
    ) -> None:
        """Start the threads.

        Args:
            preprocessings: each image is decoded once for each of these.
            policy: which damaged or unusual files to accept.
            threads: number of decoder threads.
            timeout: seconds after which an image that is still being decoded, or read from a disk,
                is given up; reading a large file may take longer. S3 has limits of its own.
        """
        reading.prepare_process()
        self._preprocessings = preprocessings
        self._policy = policy
        self._timeout = timeout
        self._threads = {
            "read": DaemonThreads(_NUM_READERS, "read"),
            "decode": DaemonThreads(threads, "decode"),
        }
        self._ahead = Budget(_BYTES_AHEAD)
        self._num_ahead, self._most_ahead = 0, _FILES_AHEAD * (_NUM_READERS + threads)
        self._later: list[deque[_Task]] = []
        self._running: set[_Task] = set()
        self._lock = threading.Lock()

    def begin(self, rows: pa.Table) -> list[Callable[[], Image]]:
        """Start on rows (path, size_bytes); returns for each image, in order, what waits for it."""
        archives.expect(rows)
        paths, sizes = (rows[name].to_pylist() for name in ("path", "size_bytes"))
        tasks = [_Task(path, size) for path, size in zip(paths, sizes, strict=True)]
        with self._lock:
            self._later += [deque(tasks)] if tasks else []
            self._read_on()
        return [functools.partial(self._result, task) for task in tasks]

    def _result(self, task: _Task) -> Image:
        """Wait for an image, and meanwhile give up those that take too long."""
        while not task.future.done():
            now = time.monotonic()
            due = min([now + self._timeout, *(each.overdue_at for each in list(self._running))])
            with contextlib.suppress(TimeoutError):
                return task.future.result(max(0.0, due - now) if due < math.inf else None)
            for each in list(self._running):
                if time.monotonic() >= each.overdue_at:
                    self._give_up(each)
        return task.future.result()

    def _read(self, task: _Task) -> bool:
        """Read one file once there is room, and pass it on to be decoded."""

        def make_room(real_size: int) -> None:
            # what it waits for is not its own time
            task.overdue_at = math.inf
            self._ahead.give_back(task.held)
            task.held = real_size
            self._ahead.take(task.held)
            task.overdue_at = time.monotonic() + self._read_limit(task)

        self._ahead.take(task.held)
        with self._watched(task, "read", self._read_limit(task)):
            began = time.perf_counter()
            data: bytes | ImageError
            try:
                data = reading.read_image(
                    task.path, self._policy.max_bytes, expected=task.held, make_room=make_room
                )
            except ImageError as error:
                data = error
            seconds = time.perf_counter() - began
        if not task.is_over:
            self._threads["decode"].submit(functools.partial(self._decode, task, data, seconds))
        return not task.is_abandoned

    def _read_limit(self, task: _Task) -> float:
        """Seconds that reading may take."""
        is_remote = task.path.startswith("s3://")
        return math.inf if is_remote else self._timeout + task.held / _SLOWEST_BYTES_PER_S

    def _decode(self, task: _Task, data: bytes | ImageError, read_seconds: float) -> bool:
        with self._watched(task, "decode", self._timeout):
            began = time.perf_counter()
            decoded = self._decoded(data)
            image = Image(decoded, read_seconds, time.perf_counter() - began)
        if not task.is_over:
            self._leave(task)
            task.future.set_result(image)
        return not task.is_abandoned

    @contextlib.contextmanager
    def _watched(self, task: _Task, doing: str, limit: float) -> Iterator[None]:
        """Let `_result` give up the task if the block takes longer than `limit` seconds."""
        task.doing, task.began = doing, time.monotonic()
        task.overdue_at = task.began + limit
        self._running.add(task)
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - whoever waits for the image gets it
            if not task.is_over:
                self._leave(task)
                task.future.set_exception(error)
        finally:
            with self._lock:
                self._running.discard(task)

    def _give_up(self, task: _Task) -> None:
        """Let an image fail whose thread may never end, and replace that thread."""
        with self._lock:
            if task not in self._running or task.is_abandoned:
                return
            task.is_abandoned = True
            self._running.discard(task)
        self._threads[task.doing].add()
        self._leave(task)
        error = ImageError("timed out", f"still not {_DONE[task.doing]} after {self._timeout:g} s")
        seconds = time.monotonic() - task.began
        task.future.set_result(
            Image(error, seconds, 0.0) if task.doing == "read" else Image(error, 0.0, seconds)
        )

    def _leave(self, task: _Task) -> None:
        """Give its room to others."""
        self._ahead.give_back(task.held)
        with self._lock:
            self._num_ahead -= 1
            self._read_on()

    def _read_on(self) -> None:
        """Have as many files read as there is room for; with the lock."""
        while self._later and self._num_ahead < self._most_ahead:
            # whoever waits for the fewest is done soonest
            tasks = min(self._later, key=len)
            self._num_ahead += 1
            self._threads["read"].submit(functools.partial(self._read, tasks.popleft()))
            if not tasks:
                self._later.remove(tasks)

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
