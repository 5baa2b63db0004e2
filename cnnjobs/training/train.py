"""`cnnjobs train`: train a model on a manifest's training split."""

import csv
import dataclasses
import io
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs.cluster import spilling
from cnnjobs.config import TrainConfig, as_dict, seeds
from cnnjobs.config.constants import TRAIN, VALIDATION
from cnnjobs.data import manifest
from cnnjobs.errors import InputError
from cnnjobs.imaging import plots as image_plots
from cnnjobs.models import bundle as bundles
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir
from cnnjobs.storage.run_dir import Run
from cnnjobs.training import mlflow, plots, resuming, trainers
from cnnjobs.training.distributed import checkpoint_files
from cnnjobs.training.distributed.task import Task
from cnnjobs.training.train_plan import TrainPlan, plan, task_of
from cnnjobs.training.trainers import Trainer

_log = logging.getLogger(__name__)

#: Settings that may change when a run is resumed: locations, resources, retries, and the number of
#: epochs, which goes on from those that are done.
_FREE_SETTINGS = (
    "data", "output", "workers", "gpus_per_worker", "cache", "max_failures", "mlflow", "address",
    "resume", "overwrite", "epochs", "allowed_root", "figures",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """The result of a training; `metrics` are on the validation split after the last epoch."""

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


def train(config: TrainConfig, progress: Progress = silent) -> TrainSummary:
    """Train on images decoded once; leaves a bundle and its history.

    Raises:
        InputError: see `train_plan.plan`; or fewer epochs than the run to resume has.
        TrainingError: the loss is no longer a number, or no image could be decoded.
    """
    planned = plan(config, progress)
    for warning in planned.warnings:
        _log.warning("%s", warning)
    if config.mlflow is not None:
        mlflow.check(config.mlflow)
    facts = planned.fingerprints
    run = _resumed(planned, facts)
    if run is not None and _is_complete(run, config.epochs):
        record = run_dir.read_record(run.uri) or {}
        return TrainSummary(**{**record["summary"], "already_finished": True})
    if run is None:
        trainers.check(planned)
        run = run_dir.start(
            planned.output, "train", as_dict(config), spilled_bytes=spilling.reported
        )
    run = dataclasses.replace(run, config={**run.config, "epochs": config.epochs})
    began = time.monotonic()
    drawn = seeds.of_training(config, split=planned.manifest.split_seed)
    with run.writing(**facts, seeds=drawn):
        manifest.write(planned.manifest, run.path("manifest.parquet"))
        with trainers.started(planned) as trainer:
            task = task_of(planned, run.uri, trainer.call)
            threads = _num_threads(task, run, trainer)
            fitted = trainer.fit(task, progress, threads=threads)
        bundle = bundles.read(run.path("bundle"))
        filesystem.write_bytes(run.path("history.csv"), _csv(fitted.history).encode())
        curves = plots.learning_curves(fitted.history)
        image_plots.write(run.uri, "learning_curves", curves, config.figures)
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
        run.finish(**facts, **bundles.identity([bundle]), summary=summary)
    if config.mlflow is not None:
        # after the run is finished: a store that does not answer must not fail the training
        _log_to_mlflow(config.mlflow, run, summary, facts)
    return summary


def _resumed(planned: TrainPlan, facts: Mapping[str, Any]) -> Run | None:
    """The run to continue, if `resume` is on and the output holds one.

    Raises:
        InputError: it has more epochs than these settings.
    """
    run = resuming.find(planned.config, planned.output, "train", facts, free=_FREE_SETTINGS)
    if run is not None and planned.config.epochs < run.config["epochs"]:
        raise InputError(
            f"epochs must be at least {run.config['epochs']}, as in the run in {run.uri}, got "
            f"{planned.config.epochs}; a run can be continued with more epochs, not with fewer."
        )
    return run


def _is_complete(run: Run, epochs: int) -> bool:
    """Whether the run has finished, and has no epochs left to train."""
    if not run_dir.is_finished(run.uri):
        return False
    if epochs == run.config["epochs"]:
        return True
    done = checkpoint_files.progress(run.path("checkpoints"))
    if done.stopped:
        _log.warning(
            "the run in %s stopped early, after epoch %d, and is not continued; for more epochs, "
            "train in another directory with more --early-stopping, or without.",
            run.uri,
            done.epochs_done,
        )
    return done.stopped


def _num_threads(task: Task, run: Run, trainer: Trainer) -> int:
    """Threads of each worker: as many as when the run started, whatever machine resumes it."""
    if run.config["workers"] != task.config.workers:
        # another number of workers adds gradients in another order anyway
        return trainer.threads(task)
    if "threads" not in run.facts:
        run.learn(threads=trainer.threads(task))
    return int(run.facts["threads"])


def _log_to_mlflow(uri: str, run: Run, summary: TrainSummary, facts: Mapping[str, str]) -> None:
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


def _csv(history: Sequence[Mapping[str, float]]) -> str:
    text = io.StringIO()
    # epochs that an older version trained lack some
    names = dict.fromkeys(name for epoch in reversed(history) for name in epoch)
    writer = csv.DictWriter(text, fieldnames=list(names))
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
