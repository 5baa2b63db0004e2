"""`cnnjobs train`: train a model on a manifest's training split through Ray Train."""

import csv
import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import models
from cnnjobs.cluster import session, spilling
from cnnjobs.config import TrainConfig, as_dict
from cnnjobs.config.constants import TRAIN, VALIDATION
from cnnjobs.data import manifest, sources
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.models import Architecture
from cnnjobs.models import bundle as bundles
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir, s3
from cnnjobs.storage.run_dir import Run
from cnnjobs.training import mlflow, plots, ray_trainer
from cnnjobs.training.distributed.sample_weights import balance_warnings
from cnnjobs.training.distributed.sharding import num_steps
from cnnjobs.training.distributed.task import Task, preprocessing

#: Settings that say where and how often to try, not what comes out.
_FREE_SETTINGS = (
    "data", "output", "workers", "gpus_per_worker", "cache", "max_failures", "mlflow", "address",
    "resume", "overwrite",
)  # fmt: skip

#: Names that say the absence of what is looked for: their opposite is the positive class.
_NEGATIVE_NAMES = ("normal", "negative", "healthy", "control", "no_finding", "no-finding")


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """What would be trained on what, decided before Ray starts.

    `targets` gives each label its number: for two classes the positive one is 1.
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

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` tells."""
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


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What training left; `metrics` are of the validation split after the last epoch."""

    output: str
    bundle: str
    model: str
    labels: Sequence[str]
    positive: str | None
    num_train: int
    num_validation: int
    num_failed: int
    epochs: int
    metrics: Mapping[str, float | None]
    history: Sequence[Mapping[str, float]]
    seconds: float
    images_per_second: float
    threshold: float = 0.5
    temperature: float = 1.0
    warnings: Sequence[str] = ()
    already_finished: bool = False


def plan(config: TrainConfig, progress: Progress = silent) -> TrainPlan:
    """Read the data and check that the model can be trained on it; writes nothing.

    Raises:
        InputError: an unknown model, fewer than two classes, a class without training
            images, no class named positive, or an output in use.
    """
    s3.use(**config.s3)
    architecture = models.find(config.model)
    output = filesystem.normalize(config.output)
    if not (config.resume and run_dir.read_record(output)):
        run_dir.check_free(output, overwrite=config.overwrite, resumable=True)
    return plan_on(sources.open_data(config.data, progress=progress), config, architecture, output)


def plan_on(
    images: Manifest, config: TrainConfig, architecture: Architecture, output: str
) -> TrainPlan:
    """Check that the model can be trained on the manifest's splits.

    Raises:
        InputError: see `plan`, but for the output.
    """
    in_use = pc.and_(
        pc.is_in(images.table["split"], pa.array([TRAIN, VALIDATION])),
        pc.is_valid(images.table["label"]),
    )
    rows = images.table.filter(in_use)
    counts = Counter(zip(rows["split"].to_pylist(), rows["label"].to_pylist(), strict=True))
    labels = images.labels
    _check_classes(config, labels, counts)
    _check_monitor(config, rows)
    _check_threshold(config, labels, counts)
    positive = _positive(config, labels) if len(labels) == 2 else None
    targets = {label: number for number, label in enumerate(labels)}
    if positive is not None:
        targets = {label: int(label == positive) for label in labels}
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
        warnings=balance_warnings(config, rows),
    )


def train(config: TrainConfig, progress: Progress = silent) -> TrainSummary:
    """Decode the images once, train through Ray Train, leave a bundle and its history.

    Raises:
        InputError: see `plan`.
        TrainingError: the loss is no longer a number, or no image could be decoded.
    """
    planned = plan(config, progress)
    if config.mlflow is not None:
        mlflow.check(config.mlflow)
    facts = {"manifest": planned.manifest.fingerprint}
    run = _resumed(planned, facts)
    if run is not None and run_dir.is_finished(run.uri):
        record = run_dir.read_record(run.uri) or {}
        return TrainSummary(**{**record["summary"], "already_finished": True})
    if run is None:
        session.check(config.address)
        run = run_dir.start(
            planned.output, "train", as_dict(config), spilled_bytes=spilling.reported
        )
    began = time.monotonic()
    with run.failing_recorded(**facts):
        manifest.write(planned.manifest, run.path("manifest.parquet"))
        with session.connected(config.address):
            fitted = ray_trainer.fit(task_of(planned, run.uri), progress)
        bundle = bundles.read(run.path("bundle"))
        filesystem.write_bytes(run.path("history.csv"), _csv(fitted.history).encode())
        filesystem.write_bytes(
            run.path("learning_curves.png"), plots.learning_curves(fitted.history)
        )
        summary = TrainSummary(
            output=run.uri,
            bundle=bundle.uri,
            model=bundle.name,
            labels=planned.labels,
            positive=planned.positive,
            num_train=planned.num_images[TRAIN],
            num_validation=planned.num_images[VALIDATION],
            num_failed=fitted.num_failed,
            epochs=len(fitted.history),
            metrics=bundle.metrics,
            threshold=bundle.threshold,
            temperature=bundle.temperature,
            warnings=planned.warnings,
            history=fitted.history,
            seconds=round(time.monotonic() - began, 3),
            images_per_second=round(
                sum(epoch["images_per_second"] for epoch in fitted.history) / len(fitted.history), 2
            ),
        )
        run.finish(**facts, model=bundle.name, summary=summary)
    if config.mlflow is not None:
        # after the end: a store that does not answer must not make the training a failed one
        _track(config.mlflow, run, summary, facts)
    return summary


def task_of(planned: TrainPlan, run_uri: str) -> Task:
    """What the workers are told; needs a connected Ray where the model is of the user's own."""
    config, architecture = planned.config, planned.architecture
    model = models.portable(config.model)
    if not architecture.is_described:
        architecture = session.call(models.describe, model, len(planned.labels))
    return Task(
        config=config,
        model=model,
        architecture=architecture.name,
        labels=planned.labels,
        positive=planned.positive,
        targets=planned.targets,
        preprocessing=preprocessing(config, architecture),
        manifest_fingerprint=planned.manifest.fingerprint,
        run_uri=run_uri,
        rows=planned.rows,
    )


def _check_classes(
    config: TrainConfig, labels: Sequence[str], counts: Mapping[tuple[str, str], int]
) -> None:
    if len(labels) < 2:
        given = f"one: {labels[0]}" if labels else "none"
        raise InputError(
            f"training needs at least two classes, {config.data} has {given}; put the images of "
            "each class in a folder of its own."
        )
    for label in labels:
        if counts.get((TRAIN, label), 0) == 0:
            raise InputError(
                f"class {label} has no images in split {TRAIN}; index with splits, or add images."
            )


def _check_monitor(config: TrainConfig, rows: pa.Table) -> None:
    watches = config.early_stopping or config.keep == "best" or config.schedule == "plateau"
    if watches and VALIDATION not in rows["split"].to_pylist():
        raise InputError(
            f"{config.monitor} needs validation images, {config.data} has none; index with "
            "--validation above 0."
        )


def _check_threshold(
    config: TrainConfig, labels: Sequence[str], counts: Mapping[tuple[str, str], int]
) -> None:
    if config.threshold_rule != TrainConfig.threshold_rule and len(labels) > 2:
        raise InputError(
            f"threshold_rule is for two classes, {config.data} has {len(labels)}; leave it out."
        )
    lacking = [label for label in labels if not counts.get((VALIDATION, label))]
    if lacking and config.decides_on_validation:
        raise InputError(
            f"threshold_rule and calibrate need validation images of every class, {lacking[0]} "
            "has none; index with --validation above 0."
        )


def _resumed(planned: TrainPlan, facts: Mapping[str, Any]) -> Run | None:
    """The run to go on with, if that is asked for and there is one."""
    if not planned.config.resume:
        return None
    settings = {
        key: value for key, value in as_dict(planned.config).items() if key not in _FREE_SETTINGS
    }
    return run_dir.find_same(
        planned.output, "train", {**facts, **settings}, spilled_bytes=spilling.reported
    )


def _track(uri: str, run: Run, summary: TrainSummary, facts: Mapping[str, str]) -> None:
    files = ("bundle/bundle.json", "learning_curves.png", "history.csv")
    mlflow.log(
        uri,
        name=run.run_id,
        settings=run.config,
        history=summary.history,
        tags={**facts, "model": summary.model, "run_id": run.run_id, "output": run.uri},
        files={
            name.split("/")[-1]: filesystem.read_bytes(run.path(*name.split("/"))) for name in files
        },
    )


def _positive(config: TrainConfig, labels: Sequence[str]) -> str:
    """The class whose probability the model gives: as named, or the opposite of a `normal`."""
    if config.positive is not None:
        if config.positive not in labels:
            raise InputError(
                f"positive must be one of the classes {', '.join(labels)}, got {config.positive}."
            )
        return config.positive
    rest = [label for label in labels if label.lower() not in _NEGATIVE_NAMES]
    if len(rest) != 1:
        raise InputError(
            f"which class is looked for, {' or '.join(labels)}? Name it with --positive."
        )
    return rest[0]


def _csv(history: Sequence[Mapping[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]))
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
