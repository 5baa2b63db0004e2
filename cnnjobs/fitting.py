"""Decoded blocks to a trained bundle through Ray Train: what every job that trains shares."""

import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.train
from ray.util.queue import Empty, Queue

from cnnjobs import bundle, cluster, datasets, metrics, models, runs
from cnnjobs.config import TrainConfig
from cnnjobs.errors import TrainingError
from cnnjobs.images import Preprocessing
from cnnjobs.progress import Progress
from cnnjobs.words import TRAIN, VALIDATION

#: Seconds between two reports of a step: more would only make the terminal flicker.
_SECONDS_BETWEEN_REPORTS = 0.5


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a worker must know to train one model.

    Attributes:
        config: model, epochs, batch size, learning rate, seed.
        labels: the classes, in the order of the model's outputs if there are more than two.
        positive: of two classes the one whose probability the model gives.
        targets: number of each label.
        preprocessing: how the blocks were decoded.
        manifest_fingerprint: of the manifest the blocks are from.
        bundle_uri: where rank 0 writes the bundle.
    """

    config: TrainConfig
    labels: Sequence[str]
    positive: str | None
    targets: Mapping[str, int]
    preprocessing: Preprocessing
    manifest_fingerprint: str
    bundle_uri: str


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What training told: one mapping an epoch, and the images it had to leave out."""

    history: Sequence[Mapping[str, float]]
    num_failed: int


def fit(task: Task, blocks: Sequence["ray.ObjectRef[pa.Table]"], progress: Progress) -> Fitted:
    """Train on the blocks of `datasets.decoded` and leave a bundle at `task.bundle_uri`.

    Needs a connected Ray, all of whose cores the worker takes.

    Raises:
        TrainingError: a worker failed; its own error in one line.
    """
    progress("train", 0, None, "starting TensorFlow")
    told = Queue(actor_options={"num_cpus": 0})
    news: list[Mapping[str, Any]] = []
    stop = threading.Event()
    listener = threading.Thread(target=_listen, args=(told, stop, news, progress))
    listener.start()
    scaling = ray.train.ScalingConfig(
        num_workers=1,
        use_gpu=cluster.num_gpus() > 0,
        # a worker gets as many threads as cores are reserved for it
        resources_per_worker={"CPU": cluster.num_cpus()},
    )
    settings = {"task": task, "blocks": list(blocks), "told": told}
    try:
        failure = ray.get(run_trainer.remote(settings, scaling))
    finally:
        stop.set()
        listener.join()
        told.shutdown()
    if failure is not None:
        raise TrainingError(failure)
    return Fitted(
        history=[item["epoch"] for item in news if "epoch" in item],
        num_failed=sum(item["num_failed"] for item in news if "num_failed" in item),
    )


@ray.remote(num_cpus=0, max_retries=0)
def run_trainer(settings: Mapping[str, Any], scaling: ray.train.ScalingConfig) -> str | None:
    """Run Ray Train's workers to their end; returns why they failed, None if they did not.

    A task of its own because Ray's trainer imports TensorFlow: seconds in which the driver
    shows progress instead, and lines on standard error that no setting silences.
    """
    from ray.train.tensorflow import TensorflowTrainer

    # nothing is kept here: the bundle goes to its own place
    with tempfile.TemporaryDirectory() as folder:
        trainer = TensorflowTrainer(
            train_loop_per_worker,
            train_loop_config=dict(settings),
            scaling_config=scaling,
            run_config=ray.train.RunConfig(storage_path=folder),
        )
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            return _reason(error)
    return None


def train_loop_per_worker(settings: Mapping[str, Any]) -> None:
    """What each Ray Train worker runs: build the model, train it, rank 0 writes the bundle."""
    keras = models.import_keras()
    from cnnjobs.training.workers import join

    workers = join()
    from cnnjobs.training.loop import fit as fit_model

    task: Task = settings["task"]
    told: Queue = settings["told"]
    config = task.config
    keras.utils.set_random_seed(config.seed)
    blocks = ray.get(settings["blocks"])
    images = datasets.DecodedSet(blocks, TRAIN, task.targets)
    validation = datasets.DecodedSet(blocks, VALIDATION, task.targets)
    model = models.build(config.model, len(task.labels))
    model.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss="binary_crossentropy" if task.positive else "sparse_categorical_crossentropy",
    )
    steps = -(-len(images) // config.batch_size) * config.epochs
    fit_model(
        model,
        images,
        validation if len(validation) else None,
        epochs=config.epochs,
        global_batch_size=config.batch_size,
        seed=config.seed,
        callbacks=[_teller(told, steps)] if workers.rank == 0 else [],
        workers=workers,
    )
    if workers.rank == 0:
        told.put({"num_failed": images.num_failed + validation.num_failed})
        bundle.write(
            task.bundle_uri,
            model,
            architecture=config.model,
            labels=task.labels,
            positive=task.positive,
            preprocessing=task.preprocessing,
            images=pa.concat_tables(block.drop_columns([datasets.PIXELS]) for block in blocks),
            manifest_fingerprint=task.manifest_fingerprint,
            metrics=_measure(model, validation, task) if len(validation) else {},
            versions=runs.package_versions(),
        )
    ray.train.report({})


def _listen(
    told: Queue, stop: threading.Event, news: list[Mapping[str, Any]], progress: Progress
) -> None:
    """Collect what the workers tell until told to stop and there is no more."""
    while True:
        try:
            item = told.get(timeout=0.2)
        except Empty:
            if stop.is_set():
                return
            continue
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

        def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
            self.done += 1
            if time.monotonic() - self.last > _SECONDS_BETWEEN_REPORTS:
                self.last = time.monotonic()
                self.tell(f"loss {(logs or {}).get('loss', float('nan')):.4f}")

        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            values = dict(logs or {})
            told.put({"epoch": {"epoch": epoch + 1, **values}})
            shown = ("loss", "val_loss", "val_accuracy", "val_auroc")
            parts = (f"{name} {values[name]:.3f}" for name in shown if name in values)
            self.tell(f"epoch {epoch + 1}: {', '.join(parts)}")

        def tell(self, note: str) -> None:
            told.put({"step": self.done, "steps": steps, "note": note})

    return Teller()


def _measure(model: Any, validation: datasets.DecodedSet, task: Task) -> dict[str, float | None]:
    """Exact metrics on the validation split, at the threshold 0.5."""
    size = task.config.batch_size
    rows = np.arange(len(validation))
    scores = np.concatenate(
        [
            model.predict_on_batch(validation.images(rows[start : start + size]))
            for start in range(0, len(rows), size)
        ]
    )
    name_of = {number: label for label, number in task.targets.items()}
    labels = [name_of[int(number)] for number in validation.targets]
    if task.positive is None:
        return dict(metrics.multiclass(labels, scores, names=task.labels).values)
    measured = metrics.binary(
        labels, scores[:, 0], positive=name_of[1], negative=name_of[0], threshold=0.5
    )
    return dict(measured.values)


def _reason(error: ray.train.TrainingFailedError) -> str:
    """The worker's own error in one line."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    lines = str(next(iter(failures.values()), error)).strip().splitlines()
    return lines[-1].split("TrainingError: ")[-1]
