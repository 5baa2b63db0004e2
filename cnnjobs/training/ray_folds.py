"""Trainings that run in parallel on Ray, on images decoded once, each followed by its test."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from cnnjobs.cluster import ray_errors, resources
from cnnjobs.config import TrainConfig
from cnnjobs.config.constants import TEST, TRAIN, VALIDATION
from cnnjobs.errors import ImageError, TrainingError
from cnnjobs.imaging.preprocessing import Decoded
from cnnjobs.imaging.reading import Policy
from cnnjobs.inference import predictor
from cnnjobs.inference.predictor import Scoring
from cnnjobs.models import bundle as bundles
from cnnjobs.progress import Progress
from cnnjobs.storage import filesystem
from cnnjobs.training import decoded_images, ray_process
from cnnjobs.training.distributed.task import Task
from cnnjobs.training.ray_process import ProcessInputs, ProcessResources
from cnnjobs.training.reports import epoch_note


@dataclass(frozen=True, kw_only=True)
class Training:
    """One of the trainings: a name for messages, what to train, and the split of every row."""

    name: str
    task: Task
    splits: Sequence[str | None]


def resources_of(
    config: TrainConfig, number: int, parallel: int | None, *, threads: int = 1
) -> ProcessResources:
    """What each of several trainings reserves; Ray runs as many at once as find that.

    Args:
        config: the settings of each training.
        number: of trainings.
        parallel: see `run`.
        threads: cores that each needs at least.
    """
    num_gpus = resources.num_gpus() if config.gpus_per_worker != 0 else 0
    at_once = min(parallel or num_gpus or max(1, resources.num_cpus() // threads), number)
    return ray_process.resources_each(at_once, config.gpus_per_worker)


def run(
    trainings: Sequence[Training],
    blocks: "Sequence[ray.ObjectRef[pa.Table]]",
    *,
    parallel: int | None,
    threads: int,
    run_id: str,
    progress: Progress,
) -> Iterator[tuple[int, pa.Table]]:
    """Train and test them all; yields the index of each and its prediction rows once it is done.

    A training whose process dies restarts from its last checkpoint, at most `max_failures`
    times. Trainings that still run when the caller stops iterating are cancelled.

    Args:
        trainings: with the same settings, on the same decoded images.
        blocks: `ray_process.decode_once` of all rows, in order.
        parallel: trainings at the same time; None: as many as there are GPUs, or else as there
            are cores for their threads.
        threads: of TensorFlow in each training, however few run at once.
        run_id: for the prediction rows.
        progress: called after every epoch.

    Raises:
        TrainingError: a training failed; names it and says why, in one line.
    """
    config = trainings[0].task.config
    per_training = resources_of(config, len(trainings), parallel, threads=threads)
    reports = ray_process.new_queue()
    inputs = ProcessInputs(blocks=blocks, threads=threads, reports=reports)
    start = train_and_test.options(
        num_cpus=per_training.cpus,
        num_gpus=per_training.gpus,
        max_retries=config.max_failures,
    )
    running = {
        start.remote(training, inputs, run_id): number for number, training in enumerate(trainings)
    }
    num_epochs, total = 0, len(trainings) * config.epochs
    progress("train", 0, total, "starting TensorFlow")
    try:
        while running:
            done, _ = ray.wait(list(running), timeout=0.5)
            for note in ray_process.waiting_reports(reports):
                num_epochs += 1
                progress("train", num_epochs, total, note)
            for finished in done:
                number = running.pop(finished)
                yield number, _result(finished, trainings[number].name)
    finally:
        for unfinished in running:
            ray.cancel(unfinished, force=True)
        reports.shutdown()


# a new process for each training: TensorFlow never gives back its threads, seeds and memory
@ray.remote(max_calls=1)
def train_and_test(training: Training, inputs: ProcessInputs, run_id: str) -> pa.Table:
    """What the process of each training runs: train, write the bundle, score the test images."""
    keras = inputs.import_keras()
    from cnnjobs.training.distributed.fit_model import train_model

    task = training.task
    tables = _with_splits(inputs.tables(), training.splits)
    sets = [decoded_images.DecodedSet(tables, split, task.targets) for split in (TRAIN, VALIDATION)]

    def report(epoch: int, logs: Mapping[str, float]) -> None:
        inputs.reports.put(f"{training.name}, {epoch_note(epoch, logs)}")

    train_model(task, *sets, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=report)])
    scoring = Scoring(
        bundles=[bundles.read(filesystem.join(task.run_uri, "bundle"))],
        engine="keras",
        batch_size=task.config.batch_size,
        run_id=run_id,
        policy=Policy(any_modality=True),
    )
    return _tested(tables, scoring, threads=inputs.threads)


def _with_splits(blocks: Sequence[pa.Table], splits: Sequence[str | None]) -> list[pa.Table]:
    """The blocks with the splits of one training instead of the manifest's; pixels stay shared."""
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
    parts: list[pa.Table] = []
    images: list[NDArray[Any]] = []
    for table in tables:
        is_test = pc.fill_null(pc.equal(table["split"], TEST), False)
        parts.append(table.select(["path", "label", "width", "height", "error"]).filter(is_test))
        # views: no pixel is copied
        images += itertools.compress(decoded_images.pixels_of(table), is_test.to_pylist())
    # the size of a block depends on the machines; that of a batch must not
    size = scoring.batch_size
    scores = [
        engine.scores(np.stack(images[start : start + size]))
        for start in range(0, len(images), size)
    ]
    rows = pa.concat_tables(parts)
    decoded = [_decoded(row, image) for row, image in zip(rows.to_pylist(), images, strict=True)]
    return predictor.prediction_rows(rows, decoded, [np.concatenate(scores)], scoring)


def _decoded(row: Mapping[str, Any], pixels: NDArray[Any]) -> list[Decoded] | ImageError:
    """A row of a decoded block in the form that the predictor takes."""
    if row["error"] is not None:
        category, _, reason = row["error"].partition(": ")
        return ImageError(category, reason)
    return [Decoded(pixels, row["width"], row["height"])]


def _result(finished: "ray.ObjectRef[pa.Table]", name: str) -> pa.Table:
    try:
        return ray.get(finished)
    except RayError as error:
        cause = getattr(error, "cause", None)
        reason = str(cause if isinstance(cause, TrainingError) else error).strip().splitlines()
        words = ray_errors.in_words(error) or reason[-1].strip().removesuffix(".")
        raise TrainingError(f"{name} failed: {words}.") from error
