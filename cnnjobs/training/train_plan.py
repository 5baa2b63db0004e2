"""What `cnnjobs train` would do, decided before Ray starts: model, images, classes, output."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import models
from cnnjobs.config import TrainConfig
from cnnjobs.config.constants import TRAIN, VALIDATION
from cnnjobs.data import sources
from cnnjobs.data.manifest import Manifest
from cnnjobs.models import Architecture
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import apart, filesystem, run_dir, s3
from cnnjobs.training import class_checks, initial_model
from cnnjobs.training.distributed.sample_weights import balance_warnings, source_warnings
from cnnjobs.training.distributed.sharding import num_steps
from cnnjobs.training.distributed.task import Task, preprocessing
from cnnjobs.training.initial_model import InitialModel

#: Calls a function with arguments.
Call = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """What a training would do.

    Attributes:
        config: its settings.
        architecture: of the model.
        manifest: all images.
        rows: of the manifest, those that train and validate.
        labels: the classes.
        positive: of two classes, the one whose probability the model gives.
        targets: the number of each label; of two classes, the positive one is 1.
        num_images: by split.
        output: the run directory.
        warnings: what these images cannot teach, and settings that cannot help.
        initial: the bundle to start from.
    """

    config: TrainConfig
    architecture: Architecture
    manifest: Manifest
    rows: pa.Table
    labels: Sequence[str]
    positive: str | None
    targets: Mapping[str, int]
    num_images: Mapping[str, int]
    output: str
    warnings: Sequence[str]
    initial: InitialModel | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` prints."""
        return {
            "model": self.architecture.name,
            "parameters": self.architecture.num_parameters or None,
            "labels": list(self.labels),
            "positive": self.positive,
            "images": dict(self.num_images),
            "steps per epoch": num_steps(self.num_images[TRAIN], self.config.batch_size),
            "output": self.output,
            "warnings": list(self.warnings),
        }

    @property
    def fingerprints(self) -> dict[str, str]:
        """What the result depends on besides the settings; a part of the run's record."""
        known = {"manifest": self.manifest.fingerprint}
        if self.initial is not None:
            known["initial_model"] = self.initial.bundle.name
        return known


def plan(
    config: TrainConfig,
    progress: Progress = silent,
    *,
    command: str = "train",
    inputs: Sequence[str] = (),
) -> TrainPlan:
    """Read the data and check that the model can be trained on it; writes nothing.

    Args:
        config: the settings.
        progress: reports the files checked.
        command: whose output this is.
        inputs: what the command reads besides what the settings name.

    Raises:
        InputError: an unknown model, fewer than two classes, a class without training
            images, no positive class, or an output in use.
    """
    s3.use(**config.s3)
    architecture = models.find(config.model)
    output = filesystem.normalize(config.output)
    check_output(output, command, config, inputs)
    images = sources.open_data(config.data, **config.chosen, progress=progress)
    images.check_apart(output)
    return plan_on(images, config, architecture, output)


def check_output(
    output: str, command: str, config: TrainConfig, inputs: Sequence[str] = ()
) -> None:
    """Raise unless a training may write to a directory, or resume the run in it.

    Raises:
        InputError: see `run_dir.check_free`.
    """
    files = [
        config.weights if config.weights != "imagenet" else None,
        config.model.rpartition(":")[0] if models.is_user_model(config.model) else None,
        config.init,
    ]
    read = [config.data, *files, *inputs]
    if config.resume and run_dir.read_record(output):
        apart.check(output, read)
    else:
        run_dir.check_free(
            output,
            command,
            overwrite=config.overwrite,
            inputs=read,
            resumable=True,
        )


def plan_on(
    images: Manifest, config: TrainConfig, architecture: Architecture, output: str
) -> TrainPlan:
    """Check that the model can be trained on the manifest's splits.

    Raises:
        InputError: see `plan`; the output is not checked.
    """
    in_use = pc.and_(
        pc.is_in(images.table["split"], pa.array([TRAIN, VALIDATION])),
        pc.is_valid(images.table["label"]),
    )
    rows = images.table.filter(in_use)
    counts = class_checks.count(rows)
    labels = images.labels
    class_checks.check_classes(config, labels, counts)
    class_checks.check_monitor(config, labels, counts)
    class_checks.check_threshold(config, labels, counts)
    initial_model.check_freeze(config)
    positive = class_checks.positive(config, labels) if len(labels) == 2 else None
    targets = {label: number for number, label in enumerate(labels)}
    if positive is not None:
        targets = {label: int(label == positive) for label in labels}
    initial = initial_model.read(config, images.table, labels, positive)
    if initial is not None and architecture.is_described:
        initial_model.check_same(initial, architecture.name, preprocessing(config, architecture))
    return TrainPlan(
        config=config,
        architecture=architecture,
        manifest=images,
        rows=rows,
        labels=labels,
        positive=positive,
        targets=targets,
        num_images={
            split: pc.sum(pc.equal(rows["split"], split)).as_py() or 0
            for split in (TRAIN, VALIDATION)
        },
        output=output,
        warnings=[
            *source_warnings(rows),
            *balance_warnings(config, rows),
            *class_checks.undefined(labels, counts),
            *(initial.warnings if initial is not None else ()),
        ],
        initial=initial,
    )


def with_monitor(planned: TrainPlan, monitor: str) -> TrainPlan:
    """The same training with another monitored metric.

    Raises:
        InputError: not every epoch would have it.
    """
    config = dataclasses.replace(planned.config, monitor=monitor)
    class_checks.check_monitor(config, planned.labels, class_checks.count(planned.rows))
    return dataclasses.replace(planned, config=config)


def task_of(planned: TrainPlan, run_uri: str, call: Call | None = None) -> Task:
    """What the training processes need; for `call`, see `described`."""
    config = planned.config
    architecture = described(planned.architecture, config.model, len(planned.labels), call)
    pixels = preprocessing(config, architecture)
    if planned.initial is not None:
        initial_model.check_same(planned.initial, architecture.name, pixels)
    return Task(
        config=config,
        model=models.portable(config.model),
        architecture=architecture.name,
        labels=planned.labels,
        positive=planned.positive,
        targets=planned.targets,
        preprocessing=pixels,
        manifest_fingerprint=planned.manifest.fingerprint,
        run_uri=run_uri,
        rows=planned.rows,
        initial=planned.initial,
    )


def described(
    architecture: Architecture, name: str, num_labels: int, call: Call | None = None
) -> Architecture:
    """The architecture with its sizes; a user's own model is built to find them.

    Args:
        architecture: found by its name.
        name: of the model.
        num_labels: classes.
        call: calls a function in a process that may import TensorFlow; None: on the connected Ray.
    """
    if architecture.is_described:
        return architecture
    if call is None:
        from cnnjobs.cluster import session

        call = session.call
    found: Architecture = call(models.describe, models.portable(name), num_labels)
    return found
