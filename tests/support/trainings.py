"""A training in this process, without Ray: what a training worker does, at a third of the cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnjobs.config import TrainConfig
from cnnjobs.training.decoded_images import decode_rows, sets
from cnnjobs.training.distributed.task import Task
from cnnjobs.training.train_plan import plan, task_of


def train_here(
    config: TrainConfig, *, callbacks: Sequence[Any] = ()
) -> Sequence[Mapping[str, float]]:
    """Leave checkpoints and a bundle in the output; returns the history."""
    planned = plan(config)
    return train_task(task_of(planned, planned.output), callbacks=callbacks)


def epochs_done(run: Path) -> int:
    """How many epochs the last checkpoint of a run has."""
    from cnnjobs.training.distributed import checkpoint_files

    return checkpoint_files.progress(str(run / "checkpoints")).epochs_done


def train_task(task: Task, *, callbacks: Sequence[Any] = ()) -> Sequence[Mapping[str, float]]:
    """What every start of a training does, also one that continues."""
    from cnnjobs.training.distributed.fit_model import train_model

    blocks = [decode_rows(task.rows, task.preprocessing)]
    return train_model(task, *sets(blocks, task.targets), callbacks=callbacks)
