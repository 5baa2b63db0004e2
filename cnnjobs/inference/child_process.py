"""Scoring in a child process of this one: what `ray_pipeline` does on a cluster, without Ray.

The parent sends pickled requests to the child's standard input, and gets the pickled answers from
its standard output, in the same order. The child ends when its input does, however the parent
ended.
"""

import contextlib
import itertools
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.errors import CnnjobsError
from cnnjobs.imaging.daemon_threads import end_if_frozen
from cnnjobs.inference import supervision
from cnnjobs.inference.bisection import Died
from cnnjobs.inference.predictor import Predictor, Scoring
from cnnjobs.inference.supervision import BLOCKS_AT_ONCE, BLOCKS_QUEUED
from cnnjobs.models import openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.openvino_export import Export
from cnnjobs.storage import s3

#: Seconds to wait for a child that was killed; one in a read that cannot be interrupted is left.
_ENDS_S = 5.0


class ChildBackend:
    """Scores in a child process with all cores of this machine; see `backends.Backend`."""

    has_gpu = False
    object_store_bytes = None

    def export(self, bundle: Bundle) -> Export:
        """Export a model to OpenVINO, which imports TensorFlow."""
        child = Child()
        try:
            exported: Export = child.answer(openvino_export.write, bundle)
            return exported
        finally:
            child.close()

    def pool(self, scoring: Scoring) -> "_ChildPool":
        return _ChildPool(scoring)


class _ChildPool:
    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring

    def attempt(self, rows: pa.Table) -> "_ChildAttempt":
        return _ChildAttempt(rows, self._scoring)


class _ChildAttempt:
    def __init__(self, rows: pa.Table, scoring: Scoring) -> None:
        self._scoring = scoring
        self._blocks = supervision.blocks(rows, scoring, num_processes=1)
        largest = max(block.num_rows for block in self._blocks)
        self.window = (BLOCKS_AT_ONCE + BLOCKS_QUEUED) * largest

    def tables(self) -> Iterator[pa.Table]:
        """Ends early when an image has timed out: a thread may be busy with it forever."""
        child = _scorer(self._scoring)
        try:
            blocks = iter(self._blocks)
            for block in itertools.islice(blocks, BLOCKS_AT_ONCE + BLOCKS_QUEUED):
                child.send(_score, block)
            for _ in self._blocks:
                table = child.receive()
                for block in itertools.islice(blocks, 1):
                    child.send(_score, block)
                yield table
                if pc.any(pc.starts_with(table["error"], "timed out:")).as_py():
                    return
        finally:
            child.close()

    def lone(self) -> "_LoneChild":
        return _LoneChild(self._scoring)


class _LoneChild:
    """A child that has shown that it can score."""

    def __init__(self, scoring: Scoring) -> None:
        self._child = _scorer(scoring)
        try:
            self._child.answer(_check)
        except BaseException:
            self.close()
            raise

    def score(self, rows: pa.Table) -> pa.Table:
        return self._child.answer(_score, rows)

    def close(self) -> None:
        self._child.close()


def _scorer(scoring: Scoring) -> "Child":
    """A child that has loaded the models.

    Raises:
        Died: with the reason, if it could not.
    """
    child = Child()
    try:
        child.answer(_load, scoring, len(os.sched_getaffinity(0)))
    except CnnjobsError as error:
        child.close()
        raise Died(type(error).__name__, str(error)) from error
    except BaseException:
        child.close()
        raise
    return child


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
            [sys.executable, "-m", "cnnjobs.inference.child_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            # Ctrl-C is the parent's
            start_new_session=True,
        )

    def answer(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns there; what it raises is raised here.

        Raises:
            Died: the child is gone.
        """
        self.send(function, *args)
        return self.receive()

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
            raise Died("the scoring process ended") from error

    def receive(self) -> Any:
        """The next answer; see `answer`."""
        assert self._process.stdout is not None
        try:
            is_error, value = pickle.load(self._process.stdout)  # noqa: S301 - from our own child
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise Died("the scoring process ended") from error
        if is_error:
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


# what runs in the child

_predictor: Predictor | None = None


def _load(scoring: Scoring, threads: int) -> None:
    global _predictor
    end_if_frozen(scoring.image_timeout)
    _predictor = Predictor(scoring, threads=threads)


def _check() -> None:
    assert _predictor is not None
    _predictor.check()


def _score(rows: pa.Table) -> pa.Table:
    assert _predictor is not None
    return _predictor(rows)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more; as many are in work as an actor on Ray has."""
    pending: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def answer() -> None:
        while True:
            future = pending.get()
            try:
                said = pickle.dumps((False, future.result()))
            except BaseException as error:  # noqa: BLE001 - the parent raises it
                said = _pickled(error)
            answers.write(said)
            answers.flush()

    threading.Thread(target=answer, daemon=True).start()
    pool = ThreadPoolExecutor(BLOCKS_AT_ONCE)
    try:
        while True:
            function, args = pickle.load(requests)  # noqa: S301 - from our own parent
            pending.put(pool.submit(function, *args))
    finally:
        # at once: nobody wants what is in work
        os._exit(0)


def _pickled(error: BaseException) -> bytes:
    try:
        return pickle.dumps((True, error))
    except (pickle.PicklingError, TypeError, AttributeError):
        return pickle.dumps((True, RuntimeError(f"{type(error).__name__}: {error}")))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # what libraries print must not get between the answers, and no process that they start may
    # read the requests
    questions, channel = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    # functions are pickled under the name of this module, not as those of a script
    from cnnjobs.inference import child_process

    child_process._serve(questions, channel)
