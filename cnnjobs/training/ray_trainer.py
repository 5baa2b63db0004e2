"""Manifest rows to a trained bundle through Ray Train."""

import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any

import ray
import ray.train
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.queue import Queue

from cnnjobs.cluster import ray_errors, session
from cnnjobs.errors import CnnjobsError, TrainingError
from cnnjobs.progress import Progress
from cnnjobs.training import ray_process
from cnnjobs.training.distributed.sharding import num_steps
from cnnjobs.training.distributed.task import Task
from cnnjobs.training.ray_process import ProcessInputs, ProcessResources
from cnnjobs.training.ray_tf_config import TfConfig
from cnnjobs.training.reports import Fitted, passed_on, reporter

#: Ends the driver's listener.
_END = "end"


class RayTrainer:
    """Trains on the connected Ray, with one or several workers; see `trainers.Trainer`."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function that may import TensorFlow, in a process of its own."""
        return session.call(function, *args)

    def threads(self, task: Task) -> int:
        return _resources(task).threads

    def fit(self, task: Task, progress: Progress, *, threads: int) -> Fitted:
        """Train and leave a bundle.

        Images that fit are decoded once into the object store, where all workers of a machine
        share them; otherwise they are decoded again in each epoch, ahead of the steps. If a worker
        dies, all workers restart from the last checkpoint, at most `max_failures` times.
        """
        config = task.config
        blocks = (
            ray_process.decode_once(task, progress) if ray_process.fits_in_store(task) else None
        )
        resources = _resources(task)
        scaling = ray.train.ScalingConfig(
            num_workers=config.workers,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": resources.cpus},
        )
        progress("train", 0, None, "starting TensorFlow")
        reports = ray_process.new_queue()
        results: list[Mapping[str, Any]] = []
        listener = threading.Thread(target=_listen, args=(reports, results, progress))
        listener.start()
        inputs = ProcessInputs(blocks=blocks, threads=threads, reports=reports)
        settings = {"task": task, "inputs": inputs}
        try:
            may_lose = not session.has_fixed_size()
            running = run_trainer.options(**session.beside_driver()).remote(
                settings, scaling, config.max_failures, may_lose
            )
            failure = ray.get(running)
        finally:
            reports.put(_END)
            listener.join()
            reports.shutdown()
        failures = [result["failure"] for result in results if "failure" in result]
        if failures or failure is not None:
            raise TrainingError(failures[-1] if failures else str(failure))
        (done,) = (result for result in results if "history" in result)
        return Fitted(history=done["history"], num_failed=done["num_failed"])


def _resources(task: Task) -> ProcessResources:
    """What each worker reserves on the machines there are now."""
    config = task.config
    is_streamed = not ray_process.fits_in_store(task)
    return ray_process.resources_each(config.workers, config.gpus_per_worker, spare=is_streamed)


@ray.remote(max_retries=0)
def run_trainer(
    settings: Mapping[str, Any],
    scaling: ray.train.ScalingConfig,
    max_failures: int,
    may_lose: bool,
) -> str | None:
    """Run Ray Train's workers until they finish; returns why they failed, or None.

    A separate task, because no setting silences what Ray Train writes to standard error.

    Args:
        settings: of `train_loop_per_worker`.
        scaling: the workers.
        max_failures: restarts after a worker died.
        may_lose: whether a machine may be taken away, with an announcement that Ray watches for.
    """
    if not may_lose:
        # one process less, which takes two seconds of a core to start
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    # how often Ray Train checks whether workers have finished: every 2 s by default
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    # nothing is kept here: checkpoints and bundle are written to the run directory
    with tempfile.TemporaryDirectory() as folder:
        trainer = DataParallelTrainer(
            train_loop_per_worker,
            train_loop_config=dict(settings),
            backend_config=TfConfig(),
            scaling_config=scaling,
            run_config=ray.train.RunConfig(
                storage_path=folder,
                failure_config=ray.train.FailureConfig(max_failures=max_failures),
            ),
        )
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            return _reason(error)
    return None


def train_loop_per_worker(settings: Mapping[str, Any]) -> None:
    """What each Ray Train worker runs: join the others, build, train; rank 0 writes the bundle."""
    task: Task = settings["task"]
    inputs: ProcessInputs = settings["inputs"]
    keras = inputs.import_keras()
    from cnnjobs.training.distributed.fit_model import train_model
    from cnnjobs.training.distributed.workers import join

    workers = join()
    sets = inputs.sets(task)
    is_first = workers.rank == 0
    callbacks = [
        # on every worker, as Ray Train requires
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: ray.train.report({**logs, "epoch": epoch + 1})
        )
    ]
    if is_first:
        steps = num_steps(len(sets[0]), task.config.batch_size) * task.config.epochs
        callbacks.append(reporter(inputs.reports.put, steps))
    try:
        history = train_model(task, *sets, workers=workers, callbacks=callbacks)
    except CnnjobsError as error:
        # all workers fail in the same way, and would again: a restart cannot help
        if is_first:
            inputs.reports.put({"failure": str(error)})
        return
    if is_first:
        num_failed = sum(part.num_failed for part in sets)
        inputs.reports.put({"history": history, "num_failed": num_failed})


def _listen(reports: Queue, results: list[Mapping[str, Any]], progress: Progress) -> None:
    """Pass on the steps that rank 0 reports, and collect its results, until `_END`."""
    while (report := reports.get()) != _END:
        if "step" in report:
            passed_on(report, progress)
        else:
            results.append(report)


def _reason(error: ray.train.TrainingFailedError) -> str:
    """The worker's own error in one line."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    failure = next(iter(failures.values()), error)
    words = ray_errors.in_words(failure)
    if words is not None:
        return f"{words}."
    return str(failure).strip().splitlines()[-1].split("TrainingError: ")[-1]
