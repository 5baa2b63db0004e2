"""Trainings side by side on Ray, on images that were decoded once, each with its own test."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.exceptions import RayError
from ray.util.queue import Queue

from cnnjobs import models
from cnnjobs.cluster import resources
from cnnjobs.config.constants import TEST, TRAIN, VALIDATION
from cnnjobs.errors import ImageError, TrainingError
from cnnjobs.imaging.preprocessing import Decoded
from cnnjobs.imaging.reading import Policy
from cnnjobs.inference import predictor
from cnnjobs.inference.predictor import Scoring
from cnnjobs.models import bundle as bundles
from cnnjobs.progress import Progress
from cnnjobs.storage import filesystem
from cnnjobs.training import ray_datasets, ray_trainer
from cnnjobs.training.distributed.task import Task


@dataclass(frozen=True, kw_only=True)
class Training:
    """One of the trainings: what people call it, what to train, and the split of every row."""

    name: str
    task: Task
    splits: Sequence[str | None]


def run(
    trainings: Sequence[Training],
    blocks: "Sequence[ray.ObjectRef[pa.Table]]",
    *,
    parallel: int | None,
    run_id: str,
    progress: Progress,
) -> Iterator[tuple[int, pa.Table]]:
    """Train and test them all; yields the place of each and its prediction rows when it is done.

    One whose process dies is started again and goes on from its last checkpoint,
    `max_failures` times. What still runs when the caller stops asking is ended.

    Args:
        trainings: of one kind, for one set of decoded images.
        blocks: `fitting.decoded_once` of all rows, in order.
        parallel: trainings at once; None: as many as there are GPUs, else CPUs.
        run_id: for the prediction rows.
        progress: told of every epoch.

    Raises:
        TrainingError: one failed; which, and why, in one line.
    """
    config = trainings[0].task.config
    gpus = resources.num_gpus() if config.gpus_per_worker != 0 else 0
    at_once = min(parallel or gpus or resources.num_cpus(), len(trainings))
    gpus_each = config.gpus_per_worker
    if gpus_each is None:
        gpus_each = 1 if gpus >= at_once else 0
    cpus = resources.cores_each(resources.live_machines(), at_once, num_gpus=gpus_each)
    told = Queue(actor_options={"num_cpus": 0})
    given = {"blocks": blocks, "threads": max(1, int(cpus)), "told": told, "run_id": run_id}
    start = train_and_test.options(
        num_cpus=cpus,
        num_gpus=gpus_each,
        max_retries=config.max_failures,
    )
    running = {start.remote(each, given): place for place, each in enumerate(trainings)}
    num_epochs, total = 0, len(trainings) * config.epochs
    progress("train", 0, total, "starting TensorFlow")
    try:
        while running:
            done, _ = ray.wait(list(running), timeout=0.5)
            for note in ray_trainer.news(told):
                num_epochs += 1
                progress("train", num_epochs, total, note)
            for each in done:
                place = running.pop(each)
                yield place, _result(each, trainings[place].name)
    finally:
        for each in running:
            ray.cancel(each, force=True)
        told.shutdown()


# a process of its own for each: TensorFlow's threads, seeds and memory are not given back
@ray.remote(max_calls=1)
def train_and_test(training: Training, given: Mapping[str, Any]) -> pa.Table:
    """What the process of each training runs: train, write the bundle, score the test images."""
    keras = models.import_keras()
    import tensorflow as tf

    from cnnjobs.training.distributed.fit_model import train_model

    tf.config.threading.set_intra_op_parallelism_threads(given["threads"])
    task, name, told = training.task, training.name, given["told"]
    tables = _with_splits(ray.get(list(given["blocks"])), training.splits)
    sets = [ray_datasets.DecodedSet(tables, split, task.targets) for split in (TRAIN, VALIDATION)]

    def tell(epoch: int, logs: Mapping[str, float]) -> None:
        told.put(f"{name}, epoch {epoch + 1}: loss {logs['loss']:.3f}")

    train_model(task, *sets, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=tell)])
    scoring = Scoring(
        bundles=[bundles.read(filesystem.join(task.run_uri, "bundle"))],
        engine="keras",
        batch_size=task.config.batch_size,
        run_id=given["run_id"],
        policy=Policy(any_modality=True),
    )
    return _tested(tables, scoring, threads=given["threads"])


def _with_splits(blocks: Sequence[pa.Table], splits: Sequence[str | None]) -> list[pa.Table]:
    """The blocks with the splits of one training in place of the manifest's; no pixel moves."""
    tables, start = [], 0
    for block in blocks:
        column = pa.array(splits[start : start + block.num_rows], pa.string())
        start += block.num_rows
        tables.append(block.set_column(block.column_names.index("split"), "split", column))
    return tables


def _tested(tables: Sequence[pa.Table], scoring: Scoring, *, threads: int) -> pa.Table:
    """A prediction row for every test row, in order."""
    engine = predictor.open_engine(
        scoring.bundles[0], scoring.engine, batch_size=scoring.batch_size, threads=threads
    )
    parts = []
    for table in tables:
        is_test = pc.fill_null(pc.equal(table["split"], TEST), False).to_numpy()
        if not is_test.any():
            continue
        pixels = ray_datasets.pixels_of(table)[is_test]
        rows = table.select(["path", "label", "width", "height", "error"]).filter(pa.array(is_test))
        decoded = [
            _decoded(row, image) for row, image in zip(rows.to_pylist(), pixels, strict=True)
        ]
        parts.append(predictor.prediction_rows(rows, decoded, [engine.scores(pixels)], scoring))
    return pa.concat_tables(parts)


def _decoded(row: Mapping[str, Any], pixels: np.ndarray[Any, Any]) -> list[Decoded] | ImageError:
    """A row of a decoded block as the scorer knows it."""
    if row["error"] is not None:
        category, _, reason = row["error"].partition(": ")
        return ImageError(category, reason)
    return [Decoded(pixels, row["width"], row["height"])]


def _result(done: "ray.ObjectRef[pa.Table]", name: str) -> pa.Table:
    try:
        return ray.get(done)
    except RayError as error:
        cause = getattr(error, "cause", None)
        reason = str(cause if isinstance(cause, TrainingError) else error).strip().splitlines()
        raise TrainingError(f"{name} failed: {reason[-1].strip()}") from error
