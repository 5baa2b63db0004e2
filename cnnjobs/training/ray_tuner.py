"""Ray Tune: trials run side by side on images that were decoded once."""

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.util.queue import Queue

from cnnjobs import models
from cnnjobs.errors import TrainingError
from cnnjobs.storage import filesystem
from cnnjobs.training import ray_trainer
from cnnjobs.training.distributed.task import Task
from cnnjobs.training.trials import mode

#: Of the trials that come as far as a rung, one in so many goes on (Ray's own default is 4).
_REDUCTION = 3


def run_trials(
    settings: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    resources: Mapping[str, float],
    on_epoch: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Run every trial to its end; returns the number, last report and error of each.

    Args:
        settings: what all trials share.
        trials: the settings drawn for each.
        resources: what each trial takes of the cluster.
        on_epoch: called with a line on every epoch that a trial has finished.
    """
    notes = Queue(actor_options={"num_cpus": 0})
    try:
        job = _run_tuner.remote({**settings, "told": notes}, trials, resources)
        while not ray.wait([job], timeout=0.5)[0]:
            for note in ray_trainer.news(notes):
                on_epoch(note)
        ended: list[dict[str, Any]] = ray.get(job)
        return ended
    finally:
        notes.shutdown()


@ray.remote(num_cpus=0, max_retries=0)
def _run_tuner(
    settings: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], resources: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Run Ray Tune in a task of its own: what it imports and prints stays out of the driver."""
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
                mode=mode(monitor),
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

    from cnnjobs.training.distributed.fit_model import train_model

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
        run_uri=filesystem.join(task.run_uri, str(number)),
    )
    monitor, told = task.config.monitor, given["told"]
    pending: list[dict[str, float]] = []
    best = math.inf if mode(monitor) == "min" else -math.inf

    def keep(epoch: int, logs: Mapping[str, float]) -> None:
        nonlocal best
        value = float(logs[monitor])
        if not math.isfinite(value):
            raise TrainingError(f"{monitor} of epoch {epoch + 1} is {value}.")
        best = min(best, value) if mode(monitor) == "min" else max(best, value)
        pending.append({"epoch": epoch + 1, monitor: value, "best": best})
        told.put(f"trial {number}, epoch {epoch + 1}: {monitor} {value:.3f}")

    def report(epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if pending:
            ray_tune.report({**pending.pop(), "finished": False, "num_failed": 0})

    teller = keras.callbacks.LambdaCallback(on_epoch_begin=report, on_epoch_end=keep)
    sets = ray_trainer.open_sets(task, given["blocks"])
    train_model(task, *sets, callbacks=[teller])
    num_failed = sum(part.num_failed for part in sets)
    ray_tune.report({**pending.pop(), "finished": True, "num_failed": num_failed})


def _reason(error: Exception) -> str:
    """The trial's own error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    own = [line for line in lines if "TrainingError: " in line]
    return own[-1].split("TrainingError: ")[-1] if own else lines[-1]
