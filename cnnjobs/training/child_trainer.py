"""Training in a child process of this one: what `ray_trainer` does on a cluster, without Ray."""

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from cnnjobs import models
from cnnjobs.cluster import child
from cnnjobs.cluster.child import Child, Died
from cnnjobs.errors import CnnjobsError, TrainingError
from cnnjobs.progress import Progress
from cnnjobs.training import decoded_images, reports
from cnnjobs.training.distributed.sharding import num_steps
from cnnjobs.training.distributed.task import Task
from cnnjobs.training.reports import Fitted

_log = logging.getLogger(__name__)


class ChildTrainer:
    """Trains in a child process with all cores of this machine; see `trainers.Trainer`."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function that may import TensorFlow, in a process of its own."""
        return child.call(function, *args)

    def threads(self, task: Task) -> int:
        return len(os.sched_getaffinity(0))

    def fit(self, task: Task, progress: Progress, *, threads: int) -> Fitted:
        """Train and leave a bundle; a child that dies is replaced, `max_failures` times.

        Raises:
            TrainingError: see `trainers.Trainer.fit`.
        """
        progress("train", 0, None, "starting TensorFlow")
        show = partial(reports.passed_on, progress=progress)
        for left in reversed(range(task.config.max_failures + 1)):
            process = Child()
            try:
                fitted: Fitted = process.answer(_fit, task, threads, on_report=show)
                return fitted
            except (Died, _Failed) as failure:
                if not left:
                    raise TrainingError(_reason(failure)) from failure
                _log.warning("training starts again from its last checkpoint: %s", str(failure))
            finally:
                process.close()
        raise AssertionError("the last attempt returns or raises")


class _Failed(Exception):  # noqa: N818 - nothing that a user sees
    """What the child raised besides errors of this package, as text: it imports no TensorFlow."""


def _reason(failure: Exception) -> str:
    if isinstance(failure, Died):
        return (
            "the training process died; memory may be short: use a smaller batch_size, then "
            "continue with --resume."
        )
    return str(failure)


# what runs in the child


def _fit(task: Task, threads: int) -> Fitted:
    models.import_keras(threads=threads)
    from cnnjobs.training.distributed.fit_model import train_model

    num_cores = len(os.sched_getaffinity(0))
    block = decoded_images.decode_rows(task.rows, task.preprocessing, threads=num_cores)
    train, validation = decoded_images.sets([block], task.targets)
    steps = num_steps(len(train), task.config.batch_size) * task.config.epochs
    try:
        history: Any = train_model(
            task, train, validation, callbacks=[reports.reporter(child.report, steps)]
        )
    except CnnjobsError:
        raise
    except Exception as error:  # noqa: BLE001 - TensorFlow and a user's code can raise anything
        reason = str(error).strip() or type(error).__name__
        raise _Failed(reason.splitlines()[-1]) from None
    return Fitted(history=history, num_failed=train.num_failed + validation.num_failed)
