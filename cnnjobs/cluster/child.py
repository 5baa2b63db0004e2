"""A child process that calls functions: what a job uses on this machine alone, without Ray.

The parent sends pickled requests to the child's standard input, and gets the pickled answers from
its standard output, in the same order. The child ends when its input does, however the parent
ended.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar

from cnnjobs.storage import s3
from cnnjobs.storage.arrow_start import without_pandas

T = TypeVar("T")

#: Calls that a child works on at once.
CALLS_AT_ONCE = 2

#: Seconds to wait for a child that was killed; one in a read that cannot be interrupted is left.
_ENDS_S = 5.0

#: What a message from the child holds.
_RESULT, _ERROR, _REPORT = range(3)


class Died(Exception):  # noqa: N818 - nothing that a user sees
    """A process that works for a job is gone, or its machine.

    Attributes:
        reason: what it raised while it started; None if it died for another reason.
    """

    def __init__(self, kind: str, reason: str | None = None) -> None:
        super().__init__(kind)
        self.reason = reason


def _ignored(report: Any) -> None:
    pass


class Child:
    """A process that calls functions."""

    def __init__(self) -> None:
        """Start it."""
        environment = {
            **os.environ,
            **s3.environment(),
            # importable there as here, installed or not
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cnnjobs.cluster.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            # Ctrl-C is the parent's
            start_new_session=True,
        )

    def answer(
        self,
        function: Callable[..., Any],
        *args: Any,
        on_report: Callable[[Any], None] = _ignored,
    ) -> Any:
        """What the function returns there; what it raises is raised here.

        Args:
            function: of a module.
            args: its arguments.
            on_report: called with everything that the function passes to `report`.

        Raises:
            Died: the child is gone.
        """
        self.send(function, *args)
        return self.receive(on_report)

    def send(self, function: Callable[..., Any], *args: Any) -> None:
        """Have a function of a module called; `receive` waits for what it returns.

        Raises:
            Died: the child is gone.
        """
        assert self._process.stdin is not None
        try:
            pickle.dump((function, args), self._process.stdin)
            self._process.stdin.flush()
        except OSError as error:
            raise Died("the process ended") from error

    def receive(self, on_report: Callable[[Any], None] = _ignored) -> Any:
        """The next answer; see `answer`."""
        assert self._process.stdout is not None
        kind = _REPORT
        while kind == _REPORT:
            try:
                kind, value = pickle.load(self._process.stdout)  # noqa: S301 - from our own child
            except (EOFError, OSError, pickle.UnpicklingError) as error:
                raise Died("the process ended") from error
            if kind == _REPORT:
                on_report(value)
        if kind == _ERROR:
            raise value
        return value

    def close(self) -> None:
        """End the process."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_S)
        for stream in (process.stdin, process.stdout):
            # what was to be sent cannot be flushed any more
            with contextlib.suppress(OSError):
                stream.close()


def call(function: Callable[..., T], *args: Any) -> T:
    """What the function returns in a process of its own; see `Child.answer`."""
    child = Child()
    try:
        result: T = child.answer(function, *args)
        return result
    finally:
        child.close()


# what runs in the child

_answers: BinaryIO | None = None
_speaks = threading.Lock()


def report(value: Any) -> None:
    """Send something to the parent before the answer; see `Child.answer`."""
    _say(pickle.dumps((_REPORT, value)))


def _say(message: bytes) -> None:
    assert _answers is not None
    with _speaks:
        _answers.write(message)
        _answers.flush()


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    global _answers
    _answers = answers
    pending: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def answer() -> None:
        while True:
            future = pending.get()
            try:
                _say(pickle.dumps((_RESULT, future.result())))
            except BaseException as error:  # noqa: BLE001 - the parent raises it
                _say(_pickled(error))

    threading.Thread(target=answer, daemon=True).start()
    pool = ThreadPoolExecutor(CALLS_AT_ONCE)
    try:
        while True:
            function, args = pickle.load(requests)  # noqa: S301 - from our own parent
            pending.put(pool.submit(function, *args))
    finally:
        # at once: nobody wants what is in work
        os._exit(0)


def _pickled(error: BaseException) -> bytes:
    try:
        return pickle.dumps((_ERROR, error))
    except (pickle.PicklingError, TypeError, AttributeError):
        return pickle.dumps((_ERROR, RuntimeError(f"{type(error).__name__}: {error}")))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # what libraries print must not get between the answers, and no process that they start may
    # read the requests
    questions, channel = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    without_pandas()
    # functions are pickled under the name of this module, not as those of a script
    from cnnjobs.cluster import child

    child._serve(questions, channel)
