"""Train one model from the start, or from its last checkpoint, to its bundle; without Ray."""

import contextlib
import dataclasses
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnjobs import metrics, models
from cnnjobs.config import TrainConfig
from cnnjobs.errors import CnnjobsError, TrainingError
from cnnjobs.metrics import calibration
from cnnjobs.models import bundle, openvino_export, transfer
from cnnjobs.models.augmentation import augmented
from cnnjobs.models.mixed_precision import with_float32_scores
from cnnjobs.storage import filesystem, json_files, versions
from cnnjobs.training import initial_model
from cnnjobs.training.distributed import checkpoints, loop, optimizers
from cnnjobs.training.distributed.batch_normalization import synchronized
from cnnjobs.training.distributed.checkpoint_files import Progress
from cnnjobs.training.distributed.phases import Phase, phases
from cnnjobs.training.distributed.sample_weights import row_weights
from cnnjobs.training.distributed.sharding import num_steps
from cnnjobs.training.distributed.task import LabelledSource, Task
from cnnjobs.training.distributed.workers import Workers


def train_model(
    task: Task,
    images: LabelledSource,
    validation: LabelledSource,
    *,
    workers: Workers | None = None,
    callbacks: Sequence[Any] = (),
) -> Sequence[Mapping[str, float | None]]:
    """Train one model from its last checkpoint, or from the start; returns the whole history.

    Rank 0 writes checkpoints, TensorBoard files and the bundle.

    Args:
        task: what to train.
        images: the training split.
        validation: the validation split; may be empty.
        workers: the processes that train together; None for a single process.
        callbacks: additional Keras callbacks.
    """
    if not len(images):
        raise TrainingError(
            f"none of the {images.num_failed} training images could be decoded; index them again."
        )
    _check_validation(task, validation)
    workers = workers or Workers()
    config = task.config
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_global_policy(_policy(config))
    inner = with_float32_scores(models.build(task.model, len(task.labels), weights=config.weights))
    inner = synchronized(inner, workers.num_workers)
    model = inner if config.augment == "off" else augmented(inner, config.augment)
    frozen = transfer.freeze_backbone(inner) if config.freeze is not None else []
    folder = filesystem.join(task.run_uri, "checkpoints")
    weights = row_weights(config, images.targets, images.sources)
    with _tensorboard(task, writes=workers.rank == 0) as tensorboard:
        for phase in phases(config):
            if not phase.is_frozen:
                for layer in frozen:
                    layer.trainable = True
            model.compile(
                optimizer=optimizers.optimizer(
                    config,
                    steps_per_epoch=num_steps(len(images), config.batch_size),
                    epochs=phase.end - phase.start,
                    rate=phase.rate,
                ),
                loss=optimizers.loss(config, model.output_shape[-1]),
                jit_compile=config.jit,
            )
            start = _restored(folder, model, inner, phase, task, workers)
            history = start.history
            if start.stopped or start.epochs_done >= phase.end:
                continue
            watching = [Monitor(config.monitor)] if config.uses_monitor else []
            # new ones for every phase: Keras' callbacks cannot be used twice
            stateful = _stateful_callbacks(config)
            checkpointer = checkpoints.Checkpointer(
                folder, monitor=config.monitor, stateful=stateful, start=start, workers=workers
            )
            loop.fit(
                model,
                images,
                validation if len(validation) else None,
                epochs=phase.end,
                initial_epoch=start.epochs_done,
                global_batch_size=config.batch_size,
                seed=config.seed,
                callbacks=[*watching, *stateful, *tensorboard, checkpointer, *callbacks],
                row_weights=weights,
                workers=workers,
            )
            history = checkpointer.history
    if workers.rank == 0:
        if config.keep == "best":
            model.set_weights(checkpoints.best_weights(folder))
        _write_bundle(task, inner, validation)
    return history


class Monitor(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the training if the monitored metric of an epoch is missing or not a number.

    Keras takes a first NaN for the best value, and nothing is ever better. Must come before the
    callbacks that compare; every worker needs one, and all end in the same way.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self._monitor = monitor

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        value = (logs or {}).get(self._monitor)
        if value is None or not math.isfinite(value):
            raise TrainingError(
                f"{self._monitor} of epoch {epoch + 1} is {'undefined' if value is None else value}"
                "; monitor another metric, or index with more images in validation."
            )


def _restored(
    folder: str, model: Any, inner: Any, phase: Phase, task: Task, workers: Workers
) -> Progress:
    """The progress in rank 0's checkpoint; all workers raise if it cannot be used.

    Without a checkpoint, rank 0 takes the weights of the initial model; the others copy its own.
    """
    progress: dict[str, Any] = {}
    if workers.rank == 0:
        try:
            progress = dataclasses.asdict(checkpoints.restore(folder, model, phase))
            if task.initial is not None and not progress["epochs_done"]:
                source = bundle.load_model(task.initial.bundle)
                transfer.copy_weights(source, inner, with_head=task.initial.keeps_head)
        except CnnjobsError as error:
            progress = {"failure": str(error)}
    progress = json.loads(workers.text_from_first(json_files.text(progress)))
    if "failure" in progress:
        raise TrainingError(progress["failure"])
    return Progress(**progress)


def _policy(config: TrainConfig) -> str:
    if not config.mixed_precision:
        return "float32"
    # bfloat16 has the range of float32, so it needs no loss scaling, and CPUs support it
    return "mixed_float16" if tf.config.list_logical_devices("GPU") else "mixed_bfloat16"


def _stateful_callbacks(config: TrainConfig) -> list[Any]:
    """The callbacks that change the training, the same on every worker."""
    mode = "min" if config.monitor.endswith("loss") else "max"
    callbacks = []
    if config.schedule == "plateau":
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(config.monitor, mode=mode, factor=0.5, patience=3)
        )
    if config.early_stopping is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(config.monitor, mode=mode, patience=config.early_stopping)
        )
    return callbacks


@contextlib.contextmanager
def _tensorboard(task: Task, *, writes: bool) -> Iterator[list[Any]]:
    """On rank 0, TensorBoard's callback; its files are written to the run directory, also on S3."""
    if not writes:
        yield []
        return
    target = filesystem.join(task.run_uri, "tensorboard")
    with tempfile.TemporaryDirectory() as folder:
        local = folder if filesystem.is_s3(target) else target
        yield [keras.callbacks.TensorBoard(local, write_graph=False)]
        if local != target:
            for file in filesystem.list_files(local):
                name = filesystem.relative(file.path, local)
                filesystem.write_bytes(
                    filesystem.join(target, name), filesystem.read_bytes(file.path)
                )


def _write_bundle(task: Task, model: Any, validation: LabelledSource) -> None:
    # scoring is in float32, whatever the training was in
    keras.mixed_precision.set_global_policy("float32")
    bare = models.build(task.model, len(task.labels))
    bare.set_weights(model.get_weights())
    if len(validation):
        decisions = _decisions(bare, validation, task)
    else:
        decisions = {"metrics": {}, "threshold": float(task.config.threshold_rule)}
    written = bundle.write(
        filesystem.join(task.run_uri, "bundle"),
        bare,
        architecture=task.architecture,
        labels=task.labels,
        positive=task.positive,
        preprocessing=task.preprocessing,
        images=initial_model.all_seen(task.initial, task.rows),
        manifest_fingerprint=task.manifest_fingerprint,
        versions=versions.package_versions(),
        **decisions,
    )
    openvino_export.write(written, bare)


def _decisions(model: Any, validation: LabelledSource, task: Task) -> dict[str, Any]:
    """Temperature and threshold chosen on the validation split, and its metrics with both."""
    rows, size = np.arange(len(validation)), task.config.batch_size
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    scores = np.concatenate(
        [model.predict_on_batch(images) for images in validation.stream(batches)]
    )
    targets = np.asarray(validation.targets, np.int64)
    temperature = calibration.temperature(scores, targets) if task.config.calibrate else 1.0
    scores = calibration.scaled(scores, temperature)
    name_of = {number: label for label, number in task.targets.items()}
    labels = [name_of[int(number)] for number in targets]
    if task.positive is None:
        measures = metrics.multiclass(labels, scores, names=task.labels)
        return {"temperature": temperature, "metrics": dict(measures.values)}
    threshold = calibration.threshold(task.config.threshold_rule, scores[:, 0], targets == 1)
    measures = metrics.binary(
        labels, scores[:, 0], positive=name_of[1], negative=name_of[0], threshold=threshold
    )
    return {
        "temperature": temperature,
        "threshold": threshold,
        "metrics": dict(measures.values),
    }


def _check_validation(task: Task, validation: LabelledSource) -> None:
    """Raise now instead of after an epoch if these images cannot decide what they have to."""
    config = task.config
    num_classes = len(np.unique(validation.targets))
    needed = 2 if config.monitor == "val_auroc" else 1
    if config.uses_monitor and num_classes < needed:
        raise TrainingError(
            f"{config.monitor} needs decodable validation images"
            f"{' of both classes' if needed > 1 else ''}, {validation.num_failed} could not be "
            "decoded; index them again."
        )
    if config.decides_on_validation and num_classes < len(task.labels):
        raise TrainingError(
            "threshold_rule and calibrate need decodable validation images of every class, "
            f"{validation.num_failed} could not be decoded; index them again."
        )
