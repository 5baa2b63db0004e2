"""Manifest rows to prediction rows through Ray Data: what every job that scores shares."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from numpy.typing import NDArray

from cnnjobs import cluster, datasets, schema
from cnnjobs.bundle import Bundle
from cnnjobs.engines import KerasEngine


def score(rows: pa.Table, bundle: Bundle, *, batch_size: int, run_id: str) -> Iterator[pa.Table]:
    """Tables of `schema.predictions`, together one row for each of `rows`, in their order.

    Tasks read and decode, one actor a GPU (one in all without GPUs) scores. Needs a
    connected Ray.

    Args:
        rows: of a manifest.
        bundle: the model.
        batch_size: images scored at once.
        run_id: what to write in the rows.
    """
    stream: Any = run_pipeline.remote(rows, bundle, batch_size, run_id)
    try:
        for table in stream:
            yield ray.get(table)
    finally:
        ray.cancel(stream)


@ray.remote(num_cpus=0, max_retries=0, num_returns="streaming")
def run_pipeline(
    rows: pa.Table, bundle: Bundle, batch_size: int, run_id: str
) -> Iterator[pa.Table]:
    """Run the Ray Data plan and pass on its tables.

    A task of its own because Ray Data's actors make Ray print an error that is none on the
    standard error of whoever starts them (ray#53727).
    """
    num_gpus = cluster.num_gpus()
    scored = datasets.decoded(
        rows, bundle.preprocessing, batch_size=batch_size, num_cpus=cluster.num_cpus()
    ).map_batches(
        Scorer,
        fn_constructor_kwargs={"bundle": bundle, "batch_size": batch_size, "run_id": run_id},
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=max(1, num_gpus)),
        num_gpus=1 if num_gpus else 0,
        # an actor that held a core would leave a one-core machine none to decode with, and
        # the job would wait for ever; the engine's threads share the cores with the decoders
        num_cpus=0,
    )
    wanted = schema.predictions(len(bundle.labels))
    for table in scored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
        assert isinstance(table, pa.Table)
        yield table.cast(wanted)


class Scorer:
    """Holds an engine in a Ray Data actor and turns decoded blocks into prediction rows."""

    def __init__(self, bundle: Bundle, batch_size: int, run_id: str) -> None:
        self._bundle = bundle
        self._run_id = run_id
        self._engine = KerasEngine(bundle, batch_size=batch_size)

    def __call__(self, block: pa.Table) -> pa.Table:
        """One prediction row for each row of a decoded block."""
        scores = self._engine.scores(datasets.pixels_of(block))
        return prediction_rows(block, scores, self._bundle, self._run_id)


def prediction_rows(
    block: pa.Table, scores: NDArray[np.float32], bundle: Bundle, run_id: str
) -> pa.Table:
    """Name what the scores say; images with an error get none.

    Args:
        block: rows with `path`, `label`, `error`, `width`, `height`.
        scores: (N, 1) of the positive class, or (N, number of labels).
        bundle: its labels, positive class and threshold.
        run_id: what to write in the rows.
    """
    sound = np.array([error is None for error in block["error"].to_pylist()], dtype=bool)
    known = set(bundle.labels)
    labels = [label if label in known else None for label in block["label"].to_pylist()]
    if bundle.positive is not None:
        probability = scores[:, 0]
        negative = next(label for label in bundle.labels if label != bundle.positive)
        named = np.where(probability >= bundle.threshold, bundle.positive, negative)
        values = pa.array(probability, pa.float32(), mask=~sound)
    else:
        named = np.array(bundle.labels)[scores.argmax(axis=1)]
        rows = [row if good else None for row, good in zip(scores.tolist(), sound, strict=True)]
        values = pa.array(rows, pa.list_(pa.float32()))
    wanted = schema.predictions(len(bundle.labels))
    return pa.table(
        [
            block["path"],
            pa.array(labels, pa.string()),
            pa.array(named.tolist(), pa.string(), mask=~sound),
            values,
            block["error"],
            block["width"],
            block["height"],
            pa.array([bundle.name] * block.num_rows, pa.string()),
            pa.array([run_id] * block.num_rows, pa.string()),
        ],
        schema=wanted,
    )
