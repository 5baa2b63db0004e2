"""Scoring in a child process of this one: what `ray_pipeline` does on a cluster, without Ray."""

import itertools
import os
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.cluster import child
from cnnjobs.cluster.child import Child, Died
from cnnjobs.errors import CnnjobsError
from cnnjobs.imaging.daemon_threads import end_if_frozen
from cnnjobs.inference import supervision
from cnnjobs.inference.predictor import Predictor, Scoring
from cnnjobs.inference.reports import Metric
from cnnjobs.inference.supervision import BLOCKS_AT_ONCE, BLOCKS_QUEUED
from cnnjobs.models import openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.openvino_export import Export


class ChildBackend:
    """Scores in a child process with all cores of this machine; see `backends.Backend`."""

    has_gpu = False
    object_store_bytes = None

    def export(self, bundle: Bundle) -> Export:
        """Export a model to OpenVINO, which imports TensorFlow."""
        return child.call(openvino_export.write, bundle)

    def check(self, bundle: Bundle) -> float | None:
        """Compare a model's export with Keras, likewise."""
        return child.call(openvino_export.check, bundle)

    def publish(self, run: str, metrics: Sequence[Metric]) -> None:
        """Nowhere: there is no Ray."""

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


def _scorer(scoring: Scoring) -> Child:
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
