"""Ray Tune: trials that run in parallel on images decoded once."""

import contextlib
import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from cnnjobs.cluster import ray_errors, session
from cnnjobs.config import TuneConfig
from cnnjobs.models import UserModel
from cnnjobs.storage import filesystem, json_files
from cnnjobs.training import ray_process
from cnnjobs.training.distributed import checkpoint_files
from cnnjobs.training.distributed.task import Task
from cnnjobs.training.ray_process import ProcessInputs, ProcessResources
from cnnjobs.training.reports import epoch_note
from cnnjobs.training.trials import mode

#: The file of a trial that finished or was stopped.
_ENDED = "ended.json"

#: In every report, besides the epoch and the monitored metric.
_REPORTED = ("best", "finished", "num_failed")

#: Of the trials that reach a rung, one in this many continues (Ray's own default is 4).
_REDUCTION = 3


@dataclass(frozen=True, kw_only=True)
class Search:
    """What all trials of a search share.

    Attributes:
        config: of the search.
        task: of every trial, but for the settings drawn for it.
        models: what to build, and the name of its architecture, by the name in the settings.
        ended: of trials that a resumed search keeps, by number: all that they reported.
    """

    config: TuneConfig
    task: Task
    models: Mapping[str, tuple[str | UserModel, str]]
    ended: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def folder(self, number: int) -> str:
        """The directory of one trial."""
        return filesystem.join(self.task.run_uri, str(number))

    def task_of(self, number: int, drawn: Mapping[str, Any]) -> Task:
        """What one trial trains, and the directory it writes to."""
        model, architecture = self.models[drawn.get("model", self.task.config.model)]
        return dataclasses.replace(
            self.task,
            config=dataclasses.replace(self.task.config, **drawn),
            model=model,
            architecture=architecture,
            run_uri=self.folder(number),
        )

    def with_ended(self, numbers: Iterable[int]) -> "Search":
        """The search that keeps the trials that ended before; failed ones run again."""
        ended = {}
        for number in numbers:
            with contextlib.suppress(FileNotFoundError):
                data = filesystem.read_bytes(filesystem.join(self.folder(number), _ENDED))
                ended[number] = json_files.parsed(data)["reports"]
        return dataclasses.replace(self, ended=ended)


def run_trials(
    search: Search,
    trials: Sequence[Mapping[str, Any]],
    blocks: "Sequence[ray.ObjectRef[Any]]",
    resources: ProcessResources,
    on_epoch: Callable[[str], None],
    *,
    threads: int,
) -> list[dict[str, Any]]:
    """Run every trial until it ends; returns the number, last report and error of each.

    Args:
        search: what all trials share.
        trials: the settings drawn for each.
        blocks: `ray_process.decode_once` of all rows, in order.
        resources: of each trial.
        on_epoch: called with a line for every epoch that a trial has finished.
        threads: of TensorFlow in each trial, however many cores it reserves.
    """
    reports = ray_process.new_queue()
    inputs = ProcessInputs(blocks=blocks, threads=threads, reports=reports)
    try:
        job = _run_tuner.options(**session.beside_driver()).remote(
            search, trials, inputs, resources
        )
        while not ray.wait([job], timeout=0.5)[0]:
            for note in ray_process.waiting_reports(reports):
                on_epoch(note)
        ended: list[dict[str, Any]] = ray.get(job)
        return ended
    finally:
        reports.shutdown()


@ray.remote(max_retries=0)
def _run_tuner(
    search: Search,
    trials: Sequence[Mapping[str, Any]],
    inputs: ProcessInputs,
    resources: ProcessResources,
) -> list[dict[str, Any]]:
    """Run Ray Tune in a separate task, which keeps its imports and output out of the driver."""
    from ray import tune as ray_tune
    from ray.tune.schedulers import ASHAScheduler

    # relative paths of models and archives must also work in a trial
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    monitor = search.task.config.monitor
    # the settings are drawn already: each is a point of a grid, which Tune takes in order
    points = [{"number": number, **drawn} for number, drawn in enumerate(trials, 1)]

    with tempfile.TemporaryDirectory() as folder:
        tuner = ray_tune.Tuner(
            ray_tune.with_resources(
                ray_tune.with_parameters(run_trial, search=search, inputs=inputs),
                {"cpu": resources.cpus, "gpu": resources.gpus},
            ),
            param_space={"trial": ray_tune.grid_search(points)},
            tune_config=ray_tune.TuneConfig(
                metric=monitor,
                mode=mode(monitor),
                scheduler=ASHAScheduler(
                    time_attr="epoch",
                    max_t=search.config.epochs,
                    grace_period=search.config.grace,
                    reduction_factor=_REDUCTION,
                ),
                max_concurrent_trials=search.config.parallel,
            ),
            # nothing is kept here: all results are written to the run directory
            run_config=ray_tune.RunConfig(
                storage_path=folder, name="tune", verbose=0, callbacks=[_keeper(search)]
            ),
        )
        results = tuner.fit()
        ended = [
            {
                "number": (result.config or {})["trial"]["number"],
                "last": dict(result.metrics or {}),
                "error": None if result.error is None else _reason(result.error),
            }
            for result in (results[position] for position in range(len(results)))
        ]
        # what was recorded counts, even if ASHA would decide otherwise now
        kept = [
            {"number": number, "last": dict(reports[-1]), "error": None}
            for number, reports in search.ended.items()
        ]
        return [*(item for item in ended if item["number"] not in search.ended), *kept]


def _keeper(search: Search) -> Any:
    """A callback for Ray Tune: writes what a trial reported once it finished or was stopped."""
    from ray import tune as ray_tune

    names = ("epoch", search.task.config.monitor, *_REPORTED)

    class Keeper(ray_tune.Callback):
        def __init__(self) -> None:
            self._reports: dict[int, list[dict[str, Any]]] = {}

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            number = trial.config["trial"]["number"]
            self._reports.setdefault(number, []).append({name: result[name] for name in names})

        def on_trial_complete(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            number = trial.config["trial"]["number"]
            if number not in search.ended:
                text = json_files.text({"reports": self._reports.get(number, [])})
                file = filesystem.join(search.folder(number), _ENDED)
                filesystem.write_bytes(file, text.encode())

    return Keeper()


def run_trial(point: Mapping[str, Any], search: Search, inputs: ProcessInputs) -> None:
    """What the process of each trial runs: train, report every epoch to Tune, write the bundle.

    An epoch is reported when the next one begins, the last one when the bundle is complete: Tune
    stops a trial while it reports, so a stopped trial has no bundle, and no bundle is incomplete.
    """
    from ray import tune as ray_tune

    drawn = dict(point["trial"])
    number = drawn.pop("number")
    if number in search.ended:
        # by these, too, the scheduler decides which of the other trials it stops
        for known in search.ended[number]:
            ray_tune.report(dict(known))
        return
    keras = inputs.import_keras()
    from cnnjobs.training.distributed.fit_model import train_model

    task = search.task_of(number, drawn)
    monitor = task.config.monitor
    pending: list[dict[str, float]] = []
    best = math.inf if mode(monitor) == "min" else -math.inf

    def keep(epoch: int, logs: Mapping[str, Any]) -> None:
        nonlocal best
        value = float(logs[monitor])
        best = min(best, value) if mode(monitor) == "min" else max(best, value)
        pending.append({"epoch": epoch + 1, monitor: value, "best": best})
        inputs.reports.put(f"trial {number}, {epoch_note(epoch, logs)}")

    def report(epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if pending:
            ray_tune.report({**pending.pop(), "finished": False, "num_failed": 0})

    done = checkpoint_files.progress(filesystem.join(task.run_uri, "checkpoints"))
    for epoch, logs in enumerate(done.history):
        report(epoch)
        keep(epoch, logs)
    callback = keras.callbacks.LambdaCallback(on_epoch_begin=report, on_epoch_end=keep)
    sets = inputs.sets(task)
    train_model(task, *sets, callbacks=[callback])
    num_failed = sum(part.num_failed for part in sets)
    ray_tune.report({**pending.pop(), "finished": True, "num_failed": num_failed})


def _reason(error: Exception) -> str:
    """The trial's own error in one line."""
    words = ray_errors.in_words(error)
    if words is not None:
        return words
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    own = [line for line in lines if "TrainingError: " in line]
    return own[-1].split("TrainingError: ")[-1] if own else lines[-1]
