"""`cnnjobs tune`: search for settings with Ray Tune; the best trial's bundle is the result."""

import csv
import dataclasses
import io
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.queue import Empty, Queue

from cnnjobs import bundle as bundles
from cnnjobs import cluster, fitting, manifest, models, runs, storage
from cnnjobs import space as spaces
from cnnjobs import train as training
from cnnjobs.config import TuneConfig, as_dict
from cnnjobs.errors import ConfigError, InputError, TrainingError
from cnnjobs.images import Preprocessing
from cnnjobs.progress import Progress, silent
from cnnjobs.runs import Run
from cnnjobs.training.task import Task

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"

#: Of the trials that come as far as a rung, one in so many goes on (Ray's own default is 4).
_REDUCTION = 3


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One row of `trials.csv`.

    Attributes:
        number: from 1, in the order in which trials are started.
        status: finished, stopped (by ASHA, for being behind) or failed.
        settings: those that were drawn for it.
        value: the best of the monitored metric over its epochs; None if there was none.
        epochs: that it trained.
        error: why it failed, in one line.
    """

    number: int
    status: str
    settings: Mapping[str, Any]
    value: float | None
    epochs: int
    error: str | None


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
    runs.check_free(storage.normalize(config.output), overwrite=config.overwrite)
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
    run = runs.start(planned.output, "tune", as_dict(config))
    began = time.monotonic()
    with run.failing_recorded(**facts), cluster.connected(config.address):
        manifest.write(planned.base.manifest, run.path("manifest.parquet"))
        trials, num_failed = _search(planned, run, progress)
        ranked = sorted(trials, key=lambda trial: _rank(trial, planned.monitor))
        storage.write_bytes(run.path("trials.csv"), _csv(planned, trials).encode())
        best = next((trial for trial in ranked if trial.status == FINISHED), None)
        if best is None:
            raise _no_bundle(trials)
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


@ray.remote(num_cpus=0, max_retries=0)
def run_tuner(
    settings: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], resources: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Run Ray Tune's trials to their end; returns number, last report and error of each.

    A task of its own, as `fitting.run_trainer` is: what Ray Tune imports and prints stays here.
    """
    from ray import tune as ray_tune
    from ray.tune.schedulers import ASHAScheduler

    # a model or archive given by a relative path is to be found from a trial too
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    task, config = settings["task"], settings["config"]
    monitor = task.config.monitor
    # the settings are drawn already: each is a point of a grid, which Tune takes in its order
    points = [{"number": number, **drawn} for number, drawn in enumerate(trials, 1)]
    with tempfile.TemporaryDirectory() as folder:
        tuner = ray_tune.Tuner(
            ray_tune.with_resources(
                ray_tune.with_parameters(run_trial, given=dict(settings)), dict(resources)
            ),
            param_space={"trial": ray_tune.grid_search(points)},
            tune_config=ray_tune.TuneConfig(
                metric=monitor,
                mode=_mode(monitor),
                scheduler=ASHAScheduler(
                    time_attr="epoch",
                    max_t=config.epochs,
                    grace_period=config.grace,
                    reduction_factor=_REDUCTION,
                ),
                max_concurrent_trials=config.parallel,
            ),
            # nothing is kept here: all that lasts goes to the run's own directory
            run_config=ray_tune.RunConfig(storage_path=folder, name="tune", verbose=0),
        )
        results = tuner.fit()
        return [
            {
                "number": (result.config or {})["trial"]["number"],
                "last": dict(result.metrics or {}),
                "error": None if result.error is None else _reason(result.error),
            }
            for result in (results[place] for place in range(len(results)))
        ]


def run_trial(point: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """What the process of each trial runs: train, telling Tune of every epoch; write the bundle.

    An epoch is reported when the next one begins, the last one when the bundle is whole: Tune
    ends a trial while it reports, so that one it stops has no bundle, and none is cut short.
    """
    from ray import tune as ray_tune

    keras = models.import_keras()
    import tensorflow as tf

    from cnnjobs.training.model import train_model

    tf.config.threading.set_intra_op_parallelism_threads(given["threads"])
    drawn = dict(point["trial"])
    number = drawn.pop("number")
    task: Task = given["task"]
    model, architecture = given["models"][drawn.get("model", task.config.model)]
    task = dataclasses.replace(
        task,
        config=dataclasses.replace(task.config, **drawn),
        model=model,
        architecture=architecture,
        run_uri=storage.join(task.run_uri, str(number)),
    )
    monitor, told = task.config.monitor, given["told"]
    pending: list[dict[str, float]] = []
    best = math.inf if _mode(monitor) == "min" else -math.inf

    def keep(epoch: int, logs: Mapping[str, float]) -> None:
        nonlocal best
        value = float(logs[monitor])
        if not math.isfinite(value):
            raise TrainingError(f"{monitor} of epoch {epoch + 1} is {value}.")
        best = min(best, value) if _mode(monitor) == "min" else max(best, value)
        pending.append({"epoch": epoch + 1, monitor: value, "best": best})
        told.put(f"trial {number}, epoch {epoch + 1}: {monitor} {value:.3f}")

    def report(epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if pending:
            ray_tune.report({**pending.pop(), "finished": False, "num_failed": 0})

    teller = keras.callbacks.LambdaCallback(on_epoch_begin=report, on_epoch_end=keep)
    sets = fitting.open_sets(task, given["blocks"])
    train_model(task, *sets, callbacks=[teller])
    num_failed = sum(part.num_failed for part in sets)
    ray_tune.report({**pending.pop(), "finished": True, "num_failed": num_failed})


def _search(planned: TunePlan, run: Run, progress: Progress) -> tuple[list[Trial], int]:
    """All trials in the order of their numbers, and the images that could not be decoded."""
    base, config = planned.base, planned.config
    architectures = {
        name: _described(name, len(base.labels)) for name in _models(config, planned.settings)
    }
    _check_sizes(config, list(architectures.values()))
    first = next(iter(architectures.values()))
    task = Task(
        config=config.of_a_trial(monitor=planned.monitor),
        # these two are set anew in each trial
        model=models.portable(config.model),
        architecture=first.name,
        labels=base.labels,
        positive=base.positive,
        targets=base.targets,
        preprocessing=Preprocessing(height=first.height, width=first.width),
        manifest_fingerprint=base.manifest.fingerprint,
        run_uri=run.path("trials"),
        rows=base.rows,
    )
    if not fitting.fits_in_store(task):
        raise InputError(
            f"the decoded images of {config.data} do not fit in Ray's object store, where trials "
            "share them; tune on a part of them, or on a cluster with more memory."
        )
    cpus = cluster.num_cpus() / config.parallel
    gpus = config.gpus_per_worker
    if gpus is None:
        gpus = 1 if cluster.num_gpus() >= config.parallel else 0
    told = Queue(actor_options={"num_cpus": 0})
    settings = {
        "task": task,
        "config": config,
        "models": {
            name: (models.portable(name), architecture.name)
            for name, architecture in architectures.items()
        },
        "blocks": fitting.decoded_once(task, progress),
        "threads": max(1, round(cpus)),
        "told": told,
    }
    resources = {"cpu": int(cpus) if cpus >= 1 else cpus, "gpu": gpus}
    progress("tune", 0, None, "starting TensorFlow")
    job = run_tuner.remote(settings, planned.settings, resources)
    try:
        num_epochs = 0
        while not ray.wait([job], timeout=0.5)[0]:
            for note in _news(told):
                num_epochs += 1
                progress("tune", num_epochs, config.trials * config.epochs, note)
        ended = ray.get(job)
    finally:
        told.shutdown()
    trials = [_trial(planned, **item) for item in sorted(ended, key=lambda item: item["number"])]
    return trials, max((item["last"].get("num_failed", 0) for item in ended), default=0)


def _models(config: TuneConfig, settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models that the trials train, each once."""
    return list(dict.fromkeys(str(drawn.get("model", config.model)) for drawn in settings))


def _described(name: str, num_labels: int) -> models.Architecture:
    architecture = models.find(name)
    if architecture.is_described:
        return architecture
    described: models.Architecture = cluster.call(
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


def _rank(trial: Trial, monitor: str) -> tuple[bool, float, int]:
    if trial.status == FAILED or trial.value is None:
        return True, 0.0, trial.number
    return False, trial.value if _mode(monitor) == "min" else -trial.value, trial.number


def _mode(monitor: str) -> str:
    return "min" if monitor.endswith("loss") else "max"


def _news(told: Queue) -> list[str]:
    """All that trials have told since."""
    news: list[str] = []
    try:
        while True:
            news.append(told.get(block=False))
    except Empty:
        return news


def _no_bundle(trials: Sequence[Trial]) -> TrainingError:
    failed = [trial for trial in trials if trial.status == FAILED]
    # a trial that is stopped was behind another
    first = failed[0]
    return TrainingError(
        f"no trial came to its end, {len(failed)} of {len(trials)} failed; trial {first.number}: "
        f"{first.error}"
    )


def _reason(error: Exception) -> str:
    """The trial's own error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    own = [line for line in lines if "TrainingError: " in line]
    return own[-1].split("TrainingError: ")[-1] if own else lines[-1]


def _csv(planned: TunePlan, trials: Sequence[Trial]) -> str:
    """One row a trial in the order of their numbers; the value's column has the metric's name."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = list(planned.settings[0])
    writer.writerow(["trial", "status", "epochs", planned.monitor, *names, "error"])
    for trial in trials:
        drawn = [trial.settings[name] for name in names]
        writer.writerow(
            [trial.number, trial.status, trial.epochs, trial.value, *drawn, trial.error]
        )
    return text.getvalue()
