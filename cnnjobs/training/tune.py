"""`cnnjobs tune`: search for settings with Ray Tune; the best trial's bundle is the result."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs import models
from cnnjobs.cluster import resources, session, spilling
from cnnjobs.config import TuneConfig, as_dict
from cnnjobs.data import manifest
from cnnjobs.errors import ConfigError, InputError
from cnnjobs.models import bundle as bundles
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir
from cnnjobs.storage.run_dir import Run
from cnnjobs.training import ray_trainer, ray_tuner
from cnnjobs.training import search_space as spaces
from cnnjobs.training import train as training
from cnnjobs.training import trials as results
from cnnjobs.training.distributed.task import Task, preprocessing
from cnnjobs.training.trials import FAILED, FINISHED, STOPPED, Trial


@dataclass(frozen=True, kw_only=True)
class TunePlan:
    """What would be searched, decided before Ray starts; `base` is the training of no trial yet."""

    config: TuneConfig
    monitor: str
    base: training.TrainPlan
    settings: Sequence[Mapping[str, Any]]
    output: str

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` tells."""
        return {
            **self.base.facts,
            "output": self.output,
            "monitor": self.monitor,
            "trials": {number: dict(drawn) for number, drawn in enumerate(self.settings, 1)},
        }


@dataclass(frozen=True, kw_only=True)
class TuneSummary:
    """What the search found; `trials` stand best first, failed ones last."""

    output: str
    bundle: str
    model: str
    monitor: str
    best: Trial
    trials: Sequence[Trial]
    metrics: Mapping[str, float | None]
    num_failed: int
    seconds: float


def plan(config: TuneConfig, progress: Progress = silent) -> TunePlan:
    """Read the space and the data and draw the settings of all trials; writes nothing.

    Raises:
        InputError: see `space.read` and `train.plan`; or the metric is not one of this data's.
    """
    space = spaces.read(config)
    settings = spaces.draw(space, seed=config.seed, trials=config.trials)
    for drawn in settings:
        config.of_a_trial(**drawn)
    _check_sizes(config, [models.find(name) for name in _models(config, settings)])
    run_dir.check_free(filesystem.normalize(config.output), overwrite=config.overwrite)
    # the output is free or may be replaced: of no concern to the plan of a training
    base = training.plan(config.of_a_trial(overwrite=True), progress)
    two_classes = len(base.labels) == 2
    if config.monitor == "val_auroc" and not two_classes:
        raise InputError(
            f"val_auroc is of two classes, {config.data} has {len(base.labels)}; monitor "
            "val_accuracy or val_loss."
        )
    return TunePlan(
        config=config,
        monitor=config.monitor or ("val_auroc" if two_classes else "val_accuracy"),
        base=base,
        settings=settings,
        output=base.output,
    )


def tune(config: TuneConfig, progress: Progress = silent) -> TuneSummary:
    """Decode the images once, train all trials on them, keep the best one's bundle.

    Raises:
        InputError: see `plan`; or the decoded images do not fit in the object store.
        TrainingError: no trial came to its end.
    """
    planned = plan(config, progress)
    facts = {"manifest": planned.base.manifest.fingerprint}
    session.check(config.address)
    run = run_dir.start(planned.output, "tune", as_dict(config), spilled_bytes=spilling.reported)
    began = time.monotonic()
    with run.failing_recorded(**facts):
        manifest.write(planned.base.manifest, run.path("manifest.parquet"))
        with session.connected(config.address):
            trials, num_failed = _search(planned, run, progress)
        ranked = results.ranked(trials, planned.monitor)
        table = results.table(trials, planned.monitor)
        filesystem.write_bytes(run.path("trials.csv"), table.encode())
        best = results.best(ranked)
        bundle = bundles.copy(
            bundles.read(run.path("trials", str(best.number))), run.path("bundle")
        )
        summary = TuneSummary(
            output=run.uri,
            bundle=bundle.uri,
            model=bundle.name,
            monitor=planned.monitor,
            best=best,
            trials=ranked,
            metrics=bundle.metrics,
            num_failed=num_failed,
            seconds=round(time.monotonic() - began, 3),
        )
        run.finish(**facts, model=bundle.name, summary=summary)
    return summary


def _search(planned: TunePlan, run: Run, progress: Progress) -> tuple[list[Trial], int]:
    """All trials in the order of their numbers, and the images that could not be decoded."""
    base, config = planned.base, planned.config
    architectures = {
        name: _described(name, len(base.labels)) for name in _models(config, planned.settings)
    }
    _check_sizes(config, list(architectures.values()))
    first = next(iter(architectures.values()))
    shared = config.of_a_trial(monitor=planned.monitor)
    task = Task(
        config=shared,
        # these two are set anew in each trial
        model=models.portable(config.model),
        architecture=first.name,
        labels=base.labels,
        positive=base.positive,
        targets=base.targets,
        preprocessing=preprocessing(shared, first),
        manifest_fingerprint=base.manifest.fingerprint,
        run_uri=run.path("trials"),
        rows=base.rows,
    )
    if not ray_trainer.fits_in_store(task):
        raise InputError(
            f"the decoded images of {config.data} do not fit in Ray's object store, where trials "
            "share them; tune on a part of them, or on a cluster with more memory."
        )
    gpus = config.gpus_per_worker
    if gpus is None:
        gpus = 1 if resources.num_gpus() >= config.parallel else 0
    cpus = resources.cores_each(resources.live_machines(), config.parallel, num_gpus=gpus)
    settings = {
        "task": task,
        "config": config,
        "models": {
            name: (models.portable(name), architecture.name)
            for name, architecture in architectures.items()
        },
        "blocks": ray_trainer.decoded_once(task, progress),
        "threads": max(1, round(cpus)),
    }
    progress("tune", 0, None, "starting TensorFlow")
    num_epochs = 0

    def on_epoch(note: str) -> None:
        nonlocal num_epochs
        num_epochs += 1
        progress("tune", num_epochs, config.trials * config.epochs, note)

    per_trial = {"cpu": cpus, "gpu": gpus}
    ended = ray_tuner.run_trials(settings, planned.settings, per_trial, on_epoch)
    trials = [_trial(planned, **item) for item in sorted(ended, key=lambda item: item["number"])]
    return trials, max((item["last"].get("num_failed", 0) for item in ended), default=0)


def _models(config: TuneConfig, settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models that the trials train, each once."""
    return list(dict.fromkeys(str(drawn.get("model", config.model)) for drawn in settings))


def _described(name: str, num_labels: int) -> models.Architecture:
    architecture = models.find(name)
    if architecture.is_described:
        return architecture
    described: models.Architecture = session.call(
        models.describe, models.portable(name), num_labels
    )
    return described


def _check_sizes(config: TuneConfig, architectures: Sequence[models.Architecture]) -> None:
    known = [item for item in architectures if item.is_described]
    if len({(item.height, item.width) for item in known}) > 1:
        given = ", ".join(f"{item.name} {item.height}x{item.width}" for item in known)
        raise ConfigError(
            f"{config.space}: model must be one of models that take images of the same size, "
            f"got {given}; images are decoded once for all trials."
        )


def _trial(planned: TunePlan, *, number: int, last: Mapping[str, Any], error: str | None) -> Trial:
    status = FINISHED if last.get("finished") else STOPPED
    return Trial(
        number=number,
        status=status if error is None else FAILED,
        settings=planned.settings[number - 1],
        value=last.get("best"),
        epochs=int(last.get("epoch", 0)),
        error=error,
    )
