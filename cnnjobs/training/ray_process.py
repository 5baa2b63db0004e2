"""What every training process on Ray receives: decoded images, threads and a way to report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.util.queue import Empty, Queue

from cnnjobs import models
from cnnjobs.cluster import resources, session
from cnnjobs.config.constants import TRAIN, VALIDATION
from cnnjobs.progress import Progress
from cnnjobs.training import decoded_images, ray_datasets
from cnnjobs.training.distributed.task import LabelledSource, Task

#: Share of a machine's object store that decoded images may fill; the rest is for data in flight.
_SHARE_OF_STORE = 0.6


@dataclass(frozen=True, kw_only=True)
class ProcessResources:
    """The cores and GPUs that a training process reserves; a fraction of a core if they are few."""

    cpus: float
    gpus: int

    @property
    def threads(self) -> int:
        """Threads that TensorFlow uses for one operation.

        The last digits of a result depend on them, because they decide in which order numbers are
        added. So a run records them, and keeps them when it is resumed.
        """
        return max(1, int(self.cpus))


@dataclass(frozen=True, kw_only=True)
class ProcessInputs:
    """What the driver hands to each training process, besides the task.

    Attributes:
        blocks: the decoded images in the object store, in order; None if they are streamed.
        threads: see `ProcessResources`.
        reports: a queue to the driver.
    """

    blocks: "Sequence[ray.ObjectRef[pa.Table]] | None"
    threads: int
    reports: Queue

    def import_keras(self) -> Any:
        """Keras on TensorFlow with these threads; call it before anything else uses TensorFlow."""
        return models.import_keras(threads=self.threads)

    def tables(self) -> list[pa.Table]:
        """The blocks, mapped from the object store of this machine."""
        return ray.get(list(self.blocks or ()))

    def sets(self, task: Task) -> tuple[LabelledSource, LabelledSource]:
        """The training and the validation split: from the blocks or, without any, streamed."""
        if self.blocks is None:
            train, validation = (
                ray_datasets.StreamedSet(task.rows, split, task.targets, task.preprocessing)
                for split in (TRAIN, VALIDATION)
            )
            return train, validation
        return decoded_images.sets(self.tables(), task.targets)


def resources_each(
    num_processes: int, gpus: int | None, *, spare: bool = False
) -> ProcessResources:
    """What each of several processes reserves; needs a connected Ray.

    Args:
        num_processes: that run at the same time.
        gpus: of each; None gives each one if there are enough.
        spare: whether to leave a core to the tasks that decode a streamed set.
    """
    if gpus is None:
        gpus = 1 if resources.num_gpus() >= num_processes else 0
    cpus = resources.cores_each(
        resources.live_machines(), num_processes, num_gpus=gpus, spare=spare
    )
    return ProcessResources(cpus=cpus, gpus=gpus)


def fits_in_store(task: Task) -> bool:
    """Whether to keep the decoded images in the object store."""
    if task.config.cache != "auto":
        return task.config.cache == "memory"
    size = task.rows.num_rows * task.preprocessing.height * task.preprocessing.width
    # every machine that trains holds the whole set
    return size <= _SHARE_OF_STORE * resources.smallest_object_store(resources.live_machines())


def decode_once(task: Task, progress: Progress) -> list["ray.ObjectRef[pa.Table]"]:
    """All images as decoded blocks in the object store, in order."""
    total = task.rows.num_rows
    progress("decode", 0, total)
    dataset = ray_datasets.decoded(
        task.rows,
        task.preprocessing,
        batch_size=task.config.batch_size,
        num_cpus=resources.num_cpus(),
    ).materialize()
    progress("decode", total, total)
    return list(dataset.to_arrow_refs())


def new_queue() -> Queue:
    """A queue for reports to the driver."""
    return Queue(actor_options=session.beside_driver())


def waiting_reports(reports: Queue) -> list[str]:
    """What the processes have reported since the last call."""
    waiting: list[str] = []
    try:
        while True:
            waiting.append(reports.get(block=False))
    except Empty:
        return waiting
