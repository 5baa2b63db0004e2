"""`cnnjobs tune`: search for settings with Ray Tune; the result is the best trial's bundle."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs import models
from cnnjobs.cluster import session, spilling
from cnnjobs.config import TuneConfig, as_dict, seeds
from cnnjobs.data import manifest
from cnnjobs.errors import ConfigError, InputError
from cnnjobs.models import Architecture
from cnnjobs.models import bundle as bundles
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir
from cnnjobs.storage.run_dir import Run
from cnnjobs.training import (
    initial_model,
    ray_process,
    ray_tuner,
    resuming,
    search_space,
    train_plan,
    trials,
)
from cnnjobs.training.ray_tuner import Search
from cnnjobs.training.train_plan import TrainPlan
from cnnjobs.training.trials import FAILED, FINISHED, STOPPED, Trial

#: Settings that may change when a search is resumed. The space may be in another file: the settings
#: drawn from it must be the same.
_FREE_SETTINGS = (
    "data", "output", "space", "parallel", "gpus_per_worker", "address", "resume", "overwrite",
    "allowed_root",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TunePlan:
    """What a search would do, decided before Ray starts.

    Attributes:
        config: its settings.
        monitor: the metric that trials are compared by.
        base: a training with the settings that all trials share.
        settings: drawn for each trial.
        output: the run directory.
    """

    config: TuneConfig
    monitor: str
    base: TrainPlan
    settings: Sequence[Mapping[str, Any]]
    output: str

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` prints."""
        return {
            **self.base.facts,
            "output": self.output,
            "monitor": self.monitor,
            "trials": {number: dict(drawn) for number, drawn in enumerate(self.settings, 1)},
        }


@dataclass(frozen=True, kw_only=True)
class TuneSummary:
    """The result of a search; `trials` are sorted, the best first and failed ones last."""

    output: str
    bundle: str
    model: str
    monitor: str
    best: Trial
    trials: Sequence[Trial]
    metrics: Mapping[str, float | None]
    num_failed: int
    seconds: float
    already_finished: bool = False


def plan(config: TuneConfig, progress: Progress = silent) -> TunePlan:
    """Read the space and the data, and draw the settings of all trials; writes nothing.

    Raises:
        InputError: see `search_space.read` and `train_plan.plan`.
    """
    space = search_space.read(config)
    settings = search_space.draw(space, seed=config.seed, trials=config.trials)
    for drawn in settings:
        initial_model.check_freeze(config.of_a_trial(**drawn))
    if config.init is not None and len(_model_names(config, settings)) > 1:
        raise ConfigError(f"init is for one model, {config.space} draws several; choose one.")
    _check_sizes(config, [models.find(name) for name in _model_names(config, settings)])
    base = train_plan.plan(
        config.of_a_trial(), progress, command="tune", inputs=[str(config.space)]
    )
    monitor = config.monitor or ("val_auroc" if len(base.labels) == 2 else "val_accuracy")
    return TunePlan(
        config=config,
        monitor=monitor,
        base=train_plan.with_monitor(base, monitor),
        settings=settings,
        output=base.output,
    )


def tune(config: TuneConfig, progress: Progress = silent) -> TuneSummary:
    """Train all trials on images decoded once, and keep the best one's bundle.

    Raises:
        InputError: see `plan`; or the decoded images do not fit in the object store.
        TrainingError: no trial finished.
    """
    planned = plan(config, progress)
    facts = {
        **planned.base.fingerprints,
        "drawn_settings": search_space.digest(planned.settings),
    }
    run = resuming.find(
        config, planned.output, "tune", facts, free=_FREE_SETTINGS, unrecorded=facts
    )
    if run is not None and run_dir.is_finished(run.uri):
        return _recorded(run)
    if run is None:
        session.check(config.address)
        run = run_dir.start(
            planned.output, "tune", as_dict(config), spilled_bytes=spilling.reported
        )
    began = time.monotonic()
    drawn = seeds.of_training(config, split=planned.base.manifest.split_seed)
    with run.writing(**facts, seeds=drawn):
        manifest.write(planned.base.manifest, run.path("manifest.parquet"))
        with session.connected(config.address):
            results, num_failed = _search(planned, run, progress)
        ranked = trials.ranked(results, planned.monitor)
        table = trials.table(results, planned.monitor)
        filesystem.write_bytes(run.path("trials.csv"), table.encode())
        best = trials.best(ranked)
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
        run.finish(**facts, **bundles.identity([bundle]), summary=summary)
    return summary


def _recorded(run: Run) -> TuneSummary:
    """The summary of a finished search."""
    summary = (run_dir.read_record(run.uri) or {})["summary"]
    ranked = [Trial(**trial) for trial in summary["trials"]]
    return TuneSummary(
        **{**summary, "best": Trial(**summary["best"]), "trials": ranked, "already_finished": True}
    )


def _search(planned: TunePlan, run: Run, progress: Progress) -> tuple[list[Trial], int]:
    """All trials by number, and how many images could not be decoded."""
    base, config = planned.base, planned.config
    architectures = {
        name: train_plan.described(models.find(name), name, len(base.labels))
        for name in _model_names(config, planned.settings)
    }
    _check_sizes(config, list(architectures.values()))
    shared = dataclasses.replace(base, architecture=next(iter(architectures.values())))
    search = Search(
        config=config,
        task=train_plan.task_of(shared, run.path("trials")),
        models={
            name: (models.portable(name), architecture.name)
            for name, architecture in architectures.items()
        },
    )
    if not ray_process.fits_in_store(search.task):
        raise InputError(
            f"the decoded images of {config.data} do not fit in Ray's object store, which the "
            "trials share; use fewer images, or a cluster with more memory."
        )
    search = search.with_ended(range(1, config.trials + 1))
    resources = ray_process.resources_each(config.parallel, config.gpus_per_worker)
    if "threads" not in run.facts:
        run.learn(threads=resources.threads)
    blocks = ray_process.decode_once(search.task, progress)
    progress("tune", 0, None, "starting TensorFlow")
    num_epochs = 0

    def on_epoch(note: str) -> None:
        nonlocal num_epochs
        num_epochs += 1
        progress("tune", num_epochs, config.trials * config.epochs, note)

    ended = ray_tuner.run_trials(
        search, planned.settings, blocks, resources, on_epoch, threads=run.facts["threads"]
    )
    results = [_trial(planned, **item) for item in sorted(ended, key=lambda item: item["number"])]
    return results, max((item["last"].get("num_failed", 0) for item in ended), default=0)


def _model_names(config: TuneConfig, settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models that the trials train, without repeats."""
    return list(dict.fromkeys(str(drawn.get("model", config.model)) for drawn in settings))


def _check_sizes(config: TuneConfig, architectures: Sequence[Architecture]) -> None:
    known = [item for item in architectures if item.is_described]
    if len({(item.height, item.width) for item in known}) > 1:
        found = ", ".join(f"{item.name} {item.height}x{item.width}" for item in known)
        raise ConfigError(
            f"{config.space}: model must be one of models that take images of the same size, "
            f"got {found}; images are decoded once for all trials."
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
