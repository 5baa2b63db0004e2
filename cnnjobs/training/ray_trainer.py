"""Manifest rows to a trained bundle through Ray Train: what every job that trains shares."""

import os
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.train
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.queue import Empty, Queue

from cnnjobs import models
from cnnjobs.cluster import resources
from cnnjobs.config import TrainConfig
from cnnjobs.config.constants import TRAIN, VALIDATION
from cnnjobs.errors import CnnjobsError, TrainingError
from cnnjobs.progress import Progress
from cnnjobs.training import ray_datasets
from cnnjobs.training.distributed.sharding import num_steps
from cnnjobs.training.distributed.task import LabelledSource, Task
from cnnjobs.training.ray_tf_config import TfConfig

#: Seconds between two reports of a step, which waits for each.
_SECONDS_BETWEEN_REPORTS = 1.0

#: What the driver tells its own listener.
_END = "end"

#: Part of a machine's object store that decoded images may fill; the rest is for what is in flight.
_SHARE_OF_STORE = 0.6


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What training told: one mapping an epoch, and the images it had to leave out."""

    history: Sequence[Mapping[str, float]]
    num_failed: int


def fit(task: Task, progress: Progress) -> Fitted:
    """Train and leave a bundle in `task.run_uri`; needs a connected Ray.

    A set that fits is decoded once into the object store, where all workers of a node share
    it; a larger one is decoded anew in each epoch, ahead of the steps. A worker that dies is
    started again and goes on from the last checkpoint, `max_failures` times.

    Raises:
        TrainingError: the loss is no number, or workers failed too often; one line.
    """
    blocks = decoded_once(task, progress) if fits_in_store(task) else None
    gpus = _gpus_per_worker(task.config)
    # a streamed set is decoded by tasks, which need a core beside the workers
    cpus = resources.cores_each(
        resources.live_machines(), task.config.workers, num_gpus=gpus, spare=blocks is None
    )
    scaling = ray.train.ScalingConfig(
        num_workers=task.config.workers,
        use_gpu=gpus > 0,
        resources_per_worker={"CPU": cpus},
    )
    progress("train", 0, None, "starting TensorFlow")
    told = Queue(actor_options={"num_cpus": 0})
    news: list[Mapping[str, Any]] = []
    listener = threading.Thread(target=_listen, args=(told, news, progress))
    listener.start()
    settings = {"task": task, "blocks": blocks, "told": told, "threads": max(1, round(cpus))}
    try:
        failure = ray.get(run_trainer.remote(settings, scaling, task.config.max_failures))
    finally:
        told.put(_END)
        listener.join()
        told.shutdown()
    failures = [item["failure"] for item in news if "failure" in item]
    if failures or failure is not None:
        raise TrainingError(failures[-1] if failures else str(failure))
    (done,) = (item for item in news if "history" in item)
    return Fitted(history=done["history"], num_failed=done["num_failed"])


@ray.remote(num_cpus=0, max_retries=0)
def run_trainer(
    settings: Mapping[str, Any], scaling: ray.train.ScalingConfig, max_failures: int
) -> str | None:
    """Run Ray Train's workers to their end; returns why they failed, None if they did not.

    A task of its own because of lines on standard error that no setting silences.
    """
    # how often Ray Train looks whether workers have ended: every 2 s by default
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    # nothing is kept here: checkpoints and bundle go to the run's own directory
    with tempfile.TemporaryDirectory() as folder:
        trainer = DataParallelTrainer(
            train_loop_per_worker,
            train_loop_config=dict(settings),
            backend_config=TfConfig(),
            scaling_config=scaling,
            run_config=ray.train.RunConfig(
                storage_path=folder,
                failure_config=ray.train.FailureConfig(max_failures=max_failures),
            ),
        )
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            return _reason(error)
    return None


def train_loop_per_worker(settings: Mapping[str, Any]) -> None:
    """What each Ray Train worker runs: join the others, build, train; rank 0 writes the bundle."""
    keras = models.import_keras()
    import tensorflow as tf

    from cnnjobs.training.distributed.fit_model import train_model
    from cnnjobs.training.distributed.workers import join

    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    workers = join()
    task: Task = settings["task"]
    told: Queue = settings["told"]
    sets = open_sets(task, settings["blocks"])
    is_first = workers.rank == 0
    report = keras.callbacks.LambdaCallback(
        # all workers alike, as Ray Train wants it
        on_epoch_end=lambda epoch, logs: ray.train.report({**logs, "epoch": epoch + 1})
    )
    teller = [_teller(told, _num_steps(task, sets[0]))] if is_first else []
    try:
        history = train_model(task, *sets, workers=workers, callbacks=[report, *teller])
    except CnnjobsError as error:
        # all workers fail alike, and would again: an end, not a failure to start again after
        if is_first:
            told.put({"failure": str(error)})
        return
    if is_first:
        told.put({"history": history, "num_failed": sum(part.num_failed for part in sets)})


def fits_in_store(task: Task) -> bool:
    """Whether the decoded set is to be kept in the object store."""
    if task.config.cache != "auto":
        return task.config.cache == "memory"
    size = task.rows.num_rows * task.preprocessing.height * task.preprocessing.width
    # every machine that trains holds the whole set
    store = resources.smallest_object_store(resources.live_machines())
    return size <= _SHARE_OF_STORE * store


def decoded_once(task: Task, progress: Progress) -> list["ray.ObjectRef[pa.Table]"]:
    """All images as decoded blocks in the object store, in order."""
    total = task.rows.num_rows
    progress("decode", 0, total)
    dataset = ray_datasets.decoded(
        task.rows,
        task.preprocessing,
        batch_size=task.config.batch_size,
        num_cpus=resources.num_cpus(),
    ).materialize()
    progress("decode", total, total)
    return list(dataset.to_arrow_refs())


def open_sets(
    task: Task, blocks: Sequence["ray.ObjectRef[pa.Table]"] | None
) -> tuple[LabelledSource, LabelledSource]:
    """The training and the validation split, from blocks or, without any, streamed."""
    if blocks is None:
        train, validation = (
            ray_datasets.StreamedSet(task.rows, split, task.targets, task.preprocessing)
            for split in (TRAIN, VALIDATION)
        )
        return train, validation
    tables = ray.get(list(blocks))
    return (
        ray_datasets.DecodedSet(tables, TRAIN, task.targets),
        ray_datasets.DecodedSet(tables, VALIDATION, task.targets),
    )


def news(told: Queue) -> list[str]:
    """All that trainings have told since."""
    notes: list[str] = []
    try:
        while True:
            notes.append(told.get(block=False))
    except Empty:
        return notes


def _gpus_per_worker(config: TrainConfig) -> int:
    if config.gpus_per_worker is not None:
        return config.gpus_per_worker
    return 1 if resources.num_gpus() >= config.workers else 0


def _num_steps(task: Task, images: LabelledSource) -> int:
    return num_steps(len(images), task.config.batch_size) * task.config.epochs


def _listen(told: Queue, news: list[Mapping[str, Any]], progress: Progress) -> None:
    """Collect what the workers tell until there is no more."""
    while (item := told.get()) != _END:
        if "step" in item:
            progress("train", item["step"], item["steps"], item["note"])
        else:
            news.append(item)


def _teller(told: Queue, steps: int) -> Any:
    """A Keras callback that tells the driver about steps and epochs."""
    keras = models.import_keras()

    class Teller(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.done = 0
            self.last = 0.0

        def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            # a resumed run begins in its middle
            self.done = epoch * self.params["steps"]

        def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
            self.done += 1
            if time.monotonic() - self.last > _SECONDS_BETWEEN_REPORTS:
                self.last = time.monotonic()
                self.tell(f"loss {(logs or {}).get('loss', float('nan')):.4f}")

        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            values = dict(logs or {})
            shown = ("loss", "val_loss", "val_accuracy", "val_auroc")
            parts = (f"{name} {values[name]:.3f}" for name in shown if name in values)
            self.tell(f"epoch {epoch + 1}: {', '.join(parts)}")

        def tell(self, note: str) -> None:
            told.put({"step": self.done, "steps": steps, "note": note})

    return Teller()


def _reason(error: ray.train.TrainingFailedError) -> str:
    """The worker's own error in one line."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    lines = str(next(iter(failures.values()), error)).strip().splitlines()
    return lines[-1].split("TrainingError: ")[-1]
